"""PNG: 1 to 16 bits, grey, palette, RGB, alpha; animated PNG is read."""

import io
from functools import partial
from pathlib import Path
from typing import BinaryIO

from gramgan.images.formats.apng import Apng
from gramgan.images.formats.base import Format, FormatFindings, Request, Writing
from gramgan.images.formats.beside import PLACES, Beside
from gramgan.images.formats.png_chunks import HEADER_END, beside_of, packed, read_chunks
from gramgan.images.formats.saving import save_with
from gramgan.images.formats.vips_reader import by_vips, check_pixel_count, reader
from gramgan.images.vips import pyvips

_HEAD = 1 << 16  # bytes in which an animation says that it is one
_OWN_DEFAULT = "its picture for viewers without animations is no frame and is left out"


def _load(request: Request, access: str = "random") -> pyvips.Image:
    with _file(request) as file:
        if b"acTL" in file.read(_HEAD) and len((animated := Apng(file)).frames) > 1:
            check_pixel_count(request.path, *animated.size, request.allow_huge)
            return animated.picture(request.page)
    if request.page:
        raise pyvips.Error("bad page number")
    return pyvips.Image.pngload_source(request.source(), access=access, fail_on="error", unlimited=request.allow_huge)


def _look(request: Request, image: pyvips.Image) -> FormatFindings:
    with _file(request) as file:
        chunks = read_chunks(file)
        beside = beside_of(chunks, by_vips(image).icc)
        animated = Apng(file) if any(kind == b"acTL" for kind, _ in chunks) else None
    if animated is None or len(animated.frames) < 2:
        return FormatFindings(beside)
    notes = (_OWN_DEFAULT,) if animated.leaves_out_default else ()
    return FormatFindings(beside, notes, len(animated.frames), animated.animation)


def _file(request: Request) -> BinaryIO:
    return request.path.open("rb") if request.data is None else io.BytesIO(request.data)


def _save(image: pyvips.Image, path: Path, quality: int, beside: Beside) -> None:
    # "up" costs little and shrinks photographs by a fifth; the other filters cost more time than they save space.
    up, icc = pyvips.enums.ForeignPngFilter.UP, pyvips.enums.ForeignKeep.ICC
    save = partial(image.pngsave_target, compression=6, filter=up, keep=icc)
    save_with(save, path, lambda head: HEADER_END if len(head) >= HEADER_END else None, packed(beside))


PNG = Format(
    name="PNG",
    suffixes=(".png",),
    recognises=lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    open=reader("PNG", _load, load_sequential=partial(_load, access="sequential"), look=_look),
    writing=Writing(
        bits=(8, 16),
        holds=frozenset(PLACES) - {"comments"},
        alpha=True,
        max_side=2**31 - 1,
        save=_save,
    ),
)
