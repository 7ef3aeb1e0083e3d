"""WebP: 8 bits, RGB with or without alpha; animations."""

from pathlib import Path

from gramgan.images.formats.base import Format, Writing
from gramgan.images.formats.vips_reader import reader
from gramgan.images.vips import name_for, pyvips


def _load(source: pyvips.Source, page: int, allow_huge: bool) -> pyvips.Image:
    return pyvips.Image.webpload_source(source, page=page, fail_on="error")


def _save(image: pyvips.Image, path: Path, quality: int) -> None:
    # "exact" keeps the colour under fully transparent pixels, as every other format here does.
    image.webpsave(name_for(path), Q=quality, lossless=quality == 100, exact=True)


WEBP = Format(
    name="WebP",
    suffixes=(".webp",),
    recognises=lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
    open=reader("WebP", _load, several=True),
    writing=Writing(
        bits=(8,),
        grey=False,
        alpha=True,
        max_side=16383,
        comment_field="exif-ifd0-ImageDescription",
        save=_save,
        frames=True,
    ),
)
