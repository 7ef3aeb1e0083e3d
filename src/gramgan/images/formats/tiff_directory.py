"""The directories of a TIFF file: what its tags say, before any pixel is read (TIFF 6.0, section 2; BigTIFF)."""

import struct
from typing import BinaryIO, NamedTuple

TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""What a TIFF or BigTIFF begins with."""

# Bytes that are swapped together, by type; the last four are offsets and, in a BigTIFF, numbers of 64 bits.
_COMPONENT = dict(enumerate((1, 1, 2, 4, 4, 1, 1, 2, 4, 4, 4, 8, 4), start=1)) | {16: 8, 17: 8, 18: 8}
_RATIONALS = (5, 10)
_MAX_VALUE = 65536  # bytes; EXIF in a JPEG is no larger than this altogether


class Tag(NamedTuple):
    """One entry; `value` is little-endian whatever the file is."""

    number: int
    kind: int
    components: int
    value: bytes


class Directory(NamedTuple):
    """`raw` are the entries as they are stored, `following` the offset of the next directory."""

    tags: list[Tag]
    raw: list[bytes]
    following: int


class Layout(NamedTuple):
    """How the numbers of a classic TIFF or a BigTIFF are stored."""

    order: str
    big: bool

    def pack_offset(self, offset: int) -> bytes:
        """An offset as this file stores it."""
        return struct.pack(f"{self.order}{'Q' if self.big else 'I'}", offset)


def read_tiff_header(file: BinaryIO) -> tuple[Layout, int, int]:
    """Layout, offset of the first directory, and the position of that offset in the header."""
    file.seek(0)
    head = file.read(16)
    order = ">" if head[:2] == b"MM" else "<"
    big = struct.unpack_from(f"{order}H", head, 2)[0] == 43
    field = 8 if big else 4
    return Layout(order, big), struct.unpack_from(f"{order}{'Q' if big else 'I'}", head, field)[0], field


def read_directory(file: BinaryIO, layout: Layout, at: int) -> Directory:
    """The directory at offset `at`; values that are unreasonably long are left out of its `tags`.

    Raises:
        struct.error: it leaves the file.
    """
    order, big = layout
    _seek(file, at)
    (entries,) = struct.unpack(f"{order}{'Q' if big else 'H'}", file.read(8 if big else 2))
    size = 20 if big else 12
    if entries > _MAX_VALUE:
        raise struct.error("a directory of more entries than there are tags")
    raw = [file.read(size) for _ in range(entries)]
    (following,) = struct.unpack(f"{order}{'Q' if big else 'I'}", file.read(8 if big else 4))
    tags = []
    for entry in raw:
        number, kind, count = struct.unpack_from(f"{order}HH{'Q' if big else 'I'}", entry)
        length = count * _COMPONENT.get(kind, 0) * (2 if kind in _RATIONALS else 1)
        field = entry[12 if big else 8 :]
        if 0 < length <= len(field):
            value = field[:length]
        elif 0 < length <= _MAX_VALUE:
            _seek(file, struct.unpack(f"{order}{'Q' if big else 'I'}", field)[0])
            value = file.read(length)
            if len(value) < length:
                continue
        else:
            continue
        tags.append(Tag(number, kind, count, swap(value, kind) if order == ">" else value))
    return Directory(tags, raw, following)


def page_directory(file: BinaryIO, page: int) -> tuple[Layout, Directory]:
    """The directory of a page (from 0), and how its numbers are stored.

    Raises:
        struct.error: it leaves the file, or there is none.
    """
    layout, at, _ = read_tiff_header(file)
    directory = read_directory(file, layout, at)
    for _ in range(page):
        directory = read_directory(file, layout, directory.following)
    return layout, directory


def _seek(file: BinaryIO, at: int) -> None:
    if at >= 2**63:
        raise struct.error("an offset beyond any file")
    try:
        file.seek(at)
    except OSError as error:  # file systems have limits of their own
        raise struct.error(f"an offset that cannot be: {error}") from None


def as_offset(tag: Tag) -> int:
    """A tag's first value, if it is a whole number."""
    return int.from_bytes(tag.value[: min(_COMPONENT[tag.kind], 8)], "little")


def swap(value: bytes, kind: int) -> bytes:
    """The values of a tag of type `kind` in the other byte order."""
    size = _COMPONENT[kind]
    return b"".join(value[start : start + size][::-1] for start in range(0, len(value), size))
