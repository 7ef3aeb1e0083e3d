"""The boxes of an AVIF or HEIF file (ISO/IEC 14496-12, 4.2; 23008-12): what libvips does not say or write as it is."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gramgan.images.info import Cicp

_MOST = 1 << 24  # bytes of `meta`; pixels are elsewhere
_CONTAINERS = (b"iprp", b"ipco")


@dataclass(frozen=True)
class Box:
    """A box: its type, where in the file it begins, where its content begins and ends."""

    kind: bytes
    start: int
    content: int
    end: int


def top_boxes(path: Path) -> list[Box]:
    """The boxes of a file, from its beginning to where they can be followed."""
    boxes: list[Box] = []
    with path.open("rb") as file:
        length, at = file.seek(0, 2), 0
        while at + 8 <= length:
            file.seek(at)
            box = _box(file.read(16), at, length)
            if box is None:
                break
            boxes.append(box)
            at = box.end
    return boxes


def colour_numbers(path: Path) -> Cicp | None:
    """The numbers for the colours of an AVIF or HEIF file's first picture that has them; None where none has."""
    for data, base in _metas(path):
        for box in _all_boxes(data, base):
            place = box.content - base
            if box.kind == b"colr" and data[place : place + 4] == b"nclx":
                return Cicp(*struct.unpack_from(">HH", data, place + 4))
    return None


def has_item(path: Path, kind: bytes) -> bool:
    """Whether there is an item of a type such as `tmap`, the gain map of ISO 21496-1."""
    return any(_item(data, base, kind) is not None for data, base in _metas(path))


def set_exif(path: Path, exif: bytes) -> bool:
    """Put an EXIF block (`Exif\\0\\0` and a TIFF) in the place of the one that a file has; whether it has one.

    The new one goes to the end of the file, and the item's location (`iloc`, 14496-12, 8.11.3) is changed in place.
    """
    for data, base in _metas(path):
        item = _item(data, base, b"Exif")
        extent = None if item is None else _extent(data, base, item)
        if extent is None:
            continue
        before, (offset_at, offset_size), (length_at, length_size) = extent
        payload = struct.pack(">I", 6) + exif  # how many bytes stand before the TIFF
        with path.open("rb+") as file:
            end = file.seek(0, 2)
            file.write(struct.pack(">I4s", 8 + len(payload), b"mdat") + payload)
            file.seek(offset_at)
            file.write((end + 8 - before).to_bytes(offset_size, "big"))
            file.seek(length_at)
            file.write(len(payload).to_bytes(length_size, "big"))
        return True
    return False


def _box(head: bytes, at: int, end: int) -> Box | None:
    if len(head) < 8:
        return None
    size, kind = struct.unpack_from(">I4s", head)
    content = at + 8
    if size == 1 and len(head) >= 16:
        (size,) = struct.unpack_from(">Q", head, 8)
        content = at + 16
    size = size or end - at
    return Box(kind, at, content, at + size) if content <= at + size <= end else None


def _metas(path: Path) -> Iterator[tuple[bytes, int]]:
    """Content of each `meta` box behind its version and flags, and where in the file that begins."""
    for box in top_boxes(path):
        if box.kind == b"meta" and box.end - box.content <= _MOST:
            with path.open("rb") as file:
                file.seek(box.content + 4)
                yield file.read(box.end - box.content - 4), box.content + 4


def _boxes(data: bytes, base: int, start: int, end: int) -> Iterator[Box]:
    at = start
    while (box := _box(data[at - base : at - base + 16], at, end)) is not None:
        yield box
        at = box.end


def _all_boxes(data: bytes, base: int) -> Iterator[Box]:
    """The boxes of `meta` and those in the containers of properties."""
    waiting = list(_boxes(data, base, base, base + len(data)))
    while waiting:
        box = waiting.pop(0)
        yield box
        if box.kind in _CONTAINERS:
            waiting += _boxes(data, base, box.content, box.end)


def _item(data: bytes, base: int, kind: bytes) -> int | None:
    """The number of the first item of a type (`iinf`, 14496-12, 8.11.6)."""
    for box in _boxes(data, base, base, base + len(data)):
        if box.kind != b"iinf" or box.end - box.content < 8:
            continue
        version = data[box.content - base]
        for entry in _boxes(data, base, box.content + (6 if version == 0 else 8), box.end):
            place = entry.content - base
            wide = data[place] == 3
            number = int.from_bytes(data[place + 4 : place + (8 if wide else 6)], "big")
            name = place + (8 if wide else 6) + 2
            if entry.kind == b"infe" and data[place] >= 2 and data[name : name + 4] == kind:
                return number
    return None


def _extent(data: bytes, base: int, item: int) -> tuple[int, tuple[int, int], tuple[int, int]] | None:
    """What is added to an item's offset; where in the file offset and length of its only extent stand, and how long."""
    for box in _boxes(data, base, base, base + len(data)):
        if box.kind != b"iloc":
            continue
        at = box.content - base
        version = data[at]
        offset_size, length_size, base_size = data[at + 4] >> 4, data[at + 4] & 15, data[at + 5] >> 4
        index_size = data[at + 5] & 15 if version else 0
        wide = 4 if version == 2 else 2
        count = int.from_bytes(data[at + 6 : at + 6 + wide], "big")
        at += 6 + wide
        for _ in range(count):
            number = int.from_bytes(data[at : at + wide], "big")
            at += wide
            method = int.from_bytes(data[at : at + 2], "big") & 15 if version else 0
            at += 2 * bool(version) + 2
            before = int.from_bytes(data[at : at + base_size], "big")
            at += base_size
            extents = int.from_bytes(data[at : at + 2], "big")
            at += 2
            if number == item and extents == 1 and method == 0 and offset_size and length_size:
                place = base + at + index_size
                return before, (place, offset_size), (place + offset_size, length_size)
            at += extents * (index_size + offset_size + length_size)
    return None
