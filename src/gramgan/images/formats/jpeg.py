"""JPEG: 8 bits, grey, RGB, CMYK; no alpha."""

from pathlib import Path

from gramgan.images import metadata
from gramgan.images.formats.base import Format, Writing
from gramgan.images.formats.vips_reader import reader, single_page
from gramgan.images.vips import name_for, pyvips

_FULL_COLOUR_FROM = 90  # from this quality on, colour is stored at full resolution (4:4:4)


def _load(source: pyvips.Source, allow_huge: bool) -> pyvips.Image:
    return pyvips.Image.jpegload_source(source, fail_on="error", unlimited=allow_huge)


def _load_sequential(source: pyvips.Source, allow_huge: bool) -> pyvips.Image:
    return pyvips.Image.jpegload_source(source, access="sequential", fail_on="error", unlimited=allow_huge)


def _save(image: pyvips.Image, path: Path, quality: int) -> None:
    subsample = "off" if quality >= _FULL_COLOUR_FROM else "on"
    iptc = metadata.iptc_of(image)
    if iptc is not None:
        image = image.copy()
        metadata.set_blob(image, "iptc-data", metadata.as_photoshop(iptc))
    image.jpegsave(name_for(path), Q=quality, optimize_coding=True, subsample_mode=subsample)


JPEG = Format(
    name="JPEG",
    suffixes=(".jpg", ".jpeg"),
    recognises=lambda head: head.startswith(b"\xff\xd8\xff"),
    open=reader("JPEG", single_page(_load), load_sequential=single_page(_load_sequential)),
    writing=Writing(
        bits=(8,), grey=True, alpha=False, max_side=65535, comment_field="exif-ifd0-ImageDescription", save=_save
    ),
)
