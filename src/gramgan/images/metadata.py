"""EXIF, XMP, ICC and resolution: taken from what libvips read, put on what it writes."""

import logging
import re
import struct
from collections.abc import Iterator

from gramgan.images.vips import pyvips

_log = logging.getLogger(__name__)

_MM_PER_INCH = 25.4
_DEFAULT_DPI = 72.0
_SILENT = (
    1.0,
    2.834,
    _DEFAULT_DPI / _MM_PER_INCH,
)  # px/mm that libvips fills in where a TIFF, PNG or JPEG says nothing
_EXIF_PREFIX = b"Exif\0\0"
_DESCRIPTION, _ORIENTATION = 0x010E, 0x0112
_ASCII, _SHORT = 2, 3
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>))\s*\d")


def icc_of(image: pyvips.Image) -> bytes | None:
    """The embedded colour profile."""
    return _blob(image, "icc-profile-data")


def exif_of(image: pyvips.Image) -> bytes | None:
    """EXIF as it is stored in a JPEG (`Exif\\0\\0`, then a TIFF structure), with Orientation set to 1.

    The pixels have been turned upright by then, so a reader of the copy must not turn them again.
    """
    exif = _blob(image, "exif-data")
    if exif is None:
        return None
    if not exif.startswith(_EXIF_PREFIX):
        exif = _EXIF_PREFIX + exif
    patched = bytearray(exif)
    for tag, kind, _count, where, order in _main_entries(exif):
        if tag == _ORIENTATION and kind == _SHORT:
            struct.pack_into(f"{order}H", patched, where, 1)
    return bytes(patched)


def xmp_of(image: pyvips.Image) -> bytes | None:
    """The XMP packet, with its own copy of the orientation set to 1 (see `exif_of`)."""
    xmp = _blob(image, "xmp-data")
    return None if xmp is None else _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def dpi_of(image: pyvips.Image) -> tuple[float, float] | None:
    """Horizontal and vertical resolution in pixels per inch, None where the file does not say."""
    if image.get_typeof("resolution-unit") == 0 and image.xres == image.yres and image.xres in _SILENT:
        return None
    return image.xres * _MM_PER_INCH, image.yres * _MM_PER_INCH


def attach(
    image: pyvips.Image,
    *,
    icc: bytes | None,
    exif: bytes | None,
    xmp: bytes | None,
    dpi: tuple[float, float] | None,
    comment: str | None,
    comment_field: str,
) -> pyvips.Image:
    """A copy of `image` that carries the given metadata into the file it is saved to.

    A profile that does not fit the number of channels is left out, with a log line. `comment` goes to `comment_field`,
    after the description that the EXIF block has already.
    """
    across, down = dpi or (_DEFAULT_DPI, _DEFAULT_DPI)
    image = image.copy(xres=across / _MM_PER_INCH, yres=down / _MM_PER_INCH)
    image.set_type(pyvips.GValue.gint_type, "orientation", 1)
    if icc is not None and _fits(icc, image.bands):
        _set_blob(image, "icc-profile-data", icc)
    if exif is not None:
        _set_blob(image, "exif-data", exif)
    if xmp is not None:
        _set_blob(image, "xmp-data", xmp)
    if comment is not None:
        before = _description(exif) if exif is not None else ""
        text = f"{before}; {comment}" if before and comment not in before else before or comment
        image.set_type(pyvips.GValue.gstr_type, comment_field, text)
    return image


def _fits(icc: bytes, bands: int) -> bool:
    space = icc[16:20]  # the profile header's data colour space (ICC.1:2022, 7.2.8)
    fits = space == (b"GRAY" if bands <= 2 else b"RGB ")
    if not fits:
        name = space.decode("ascii", "replace").strip()
        _log.info("the colour profile is for %s and is left out: it does not fit the image that is written", name)
    return fits


def _blob(image: pyvips.Image, field: str) -> bytes | None:
    if image.get_typeof(field) == 0:
        return None
    return bytes(image.get(field))  # pyright: ignore[reportArgumentType]  (the stub leaves blobs out)


def _set_blob(image: pyvips.Image, field: str, data: bytes) -> None:
    image.set_type(pyvips.GValue.blob_type, field, data)  # pyright: ignore[reportArgumentType]  (the same)


def _description(exif: bytes) -> str:
    for tag, kind, count, where, order in _main_entries(exif):
        if tag == _DESCRIPTION and kind == _ASCII:
            if count > 4:
                where = len(_EXIF_PREFIX) + struct.unpack_from(f"{order}I", exif, where)[0]
            return exif[where : where + count].split(b"\0")[0].decode("utf-8", "replace").strip()
    return ""


def _main_entries(exif: bytes) -> Iterator[tuple[int, int, int, int, str]]:
    """(tag, type, count, where the value field is, byte order) of the main image's entries; none if EXIF is broken."""
    start = len(_EXIF_PREFIX)
    order = {b"II": "<", b"MM": ">"}.get(exif[start : start + 2])
    if order is None or len(exif) < start + 8:
        return
    directory = start + struct.unpack_from(f"{order}I", exif, start + 4)[0]
    if directory + 2 > len(exif):
        return
    (entries,) = struct.unpack_from(f"{order}H", exif, directory)
    for position in range(directory + 2, directory + 2 + 12 * entries, 12):
        if position + 12 > len(exif):
            return
        tag, kind, count = struct.unpack_from(f"{order}HHI", exif, position)
        yield tag, kind, count, position + 8, order
