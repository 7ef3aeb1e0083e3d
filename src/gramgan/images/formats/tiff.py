"""TIFF and BigTIFF: 1 to 16 bits and float32, grey, palette, RGB, CMYK, alpha; files of several pages."""

import struct
from dataclasses import replace
from pathlib import Path

from gramgan.errors import UserError
from gramgan.images import metadata
from gramgan.images.formats.base import Format, FormatFindings, Request, Writing
from gramgan.images.formats.beside import Beside
from gramgan.images.formats.tiff_contents import Channels, channels_of, contents_of
from gramgan.images.formats.tiff_directory import TIFF_SIGNATURES, as_offset, page_directory
from gramgan.images.formats.tiff_exif import read_exif, write_exif
from gramgan.images.formats.tiff_pages import concatenate
from gramgan.images.formats.vips_reader import by_vips, reader
from gramgan.images.vips import name_for, pyvips

_CLASSIC_LIMIT = 4_000_000_000  # bytes; offsets in a classic TIFF have 32 bits, and noise does not compress
_WIDTH, _HEIGHT, _SAMPLES, _ROWS, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 277, 278, 284, 322, 323
_STRIPS, _TILES = 273, 324
_SEPARATE = 2
_MOST_BITS = 32


def _load(request: Request) -> pyvips.Image:
    path = request.path
    contents = contents_of(path)
    if contents.raw:
        raise UserError(f"{path}: a camera's raw file; develop it to a TIFF or PNG first")
    if request.page >= len(contents.pages):
        raise pyvips.Error("bad page number")
    number = contents.pages[request.page]
    channels = _channels(path, number)
    if channels is not None and channels.bits > _MOST_BITS:
        raise UserError(f"{path}: samples of {channels.bits} bits, which are not read here; convert it to 32-bit float")
    image = pyvips.Image.tiffload_source(request.source(), page=number, fail_on="error", unlimited=request.allow_huge)
    _check_table(path, number)
    return _colours_and_alpha(image, channels)


def _colours_and_alpha(image: pyvips.Image, channels: Channels | None) -> pyvips.Image:
    """Without the samples that are neither; they would be taken for alpha, or keep the image from being read."""
    if channels is None or not channels.others or (channels.colours == 1 and len(channels.others) > 1):
        return image
    kept = image[0 : channels.colours]
    if channels.alpha is not None:
        kept = kept.bandjoin(image[channels.alpha])
    return kept.copy(interpretation=image.interpretation)


def _channels(path: Path, number: int) -> Channels | None:
    with path.open("rb") as file:
        try:
            return channels_of(page_directory(file, number)[1])
        except struct.error:  # libtiff could read it; what is damaged it has said or will say
            return None


def _look(request: Request, image: pyvips.Image) -> FormatFindings:
    contents = contents_of(request.path)
    number = contents.pages[request.page]
    channels = _channels(request.path, number)
    notes = list(contents.notes)
    if channels is not None and channels.others:
        one = len(channels.others) == 1
        named = ", ".join(str(sample + 1) for sample in channels.others)
        notes.append(f"channel{'' if one else 's'} {named} {'is' if one else 'are'} no alpha (ExtraSamples), left out")
    beside = replace(by_vips(image), exif=read_exif(request.path, number))
    return FormatFindings(beside, tuple(notes), len(contents.pages), has_maker_note=contents.has_maker_note)


def _check_table(path: Path, page: int) -> None:
    """Refuse an image of more strips or tiles than the file lists; libtiff would go on and take them for empty.

    Raises:
        pyvips.Error: the table of strips or tiles is too short.
    """
    with path.open("rb") as file:
        try:
            layout, directory = page_directory(file, page)
        except struct.error:  # libtiff could read it, so it is the longer table of something else that leaves the file
            return
    values = {tag.number: as_offset(tag) for tag in directory.tags}
    listed = dict(_entry(layout.order, layout.big, raw) for raw in directory.raw)
    width, height = values.get(_WIDTH, 0), values.get(_HEIGHT, 0)
    if _TILES in listed and values.get(_TILE_WIDTH) and values.get(_TILE_HEIGHT):
        needed, have = -(-width // values[_TILE_WIDTH]) * -(-height // values[_TILE_HEIGHT]), listed[_TILES]
    elif _STRIPS in listed:
        needed, have = -(-height // max(min(values.get(_ROWS, height), height), 1)), listed[_STRIPS]
    else:
        return
    if values.get(_PLANAR) == _SEPARATE:
        needed *= values.get(_SAMPLES, 1)
    if have < needed:
        raise pyvips.Error(f"the image has {needed} parts and the file lists {have}")


def _entry(order: str, big: bool, raw: bytes) -> tuple[int, int]:
    number, _, count = struct.unpack_from(f"{order}HH{'Q' if big else 'I'}", raw)
    return number, count


def _save(image: pyvips.Image, path: Path, quality: int, beside: Beside) -> None:
    sample_bytes = {"uchar": 1, "ushort": 2, "float": 4}[str(image.format)]
    if beside.xmp is not None:
        image = image.copy()
        metadata.set_blob(image, "xmp-data", beside.xmp)
    image.tiffsave(
        name_for(path),
        compression="deflate",
        # The predictor for floats would save a third, but many readers, tifffile among them, do not know it.
        predictor="none" if image.format == "float" else "horizontal",
        tile=True,
        tile_width=256,
        tile_height=256,
        bigtiff=image.width * image.height * image.bands * sample_bytes > _CLASSIC_LIMIT,
        resunit="inch",
    )
    write_exif(path, beside.exif, beside.iptc)


TIFF = Format(
    name="TIFF",
    suffixes=(".tif", ".tiff"),
    recognises=lambda head: head.startswith(TIFF_SIGNATURES),
    open=reader("TIFF", _load, several=True, look=_look),
    writing=Writing(
        bits=(8, 16, 32),
        holds=frozenset({"profile", "grey", "EXIF", "XMP", "IPTC"}),
        alpha=True,
        max_side=2**31 - 1,
        save=_save,
        concatenate=concatenate,
    ),
)
