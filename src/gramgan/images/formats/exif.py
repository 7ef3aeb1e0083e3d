"""EXIF blocks (CIPA DC-008): read, and changed without touching what does not change.

A block is `Exif\\0\\0` and a small TIFF. What is added goes to its end, in directories written anew there; everything
else stays at its place, so that bytes in any encoding and the offsets inside of maker notes survive.
"""

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from gramgan.images.formats.tiff_directory import (
    Directory,
    Layout,
    Tag,
    as_offset,
    read_directory,
    read_tiff_header,
    swap,
)

EXIF_PREFIX = b"Exif\0\0"
DESCRIPTION, SOFTWARE, ARTIST, COPYRIGHT, USER_COMMENT = 0x010E, 0x0131, 0x013B, 0x8298, 0x9286

_ORIENTATION, _EXIF_POINTER, _MAKER_NOTE = 0x0112, 0x8769, 0x927C
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT, _INCH = 0x011A, 0x011B, 0x0128, 2
_WIDTH, _HEIGHT, _MAIN_WIDTH, _MAIN_HEIGHT = 0xA002, 0xA003, 0x0100, 0x0101
_ASCII, _SHORT, _LONG, _RATIONAL, _UNDEFINED = 2, 3, 4, 5, 7
_PER_INCH = {2: 1.0, 3: 2.54}  # ResolutionUnit: inch, centimetre
_NEW = b"MM\0*\0\0\0\x08" + bytes(6)  # a directory without entries
_VERSION = Tag(0x9000, _UNDEFINED, 4, b"0232")


@dataclass
class _Block:
    data: bytearray  # the TIFF
    layout: Layout
    at: int  # of the main directory
    main: Directory


def upright(exif: bytes) -> bytes:
    """The block with Orientation set to 1, and without the thumbnail if the picture had to be turned.

    The pixels have been turned by then, so a reader of the copy must not turn them again; the thumbnail has not.
    """
    exif = exif if exif.startswith(EXIF_PREFIX) else EXIF_PREFIX + exif
    block = _open(exif)
    if block is None:
        return exif
    turned = False
    for index, entry in enumerate(block.main.raw):
        number, kind = struct.unpack_from(f"{block.layout.order}HH", entry)
        if number == _ORIENTATION and kind in (_SHORT, _LONG):
            letter = "H" if kind == _SHORT else "I"
            turned = struct.unpack_from(block.layout.order + letter, entry, 8)[0] != 1
            struct.pack_into(block.layout.order + letter, block.data, block.at + 2 + 12 * index + 8, 1)
    if turned:
        struct.pack_into(f"{block.layout.order}I", block.data, block.at + 2 + 12 * len(block.main.raw), 0)
    return EXIF_PREFIX + bytes(block.data)


def is_readable(exif: bytes) -> bool:
    """Whether the block has a main directory that can be read."""
    return _open(exif) is not None


def text_of(exif: bytes | None, number: int) -> bytes:
    """A text of the main directory, as it is stored; empty where there is none."""
    for tag in _main(exif):
        if tag.number == number and tag.kind == _ASCII:
            return tag.value.split(b"\0")[0].strip()
    return b""


def has_user_comment(exif: bytes | None) -> bool:
    """Whether UserComment says anything: behind the 8 bytes that name its encoding there may be spaces alone."""
    block = None if exif is None else _open(exif)
    inner = [] if block is None else _inner(block).tags
    return any(tag.number == USER_COMMENT and tag.value[8:].strip(b"\0 ") for tag in inner)


def has_maker_note(exif: bytes) -> bool:
    """Whether there is a maker note; its offsets are valid only at its place."""
    block = _open(exif)
    return block is not None and any(
        struct.unpack_from(f"{block.layout.order}H", entry)[0] == _MAKER_NOTE for entry in _inner(block).raw
    )


def exif_dpi(exif: bytes) -> tuple[float, float] | None:
    """Horizontal and vertical resolution in pixels per inch, None where the block does not say."""
    found, per_inch = {}, 1.0
    for tag in _main(exif):
        if tag.number in (_X_RESOLUTION, _Y_RESOLUTION) and tag.kind == _RATIONAL:
            over, under = struct.unpack_from("<II", tag.value)
            found[tag.number] = over / under if under else 0.0
        elif tag.number == _RESOLUTION_UNIT and tag.kind == _SHORT:
            per_inch = _PER_INCH.get(as_offset(tag), 0.0)
    across, down = (found.get(number, 0.0) * per_inch for number in (_X_RESOLUTION, _Y_RESOLUTION))
    return (across, down) if across > 0 and down > 0 else None


