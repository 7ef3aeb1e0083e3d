"""EXIF, XMP, IPTC, ICC and resolution: taken from what libvips read, put on what it writes."""

import logging
import re
import struct
from collections.abc import Iterator

from gramgan.images.info import RasterInfo
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
_DESCRIPTION, _ORIENTATION, _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x010E, 0x0112, 0x011A, 0x011B, 0x0128
_ASCII, _SHORT, _RATIONAL = 2, 3, 5
_PER_INCH = {2: 1.0, 3: 2.54}  # EXIF's ResolutionUnit: inch, centimetre
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>))\s*\d")
_XMP_WIDTH = re.compile(rb"((?:tiff:ImageWidth|exif:PixelXDimension)(?:=[\"']|>))\s*\d+")
_XMP_HEIGHT = re.compile(rb"((?:tiff:ImageLength|exif:PixelYDimension)(?:=[\"']|>))\s*\d+")
_PHOTOSHOP = b"Photoshop 3.0\0"
_IPTC_RESOURCE = b"8BIM\x04\x04"


def icc_of(image: pyvips.Image) -> bytes | None:
    """The embedded colour profile."""
    return blob_of(image, "icc-profile-data")


def exif_of(image: pyvips.Image) -> bytes | None:
    """EXIF as it is stored in a JPEG (`Exif\\0\\0`, then a TIFF structure), with Orientation set to 1.

    The pixels have been turned upright by then, so a reader of the copy must not turn them again.
    """
    exif = blob_of(image, "exif-data")
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
    xmp = blob_of(image, "xmp-data")
    return None if xmp is None else _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def iptc_of(image: pyvips.Image) -> bytes | None:
    """The IPTC records (IIM 4.2), out of the Photoshop resources that a JPEG keeps them in."""
    data = blob_of(image, "iptc-data")
    if data is None or not data.startswith(_PHOTOSHOP):
        return data or None
    at = data.find(_IPTC_RESOURCE)
    if at < 0 or at + 12 > len(data):
        return None
    name = data[at + 6] + 1  # a Pascal string, filled up to an even length; then the size and the records
    start = at + 6 + name + name % 2
    if start + 4 > len(data):
        return None
    return data[start + 4 : start + 4 + struct.unpack_from(">I", data, start)[0]] or None


def as_photoshop(iptc: bytes) -> bytes:
    """IPTC records as a JPEG keeps them: a resource in a Photoshop block."""
    return _PHOTOSHOP + _IPTC_RESOURCE + b"\0\0" + struct.pack(">I", len(iptc)) + iptc + bytes(len(iptc) % 2)


def dpi_of(image: pyvips.Image) -> tuple[float, float] | None:
    """Horizontal and vertical resolution in pixels per inch, None where the file does not say."""
    if image.xres == image.yres and image.xres in _SILENT:
        exif = exif_of(image)
        said = None if exif is None else _exif_dpi(exif)
        if said is not None or image.get_typeof("resolution-unit") == 0 or image.xres == 1:
            return said
    return image.xres * _MM_PER_INCH, image.yres * _MM_PER_INCH


def attach(image: pyvips.Image, like: RasterInfo | None, *, comment: str | None, comment_field: str) -> pyvips.Image:
    """A copy of `image` that carries the metadata of `like` into the file it is saved to.

    Pixel sizes that XMP states become those of `image` (of EXIF's, libvips and `tiff_exif` do that). A profile that
    does not fit the number of channels is left out, with a log line. `comment` goes to `comment_field`, after the
    description that the EXIF block has already.
    """
    across, down = (like.dpi if like else None) or (_DEFAULT_DPI, _DEFAULT_DPI)
    image = image.copy(xres=across / _MM_PER_INCH, yres=down / _MM_PER_INCH)
    image.set_type(pyvips.GValue.gint_type, "orientation", 1)
    if like is not None:
        blobs = {
            "icc-profile-data": like.icc if like.icc and fits(like.icc, colours_of(image), log=True) else None,
            "exif-data": like.exif,
            "xmp-data": _resized(like.xmp, image.width, image.get_page_height()) if like.xmp else None,
            "iptc-data": like.iptc,
        }
        for field, data in blobs.items():
            if data:
                set_blob(image, field, data)
    if comment is not None:
        before = _description(like.exif) if like is not None and like.exif is not None else ""
        text = f"{before}; {comment}" if before and comment not in before else before or comment
        image.set_type(pyvips.GValue.gstr_type, comment_field, text)
    return image


def fits(icc: bytes, colour_channels: int, *, log: bool = False) -> bool:
    """Whether a colour profile is one for images of 1 (grey) or 3 (RGB) channels; `log` says so where it is not."""
    space = icc[16:20]  # the profile header's data colour space (ICC.1:2022, 7.2.8)
    result = space == (b"GRAY" if colour_channels == 1 else b"RGB ")
    if log and not result:
        name = space.decode("ascii", "replace").strip()
        _log.info("the colour profile is for %s and is left out: it does not fit the image that is written", name)
    return result


def colours_of(image: pyvips.Image) -> int:
    """Colour channels of a grey or RGB image with or without alpha: 1 or 3."""
    return 1 if image.bands <= 2 else 3


def blob_of(image: pyvips.Image, field: str) -> bytes | None:
    """A metadata field of raw bytes; None if the image lacks it."""
    if image.get_typeof(field) == 0:
        return None
    return bytes(image.get(field))  # pyright: ignore[reportArgumentType]  (the stub leaves blobs out)


def set_blob(image: pyvips.Image, field: str, data: bytes) -> None:
    """Set a metadata field of raw bytes, in place."""
    image.set_type(pyvips.GValue.blob_type, field, data)  # pyright: ignore[reportArgumentType]  (the same)


def without(image: pyvips.Image, field: str) -> pyvips.Image:
    """A copy of `image` that lacks a metadata field."""
    image = image.copy()
    image.remove(field)
    return image


def _resized(xmp: bytes, width: int, height: int) -> bytes:
    return _XMP_HEIGHT.sub(rb"\g<1>%d" % height, _XMP_WIDTH.sub(rb"\g<1>%d" % width, xmp))


def _description(exif: bytes) -> str:
    for tag, kind, count, where, order in _main_entries(exif):
        if tag == _DESCRIPTION and kind == _ASCII:
            if count > 4:
                where = len(_EXIF_PREFIX) + struct.unpack_from(f"{order}I", exif, where)[0]
            return exif[where : where + count].split(b"\0")[0].decode("utf-8", "replace").strip()
    return ""


def _exif_dpi(exif: bytes) -> tuple[float, float] | None:
    found, per_inch = {}, 1.0
    for tag, kind, _count, where, order in _main_entries(exif):
        if tag in (_X_RESOLUTION, _Y_RESOLUTION) and kind == _RATIONAL:
            at = len(_EXIF_PREFIX) + struct.unpack_from(f"{order}I", exif, where)[0]
            if at + 8 <= len(exif):
                over, under = struct.unpack_from(f"{order}II", exif, at)
                found[tag] = over / under if under else 0.0
        elif tag == _RESOLUTION_UNIT and kind == _SHORT:
            per_inch = _PER_INCH.get(struct.unpack_from(f"{order}H", exif, where)[0], 0.0)
    across, down = (found.get(tag, 0.0) * per_inch for tag in (_X_RESOLUTION, _Y_RESOLUTION))
    return (across, down) if across > 0 and down > 0 else None


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
