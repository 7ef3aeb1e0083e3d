"""What every scientific file gives: layers of stored values, what of them is valid, and how a result is written."""

import contextlib
import os
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from gramgan.images import Window
from gramgan.scientific.bands import BandChoice
from gramgan.scientific.radiometry import Radiometry, ValueRange

OVERVIEW = 512
"""Longest side of the picture that statistics are taken from."""
SAMPLE_TYPES = ("uint8", "uint16", "int16", "float32")
"""Of the samples that a GeoTIFF or a microscope's TIFF may have."""
TAGS_LOST = {34665: "EXIF", 34853: "GPS", 33723: "IPTC", 34377: "Photoshop's resources"}
"""Tags of a TIFF that no result of a scientific file has."""
DECODER_ERRORS = (
    *(struct.error, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError),
    *(RuntimeError, OSError, MemoryError),  # NotImplementedError is a RuntimeError
)
"""What libraries and their decoders raise for damaged files, beside errors of their own."""
_PAGES_LOOKED_AT = 16
_MOST_AT_ONCE = 16 << 20  # bytes; no library writes more at a time
NO_MEASUREMENT = 3.4e38
"""Floats from here on mean "no data", whatever the file says: programs fill with the greatest that there is."""


@dataclass(frozen=True)
class Reading:
    """Settings for reading and writing scientific files.

    `bands` groups the layers, `radiometry` says what is black and white, `cloud_optimized` asks for a GeoTIFF with
    overviews in the order of the COG layout. `learned_by` names the weights that bring bands and radiometry with them,
    where it was not the user who asked for them.
    """

    bands: tuple[BandChoice, ...] = ()
    radiometry: Radiometry = field(default_factory=Radiometry)
    cloud_optimized: bool = False
    learned_by: str = ""

    @property
    def asked(self) -> tuple[str, ...]:
        """The options that were given."""
        given = {
            "bands": bool(self.bands),
            "radiometry": self.radiometry.kind != "auto",
            "cog": self.cloud_optimized,
        }
        return tuple(name for name, there in given.items() if there)


@dataclass(frozen=True)
class Layer:
    """One channel of one image: a band, a frame's grey values, a plane of a stack.

    `name` tells it apart in messages. Physical values are `stored × scale + offset`, in `unit` ("" if unknown).
    `natural` is the range that the file gives for it, if any; `inverted` means that its high values are dark.
    `forbidden` are ranges of stored values that mean "no data", both ends included: no valid pixel may have one.
    """

    name: str
    scale: float = 1.0
    offset: float = 0.0
    unit: str = ""
    natural: ValueRange | None = None
    inverted: bool = False
    forbidden: tuple[tuple[float, float], ...] = ()


class Enlarged(Protocol):
    """The result, as a format writes it."""

    width: int
    height: int

    def read(self, layer: int, window: Window) -> np.ndarray:
        """Stored values `[height, width]` of the file's dtype."""
        ...

    def repeated(self, read: Callable[[Window], np.ndarray], window: Window) -> np.ndarray:
        """Something of the source, `read(window of the source)` → `[height, width]`, enlarged by nearest neighbour."""
        ...


@dataclass(frozen=True)
class Note:
    """What a result says about itself: a sentence, what decided its values, and a text that only equal work shares.

    `target` is its name in messages.
    """

    target: Path
    sentence: str
    details: dict[str, str]
    identity: str


def is_measurement(values: np.ndarray) -> np.ndarray:
    """Where floats are numbers that can have been measured: not NaN, infinite or of `NO_MEASUREMENT`."""
    return np.abs(values) < NO_MEASUREMENT


def spare_path(temporary: Path) -> Path:
    """A second temporary name that `ScientificFile.save` may use, for a file that it deletes."""
    return temporary.with_name(f"{temporary.stem}.spare{temporary.suffix}")


