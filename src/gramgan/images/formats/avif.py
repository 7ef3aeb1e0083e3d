"""AVIF: 8, 10 and 12 bits, RGB with or without alpha; 16-bit images are written with 12 bits."""

from pathlib import Path

from gramgan.images.formats.base import Format, Writing
from gramgan.images.formats.vips_reader import reader, single_page, whole
from gramgan.images.vips import name_for, pyvips

_BRANDS = (b"avif", b"avis", b"mif1", b"msf1")
_DEEP = 12  # bits of what is written from 16
_FULL_COLOUR_FROM = 90  # as for JPEG
_EFFORT = 2  # ten times as fast as libvips' own choice, for files of the same size


def _load(source: pyvips.Source, allow_huge: bool) -> pyvips.Image:
    image = pyvips.Image.heifload_source(source, fail_on="error", unlimited=allow_huge)
    primary = whole(image, "heif-primary", 0)
    if primary > 0:
        image = pyvips.Image.heifload_source(source, page=primary, fail_on="error", unlimited=allow_huge)
    bits = whole(image, "bits-per-sample", 16)
    if image.format == "ushort" and 8 < bits < 16:
        # libvips fills up with zeros on the right, so that white would not be white.
        white = 2**bits - 1
        kind = image.interpretation
        image = ((image >> (16 - bits)) * (65535 / white) + 0.5).cast("ushort").copy(interpretation=kind)
    return image


def _save(image: pyvips.Image, path: Path, quality: int) -> None:
    deep = image.format == "ushort"
    if deep:  # libvips cuts the lower bits off; rounded values come first, so that the cut takes nothing
        kind = image.interpretation
        white = 2**_DEEP - 1
        image = (image * (white / 65535) + 0.5).cast("ushort") << (16 - _DEEP)
        image = image.copy(interpretation=kind)
    image.heifsave(
        name_for(path),
        compression="av1",
        Q=quality,
        lossless=quality == 100,
        bitdepth=_DEEP if deep else 8,
        effort=_EFFORT,
        subsample_mode="off" if quality >= _FULL_COLOUR_FROM else "on",
    )


AVIF = Format(
    name="AVIF",
    suffixes=(".avif",),
    recognises=lambda head: head[4:8] == b"ftyp" and head[8:12] in _BRANDS,
    open=reader("AVIF", single_page(_load)),
    writing=Writing(
        bits=(8, 16),
        grey=False,
        alpha=True,
        max_side=16384,
        comment_field="exif-ifd0-ImageDescription",
        save=_save,
    ),
)
