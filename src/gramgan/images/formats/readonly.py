"""Formats that are read and not written: GIF (the first frame) and AVIF."""

from gramgan.images.formats.base import Format
from gramgan.images.vips import pyvips

_AVIF_BRANDS = (b"avif", b"avis", b"mif1", b"msf1")


def _load_gif(source: pyvips.Source, allow_huge: bool) -> pyvips.Image:
    return pyvips.Image.gifload_source(source, fail_on="error")


def _load_avif(source: pyvips.Source, allow_huge: bool) -> pyvips.Image:
    return pyvips.Image.heifload_source(source, fail_on="error", unlimited=allow_huge)


GIF = Format(
    name="GIF",
    suffixes=(".gif",),
    recognises=lambda head: head.startswith((b"GIF87a", b"GIF89a")),
    load=_load_gif,
)

AVIF = Format(
    name="AVIF",
    suffixes=(".avif",),
    recognises=lambda head: head[4:8] == b"ftyp" and head[8:12] in _AVIF_BRANDS,
    load=_load_avif,
)
