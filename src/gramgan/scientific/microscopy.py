"""OME-TIFF and ImageJ TIFF: stacks of planes over depth, time and channels, with pixel sizes in physical units."""

import contextlib
import logging
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from gramgan.errors import UserError
from gramgan.images import Window
from gramgan.images.formats.vips_reader import check_size
from gramgan.scientific.bands import BandChoice
from gramgan.scientific.base import OVERVIEW, Enlarged, Layer, Note, Reading, ScientificFile
from gramgan.scientific.ome_xml import check_ome, enlarged_ome, significant_bits
from gramgan.scientific.radiometry import Range

_log = logging.getLogger(__name__)

DTYPES = ("uint8", "uint16", "int16", "float32")
TIFF_ERRORS = (
    tifffile.TiffFileError,
    struct.error,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    ArithmeticError,
    AssertionError,
    OSError,
    MemoryError,
    ElementTree.ParseError,
)
"""What tifffile and its decoders raise for damaged files."""

_TILE = 256
_CLASSIC_LIMIT = 4_000_000_000  # bytes; offsets in a classic TIFF have 32 bits
_LOOKED_AT = 16
_MAX_PAGES = 100_000
_LEFT_OUT = ("ROI", "Overlays", "RoiNames")  # places in the old image
_IMAGEJ_KEYS = (
    "unit",
    "spacing",
    "finterval",
    "fps",
    "loop",
    "mode",
    "min",
    "max",
    "Info",
    "Labels",
    "Ranges",
    "LUTs",
)
_IMAGEJ_PLACES = (("xorigin", 0), ("yorigin", 1))


