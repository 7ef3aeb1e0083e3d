"""EXIF in TIFF files, which libvips neither reads nor writes.

An EXIF block, as JPEG, PNG and WebP store it, is itself a small TIFF: a main directory with pointers to an EXIF and a
GPS directory (CIPA DC-008, 4.6). In a TIFF the same directories hang off the image's own directory.
"""

import io
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

_PREFIX = b"Exif\0\0"
_EXIF_POINTER, _GPS_POINTER = 0x8769, 0x8825
_LONG, _LONG8 = 4, 16
# Make, Model, Software, DateTime, Artist, Copyright: what the main directory says of the photograph, not of storage.
_MAIN = (0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)
_DESCRIPTION = 0x010E
# MakerNote and Interoperability hold offsets of their own, which moving breaks; the pixel size may be another image's.
_LEFT_BEHIND = (0x927C, 0xA005, 0xA002, 0xA003)
# Bytes that are swapped together, by type; the last four are offsets and, in a BigTIFF, numbers of 64 bits.
_COMPONENT = dict(enumerate((1, 1, 2, 4, 4, 1, 1, 2, 4, 4, 4, 8, 4), start=1)) | {16: 8, 17: 8, 18: 8}
_LAST_CLASSIC = 12
_RATIONALS = (5, 10)
_MAX_VALUE = 65536  # bytes; EXIF in a JPEG is no larger than this altogether


class _Tag(NamedTuple):
    number: int
    kind: int
    components: int
    value: bytes  # little-endian


class _Directory(NamedTuple):
    """`raw` are the entries as they are stored, `following` the offset of the next directory."""

    tags: list[_Tag]
    raw: list[bytes]
    following: int


class _Layout(NamedTuple):
    """How the numbers of a classic TIFF or a BigTIFF are stored."""

    order: str
    big: bool

    def pack_offset(self, offset: int) -> bytes:
        return struct.pack(f"{self.order}{'Q' if self.big else 'I'}", offset)


def read_exif(path: Path) -> bytes | None:
    """The EXIF of a TIFF's first page as one block (`Exif\\0\\0` and a small TIFF); None if it has none.

    ImageDescription is not part of it: in TIFFs it often describes the storage (ImageJ, OME, tifffile).
    """
    with path.open("rb") as file:
        try:
            layout, at, _ = _header(file)
            main = _read(file, layout, at).tags
            inner = {
                pointer: _read(file, layout, _as_offset(tag)).tags
                for pointer in (_EXIF_POINTER, _GPS_POINTER)
                for tag in main
                if tag.number == pointer
            }
        except struct.error:  # a directory that leaves the file: no EXIF then, the pixels may be well
            return None
    tags = [tag for tag in main if tag.number in _MAIN]
    if not tags and not any(inner.values()):
        return None
    classic = _Layout("<", big=False)
    return _PREFIX + b"II*\0" + classic.pack_offset(8) + _pack(tags, inner, [], classic, at=8, following=0)[1]


def write_exif(path: Path, exif: bytes) -> None:
    """Hang the directories of an EXIF block onto the first page of the TIFF at `path`, in place.

    The page's directory is written anew at the end of the file, with the added entries; pixels are not touched.
    """
    try:
        block = io.BytesIO(exif.removeprefix(_PREFIX))
        layout, at, _ = _header(block)
        tags = _read(block, layout, at).tags
        inner = {
            pointer: _read(block, layout, _as_offset(tag)).tags
            for pointer in (_EXIF_POINTER, _GPS_POINTER)
            for tag in tags
            if tag.number == pointer
        }
    except struct.error:  # damaged already in the file that it came from
        return
    with path.open("rb+") as file:
        layout, at, header_field = _header(file)
        page = _read(file, layout, at)
        numbers = {struct.unpack_from(f"{layout.order}H", entry)[0] for entry in page.raw}
        added = [tag for tag in tags if tag.number in (*_MAIN, _DESCRIPTION) and tag.number not in numbers]
        end = file.seek(0, io.SEEK_END)
        start = end + end % 2
        where, data = _pack(added, inner, page.raw, layout, at=start, following=page.following)
        file.write(bytes(start - end) + data)
        file.seek(header_field)
        file.write(layout.pack_offset(where))


