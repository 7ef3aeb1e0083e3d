"""The file formats: what belongs to each is in its own module, this list puts them together."""

from pathlib import Path

from gramgan.errors import UserError
from gramgan.images.formats.avif import AVIF
from gramgan.images.formats.base import Format, Writing
from gramgan.images.formats.foreign import foreign_kind
from gramgan.images.formats.gif import GIF
from gramgan.images.formats.jpeg import JPEG
from gramgan.images.formats.png import PNG
from gramgan.images.formats.tiff import TIFF
from gramgan.images.formats.webp import WEBP

FORMATS = (PNG, JPEG, WEBP, TIFF, GIF, AVIF)
IMAGE_SUFFIXES = frozenset(suffix for one in FORMATS for suffix in one.suffixes)
MULTI_PAGE_SUFFIXES = frozenset(
    suffix
    for one in FORMATS
    if one.writing and (one.writing.frames or one.writing.concatenate)
    for suffix in one.suffixes
)
"""Suffixes of the formats that hold several pages or frames."""
WRITABLE_SUFFIXES = frozenset(suffix for one in FORMATS if one.writing for suffix in one.suffixes)


def recognise(path: Path, head: bytes) -> Format:
    """The format of a file by its first bytes (16 are enough); the suffix plays no part.

    Raises:
        UserError: no format that can be read begins like this.
    """
    for one in FORMATS:
        if one.recognises(head):
            return one
    if not head:
        raise UserError(f"{path}: the file is empty (0 bytes); give an image")
    kind = foreign_kind(head)
    if kind is None:
        raise UserError(f"{path}: not an image that can be read; give {_names(FORMATS)}")
    advice = "" if ";" in kind else f", which is not read here; convert it to {_names((PNG, TIFF))}"
    raise UserError(f"{path}: {kind}{advice}")


def writing_for(path: Path) -> tuple[Format, Writing]:
    """The format that the suffix of `path` asks for, and how it is written.

    Raises:
        UserError: the suffix is missing or names no format that can be written.
    """
    for one in FORMATS:
        if one.writing and path.suffix.lower() in one.suffixes:
            return one, one.writing
    what = f"cannot write '{path.suffix}' files" if path.suffix else "the name has no suffix"
    raise UserError(f"{path}: {what}; end the name in {', '.join(sorted(WRITABLE_SUFFIXES))}")


def _names(formats: tuple[Format, ...]) -> str:
    *first, last = (one.name for one in formats)
    return f"{', '.join(first)} or {last}"
