"""`ATTRIBUTION.md`: who made the photographs of a collection, for people to read and to pass on."""

import re
from collections.abc import Iterable
from pathlib import Path

from gramgan.collect.manifest import ManifestEntry
from gramgan.errors import UserError
from gramgan.files import write_text
from gramgan.names import shown

ATTRIBUTION = "ATTRIBUTION.md"

_MARK = "<!-- written by gramgan collect; it is written anew each time -->"
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#|!~])")


def write_attribution(folder: Path, entries: Iterable[ManifestEntry]) -> None:
    """Write `folder/ATTRIBUTION.md`: one line for each photograph, by licence. Texts are escaped, not interpreted."""
    by_licence: dict[str, list[ManifestEntry]] = {}
    for entry in sorted(entries, key=lambda entry: entry.file):
        by_licence.setdefault(entry.licence, []).append(entry)
    lines = [_MARK, "# Attribution", "", "Where the photographs in this folder come from, and under which licences."]
    for licence in sorted(by_licence):
        lines += ["", f"## {_plain(licence)}", ""]
        lines += [_line(entry) for entry in by_licence[licence]]
    write_text(folder / ATTRIBUTION, "\n".join(lines) + "\n")


def refuse_foreign_attribution(folder: Path) -> None:
    """Make sure that no file of the user's is overwritten.

    Raises:
        UserError: an `ATTRIBUTION.md` stands there which this module did not write.
    """
    path = folder / ATTRIBUTION
    try:
        ours = path.read_text(encoding="utf-8").startswith(_MARK)
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError):
        ours = False
    if not ours:
        raise UserError(f"{path}: not written by gramgan collect; move it or choose another output folder")


def _line(entry: ManifestEntry) -> str:
    title = _plain(entry.title) or _plain(entry.file)
    parts = [f"**{title}** by {_plain(entry.author) or 'an unnamed author'}"]
    parts.append(_link(entry.licence, entry.licence_url))
    if entry.page_url:
        parts.append(_link("source", entry.page_url))
    return f"- {', '.join(parts)} ({_plain(entry.file)})"


def _link(text: str, url: str) -> str:
    safe = re.fullmatch(r"https?://[^\s<>()\[\]]+", url)
    return f"[{_plain(text)}](<{url}>)" if safe and url.isprintable() else _plain(text)


def _plain(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", shown(" ".join(text.split())))
