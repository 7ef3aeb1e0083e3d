"""What a TIFF holds: which of its directories are pages, what its channels are, and what is no picture here."""

import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from gramgan.images.formats.tiff_directory import Directory, Layout, Tag, read_directory, read_tiff_header

_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC = 254, 255, 256, 257, 258, 262
_DESCRIPTION, _SAMPLES, _TILE_WIDTH, _SUB_IFDS, _INKS, _EXTRA = 270, 277, 322, 330, 334, 338
_LAYERS, _DNG, _EXIF_POINTER, _MAKER_NOTE = 37724, 50706, 0x8769, 0x927C
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_OLD_REDUCED = 2
_RAW = (32803, 34892)  # PhotometricInterpretation of a colour filter array, and of DNG's linear raw
_COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 4: 1, 6: 3, 8: 3, 9: 3, 10: 3}
_SEPARATED = 5
_ALPHA = (1, 2)  # ExtraSamples: associated, unassociated
_WHOLE_SLIDE = (b"Aperio", b"Hamamatsu", b"ScanScope", b'<?xml version="1.0" encoding="UTF-16"?><DataObject')
_MOST_PAGES = 100_000
_MOST_SAMPLES = 65_535  # the tag has 16 bits; a damaged file says it in 32


@dataclass(frozen=True)
class Channels:
    """Which samples of a pixel are colours, which one is alpha, and which ones are neither; bits of a sample."""

    colours: int
    alpha: int | None
    others: tuple[int, ...]
    bits: int = 8


@dataclass(frozen=True)
class Contents:
    """`pages` are the numbers of the directories that are pages; `raw` says that it is a camera's raw file."""

    pages: tuple[int, ...]
    notes: tuple[str, ...]
    raw: bool = False
    has_maker_note: bool = False


def contents_of(path: Path) -> Contents:
    """What a TIFF holds.

    Raises:
        OSError: it cannot be read.
    """
    status = path.stat()
    return _contents(path, status.st_size, status.st_mtime_ns)


def channels_of(directory: Directory) -> Channels:
    """The samples of a directory's pixels (TIFF 6.0, ExtraSamples)."""
    tags = {tag.number: tag for tag in directory.tags}
    photometric, samples = _number(tags, _PHOTOMETRIC, 1), min(_number(tags, _SAMPLES, 1), _MOST_SAMPLES)
    colours = _number(tags, _INKS, 4) if photometric == _SEPARATED else _COLOURS.get(photometric, samples)
    extra = range(min(colours, samples), samples)
    kinds = dict(zip(extra, _numbers(tags.get(_EXTRA)), strict=False))
    bits = _number(tags, _BITS, 1)
    alpha = next((sample for sample in extra if kinds.get(sample) in _ALPHA), None)
    return Channels(min(colours, samples), alpha, tuple(sample for sample in extra if sample != alpha), bits)


@lru_cache(maxsize=16)  # every page of a file asks for it
def _contents(path: Path, _size: int, _changed: int) -> Contents:
    with path.open("rb") as file:
        try:
            layout, at, _ = read_tiff_header(file)
        except struct.error:  # it ends within the header, as libtiff will say
            return Contents((0,), ())
        found, cut = _chain(file, layout, at)
        if not found:
            return Contents((0,), ())
        inner = [sub for tags in found for sub in _sub_directories(file, layout, tags)]
        has_maker_note = _has_maker_note(file, layout, found[0])
    raw = _DNG in found[0] or any(_number(tags, _PHOTOMETRIC, 0) in _RAW for tags in (*found, *inner))
    pages = _pages(found)
    notes = []
    if cut:
        notes.append(f"its list of pages breaks off after {len(found)}; what is behind is left out")
    levels = len(found) - len(pages) + sum(_is_reduced(tags) for tags in inner)
    masks = sum(_is_mask(tags) for tags in (*found, *inner))
    if levels > masks:
        plural = "s" * (levels - masks > 1)
        notes.append(f"{levels - masks} smaller picture{plural} in it (a pyramid, a thumbnail), left out")
    if masks:
        notes.append("a transparency mask in it, left out")
    others = sum(not _is_reduced(tags) and not _is_mask(tags) for tags in inner)
    if others:
        notes.append(f"{others} sub-image{'s' * (others > 1)} in it, left out")
    if any(_LAYERS in tags for tags in found):
        notes.append("layers in it (Photoshop), left out: the merged picture is read")
    return Contents(tuple(pages), tuple(notes), raw, has_maker_note)


