"""Several TIFF files put together as the pages of one, which libvips can only do for pages of one size and depth.

A TIFF is a chain of directories (TIFF 6.0, section 2). Each page's file is copied as it is, and a directory with moved
offsets is written behind it.
"""

import io
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

_LIMIT = 4_000_000_000  # bytes; offsets in a classic TIFF have 32 bits
_LONG, _LONG8 = 4, 16
_PIXELS = (273, 324)  # StripOffsets, TileOffsets
_DIRECTORIES = (0x8769, 0x8825)  # EXIF and GPS
_SUBFILE_TYPE, _PAGE_NUMBER = 254, 297
_SHORT = 3
_A_PAGE = 2
_SIZES = dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), start=1)) | {16: 8, 17: 8, 18: 8}


class _Layout(NamedTuple):
    """Byte order, and classic TIFF or BigTIFF."""

    order: str
    big: bool

    @property
    def offset(self) -> str:
        return f"{self.order}{'Q' if self.big else 'I'}"

    @property
    def length(self) -> str:
        return f"{self.order}{'Q' if self.big else 'H'}"


class _Tag(NamedTuple):
    number: int
    kind: int
    components: int
    value: bytes


def concatenate(pages: Sequence[Path], target: Path) -> None:
    """Write the first pages of the TIFF files `pages` as one TIFF, a BigTIFF where it needs to be.

    The files must have the same byte order and no sub-images; EXIF and GPS directories come along.

    Raises:
        ValueError: there are no pages, or their byte orders differ.
    """
    if not pages:
        raise ValueError("a TIFF has at least one page")
    big = sum(page.stat().st_size for page in pages) > _LIMIT
    with target.open("wb") as out:
        order, link = "", 0
        for index, page in enumerate(pages):
            with page.open("rb") as file:
                source, first = _header(file)
                if index == 0:
                    order = source.order
                    link = _write_header(out, _Layout(order, big))
                elif source.order != order:
                    raise ValueError(f"{page}: its byte order is not that of the first page")
                layout = _Layout(order, big)
                base = _aligned(out)
                file.seek(0)
                shutil.copyfileobj(file, out, 1 << 20)
                tags = [_moved(file, source, layout, out, tag, base) for tag in _tags(file, source, first)]
                tags = [tag for tag in tags if tag.number not in (_SUBFILE_TYPE, _PAGE_NUMBER)]
                tags.append(_Tag(_SUBFILE_TYPE, _LONG, 1, struct.pack(f"{order}I", _A_PAGE)))
                # The tag's numbers have 16 bits; beyond them the order of the directories still says it.
                number, total = (min(one, 65535) for one in (index, len(pages)))
                tags.append(_Tag(_PAGE_NUMBER, _SHORT, 2, struct.pack(f"{order}HH", number, total)))
                at, following = _write_directory(out, layout, tags)
            out.seek(link)
            out.write(struct.pack(layout.offset, at))
            out.seek(0, io.SEEK_END)
            link = following


def _header(file: BinaryIO) -> tuple[_Layout, int]:
    """How a file is laid out, and where its first directory is."""
    head = file.read(16)
    order = ">" if head[:2] == b"MM" else "<"
    layout = _Layout(order, struct.unpack_from(f"{order}H", head, 2)[0] == 43)
    return layout, struct.unpack_from(layout.offset, head, 8 if layout.big else 4)[0]


def _write_header(out: BinaryIO, layout: _Layout) -> int:
    """Write a header; where the offset of the first directory goes."""
    out.write(b"II" if layout.order == "<" else b"MM")
    out.write(
        struct.pack(f"{layout.order}HHHQ", 43, 8, 0, 0) if layout.big else struct.pack(f"{layout.order}HI", 42, 0)
    )
    return 8 if layout.big else 4


def _tags(file: BinaryIO, layout: _Layout, at: int) -> list[_Tag]:
    file.seek(at)
    (entries,) = struct.unpack(layout.length, file.read(struct.calcsize(layout.length)))
    size = 20 if layout.big else 12
    raw = file.read(size * entries)
    tags = []
    for start in range(0, len(raw), size):
        number, kind, count = struct.unpack_from(f"{layout.order}HH{'Q' if layout.big else 'I'}", raw, start)
        field = raw[start + (12 if layout.big else 8) : start + size]
        length = count * _SIZES[kind]
        if length > len(field):
            file.seek(struct.unpack(layout.offset, field)[0])
            tags.append(_Tag(number, kind, count, file.read(length)))
        else:
            tags.append(_Tag(number, kind, count, field[:length]))
    return tags


def _moved(file: BinaryIO, source: _Layout, layout: _Layout, out: BinaryIO, tag: _Tag, base: int) -> _Tag:
    """A tag as it must be in `out`, where the page's file begins at `base`."""
    if tag.number not in (*_PIXELS, *_DIRECTORIES):
        return tag
    letter = {_SHORT: "H", _LONG: "I", 13: "I", _LONG8: "Q", 18: "Q"}[tag.kind]
    offsets = struct.unpack(f"{layout.order}{tag.components}{letter}", tag.value)
    if tag.number in _DIRECTORIES:
        moved = [_write_directory(out, layout, _tags(file, source, at))[0] for at in offsets]
    else:
        moved = [base + at for at in offsets]
    value = struct.pack(f"{layout.order}{len(moved)}{'Q' if layout.big else 'I'}", *moved)
    return _Tag(tag.number, _LONG8 if layout.big else _LONG, tag.components, value)


def _write_directory(out: BinaryIO, layout: _Layout, tags: list[_Tag]) -> tuple[int, int]:
    """Write a directory at the end of `out`: where it begins, and where the offset of the next one goes."""
    at = _aligned(out)
    room = struct.calcsize(layout.offset)
    tail_at = at + struct.calcsize(layout.length) + len(tags) * (20 if layout.big else 12) + room
    entries, tail = b"", b""
    for tag in sorted(tags):
        if len(tag.value) > room:
            field = struct.pack(layout.offset, tail_at + len(tail))
            tail += tag.value + bytes(len(tag.value) % 2)
        else:
            field = tag.value.ljust(room, b"\0")
        entries += struct.pack(f"{layout.order}HH{'Q' if layout.big else 'I'}", *tag[:3]) + field
    out.write(struct.pack(layout.length, len(tags)) + entries + bytes(room) + tail)
    return at, tail_at - room


def _aligned(out: BinaryIO) -> int:
    """Fill up to a multiple of 16 bytes; the position."""
    at = out.seek(0, io.SEEK_END)
    out.write(bytes(-at % 16))
    return at + -at % 16