def edited(
    exif: bytes | None,
    size: tuple[int, int],
    dpi: tuple[float, float],
    texts: Sequence[tuple[int, bytes]] = (),
    user_comment: str | None = None,
) -> bytes:
    """The block of a result: its source's (a new one for None, or where it is damaged) with what is its own.

    Args:
        exif: of the source.
        size: width and height in pixels.
        dpi: across and down.
        texts: of the main directory, by tag.
        user_comment: takes the place of UserComment.
    """
    block = (None if exif is None else _open(exif)) or _open(EXIF_PREFIX + _NEW)
    assert block is not None
    main = [Tag(number, _ASCII, len(value) + 1, value + b"\0") for number, value in texts]
    main += [_rational(_X_RESOLUTION, dpi[0]), _rational(_Y_RESOLUTION, dpi[1])]
    main.append(Tag(_RESOLUTION_UNIT, _SHORT, 1, struct.pack("<H", _INCH)))
    main.append(Tag(_ORIENTATION, _SHORT, 1, struct.pack("<H", 1)))
    _set_size(block, size)
    if user_comment is not None:
        value = _encoded(user_comment, block.layout)
        inner = [Tag(USER_COMMENT, _UNDEFINED, len(value), value)]
        if not any(tag.number == _VERSION.number for tag in _inner(block).tags):
            inner.append(_VERSION)
        main.append(Tag(_EXIF_POINTER, _LONG, 1, struct.pack("<I", _append(block, _inner(block), inner))))
    at = _append(block, block.main, main)
    struct.pack_into(f"{block.layout.order}I", block.data, 4, at)
    return EXIF_PREFIX + bytes(block.data)


def _open(exif: bytes) -> _Block | None:
    data = bytearray(exif.removeprefix(EXIF_PREFIX))
    if not data.startswith((b"II*\0", b"MM\0*")):
        return None
    try:
        file = io.BytesIO(data)
        layout, at, _ = read_tiff_header(file)
        return _Block(data, layout, at, read_directory(file, layout, at))
    except struct.error:
        return None


def _main(exif: bytes | None) -> list[Tag]:
    block = None if exif is None else _open(exif)
    return [] if block is None else block.main.tags


def _inner(block: _Block) -> Directory:
    """The EXIF directory; an empty one where there is none that can be read."""
    for tag in block.main.tags:
        if tag.number == _EXIF_POINTER:
            try:
                return read_directory(io.BytesIO(block.data), block.layout, as_offset(tag))
            except struct.error:
                break
    return Directory([], [], 0)


def _set_size(block: _Block, size: tuple[int, int]) -> None:
    """Sizes in pixels that the EXIF directory states become those of the result, in place."""
    order = block.layout.order
    for tag in block.main.tags:
        if tag.number != _EXIF_POINTER:
            continue
        for index, entry in enumerate(_inner(block).raw):
            (number,) = struct.unpack_from(f"{order}H", entry)
            if number in (_WIDTH, _HEIGHT):
                value = size[number - _WIDTH]
                struct.pack_into(f"{order}HHII", block.data, as_offset(tag) + 2 + 12 * index, number, _LONG, 1, value)


def _append(block: _Block, directory: Directory, tags: Sequence[Tag]) -> int:
    """Write a directory's entries, with `tags` in the place of those of the same number, to the end; where it begins.

    Sizes of an image that the main directory states are left out: they are those of another one.
    """
    order = block.layout.order
    replaced = {tag.number for tag in tags} | {_MAIN_WIDTH, _MAIN_HEIGHT}
    entries = {}
    for entry in directory.raw:
        (number,) = struct.unpack_from(f"{order}H", entry)
        if number not in replaced:
            entries[number] = entry
    at = len(block.data) + len(block.data) % 2
    tail_at = at + 2 + 12 * (len(entries) + len(tags)) + 4
    tail = b""
    for tag in tags:
        value = swap(tag.value, tag.kind) if order == ">" else tag.value
        if len(value) > 4:
            field = struct.pack(f"{order}I", tail_at + len(tail))
            tail += value + bytes(len(value) % 2)
        else:
            field = value.ljust(4, b"\0")
        entries[tag.number] = struct.pack(f"{order}HHI", tag.number, tag.kind, tag.components) + field
    block.data += bytes(at - len(block.data)) + struct.pack(f"{order}H", len(entries))
    block.data += b"".join(entries[number] for number in sorted(entries))
    block.data += struct.pack(f"{order}I", directory.following) + tail
    return at


def _rational(number: int, value: float) -> Tag:
    under = 1 if value == round(value) else 1000
    return Tag(number, _RATIONAL, 1, struct.pack("<II", min(round(value * under), 2**32 - 1), under))


def _encoded(text: str, layout: Layout) -> bytes:
    """A UserComment: 8 bytes that say the encoding, then the text."""
    if text.isascii():
        return b"ASCII\0\0\0" + text.encode("ascii")
    return b"UNICODE\0" + text.encode("utf-16-be" if layout.order == ">" else "utf-16-le", "replace")
