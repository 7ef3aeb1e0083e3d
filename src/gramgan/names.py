"""Names that somebody else has chosen: shown to people, as cells of tables, and as parts of other files' names."""

import hashlib
import os
import re
from pathlib import Path, PurePath, PurePosixPath

LONGEST = 255
"""Bytes of a file's name: the limit of nearly all file systems."""

_SHORT = 100  # bytes of a name that something can be put around
_BEGINNING = 20  # characters of a longer one that are kept
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d+)?([eE][+-]?\d+)?|inf)")


def shown(text: str) -> str:
    r"""`text` as one line of what can be printed: anything else is escaped as in Python, so that nobody obeys it.

    The bytes of a file's name that are no UTF-8 look like `\xfc`.
    """
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)


def cell(text: str) -> str:
    """`text` for a cell of a CSV file: a spreadsheet would run what begins with =, +, - or @; `'` makes it text.

    Numbers stay numbers.
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def from_cell(text: str) -> str:
    """What `cell` was given."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def in_utf8(text: str) -> str:
    r"""`text`, or a path, for a list in UTF-8: the bytes of a name that are none become `\xfc`."""
    return os.fsencode(text).decode("utf-8", "backslashreplace") if not _is_unicode(text) else text


def leads_out(name: str, *kinds: type[PurePath]) -> bool:
    """Whether a path in a list leads out of the folder of the list.

    `kinds` are the systems by whose rules; none: this one's and POSIX's.
    """
    return any(kind(name).anchor or ".." in kind(name).parts for kind in kinds or (PurePath, PurePosixPath))


def hidden_beside(path: Path, ending: str) -> Path:
    """The hidden file `.NAME.ending` beside the file `NAME`."""
    return path.with_name(f".{stand_in(path.name)}.{ending}")


def stand_in(name: str) -> str:
    """`name` if it is short and in UTF-8, else its beginning and a hash: any library takes it, and more fits around."""
    if len(os.fsencode(name)) <= _SHORT and _is_unicode(name):
        return name
    return f"{''.join(filter(_is_unicode, name[:_BEGINNING]))}~{_digest(name)}"


def fitting(stem: str, suffix: str) -> str:
    """The name `stem` + `suffix`, its stem shortened to what a file system takes; a hash keeps such names apart."""
    name = stem + suffix
    if len(os.fsencode(name)) <= LONGEST:
        return name
    tail = f"~{_digest(stem)}{suffix}"
    while len(os.fsencode(stem + tail)) > LONGEST:
        stem = stem[:-1]
    return stem + tail


def _escaped(letter: str) -> str:
    code = ord(letter)
    # How Python keeps such a byte in a text (PEP 383).
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else letter.encode("unicode_escape").decode("ascii")


def _is_unicode(text: str) -> bool:
    return not any(0xD800 <= ord(letter) <= 0xDFFF for letter in text)


def _digest(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:12]