def _pages(found: list[dict[int, Tag]]) -> list[int]:
    """The numbers of the directories that are pages: no smaller copies, no masks, no levels of a pyramid."""
    if _description(found[0]).startswith(_WHOLE_SLIDE):
        return [0]
    pages = [number for number, tags in enumerate(found) if not _is_reduced(tags) and not _is_mask(tags)]
    if not pages:
        return list(range(len(found)))
    kept = pages[:1]
    for number in pages[1:]:
        if not _is_level(found[number], found[number - 1]):
            kept.append(number)
    return kept


def _is_level(tags: dict[int, Tag], before: dict[int, Tag]) -> bool:
    """Whether a directory is the next one before it, made smaller, as pyramids without NewSubfileType have them."""
    if _TILE_WIDTH not in tags or _TILE_WIDTH not in before:
        return False
    if any(_numbers(tags.get(one)) != _numbers(before.get(one)) for one in (_BITS, _SAMPLES, _PHOTOMETRIC)):
        return False
    ratios = []
    for side in (_WIDTH, _HEIGHT):
        large, small = _number(before, side, 0), _number(tags, side, 0)
        factor = round(large / small) if small else 0
        if factor < 2 or abs(large - factor * small) >= factor:
            return False
        ratios.append(factor)
    return ratios[0] == ratios[1]


def _is_reduced(tags: dict[int, Tag]) -> bool:
    kind = _number(tags, _SUBFILE, 0)
    return bool(kind & _REDUCED) or _number(tags, _OLD_SUBFILE, 0) == _OLD_REDUCED


def _is_mask(tags: dict[int, Tag]) -> bool:
    return bool(_number(tags, _SUBFILE, 0) & _MASK)


def _chain(file: BinaryIO, layout: Layout, at: int) -> tuple[list[dict[int, Tag]], bool]:
    """The directories one after another, and whether there are more that cannot be followed."""
    found: list[dict[int, Tag]] = []
    seen: set[int] = set()
    while at and at not in seen and len(seen) < _MOST_PAGES:
        seen.add(at)
        try:
            directory = read_directory(file, layout, at)
        except struct.error:
            break
        found.append(_with_long_ones(directory, layout))
        at = directory.following
    return found, at != 0


def _with_long_ones(directory: Directory, layout: Layout) -> dict[int, Tag]:
    """The tags by number; those that are too long to be read are there without their values."""
    tags = {tag.number: tag for tag in directory.tags}
    for entry in directory.raw:
        number, kind = struct.unpack_from(f"{layout.order}HH", entry)
        tags.setdefault(number, Tag(number, kind, 0, b""))
    return tags


def _sub_directories(file: BinaryIO, layout: Layout, tags: dict[int, Tag]) -> list[dict[int, Tag]]:
    found = []
    for at in _numbers(tags.get(_SUB_IFDS)):
        try:
            found.append(_with_long_ones(read_directory(file, layout, at), layout))
        except struct.error:
            break
    return found


def _has_maker_note(file: BinaryIO, layout: Layout, tags: dict[int, Tag]) -> bool:
    for at in _numbers(tags.get(_EXIF_POINTER)):
        try:
            return _MAKER_NOTE in _with_long_ones(read_directory(file, layout, at), layout)
        except struct.error:
            break
    return False


def _description(tags: dict[int, Tag]) -> bytes:
    return tags[_DESCRIPTION].value if _DESCRIPTION in tags else b""


def _number(tags: dict[int, Tag], number: int, otherwise: int) -> int:
    return next(iter(_numbers(tags.get(number))), otherwise)


def _numbers(tag: Tag | None) -> list[int]:
    """The values of a tag of whole numbers."""
    size = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}.get(tag.kind) if tag is not None else None
    if tag is None or size is None:
        return []
    return [int.from_bytes(tag.value[at : at + size], "little") for at in range(0, len(tag.value), size)]