@contextlib.contextmanager
def saying_why(path: Path, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Some libraries say that a file at `path` could not be written, and not why: the system is asked once more.

    Raises:
        OSError: there is no room behind the file, which is spoilt already.
    """
    try:
        yield
    except errors:
        with path.open("ab") as file:
            file.write(bytes(_MOST_AT_ONCE))
            file.flush()
            os.fsync(file.fileno())
        raise


class ScientificFile(ABC):
    """An open file; all layers have one size and one type.

    Attributes:
        path: of the file.
        form: the format's name.
        suffixes: of the names that a result may have.
        width: of every layer in pixels.
        height: of every layer in pixels.
        dtype: of the stored values: 8 or 16 bits, or float32.
        layers: the layers in their order.
        has_holes: whether some pixels may have no data.
        limits: the lowest and highest stored value, where not all of the type may be used.
    """

    path: Path
    form: str
    suffixes: tuple[str, ...]
    width: int
    height: int
    dtype: np.dtype
    layers: tuple[Layer, ...]
    has_holes: bool = False
    limits: tuple[float, float] | None = None

    @property
    @abstractmethod
    def grouping(self) -> tuple[BandChoice, ...]:
        """Which layers the file itself puts together as colours, and which are classes; the others stand alone."""

    @abstractmethod
    def read(self, layers: Sequence[int], window: Window) -> np.ndarray:
        """Stored values `[len(layers), height, width]` of `dtype`. Not for several threads at once.

        Raises:
            UserError: the file is damaged.
        """

    @abstractmethod
    def valid(self, layers: Sequence[int], window: Window) -> np.ndarray | None:
        """Where there is data, bool like `read`; None where nothing is missing."""

    @abstractmethod
    def overview(self, layer: int) -> np.ndarray:
        """Valid stored values of a picture of about `OVERVIEW` pixels a side, `[n]`."""

    @abstractmethod
    def save(self, result: Enlarged, temporary: Path, note: Note) -> None:
        """Write the result with everything that this file says besides its values.

        Raises:
            UserError: it cannot be written.
            OSError: the disk is full.
        """

    def check_result(self, width: int, height: int, target: Path) -> None:
        """Refuse, before any work, a result of a size that the format cannot hold.

        Raises:
            UserError: it is too large.
        """
        del width, height, target

    @abstractmethod
    def close(self) -> None:
        """Close the file."""


class PagedFile(ScientificFile):
    """A file of pages, or frames, that are decoded one by one; each has the same `samples`, of which one is a layer."""

    pages: int
    samples: int
    _cached: tuple[int, np.ndarray] | None = None

    def read(self, layers: Sequence[int], window: Window) -> np.ndarray:
        """Stored values `[len(layers), height, width]`."""
        rows = slice(window.y, window.y + window.height)
        columns = slice(window.x, window.x + window.width)
        places = (divmod(layer, self.samples) for layer in layers)
        return np.stack([self._page(page)[rows, columns, sample] for page, sample in places])

    def overview(self, layer: int) -> np.ndarray:
        """Values of some pages, spread over the file, so that every layer gets the same, `[n]`."""
        pages = np.unique(np.linspace(0, self.pages - 1, min(self.pages, _PAGES_LOOKED_AT)).astype(int))
        step = max(1, max(self.width, self.height) // OVERVIEW)
        sample = layer % self.samples
        values = np.concatenate([self._page(int(page))[::step, ::step, sample].ravel() for page in pages])
        return values[self._is_value(values)]

    def valid(self, layers: Sequence[int], window: Window) -> np.ndarray | None:
        """Where there is data; None where nothing is missing."""
        return self._is_value(self.read(layers, window)) if self.has_holes else None

    def close(self) -> None:
        """Forget the page in memory."""
        self._cached = None

    def _page(self, page: int) -> np.ndarray:
        """One page, `[height, width, samples]`."""
        if self._cached is None or self._cached[0] != page:
            self._cached = page, self._decoded(page).astype(self.dtype, copy=False)
        return self._cached[1]

    @abstractmethod
    def _decoded(self, page: int) -> np.ndarray:
        """One page as it is stored, `[height, width, samples]`.

        Raises:
            UserError: it is damaged.
        """

    @abstractmethod
    def _is_value(self, values: np.ndarray) -> np.ndarray:
        """Which of some stored values are data."""
