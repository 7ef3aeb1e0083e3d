"""PNG: 1 to 16 bits, grey, palette, RGB, alpha."""

from pathlib import Path

from gramgan.images.formats.base import Format, Writing
from gramgan.images.formats.vips_reader import reader, single_page
from gramgan.images.vips import name_for, pyvips


def _load(source: pyvips.Source, allow_huge: bool) -> pyvips.Image:
    return pyvips.Image.pngload_source(source, fail_on="error", unlimited=allow_huge)


def _load_sequential(source: pyvips.Source, allow_huge: bool) -> pyvips.Image:
    return pyvips.Image.pngload_source(source, access="sequential", fail_on="error", unlimited=allow_huge)


def _save(image: pyvips.Image, path: Path, quality: int) -> None:
    # "up" costs little and shrinks photographs by a fifth; the other filters cost more time than they save space.
    image.pngsave(name_for(path), compression=6, filter=pyvips.enums.ForeignPngFilter.UP)


PNG = Format(
    name="PNG",
    suffixes=(".png",),
    recognises=lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    open=reader("PNG", single_page(_load), load_sequential=single_page(_load_sequential)),
    writing=Writing(
        bits=(8, 16), grey=True, alpha=True, max_side=2**31 - 1, comment_field="png-comment-0-Description", save=_save
    ),
)
