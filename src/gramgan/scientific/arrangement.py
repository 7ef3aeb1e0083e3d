"""A scientific file as the network sees it: groups of one or three layers in [0, 1], without holes."""

import logging
from dataclasses import dataclass

import numpy as np

from gramgan.images import Raster, RasterInfo, Window
from gramgan.images.formats.base import Opened
from gramgan.ops.extend import REACH, extend_colours
from gramgan.scientific.bands import arrange
from gramgan.scientific.base import Reading, ScientificFile
from gramgan.scientific.radiometry import Radiometry, ValueRange, choose_range

_BLOCK = 512  # columns in which holes are filled at a time: most have none
_DIM = 1 / 8  # of the range: pictures that stay below are darker than any that a network has learned from

_FAR = 100  # times the range: no measurement, but what fills holes that a file does not tell of

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Channel:
    """A layer for the network: `range` becomes [0, 1]; `backdrop` stands where no valid pixel is near."""

    layer: int
    range: ValueRange
    backdrop: float


@dataclass(frozen=True)
class Arrangement:
    """What is drawn together (one or three channels each), and the layers of classes, which are repeated."""

    groups: tuple[tuple[Channel, ...], ...]
    classes: tuple[int, ...]

    @property
    def drawn(self) -> tuple[Channel, ...]:
        """The channels of all groups."""
        return tuple(channel for group in self.groups for channel in group)


def arrange_file(file: ScientificFile, reading: Reading) -> Arrangement:
    """Decide groups and ranges; everything depends on the file's valid values and on `reading` alone.

    Raises:
        UserError: there is no such band, or nothing says which values are black and white.
    """
    choices = arrange(reading.bands, file.grouping, len(file.layers), str(file.path))
    groups, classes = [], []
    for choice in choices:
        layers = [band - 1 for band in choice.bands]
        if choice.nearest:
            classes.extend(layers)
        else:
            groups.append(tuple(_channel(file, layer, reading.radiometry) for layer in layers))
    return Arrangement(tuple(groups), tuple(classes))


def _channel(file: ScientificFile, index: int, radiometry: Radiometry) -> Channel:
    layer = file.layers[index]
    values = file.overview(index)
    name = f"{file.path}: {layer.name}"
    found = choose_range(
        radiometry,
        dtype=file.dtype,
        natural=layer.natural,
        scale=layer.scale,
        offset=layer.offset,
        values=values,
        name=name,
    )
    if layer.inverted and found.low < found.high:
        found = ValueRange(found.high, found.low)
    if values.size == 0:
        return Channel(index, found, found.low)
    excess = np.abs(found.excess(values.astype(np.float64)))
    if excess.max() > _FAR * abs(found.high - found.low):
        _log.warning(
            "%s: there are values as far outside of the range %g to %g as %g; if that means 'no data', say so in the "
            "file, or it spoils the pixels around it",
            *(name, found.low, found.high, values[excess.argmax()]),
        )
    brightest = float(np.percentile(found.to_unit(values.astype(np.float32)), 99))
    if radiometry.kind == "auto" and file.dtype.itemsize > 1 and brightest < _DIM:
        _log.warning(
            "%s: nearly all values lie in the lowest %.0f %% of %g to %g, which is dark for the network; "
            "--radiometry says which values are black and white",
            name,
            max(100 * brightest, 1),
            found.low,
            found.high,
        )
    return Channel(index, found, float(values.mean(dtype=np.float64)))


def group_raster(file: ScientificFile, group: tuple[Channel, ...]) -> Raster:
    """The picture that the network sees: one or three channels in [0, 1], float32, holes filled."""
    colour_channels = 1 if len(group) == 1 else 3
    info = RasterInfo(file.path, file.width, file.height, colour_channels, has_alpha=False, dtype="float32")

    def samples(window: Window) -> np.ndarray:
        values = filled(file, group, window)
        unit = [channel.range.to_unit(plane) for channel, plane in zip(group, values, strict=True)]
        return np.stack(unit, axis=-1)

    return Raster(Opened(info, samples))


def filled(file: ScientificFile, group: tuple[Channel, ...], window: Window) -> np.ndarray:
    """Stored values `[channels, height, width]`, float32, the holes filled from the valid pixels around them.

    The same whichever window is asked for; what is stored in a hole plays no part. Values go `REACH` pixels into a
    hole, beyond that there is the channel's backdrop.
    """
    left, top = max(window.x - REACH, 0), max(window.y - REACH, 0)
    right = min(window.x + window.width + REACH, file.width)
    bottom = min(window.y + window.height + REACH, file.height)
    wide = Window(left, top, right - left, bottom - top)
    layers = [channel.layer for channel in group]
    valid = file.valid(layers, wide)
    if valid is None or valid.all():
        return file.read(layers, window).astype(np.float32)
    values = file.read(layers, wide).astype(np.float32)
    for plane, known, channel in zip(values, valid, group, strict=True):
        _fill(plane, known, channel.backdrop)
    x, y = window.x - left, window.y - top
    return values[:, y : y + window.height, x : x + window.width]


def _fill(plane: np.ndarray, known: np.ndarray, backdrop: float) -> None:
    """Fill `plane` in place where it is not `known`."""
    plane[~known] = backdrop
    width = plane.shape[1]
    for left in range(0, width, _BLOCK):
        right = min(left + _BLOCK, width)
        wide = slice(max(left - REACH, 0), min(right + REACH, width))
        if known[:, left:right].all() or not known[:, wide].any():
            continue
        extended = extend_colours(plane[None, :, wide], known[:, wide])[0]
        plane[:, left:right] = extended[:, left - wide.start : right - wide.start]
