"""TIFF and BigTIFF: 1 to 16 bits and float32, grey, palette, RGB, CMYK, alpha; the first page is read."""

from pathlib import Path

from gramgan.images.formats.base import Format, Writing
from gramgan.images.formats.tiff_exif import read_exif, write_exif
from gramgan.images.vips import pyvips

_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_CLASSIC_LIMIT = 4_000_000_000  # bytes; offsets in a classic TIFF have 32 bits, and noise does not compress


def _load(source: pyvips.Source, allow_huge: bool) -> pyvips.Image:
    image = pyvips.Image.tiffload_source(source, fail_on="error", unlimited=allow_huge)
    exif = read_exif(Path(source.filename() or ""))
    if exif is not None:
        image = image.copy()
        image.set_type(pyvips.GValue.blob_type, "exif-data", exif)  # pyright: ignore[reportArgumentType]
    return image


def _save(image: pyvips.Image, path: Path, quality: int) -> None:
    sample_bytes = {"uchar": 1, "ushort": 2, "float": 4}[str(image.format)]
    image.tiffsave(
        str(path),
        compression="deflate",
        # The predictor for floats would save a third, but many readers, tifffile among them, do not know it.
        predictor="none" if image.format == "float" else "horizontal",
        tile=True,
        tile_width=256,
        tile_height=256,
        bigtiff=image.width * image.height * image.bands * sample_bytes > _CLASSIC_LIMIT,
    )
    if image.get_typeof("exif-data"):
        write_exif(path, bytes(image.get("exif-data")))  # pyright: ignore[reportArgumentType]


TIFF = Format(
    name="TIFF",
    suffixes=(".tif", ".tiff"),
    recognises=lambda head: head.startswith(_SIGNATURES),
    load=_load,
    writing=Writing(
        bits=(8, 16, 32), grey=True, alpha=True, max_side=2**31 - 1, comment_field="image-description", save=_save
    ),
)
