"""DICOM images: grey and colour, 8 to 16 bits, one frame or many; values in the scanner's own units."""

import contextlib
import copy
import logging
import threading
import warnings
import zlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pydicom
from pydicom import config
from pydicom.encaps import get_frame
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.pixels.utils import pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian

from gramgan.errors import UserError, message_of
from gramgan.images.formats.vips_reader import MAX_PIXELS, check_pixel_count
from gramgan.installed import is_installed
from gramgan.scientific.bands import BandChoice
from gramgan.scientific.base import DECODER_ERRORS, Enlarged, Layer, Note, PagedFile, Reading
from gramgan.scientific.claims import claimed_pixels
from gramgan.scientific.dicom_writer import MAX_BYTES, write_dicom
from gramgan.scientific.radiometry import ValueRange

_log = logging.getLogger(__name__)

DICOM_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    EOFError,
    zlib.error,
    *DECODER_ERRORS,
)
"""What pydicom and its decoders raise for damaged files: values are only looked at when they are asked for."""

_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT")
_NOT_PICTURES = {"RTDOSE": "doses", "SEG": "segments", "RTSTRUCT": "contours"}
_NARROW_BITS = 12
_HOUNSFIELD = (-1024.0, 3071.0)  # what 12 bits of a CT scanner hold
_TOLERATED = 4  # times the pixels of a frame
_MAX_FRAMES = 100_000
_CHUNK = 1 << 20
_MOST_INFLATED = 2 * MAX_PIXELS  # bytes: the largest image of 16 bits
_PRIMARIES = ("red", "green", "blue")


