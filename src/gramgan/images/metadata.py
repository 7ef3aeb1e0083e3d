"""ICC, EXIF, XMP, IPTC and resolution as libvips hands them on, and what of a profile fits an image."""

import re
import struct

from gramgan.images.formats import exif as exif_blocks
from gramgan.images.vips import pyvips

MM_PER_INCH = 25.4
DEFAULT_DPI = 72.0
_SILENT = (
    1.0,
    2.834,
    DEFAULT_DPI / MM_PER_INCH,
)  # px/mm that libvips fills in where a TIFF, PNG or JPEG says nothing
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>))\s*\d")
_XMP_WIDTH = re.compile(rb"((?:tiff:ImageWidth|exif:PixelXDimension)(?:=[\"']|>))\s*\d+")
_XMP_HEIGHT = re.compile(rb"((?:tiff:ImageLength|exif:PixelYDimension)(?:=[\"']|>))\s*\d+")
PHOTOSHOP = b"Photoshop 3.0\0"
_IPTC_RESOURCE = b"8BIM\x04\x04"


def icc_of(image: pyvips.Image) -> bytes | None:
    """The embedded colour profile."""
    return blob_of(image, "icc-profile-data")


def upright_xmp(xmp: bytes) -> bytes:
    """The XMP packet, with its own copy of the orientation set to 1 (see `exif.upright`)."""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def resized_xmp(xmp: bytes, width: int, height: int) -> bytes:
    """The XMP packet with the sizes in pixels that it states made those of another image."""
    return _XMP_HEIGHT.sub(rb"\g<1>%d" % height, _XMP_WIDTH.sub(rb"\g<1>%d" % width, xmp))


def records_of(data: bytes) -> bytes | None:
    """The IPTC records (IIM 4.2), out of the Photoshop resources that a JPEG keeps them in."""
    if not data.startswith((PHOTOSHOP, _IPTC_RESOURCE)):
        return data or None
    at = data.find(_IPTC_RESOURCE)
    if at < 0 or at + 12 > len(data):
        return None
    name = data[at + 6] + 1  # a Pascal string, filled up to an even length; then the size and the records
    start = at + 6 + name + name % 2
    if start + 4 > len(data):
        return None
    return data[start + 4 : start + 4 + struct.unpack_from(">I", data, start)[0]] or None


def as_resource(iptc: bytes) -> bytes:
    """IPTC records as a Photoshop resource."""
    return _IPTC_RESOURCE + b"\0\0" + struct.pack(">I", len(iptc)) + iptc + bytes(len(iptc) % 2)


def as_photoshop(iptc: bytes) -> bytes:
    """IPTC records as a JPEG keeps them: a resource in a Photoshop block."""
    return PHOTOSHOP + as_resource(iptc)


def dpi_of(image: pyvips.Image, exif: bytes | None) -> tuple[float, float] | None:
    """Horizontal and vertical resolution in pixels per inch, None where neither the file nor its EXIF says."""
    if image.xres == image.yres and image.xres in _SILENT:
        said = None if exif is None else exif_blocks.exif_dpi(exif)
        if said is not None or image.get_typeof("resolution-unit") == 0 or image.xres == 1:
            return said
    return image.xres * MM_PER_INCH, image.yres * MM_PER_INCH


def fits(icc: bytes, colour_channels: int) -> bool:
    """Whether a colour profile is one for images of 1 (grey) or 3 (RGB) channels."""
    return icc[16:20] == (b"GRAY" if colour_channels == 1 else b"RGB ")  # ICC.1:2022, 7.2.8


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
