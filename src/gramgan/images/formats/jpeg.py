"""JPEG: 8 bits, grey, RGB, CMYK; no alpha."""

import logging
import re
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from gramgan.errors import UserError
from gramgan.images.formats.base import Format, FormatFindings, Opened, Request, Writing
from gramgan.images.formats.beside import Beside
from gramgan.images.formats.jpeg_segments import EOI, behind_header, ending_of, pack_segments, read_segments
from gramgan.images.formats.saving import save_with
from gramgan.images.formats.vips_reader import by_vips, reader, single_page
from gramgan.images.info import Window
from gramgan.images.vips import pyvips

_log = logging.getLogger(__name__)

_FULL_COLOUR_FROM = 90  # from this quality on, colour is stored at full resolution (4:4:4)
_MISSING = "premature end"  # as libjpeg calls it
_HARMLESS = re.compile("extraneous bytes before marker 0x(?!d9)")  # but for those behind the pixels
_NO_END = "it lacks the mark of its end, usually its last two bytes; it is used if no row is missing"


def _load(request: Request, access: str = "random", fail_on: str = "error") -> pyvips.Image:
    return pyvips.Image.jpegload_source(request.source(), access=access, fail_on=fail_on, unlimited=request.allow_huge)


def _look(request: Request, image: pyvips.Image) -> FormatFindings:
    segments = read_segments(request.path, request.data)
    kind = segments.unreadable()
    if kind is not None:
        raise UserError(f"{request.path}: {kind}, which cannot be decoded here; convert it")
    return FormatFindings(segments.beside(by_vips(image).icc), tuple(segments.notes()))


_LENIENT = reader(
    "JPEG", single_page(_load), load_sequential=single_page(partial(_load, access="sequential")), look=_look
)
# Every warning of the decoder counts: that rows are missing is one, where there is a mark of the end all the same.
_STRICT = reader(
    "JPEG",
    single_page(partial(_load, fail_on="warning")),
    load_sequential=single_page(partial(_load, access="sequential", fail_on="warning")),
    look=_look,
)


def _open(request: Request) -> Opened:
    try:
        ending = ending_of(request.path, request.data)
    except OSError as error:
        raise UserError(f"{request.path}: cannot be read ({error.strerror}); check its permissions") from None
    if ending.marked:
        opened = _warned(request)
        if not ending.length or opened.info.notes:
            return opened
        what = "a video" if ending.trailing[4:8] == b"ftyp" else f"{ending.length:,} bytes"
        return _noted(opened, f"{what} behind the picture, left out")
    if not ending.complete:
        raise UserError(f"{request.path}: damaged or truncated JPEG (its last scans are missing); get a whole copy")
    data = request.path.read_bytes() if request.data is None else request.data
    return _noted(_STRICT(replace(request, data=data + EOI)), _NO_END)


def _warned(request: Request) -> Opened:
    """Opened so that missing rows are an error, and other damage that decoders get over is said when it is met."""
    try:
        strict = _STRICT(request)
    except UserError:  # perhaps something odd in its header, which does the pixels no harm
        return _LENIENT(request)

    def samples(window: Window) -> np.ndarray:
        try:
            return strict.samples(window)
        except UserError as error:
            if _MISSING in str(error):
                raise
            pixels = _LENIENT(request).samples(window)
            if _HARMLESS.search(str(error)) is None:
                _say_damage(str(error).partition("; ")[0])
            return pixels

    return Opened(strict.info, samples)


@lru_cache(maxsize=1024)  # once for each file
def _say_damage(what: str) -> None:
    _log.warning("%s; what can be decoded of it is used", what)


def _noted(opened: Opened, note: str) -> Opened:
    return replace(opened, info=replace(opened.info, notes=(*opened.info.notes, note)))


def _save(image: pyvips.Image, path: Path, quality: int, beside: Beside) -> None:
    subsample = "off" if quality >= _FULL_COLOUR_FROM else "on"
    segments, lost = pack_segments(beside)
    if lost:
        _log.warning("%s: JPEG has no room for %s; left out", path.name, ", ".join(lost))
    options = {"optimize_coding": True, "subsample_mode": subsample, "keep": pyvips.enums.ForeignKeep.ICC}
    save = partial(image.jpegsave_target, Q=quality, **options)
    save_with(save, path, behind_header, segments)


JPEG = Format(
    name="JPEG",
    suffixes=(".jpg", ".jpeg"),
    recognises=lambda head: head.startswith(b"\xff\xd8\xff"),
    open=_open,
    writing=Writing(
        bits=(8,),
        holds=frozenset({"profile", "grey", "EXIF", "maker note", "XMP", "IPTC", "comments"}),
        alpha=False,
        max_side=65535,
        save=_save,
    ),
)