class Dicom(PagedFile):
    """A DICOM image that is open for reading.

    Every frame is a layer, or three if it has colours; YBR becomes RGB. MONOCHROME1 is seen inverted, as it is shown.
    Pixels of the padding value are holes.

    Args:
        path: the file.
        reading: plays no part in how it is read.
        allow_huge: lift the limit of pixels.

    Raises:
        UserError: the file is damaged, holds no image or one of a kind that is not read, or its codec is missing.
    """

    form = "DICOM"
    suffixes = (".dcm", ".dicom")

    def __init__(self, path: Path, reading: Reading, *, allow_huge: bool = False) -> None:
        self.path = path
        del reading
        with refusing_dicom(path):
            if not allow_huge:
                _check_inflated(path)
            self._data = pydicom.dcmread(path)
            self._untouched = copy.deepcopy(self._data)  # values are made out of bytes when they are first asked for
            self._look(allow_huge)

    def _look(self, allow_huge: bool) -> None:
        data, path = self._data, self.path
        for _ in data.iterall():  # so that damage shows before any work
            pass
        if "PixelData" not in data:
            raise UserError(f"{path}: this DICOM file holds no image of integers; leave it out")
        modality = str(data.get("Modality", ""))
        if modality in _NOT_PICTURES:
            raise UserError(
                f"{path}: it holds {_NOT_PICTURES[modality]} ({modality}), between which no texture can be drawn; "
                "leave it out"
            )
        photometric = str(data.PhotometricInterpretation)
        colours = 3 if photometric in _COLOUR else 1
        if photometric not in _GREY + _COLOUR or data.SamplesPerPixel != colours:
            raise UserError(
                f"{path}: {data.SamplesPerPixel} samples of '{photometric}' are neither grey nor RGB; convert it first"
            )
        allocated, self._stored = int(data.BitsAllocated), int(data.BitsStored)
        if allocated not in (8, 16) or not 1 <= self._stored <= allocated:
            raise UserError(f"{path}: samples of {self._stored} in {allocated} bits; only 8 and 16 are read")
        self.width, self.height = int(data.Columns), int(data.Rows)
        self.pages = int(data.get("NumberOfFrames") or 1)
        if min(self.width, self.height, self.pages) < 1 or self.pages > _MAX_FRAMES:
            raise UserError(f"{path}: damaged DICOM file ({self.width}x{self.height}, {self.pages} frames)")
        check_pixel_count(path, self.width, self.height * self.pages * colours, allow_huge)
        self._signed = bool(data.PixelRepresentation)
        self.dtype = np.dtype(f"{'int' if self._signed else 'uint'}{allocated}")
        self.limits = _limits(self._stored, self._signed)
        self.samples = colours
        self._padding = _padding(data, self.dtype) if colours == 1 else None
        self.has_holes = self._padding is not None
        self._page(0)  # so that a missing codec shows before any work
        self.layers = self._layers(modality, inverted=photometric == "MONOCHROME1")

    def _layers(self, modality: str, *, inverted: bool) -> tuple[Layer, ...]:
        whole = _limits(self._stored, self._signed)
        wide = self._stored > _NARROW_BITS and self.samples == 1
        if wide and modality != "CT":
            values = self.overview(0)
            low, high = (float(values.min()), float(values.max())) if values.size else whole
            whole = low, max(high, low + 1)
            _log.info(
                "%s: its own range, %g to %g, is black and white; for a series give --radiometry LOW,HIGH to have the "
                "same for all files",
                self.path,
                *whole,
            )
        layers = []
        for frame in range(self.pages):
            scale, offset, unit = _rescaling(self._data, modality, frame)
            if scale == 0:
                raise UserError(f"{self.path}: a rescale slope of 0 leaves nothing of its values; correct it")
            natural = whole
            if wide and modality == "CT":
                low, high = sorted((physical - offset) / scale for physical in _HOUNSFIELD)
                natural = low, high
            names = [f" {primary}" for primary in _PRIMARIES] if self.samples == 3 else [""]
            layers += [
                Layer(
                    f"frame {frame + 1}{name}",
                    scale,
                    offset,
                    unit,
                    ValueRange(*natural),
                    inverted,
                    () if self._padding is None else (self._padding,),
                )
                for name in names
            ]
        return tuple(layers)

    @property
    def grouping(self) -> tuple[BandChoice, ...]:
        """The three layers of a frame with colours."""
        if self.samples == 1:
            return ()
        return tuple(BandChoice((first, first + 1, first + 2)) for first in range(1, 3 * self.pages + 1, 3))

    def save(self, result: Enlarged, temporary: Path, note: Note) -> None:
        """Write the result as uncompressed DICOM with this file's elements."""
        with lenient():
            write_dicom(self._untouched, self.samples, self.pages, result, temporary, note)

    def check_result(self, width: int, height: int, target: Path) -> None:
        """Refuse results above 4 GiB uncompressed, or with sides that 16 bits do not count."""
        size = width * height * self.pages * self.samples * self.dtype.itemsize
        if size > MAX_BYTES or max(width, height) > 65535:
            raise UserError(
                f"{target}: {width}x{height} in {self.pages} frames is more than a DICOM file holds (65535 a side, "
                "4 GiB); use a smaller --scale or split the frames"
            )

    def _decoded(self, page: int) -> np.ndarray:
        with refusing_dicom(self.path):
            self._check_claim(page)
            frame = pixel_array(self._data, index=page)
        shape = (self.height, self.width, self.samples)
        if frame.size != np.prod(shape) or frame.dtype.kind not in "ui":
            raise UserError(f"{self.path}: damaged DICOM file (its frames have another shape); get a whole copy")
        return frame.reshape(shape)

    def _is_value(self, values: np.ndarray) -> np.ndarray:
        """Those outside of the padding range."""
        if self._padding is None:
            return np.ones(values.shape, bool)
        low, high = self._padding
        return (values < low) | (values > high)

    def _check_claim(self, index: int) -> None:
        """Refuse a compressed frame that claims to be far larger than the file says: its decoder believes it."""
        if not self._data.file_meta.TransferSyntaxUID.is_encapsulated:
            return
        frame = get_frame(self._data.PixelData, index, number_of_frames=self.pages)
        claimed = claimed_pixels(frame) if frame[:2] in (b"\xff\xd8", b"\xff\x4f") else None
        if claimed is not None and claimed > _TOLERATED * self.width * self.height:
            raise UserError(
                f"{self.path}: damaged DICOM file (a frame claims {claimed} pixels, and it has "
                f"{self.width}x{self.height}); get a whole copy"
            )


def _limits(stored: int, signed: bool) -> tuple[float, float]:
    return (-(2.0 ** (stored - 1)), 2.0 ** (stored - 1) - 1) if signed else (0.0, 2.0**stored - 1)


