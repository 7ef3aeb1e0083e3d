"""EXIF in TIFF files, which libvips neither reads nor writes.

An EXIF block, as JPEG, PNG and WebP store it, is itself a small TIFF: a main directory with pointers to an EXIF and a
GPS directory (CIPA DC-008, 4.6). In a TIFF the same directories hang off the image's own directory.
"""

import io
import struct
from pathlib import Path

from gramgan.images.formats.exif import EXIF_PREFIX
from gramgan.images.formats.tiff_directory import (
    Layout,
    Tag,
    as_offset,
    page_directory,
    read_directory,
    read_tiff_header,
    swap,
)

_EXIF_POINTER, _GPS_POINTER = 0x8769, 0x8825
_LONG, _LONG8 = 4, 16
# DocumentName, Make, Model, PageName, Software, DateTime, Artist, HostComputer, WhitePoint, PrimaryChromaticities,
# Rating, RatingPercent, Copyright, and title, comment, author, keywords and subject as Windows has them: what the main
# directory says of the photograph, not of storage.
_MAIN = (0x010D, 0x010F, 0x0110, 0x011D, 0x0131, 0x0132, 0x013B, 0x013C, 0x013E, 0x013F, 0x4746, 0x4749, 0x8298)
_MAIN = (*_MAIN, *range(0x9C9B, 0x9CA0))
_DESCRIPTION, _IPTC = 0x010E, 33723
_STORAGE = (b"ImageJ=", b'{"shape":', b"Aperio", b"<OME", b"<?xml")  # descriptions of how the file is laid out
_UNDEFINED = 7
# MakerNote and Interoperability hold offsets of their own, which moving breaks; the pixel size may be another image's.
_LEFT_BEHIND = (0x927C, 0xA005, 0xA002, 0xA003)
_LAST_CLASSIC = 12


def read_exif(path: Path, page: int = 0) -> bytes | None:
    """The EXIF of a TIFF's page (from 0) as one block (`Exif\\0\\0` and a small TIFF); None if it has none.

    ImageDescription is part of it unless it describes the storage (ImageJ, OME, tifffile).
    """
    with path.open("rb") as file:
        try:
            layout, directory = page_directory(file, page)
            main = directory.tags
            inner = {
                pointer: read_directory(file, layout, as_offset(tag)).tags
                for pointer in (_EXIF_POINTER, _GPS_POINTER)
                for tag in main
                if tag.number == pointer
            }
        except struct.error:  # a directory that leaves the file: no EXIF then, the pixels may be well
            return None
    tags = [tag for tag in main if tag.number in _MAIN or (tag.number == _DESCRIPTION and _is_caption(tag.value))]
    if not tags and not any(inner.values()):
        return None
    classic = Layout("<", big=False)
    return EXIF_PREFIX + b"II*\0" + classic.pack_offset(8) + _pack(tags, inner, [], classic, at=8, following=0)[1]


def _is_caption(description: bytes) -> bool:
    return bool(description.strip(b" \0")) and not description.lstrip().startswith(_STORAGE)


def write_exif(path: Path, exif: bytes | None, iptc: bytes | None = None) -> None:
    """Hang the directories of an EXIF block, and IPTC records, onto the first page of the TIFF at `path`, in place.

    The page's directory is written anew at the end of the file, with the added entries; pixels are not touched. (Of
    IPTC, libvips would write a quarter.)
    """
    tags, inner = _unpack(exif) if exif is not None else ([], {})
    wanted = [tag for tag in tags if tag.number in (*_MAIN, _DESCRIPTION)]
    if iptc is not None:
        wanted.append(Tag(_IPTC, _UNDEFINED, len(iptc), iptc))
    if not wanted and not inner:
        return
    with path.open("rb+") as file:
        layout, at, header_field = read_tiff_header(file)
        page = read_directory(file, layout, at)
        numbers = {struct.unpack_from(f"{layout.order}H", entry)[0] for entry in page.raw}
        added = [tag for tag in wanted if tag.number not in numbers]
        end = file.seek(0, io.SEEK_END)
        start = end + end % 2
        where, data = _pack(added, inner, page.raw, layout, at=start, following=page.following)
        file.write(bytes(start - end) + data)
        file.seek(header_field)
        file.write(layout.pack_offset(where))


def _unpack(exif: bytes) -> tuple[list[Tag], dict[int, list[Tag]]]:
    """The tags of an EXIF block's main directory and of its EXIF and GPS directories; none if it is damaged."""
    try:
        block = io.BytesIO(exif.removeprefix(EXIF_PREFIX))
        layout, at, _ = read_tiff_header(block)
        tags = read_directory(block, layout, at).tags
        inner = {
            pointer: read_directory(block, layout, as_offset(tag)).tags
            for pointer in (_EXIF_POINTER, _GPS_POINTER)
            for tag in tags
            if tag.number == pointer
        }
    except struct.error:  # damaged already in the file that it came from
        return [], {}
    return tags, inner


def _pack(
    tags: list[Tag], inner: dict[int, list[Tag]], raw: list[bytes], layout: Layout, *, at: int, following: int
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


def _inner(inner: dict[int, list[Tag]], layout: Layout, at: int) -> tuple[dict[int, int], bytes]:
    pointers, data = {}, b""
    for pointer, tags in inner.items():
        pointers[pointer] = at + len(data)
        kept = [tag for tag in tags if tag.number not in _LEFT_BEHIND and tag.kind <= _LAST_CLASSIC]
        data += _directory(kept, {}, [], layout, at + len(data), 0)
    return pointers, data


def _directory(
    tags: list[Tag], pointers: dict[int, int], raw: list[bytes], layout: Layout, at: int, following: int
) -> bytes:
    order, big = layout
    count = len(tags) + len(pointers) + len(raw)
    room = 8 if big else 4
    tail_at = at + (8 if big else 2) + count * (20 if big else 12) + room
    tail = b""
    entries = list(raw)
    for tag in tags:
        value = swap(tag.value, tag.kind) if order == ">" else tag.value
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
