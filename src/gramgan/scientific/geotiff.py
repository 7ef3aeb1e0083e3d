"""GeoTIFF: any number of bands with their place on Earth, no-data values, masks, tags, colour tables and overviews."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window as RasterioWindow

from gramgan.errors import UserError
from gramgan.images import Window
from gramgan.images.formats.vips_reader import check_pixel_count
from gramgan.scientific.bands import BandChoice
from gramgan.scientific.base import (
    OVERVIEW,
    SAMPLE_TYPES,
    Enlarged,
    Layer,
    Note,
    Reading,
    ScientificFile,
    is_measurement,
)
from gramgan.scientific.gdal import ALONE, GDAL_ERRORS, gdal_reason, placed_or_not, session
from gramgan.scientific.geotiff_facts import read_facts
from gramgan.scientific.geotiff_writer import write_geotiff
from gramgan.scientific.radiometry import ValueRange
from gramgan.scientific.sidecars import reachable, shown_alone

_log = logging.getLogger(__name__)

_COLOURS = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]


class GeoTiff(ScientificFile):
    """An open GeoTIFF, for reading.

    Bands are valid where a no-data value, an alpha band, a mask, NaN or a float of `NO_MEASUREMENT` does not say
    otherwise. Bands with a colour table, alpha bands and bands of one bit are classes: they are repeated, not drawn.
    Of the files beside it, those that say where it lies and what it means are read; no other file is, and no server.

    Args:
        path: the file.
        reading: how the result is to be written.
        allow_huge: lift the limit of pixels.

    Raises:
        UserError: the file is damaged, too large, or of a type that is not read.
    """

    form = "GeoTIFF"
    suffixes = (".tif", ".tiff")

    def __init__(self, path: Path, reading: Reading, *, allow_huge: bool = False) -> None:
        self.path = path
        self._cloud_optimized = reading.cloud_optimized
        with refusing_geotiff(path), placed_or_not(), shown_alone(path) as shown:
            self._data = rasterio.open(shown, driver="GTiff")
            check_pixel_count(path, self._data.width, self._data.height, allow_huge)
            if self._data.subdatasets:
                raise UserError(
                    f"{path}: it holds {len(self._data.subdatasets)} rasters; split it first "
                    f"(gdal_translate GTIFF_DIR:1:{path.name} one.tif)"
                )
            self._facts = read_facts(self._data, path)
            kinds = set(self._data.dtypes)
            self._masked = any(MaskFlags.all_valid not in flags for flags in self._data.mask_flag_enums)
        facts = self._facts
        self.width, self.height = facts.width, facts.height
        if len(kinds) > 1 or not kinds <= set(SAMPLE_TYPES):
            raise UserError(
                f"{path}: its samples are of type {', '.join(sorted(kinds))}; convert them to one of "
                f"{', '.join(SAMPLE_TYPES)} (gdal_translate -ot)"
            )
        self.dtype = np.dtype(facts.dtype)
        if facts.bits is not None and self.dtype.kind == "u":
            self.limits = (0.0, 2.0**facts.bits - 1)
        self.layers = tuple(
            Layer(
                f"band {band + 1}",
                facts.scales[band],
                facts.offsets[band],
                facts.units[band],
                natural=ValueRange(*self.limits) if self.limits else None,
                inverted=facts.white_is_zero and band == 0,
                forbidden=tuple((value, value) for value in facts.no_data_of(band)),
            )
            for band in range(len(facts.meanings))
        )
        if any(layer.scale == 0 for layer in self.layers):
            raise UserError(f"{path}: a band has the scale 0, which leaves nothing of its values; correct its tags")
        if reading.cloud_optimized and (facts.white_is_zero or facts.premultiplied):
            said = "a colour table instead of WhiteIsZero" if facts.white_is_zero else "unassociated alpha"
            _log.warning("%s: as a cloud-optimized GeoTIFF it gets %s, and the same values", path, said)
        self.has_holes = self._masked or self.dtype.kind == "f"

    @property
    def grouping(self) -> tuple[BandChoice, ...]:
        """Red, green and blue where the file names them, or where it has three bands and names none."""
        meanings = self._facts.meanings
        classes = tuple(
            BandChoice((band,), nearest=True)
            for band, meaning in enumerate(meanings, start=1)
            if meaning in (ColorInterp.palette, ColorInterp.alpha) or self._facts.bits == 1
        )
        if all(meanings.count(colour) == 1 for colour in _COLOURS):
            return (BandChoice(tuple(meanings.index(colour) + 1 for colour in _COLOURS)), *classes)
        if len(meanings) == 3 and not classes and not set(_COLOURS) & set(meanings):
            return (BandChoice((1, 2, 3)),)
        return classes

    def read(self, layers: Sequence[int], window: Window) -> np.ndarray:
        """Stored values `[len(layers), height, width]` of the bands."""
        with refusing_geotiff(self.path):
            return self._data.read([layer + 1 for layer in layers], window=_windowed(window))

    def valid(self, layers: Sequence[int], window: Window) -> np.ndarray | None:
        """Where mask, alpha, no-data value and NaN leave data; None where nothing is missing."""
        known = None
        with refusing_geotiff(self.path):
            if self._masked:
                known = self._data.read_masks([layer + 1 for layer in layers], window=_windowed(window)) > 0
        if self.dtype.kind == "f":
            numbers = is_measurement(self.read(layers, window))
            known = numbers if known is None else known & numbers
        return known

    def overview(self, layer: int) -> np.ndarray:
        """Valid values of rows and columns at equal distances, `[n]`.

        The file's own overviews play no part: it can say that they are in another file, or on a server.
        """
        step = max(1, max(self.width, self.height) // OVERVIEW)
        found = []
        for top in range(0, self.height, step):
            row = Window(0, top, self.width, 1)
            values, known = self.read([layer], row)[..., ::step], self.valid([layer], row)
            found.append(values.ravel() if known is None else values[known[..., ::step]])
        return np.concatenate(found)

    def save(self, result: Enlarged, temporary: Path, note: Note) -> None:
        """Write the result as GeoTIFF with this file's place, tags and masks."""
        with reachable(temporary) as path:
            write_geotiff(self._facts, self._mask, result, path, note, cloud_optimized=self._cloud_optimized)

    def close(self) -> None:
        """Close the dataset."""
        self._data.close()

    def _mask(self, window: Window) -> np.ndarray:
        with refusing_geotiff(self.path):
            return self._data.read_masks(1, window=_windowed(window))


def _windowed(window: Window) -> RasterioWindow:
    return RasterioWindow(window.x, window.y, window.width, window.height)  # pyright: ignore[reportCallIssue]


@contextlib.contextmanager
def refusing_geotiff(path: Path) -> Iterator[None]:
    """One line for whatever GDAL finds wrong with the file at `path`."""
    try:
        with session(**ALONE):
            yield
    except GDAL_ERRORS as error:
        raise UserError(
            f"{path}: damaged GeoTIFF or one of a kind that cannot be read ({gdal_reason(error)}); convert it"
        ) from None
