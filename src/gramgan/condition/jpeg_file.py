"""The quantisation tables and the chroma subsampling in the header of a JPEG file."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gramgan.condition.record import Jpeg, QuantisationTable
from gramgan.ops.jpeg_tables import quantisation_tables
from gramgan.places import as_place

_SEGMENTS = 4096  # before the first scan; a file of nothing but markers ends here
_START, _QUANTISATION, _SCAN, _END = 0xD8, 0xDB, 0xDA, 0xD9
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15; the others are tables
_BARE = frozenset((0x01, *range(0xD0, 0xD8)))  # markers without a length
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap rows and columns


@dataclass(frozen=True)
class Header:
    """Of a JPEG file: stored size in pixels, `(horizontal, vertical, table)` of each component, tables by number."""

    width: int
    height: int
    components: tuple[tuple[int, int, int], ...]
    tables: dict[int, np.ndarray]


def header_of(path: Path | str) -> Header | None:
    """Read the markers before the first scan; None for what is no JPEG or is damaged there."""
    with as_place(path).open("rb") as file:
        return read_jpeg_header(file)


def read_jpeg_header(file: BinaryIO) -> Header | None:
    """The same from an open file, at its beginning. At most 4,096 segments of 64 kB are looked at, most are skipped."""
    if file.read(2) != bytes((0xFF, _START)):
        return None
    tables: dict[int, np.ndarray] = {}
    frame: tuple[int, int, tuple[tuple[int, int, int], ...]] | None = None
    for _ in range(_SEGMENTS):
        marker = _next_marker(file)
        if marker is None or marker == _END:
            return None
        if marker == _SCAN:
            break
        if marker in _BARE:
            continue
        raw = file.read(2)
        length = int.from_bytes(raw, "big") - 2
        if len(raw) < 2 or length < 0:
            return None
        if marker != _QUANTISATION and marker not in _FRAMES:
            file.seek(length, 1)
            continue
        body = file.read(length)
        if len(body) < length:
            return None
        if marker == _QUANTISATION:
            if not _read_tables(body, tables):
                return None
        else:
            frame = _read_frame(body)
            if frame is None:
                return None
    if frame is None or any(component[2] not in tables for component in frame[2]):
        return None
    return Header(*frame, tables)


def jpeg_of(header: Header, orientation: int = 1) -> Jpeg:
    """The compression as it lies in the picture that has been turned upright from its EXIF `orientation` (1 to 8)."""
    turned = orientation in _TURNED
    luma = header.tables[header.components[0][2]]
    colour = len(header.components) >= 3
    chroma = header.tables[header.components[1][2]] if colour else None
    across, down = _ratio(header, 0), _ratio(header, 1)
    width, height = header.width, header.height
    mirrored_across, mirrored_down = orientation in (2, 3, 7, 8), orientation in (3, 4, 6, 7)
    # Blocks begin at the stored picture's left and top; seen from the other side the first corner is the remainder.
    column = width if mirrored_across else 0
    row = height if mirrored_down else 0
    sides = (8 * down, 8 * across)
    if turned:
        row, column, across, down, sides = column, row, down, across, (sides[1], sides[0])
        luma = luma.T
        chroma = None if chroma is None else chroma.T
    return Jpeg(
        quality=quality_of(luma.T if turned else luma),
        luma_table=table(luma),
        chroma_table=None if chroma is None else table(chroma),
        offset=(row % 8, column % 8),
        subsampling=_name(across, down) if colour else None,
        chroma_offset=(row % sides[0], column % sides[1]) if colour else None,
        source="file",
    )


def quality_of(luma: np.ndarray) -> int:
    """The quality, 1 to 100, whose luma table in libjpeg comes closest to `[8, 8]`, by the ratios of their steps."""
    distances = [np.abs(np.log(luma / quantisation_tables(quality)[0])).mean() for quality in range(1, 101)]
    return int(np.argmin(distances)) + 1


def orientation_of(path: Path | str) -> int:
    """The EXIF orientation of a JPEG file, 1 to 8."""
    from gramgan.images.formats.vips_reader import integer_field
    from gramgan.images.vips import name_for, pyvips

    image = pyvips.Image.jpegload_source(pyvips.Source.new_from_file(name_for(path)))
    return integer_field(image, "orientation", 1)


def table(steps: np.ndarray) -> QuantisationTable:
    """`[8, 8]` as the record holds it."""
    return tuple(tuple(int(step) for step in row) for row in steps)


def _next_marker(file: BinaryIO) -> int | None:
    if file.read(1) != b"\xff":
        return None
    for _ in range(_SEGMENTS):  # any number of fill bytes may come before
        code = file.read(1)
        if not code or code == b"\0":
            return None
        if code != b"\xff":
            return code[0]
    return None


def _read_tables(body: bytes, tables: dict[int, np.ndarray]) -> bool:
    place = 0
    while place < len(body):
        deep, number = body[place] >> 4, body[place] & 15
        size = 128 if deep else 64
        values = body[place + 1 : place + 1 + size]
        if deep > 1 or number > 3 or len(values) < size:
            return False
        steps = np.array(struct.unpack(">64H" if deep else ">64B", values))
        if (steps == 0).any():
            return False
        square = np.zeros(64, int)
        square[_ZIGZAG] = steps
        tables[number] = square.reshape(8, 8)
        place += 1 + size
    return True


def _read_frame(body: bytes) -> tuple[int, int, tuple[tuple[int, int, int], ...]] | None:
    if len(body) < 6:
        return None
    height, width, count = struct.unpack(">HHB", body[1:6])
    if not 1 <= count <= 4 or len(body) < 6 + 3 * count or width == 0:
        return None
    parts = [body[6 + 3 * one : 9 + 3 * one] for one in range(count)]
    components = tuple((part[1] >> 4, part[1] & 15, part[2]) for part in parts)
    if any(not 1 <= side <= 4 for component in components for side in component[:2]):
        return None
    return width, height, components


def _ratio(header: Header, side: int) -> int:
    """How many times finer luma is sampled than the first chroma component."""
    if len(header.components) < 3:
        return 1
    return max(1, header.components[0][side] // header.components[1][side])


def _name(across: int, down: int) -> str:
    names = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (1, 2): "4:4:0", (4, 1): "4:1:1", (4, 2): "4:1:0"}
    return names.get((across, down), f"{across}x{down}")


def _zigzag() -> np.ndarray:
    places = [(row, column) for row in range(8) for column in range(8)]
    # Along the diagonals, up on even ones and down on odd ones.
    places.sort(key=lambda at: (sum(at), at[1] if sum(at) % 2 == 0 else at[0]))
    return np.array([row * 8 + column for row, column in places])


_ZIGZAG = _zigzag()
