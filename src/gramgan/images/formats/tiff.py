"""TIFF and BigTIFF: 1 to 16 bits and float32, grey, palette, RGB, CMYK, alpha; files of several pages."""

import struct
from pathlib import Path

from gramgan.images import metadata
from gramgan.images.formats.base import Format, Writing
from gramgan.images.formats.tiff_directory import as_offset, page_directory
from gramgan.images.formats.tiff_exif import read_exif, write_exif
from gramgan.images.formats.tiff_pages import concatenate
from gramgan.images.formats.vips_reader import reader
from gramgan.images.vips import file_of, name_for, pyvips

_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_CLASSIC_LIMIT = 4_000_000_000  # bytes; offsets in a classic TIFF have 32 bits, and noise does not compress
_WIDTH, _HEIGHT, _SAMPLES, _ROWS, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 277, 278, 284, 322, 323
_STRIPS, _TILES = 273, 324
_SEPARATE = 2


def _load(source: pyvips.Source, page: int, allow_huge: bool) -> pyvips.Image:
    image = pyvips.Image.tiffload_source(source, page=page, fail_on="error", unlimited=allow_huge)
    path = file_of(source) or Path()
    _check_table(path, page)
    exif = read_exif(path, page)
    if exif is not None:
        image = image.copy()
        metadata.set_blob(image, "exif-data", exif)
    return image


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


def _save(image: pyvips.Image, path: Path, quality: int) -> None:
    sample_bytes = {"uchar": 1, "ushort": 2, "float": 4}[str(image.format)]
    iptc = metadata.iptc_of(image)
    if iptc is not None:
        image = metadata.without(image, "iptc-data")
    image.tiffsave(
        name_for(path),
        compression="deflate",
        # The predictor for floats would save a third, but many readers, tifffile among them, do not know it.
        predictor="none" if image.format == "float" else "horizontal",
        tile=True,
        tile_width=256,
        tile_height=256,
        bigtiff=image.width * image.height * image.bands * sample_bytes > _CLASSIC_LIMIT,
    )
    write_exif(path, metadata.blob_of(image, "exif-data"), iptc)


TIFF = Format(
    name="TIFF",
    suffixes=(".tif", ".tiff"),
    recognises=lambda head: head.startswith(_SIGNATURES),
    open=reader("TIFF", _load, several=True),
    writing=Writing(
        bits=(8, 16, 32),
        grey=True,
        alpha=True,
        max_side=2**31 - 1,
        comment_field="image-description",
        save=_save,
        concatenate=concatenate,
    ),
)