class _Stack(ScientificFile):
    """Pages of one size and type in a TIFF; every page is a layer, or three if it is RGB.

    Args:
        path: the file.
        reading: plays no part in how it is read.
        allow_huge: lift the limit of pixels.

    Raises:
        UserError: the file is damaged, or its pages are not of one size and a type that is read.
    """

    suffixes = (".tif", ".tiff")

    def __init__(self, path: Path, reading: Reading, *, allow_huge: bool = False) -> None:
        self.path = path
        del reading
        with self._refusing():
            self._file = tifffile.TiffFile(path)
            try:
                self._look(allow_huge)
            except BaseException:
                self._file.close()
                raise

    def _look(self, allow_huge: bool) -> None:
        first = self._file.pages.first
        shape, dtype = first.shape, first.dtype
        if dtype is None or dtype.name not in DTYPES:
            raise UserError(f"{self.path}: its samples are of type {dtype}; convert them to one of {', '.join(DTYPES)}")
        if len(shape) not in (2, 3) or (len(shape) == 3 and (shape[2] != 3 or first.planarconfig != 1)):
            raise UserError(f"{self.path}: pages of the shape {'x'.join(map(str, shape))} are neither grey nor RGB")
        self.dtype = dtype.newbyteorder("=")
        self.height, self.width = shape[:2]
        check_size(self.path, self.width, self.height, allow_huge)
        self._colours = 1 if len(shape) == 2 else 3
        self.pages = self._count_pages()
        if not 1 <= self.pages <= _MAX_PAGES:
            raise UserError(f"{self.path}: damaged {self.form} ({self.pages} pages); get a whole copy")
        self._cached: tuple[int, np.ndarray] | None = None
        self.has_holes = self.dtype.kind == "f"
        natural = self._natural_range()
        names = ("",) if self._colours == 1 else (" red", " green", " blue")
        self.layers = tuple(
            Layer(f"plane {page + 1}{name}", natural=natural) for page in range(self.pages) for name in names
        )

    def _count_pages(self) -> int:
        pages = self._file.pages
        if any(page.shape != pages.first.shape or page.dtype != pages.first.dtype for page in pages):
            raise UserError(f"{self.path}: its pages differ in size or type; split it into files of one kind")
        return len(pages)

    def _natural_range(self) -> Range | None:
        return None

    @property
    def grouping(self) -> tuple[BandChoice, ...]:
        """The three layers of an RGB page."""
        if self._colours == 1:
            return ()
        return tuple(BandChoice((first, first + 1, first + 2)) for first in range(1, 3 * self.pages + 1, 3))

    def read(self, layers: Sequence[int], window: Window) -> np.ndarray:
        """See `ScientificFile.read`."""
        rows = slice(window.y, window.y + window.height)
        columns = slice(window.x, window.x + window.width)
        planes = []
        for layer in layers:
            page, colour = divmod(layer, self._colours)
            planes.append(self._page(page)[rows, columns, colour])
        return np.stack(planes)

    def valid(self, layers: Sequence[int], window: Window) -> np.ndarray | None:
        """See `ScientificFile.valid`: NaN and infinity are holes."""
        return np.isfinite(self.read(layers, window)) if self.has_holes else None

    def overview(self, layer: int) -> np.ndarray:
        """See `ScientificFile.overview`; of pages all over the file, so that it is the same for all of them."""
        pages = np.unique(np.linspace(0, self.pages - 1, min(self.pages, _LOOKED_AT)).astype(int))
        step = max(1, max(self.width, self.height) // OVERVIEW)
        colour = layer % self._colours
        values = np.concatenate([self._page(int(page))[::step, ::step, colour].ravel() for page in pages])
        return values[np.isfinite(values)]

    def close(self) -> None:
        """See `ScientificFile.close`."""
        self._cached = None
        self._file.close()

    def _decode(self, page: int) -> np.ndarray:
        return self._file.pages[page].asarray()

    def _page(self, page: int) -> np.ndarray:
        """One page, `[height, width, colours]`."""
        if self._cached is None or self._cached[0] != page:
            with self._refusing():
                values = np.asarray(self._decode(page)).reshape(self.height, self.width, self._colours)
            self._cached = page, values.astype(self.dtype, copy=False)
        return self._cached[1]

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        """One line for whatever tifffile finds wrong with the file."""
        try:
            yield
        except UserError:
            raise
        except TIFF_ERRORS as error:
            text = " ".join(str(error).split())[:300] or type(error).__name__
            raise UserError(
                f"{self.path}: damaged {self.form} or one of a kind that cannot be read ({text}); convert it, or "
                "install its decoder with pip install 'gramgan[microscopy]'"
            ) from None

    def _bytes(self, result: Enlarged) -> int:
        return result.width * result.height * self._colours * self.pages * self.dtype.itemsize

    def _tiles(self, page: int, result: Enlarged) -> Iterator[np.ndarray]:
        """Tiles of a page of the result, `[rows, columns, colours]`, in reading order."""
        for top in range(0, result.height, _TILE):
            band = Window(0, top, result.width, min(_TILE, result.height - top))
            rows = np.stack([result.read(page * self._colours + colour, band) for colour in range(self._colours)], -1)
            padded = np.zeros((_TILE, -(-result.width // _TILE) * _TILE, self._colours), self.dtype)
            padded[: band.height, : band.width] = rows
            for left in range(0, padded.shape[1], _TILE):
                tile = padded[:, left : left + _TILE]
                yield tile if self._colours == 3 else tile[:, :, 0]


class OmeTiff(_Stack):
    """An OME-TIFF. Its XML stays as it is but for sizes, pixel sizes and what would no longer be true."""

    form = "OME-TIFF"

    def _look(self, allow_huge: bool) -> None:
        check_ome(self._file.pages.first.description, self.path)
        super()._look(allow_huge)

    def _natural_range(self) -> Range | None:
        bits = significant_bits(self._file.pages.first.description)
        return Range(0, 2**bits - 1) if bits is not None and self.dtype.kind == "u" else None

    def save(self, result: Enlarged, temporary: Path, note: Note) -> None:
        """See `ScientificFile.save`; page by page in the source's order, deflated, in tiles."""
        xml = enlarged_ome(
            self._file.pages.first.description, result.width, result.height, note.sentence, note.identity
        )
        across, down = result.width / self.width, result.height / self.height
        with tifffile.TiffWriter(temporary, bigtiff=self._bytes(result) > _CLASSIC_LIMIT, ome=False) as writer:
            for page in range(self.pages):
                writer.write(
                    self._tiles(page, result),
                    shape=(result.height, result.width, 3)[: 2 if self._colours == 1 else 3],
                    dtype=self.dtype,
                    photometric="rgb" if self._colours == 3 else "minisblack",
                    tile=(_TILE, _TILE),
                    compression="zlib",
                    predictor=self.dtype.kind != "f",
                    description=xml if page == 0 else None,
                    metadata=None,
                    software=False,
                    **_resolution(self._file.pages.first, across, down),
                )


class ImageJTiff(_Stack):
    """A TIFF that ImageJ or Fiji wrote. What it says goes on but for regions of interest, which are left out."""

    form = "ImageJ TIFF"

    def _look(self, allow_huge: bool) -> None:
        self._series = self._file.series[0]
        super()._look(allow_huge)
        self._axes = self._series.axes
        self._shape = self._series.shape

    def _count_pages(self) -> int:
        # ImageJ writes one directory only for stacks of more than 4 GB.
        planes = int(np.prod(self._series.shape)) // (self.width * self.height * self._colours)
        said = int((self._file.imagej_metadata or {}).get("images", planes))
        if planes != said or (planes != len(self._file.pages) and self._series.dataoffset is None):
            raise UserError(f"{self.path}: it says {said} planes and has {len(self._file.pages)}; get a whole copy")
        return planes

    def _decode(self, page: int) -> np.ndarray:
        if len(self._file.pages) == self.pages:
            return self._file.pages[page].asarray()
        size = self.width * self.height * self._colours
        stored = self._file.pages.first.dtype
        assert stored is not None
        assert self._series.dataoffset is not None
        handle = self._file.filehandle
        handle.seek(self._series.dataoffset + page * size * stored.itemsize)
        return handle.read_array(stored.newbyteorder(self._file.byteorder), size)

    def check_result(self, width: int, height: int, target: Path) -> None:
        """See `ScientificFile.check_result`: ImageJ reads nothing above 4 GB in its own kind of TIFF."""
        size = width * height * self._colours * self.pages * self.dtype.itemsize
        if size > _CLASSIC_LIMIT:
            raise UserError(
                f"{target}: {width}x{height} in {self.pages} planes is more than the 4 GB that an ImageJ TIFF holds; "
                "use a smaller --scale, or save the source as OME-TIFF first"
            )

    def save(self, result: Enlarged, temporary: Path, note: Note) -> None:
        """See `ScientificFile.save`; not compressed, as ImageJ wants it."""
        across, down = result.width / self.width, result.height / self.height
        said = dict(self._file.imagej_metadata or {})
        metadata: dict[str, Any] = {name: said[name] for name in _IMAGEJ_KEYS if name in said}
        for name, axis in _IMAGEJ_PLACES:
            if name in said:
                metadata[name] = float(said[name]) * (across, down)[axis]
        if any(name in said for name in _LEFT_OUT):
            _log.info("%s: regions of interest and overlays are left out", self.path)
        before = str(metadata.get("Info", "") or "")
        metadata["Info"] = f"{before}\n{note.sentence}" if before else note.sentence
        metadata["axes"] = self._axes
        shape = list(self._shape)
        shape[self._axes.index("Y")], shape[self._axes.index("X")] = result.height, result.width
        with tifffile.TiffWriter(temporary, imagej=True, byteorder=">") as writer:
            writer.write(
                self._planes(result),
                shape=tuple(shape),
                dtype=self.dtype,
                photometric="rgb" if self._colours == 3 else "minisblack",
                metadata=metadata,
                software=False,
                **_resolution(self._file.pages.first, across, down),
            )

    def _planes(self, result: Enlarged) -> Iterator[np.ndarray]:
        whole = Window(0, 0, result.width, result.height)
        for page in range(self.pages):
            planes = [result.read(page * self._colours + colour, whole) for colour in range(self._colours)]
            yield np.stack(planes, axis=-1) if self._colours == 3 else planes[0]


def _resolution(page: tifffile.TiffPage, across: float, down: float) -> dict[str, Any]:
    """Pixels per unit, as a TIFF has it; nothing where it says nothing."""
    tags = page.tags
    if "XResolution" not in tags or "YResolution" not in tags:
        return {}
    values = [
        tag.value[0] / tag.value[1] if tag.value[1] else 0.0 for tag in (tags["XResolution"], tags["YResolution"])
    ]
    unit = int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else 1
    return {"resolution": (values[0] * across, values[1] * down), "resolutionunit": unit}