def _check_inflated(path: Path) -> None:
    """Refuse a deflated file that holds more than is read of any, before memory is taken for it."""
    with path.open("rb") as file:
        read_preamble(file, force=False)
        meta = _read_file_meta_info(file)  # leaves the file where the data set begins
        if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            return
        inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while not inflater.eof and (data := inflater.unconsumed_tail or file.read(_CHUNK)):
            size += len(inflater.decompress(data, _CHUNK))
            if size > _MOST_INFLATED:
                raise UserError(
                    f"{path}: it inflates to more than {_MOST_INFLATED / 1e6:.0f} MB; if you trust this file, allow it "
                    "with --allow-huge"
                )


def _padding(data: pydicom.Dataset, dtype: np.dtype) -> tuple[float, float] | None:
    """The lowest and highest stored value that only fills the frame (PixelPaddingValue and its range)."""
    value = data.get("PixelPaddingValue")
    if value is None:
        return None
    other = data.get("PixelPaddingRangeLimit")
    low, high = sorted(_as_stored(int(one), dtype) for one in (value, value if other is None else other))
    return low, high


def _as_stored(value: int, dtype: np.dtype) -> float:
    """A number as a pixel has it: many scanners say without a sign what has one, and the other way round."""
    return float(np.array(value & (2 ** (8 * dtype.itemsize) - 1)).astype(f"u{dtype.itemsize}").view(dtype))


def _rescaling(data: pydicom.Dataset, modality: str, frame: int) -> tuple[float, float, str]:
    """Slope, intercept and unit of a frame: its own, what all frames share, or the image's."""
    frames, shared = (data.get(f"{whose}FunctionalGroupsSequence") or [] for whose in ("PerFrame", "Shared"))
    for group in (*frames[frame : frame + 1], *shared[:1]):
        for item in group.get("PixelValueTransformationSequence") or []:
            return _linear(item, modality)
    return _linear(data, modality)


def _linear(item: pydicom.Dataset, modality: str) -> tuple[float, float, str]:
    if item.get("RescaleSlope") is None:
        return 1.0, 0.0, ""  # stored values, or through a table
    scale, offset = float(item.RescaleSlope), float(item.get("RescaleIntercept") or 0)
    unit = str(item.get("RescaleType") or ("HU" if modality == "CT" else ""))
    return scale, offset, "" if unit == "US" else unit


class _Lenient:
    """pydicom, and the decoder that writes to standard error, as they are to be while files are read.

    What a file says is kept, whether it keeps to the rules or not; nobody who enlarges it can act on a warning. Both
    libraries know one setting for all threads: the last reader to leave puts back what the first one found.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            self._readers += 1
            if self._readers == 1:
                self._set()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._readers -= 1
            if not self._readers:
                self._stack.close()

    def _set(self) -> None:
        self._stack.callback(
            setattr, config.settings, "reading_validation_mode", config.settings.reading_validation_mode
        )
        config.settings.reading_validation_mode = config.IGNORE
        if not is_installed("gdcm"):
            return
        trace = import_module("gdcm").Trace
        for kind in ("Error", "Warning", "Debug"):
            if getattr(trace, f"Get{kind}Flag")():
                self._stack.callback(getattr(trace, f"{kind}On"))
                getattr(trace, f"{kind}Off")()


_LENIENT = _Lenient()


@contextlib.contextmanager
def lenient() -> Iterator[None]:
    """pydicom without a word about what breaks the rules."""
    with _LENIENT, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def refusing_dicom(path: Path) -> Iterator[None]:
    """One line for whatever pydicom and its decoders find wrong with the file at `path`."""
    try:
        with lenient():
            yield
    except UserError:
        raise
    except InvalidDicomError:
        raise UserError(
            f"{path}: not a DICOM file (there is no 'DICM' at byte 128); give one in the file format"
        ) from None
    except DICOM_ERRORS as error:
        raise UserError(
            f"{path}: damaged DICOM file or one of a kind that cannot be read ({message_of(error)}); convert it, or "
            "install its decoder with pip install 'gramgan[medical]'"
        ) from None
