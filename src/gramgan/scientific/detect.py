"""Which files are more than pictures, found without the libraries that read them."""

import struct
from importlib import import_module
from pathlib import Path
from typing import Literal

from gramgan.errors import UserError
from gramgan.images.formats.tiff_contents import channels_of
from gramgan.images.formats.tiff_directory import TIFF_SIGNATURES, Directory, Layout, page_directory
from gramgan.installed import is_installed
from gramgan.scientific.base import Reading, ScientificFile
from gramgan.scientific.sidecars import placing

ScientificKind = Literal["GeoTIFF", "DICOM", "OME-TIFF", "ImageJ TIFF", "TIFF with extra channels"]

DICOM_SUFFIXES = (".dcm", ".dicom")
_DESCRIPTION, _SAMPLES, _SAMPLE_FORMAT = 270, 277, 339
_SIGNED = 2
# Scale, tie points and transformation of pixels, the directory of geographic keys, GDAL's metadata and no-data value,
# coefficients of a camera model.
_GEOGRAPHIC = frozenset({33550, 33922, 34264, 34735, 42112, 42113, 50844})
_PICTURE_SAMPLES = 4
_HEAD = 4096

_LIBRARY: dict[ScientificKind, tuple[str, str]] = {
    "GeoTIFF": ("rasterio", "geo"),
    "DICOM": ("pydicom", "medical"),
    "OME-TIFF": ("tifffile", "microscopy"),
    "ImageJ TIFF": ("tifffile", "microscopy"),
    "TIFF with extra channels": ("rasterio", "geo"),
}
_LOSS: dict[ScientificKind, str] = {
    "GeoTIFF": "its place on Earth, bands and no-data values",
    "DICOM": "its values",
    "OME-TIFF": "its pixel sizes and axes",
    "ImageJ TIFF": "its pixel sizes and axes",
    "TIFF with extra channels": "what is neither colour nor alpha",
}
_READER: dict[ScientificKind, tuple[str, str]] = {
    "GeoTIFF": ("geotiff", "GeoTiff"),
    "DICOM": ("dicom", "Dicom"),
    "OME-TIFF": ("microscopy", "OmeTiff"),
    "ImageJ TIFF": ("microscopy", "ImageJTiff"),
    "TIFF with extra channels": ("geotiff", "GeoTiff"),
}


def scientific_kind(path: Path) -> ScientificKind | None:
    """What kind of scientific file `path` is; None for pictures and for what cannot be read at all."""
    try:
        with path.open("rb") as file:
            head = file.read(132)
            if head[128:] == b"DICM" or path.suffix.lower() in DICOM_SUFFIXES:
                return "DICOM"
            if not head.startswith(TIFF_SIGNATURES):
                return None
            layout, directory = page_directory(file, 0)
            description = _description(path, layout, directory)
    except (OSError, struct.error):
        return None  # whoever opens it as a picture says what is wrong
    if description.startswith(b"ImageJ="):
        return "ImageJ TIFF"
    if b"<OME" in description:
        return "OME-TIFF"
    tags = {tag.number: tag.value for tag in directory.tags}
    stored = {struct.unpack_from(f"{layout.order}H", raw)[0] for raw in directory.raw}
    bands = int.from_bytes(tags.get(_SAMPLES, b"\1")[:2], "little")
    extra = channels_of(directory).others  # neither colour nor alpha
    signed = int.from_bytes(tags.get(_SAMPLE_FORMAT, b"\1")[:2], "little") == _SIGNED
    if not _GEOGRAPHIC.isdisjoint(stored) or (extra and bands > _PICTURE_SAMPLES) or signed or placing(path):
        return "GeoTIFF"
    return "TIFF with extra channels" if extra else None


def is_dicom(path: Path) -> bool:
    """Whether `path` is a DICOM file by its suffix or its mark; a directory of such files is none."""
    return path.name != "DICOMDIR" and scientific_kind(path) == "DICOM"


def open_scientific(path: Path, reading: Reading, *, allow_huge: bool = False) -> ScientificFile | None:
    """Open `path` by the reader of its kind; None if it is a picture. A TIFF is a scientific file where `reading` asks.

    Raises:
        UserError: it is damaged, too large, of a kind that is not read, or the library that reads it is not installed.
    """
    kind = scientific_kind(path)
    if kind is None:
        if not reading.asked:
            return None
        if not _is_tiff(path) and reading.learned_by:
            raise UserError(
                f"{path}: an ordinary picture, and {reading.learned_by} learned from scientific files "
                f"({reading.radiometry}); use other weights, or --plain to try it all the same"
            )
        if not _is_tiff(path):
            raise UserError(f"{path}: --{reading.asked[0]} has no effect on an ordinary picture; leave it out")
        kind = "GeoTIFF"
    library, extra = _LIBRARY[kind]
    if not is_installed(library):
        raise UserError(
            f"{path}: a {kind}, and without {library} {_LOSS[kind]} would be lost; install it with pip install "
            f"'gramgan[{extra}]'" + ("" if kind == "DICOM" else ", or upscale it as an ordinary picture with --plain")
        )
    module, name = _READER[kind]
    reader = getattr(import_module(f"gramgan.scientific.{module}"), name)
    return reader(path, reading, allow_huge=allow_huge)


def _is_tiff(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) in TIFF_SIGNATURES
    except OSError:
        return False


def _description(path: Path, layout: Layout, directory: Directory) -> bytes:
    """The beginning of ImageDescription; OME's can be far longer than what a directory's `tags` hold."""
    order, big = layout
    for raw in directory.raw:
        number, _, count = struct.unpack_from(f"{order}HH{'Q' if big else 'I'}", raw)
        field = raw[12 if big else 8 :]
        if number == _DESCRIPTION and count > len(field):
            with path.open("rb") as file:
                file.seek(struct.unpack(f"{order}{'Q' if big else 'I'}", field)[0])
                return file.read(min(count, _HEAD))
    return b""