def _header(file: BinaryIO) -> tuple[_Layout, int, int]:
    """Layout, offset of the first directory, and where in the header that offset stands."""
    file.seek(0)
    head = file.read(16)
    order = ">" if head[:2] == b"MM" else "<"
    big = struct.unpack_from(f"{order}H", head, 2)[0] == 43
    field = 8 if big else 4
    return _Layout(order, big), struct.unpack_from(f"{order}{'Q' if big else 'I'}", head, field)[0], field


def _read(file: BinaryIO, layout: _Layout, at: int) -> _Directory:
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
        tags.append(_Tag(number, kind, count, _swap(value, kind) if order == ">" else value))
    return _Directory(tags, raw, following)


def _seek(file: BinaryIO, at: int) -> None:
    if at >= 2**63:
        raise struct.error("an offset beyond any file")
    file.seek(at)


def _as_offset(tag: _Tag) -> int:
    return int.from_bytes(tag.value[:8], "little")


def _pack(
    tags: list[_Tag], inner: dict[int, list[_Tag]], raw: list[bytes], layout: _Layout, *, at: int, following: int
) -> tuple[int, bytes]:
    """Lay out the inner directories and then the main one from offset `at` on: (offset of the main one, all bytes).

    A main directory without `raw` entries is put first, where an EXIF block has it.
    """
    if not raw:
        size = len(_directory(tags, dict.fromkeys(inner, 0), [], layout, at, 0))
        pointers, data = _inner(inner, layout, at + size)
        return at, _directory(tags, pointers, [], layout, at, following) + data
    pointers, data = _inner(inner, layout, at)
    return at + len(data), data + _directory(tags, pointers, raw, layout, at + len(data), following)


def _inner(inner: dict[int, list[_Tag]], layout: _Layout, at: int) -> tuple[dict[int, int], bytes]:
    pointers, data = {}, b""
    for pointer, tags in inner.items():
        pointers[pointer] = at + len(data)
        kept = [tag for tag in tags if tag.number not in _LEFT_BEHIND and tag.kind <= _LAST_CLASSIC]
        data += _directory(kept, {}, [], layout, at + len(data), 0)
    return pointers, data


def _directory(
    tags: list[_Tag], pointers: dict[int, int], raw: list[bytes], layout: _Layout, at: int, following: int
) -> bytes:
    order, big = layout
    count = len(tags) + len(pointers) + len(raw)
    room = 8 if big else 4
    tail_at = at + (8 if big else 2) + count * (20 if big else 12) + room
    tail = b""
    entries = list(raw)
    for tag in tags:
        value = _swap(tag.value, tag.kind) if order == ">" else tag.value
        if len(value) > room:
            field = layout.pack_offset(tail_at + len(tail))
            tail += value + bytes(len(value) % 2)
        else:
            field = value.ljust(room, b"\0")
        entries.append(struct.pack(f"{order}HH{'Q' if big else 'I'}", tag.number, tag.kind, tag.components) + field)
    for number, offset in pointers.items():
        kind = _LONG8 if big else _LONG
        entries.append(struct.pack(f"{order}HH{'Q' if big else 'I'}", number, kind, 1) + layout.pack_offset(offset))
    entries.sort(key=lambda entry: struct.unpack_from(f"{order}H", entry)[0])
    body = struct.pack(f"{order}{'Q' if big else 'H'}", count) + b"".join(entries) + layout.pack_offset(following)
    data = body + tail
    return data + bytes(len(data) % 2)


def _swap(value: bytes, kind: int) -> bytes:
    size = _COMPONENT[kind]
    return b"".join(value[start : start + size][::-1] for start in range(0, len(value), size))
