"""Scientific files enlarged: every group of layers through the network, and all of them back into stored values."""

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from gramgan.errors import UserError
from gramgan.files import atomic_path
from gramgan.images import Raster, RasterInfo, Window
from gramgan.images.canvas import Canvas, WindowPlan, remove_steps
from gramgan.names import shown
from gramgan.ops import bicubic
from gramgan.progress import Progress
from gramgan.scientific.arrangement import Arrangement, Channel, arrange_file, filled, group_raster
from gramgan.scientific.bands import parse_bands
from gramgan.scientific.base import Note, Reading, ScientificFile, spare_path
from gramgan.scientific.detect import open_scientific
from gramgan.scientific.radiometry import parse_radiometry
from gramgan.scientific.record import fit_bands, fit_radiometry
from gramgan.scientific.sidecars import tell_of_older
from gramgan.upscaling.model import OpenModel
from gramgan.upscaling.passes import Enlarger, comment
from gramgan.upscaling.settings import Settings

_FEW = 8
"""Layers that have a line each in the log; of the frames of a film there is one for all."""

_log = logging.getLogger(__name__)


def reading_of(settings: Settings) -> Reading:
    """How scientific files are to be read.

    Raises:
        UserError: bands or radiometry are not readable.
    """
    return Reading(parse_bands(settings.bands), parse_radiometry(settings.radiometry), settings.cog)


def upscale_scientific(
    source: Path, target: Path, settings: Settings, model: OpenModel, enlarger: Enlarger, progress: Progress
) -> bool:
    """Enlarge a scientific file, with memory bounded by one row of tiles; False if `source` is an ordinary picture.

    What the network sees is in [0, 1] by each layer's range; the range is inverted exactly, and what lies outside of it
    is enlarged bicubically and added, so that no value is cut off. Holes are filled for the network from the valid
    pixels around them and are holes of the same values in the result.

    Args:
        source: the file.
        target: where the result goes. Written whole or not at all.
        settings: how it is read; bands and radiometry that are not given are those that the weights learned with.
        model: the weights.
        enlarger: what enlarges every group of layers with them.
        progress: told (tiles done, tiles in all), of all groups and passes together.

    Raises:
        UserError: the source cannot be read, the target cannot be written, or a setting does not fit file or weights.
    """
    learned = replace(
        settings,
        bands=tuple(fit_bands(settings.bands, model.card.settings, model.name)),
        radiometry=fit_radiometry(settings.radiometry, model.card.settings, model.name),
    )
    reading = reading_of(learned)
    if (tuple(settings.bands), settings.radiometry) != (learned.bands, learned.radiometry):
        reading = replace(reading, learned_by=model.name)
    file = open_scientific(source, reading, allow_huge=settings.allow_huge)
    if file is None:
        return False
    with contextlib.closing(file):
        if settings.icc == "srgb":
            raise UserError(f"{source}: icc srgb would change its values; leave it out for a {file.form}")
        _enlarge(file, target, arrange_file(file, reading), model.name, enlarger, progress)
        if file.form != "DICOM":
            tell_of_older(target)
    return True


def _enlarge(
    file: ScientificFile, target: Path, arrangement: Arrangement, model: str, enlarger: Enlarger, progress: Progress
) -> None:
    if target.suffix.lower() not in file.suffixes:
        raise UserError(
            f"{target}: a '{target.suffix}' file cannot hold what a {file.form} says besides its values; end the name "
            f"in {file.suffixes[0]}"
        )
    name = str(file.path)
    info = RasterInfo(file.path, file.width, file.height, 1, has_alpha=False, dtype="float32")
    course = enlarger.begin(info, progress, max(len(arrangement.groups), 1))
    plan = course.plan
    file.check_result(plan.width, plan.height, target)
    if not arrangement.groups:
        _log.warning("%s: all its layers are classes; they are repeated, and the network has nothing to do", name)
    drawn = arrangement.drawn
    planes = {channel.layer: plane for plane, channel in enumerate(drawn)}
    dtype = np.dtype(np.float32 if file.dtype.kind == "f" else np.uint16)
    each = replace(enlarger, tells=len(drawn) <= _FEW)
    with Canvas(target, (plan.height * len(drawn), plan.width, 1), dtype, course.key, step=1) as canvas:
        remove_steps(target, 2)
        layers = _Layers(canvas, plan.height)
        for number, group in enumerate(arrangement.groups):
            own = [planes[channel.layer] for channel in group]
            sink = _LayerSink(layers, own)
            if not layers.complete(own):
                each.raster(group_raster(file, group), sink, course, number)
        if not each.tells:
            enlarger.tell(name, len(plan.passes) - 1, plan)
        with atomic_path(target) as temporary:
            canvas.note_temporary(temporary)
            canvas.note_temporary(spare_path(temporary))
            result = _Result(file, arrangement, layers, planes)
            details = {"MODEL": model, "SCALE": str(enlarger.scale), **_details(file, arrangement)}
            file.save(result, temporary, Note(target, comment(enlarger.scale), details, enlarger.identity))
        result.report()


def _details(file: ScientificFile, arrangement: Arrangement) -> dict[str, str]:
    drawn = sorted(arrangement.drawn, key=lambda channel: channel.layer)
    ranges = [f"{one.layer + 1}:{one.range.low:.17g},{one.range.high:.17g}" for one in drawn]
    groups = [",".join(str(channel.layer + 1) for channel in group) for group in arrangement.groups]
    classes = [f"{layer + 1}:nearest" for layer in arrangement.classes]
    return {"BANDS": " ".join(groups + classes), "RANGES": " ".join(ranges), "SOURCE": shown(file.path.name)}


class _Layers:
    """Planes of one size below one another on a canvas of one band."""

    def __init__(self, canvas: Canvas, height: int) -> None:
        self.canvas, self.width, self.height = canvas, canvas.width, height
        self._finished: Counter[int] = Counter()  # pixels of each plane
        for window in canvas.finished:
            self._finished[window.y // height] += window.width * window.height

    def complete(self, planes: Iterable[int]) -> bool:
        """Whether nothing of these planes is missing."""
        return all(self._finished[plane] == self.width * self.height for plane in planes)

    def below(self, plane: int, window: Window) -> Window:
        """Where a window of a plane lies on the canvas."""
        return Window(window.x, plane * self.height + window.y, window.width, window.height)

    def follow(self, plan: WindowPlan) -> None:
        """Have windows follow another plan (`Canvas.follow`); of planes that are complete nothing is forgotten."""
        if plan != self.canvas.plan:
            self.canvas.follow(plan, keep=lambda window: self.complete([window.y // self.height]))
            self._finished = Counter({plane: area for plane, area in self._finished.items() if self.complete([plane])})

    def write(self, plane: int, window: Window, values: np.ndarray) -> None:
        """Put `[height, width]` in [0, 1] where `window` is; nothing if it is there, from a job that was killed."""
        place = self.below(plane, window)
        if not self.canvas.holds(place):
            self.canvas.write(place, values[None])
            self._finished[plane] += window.width * window.height

    @cached_property
    def finished(self) -> Raster:
        """All planes, float32 in [0, 1], when they are complete."""
        canvas = self.canvas
        return canvas.read_as(
            RasterInfo(canvas.target, canvas.width, canvas.height, 1, has_alpha=False, dtype="float32")
        )


class _LayerSink:
    """Takes a picture of one or three channels, each of which is a plane of `_Layers`."""

    def __init__(self, layers: _Layers, planes: Sequence[int]) -> None:
        target = layers.canvas.target
        self.path = target.with_name(f"{target.name}.layer{planes[0] + 1}")
        self.width, self.height = layers.width, layers.height
        self.follow = layers.follow
        self._layers, self._planes = layers, planes

    @property
    def plan(self) -> WindowPlan | None:
        return self._layers.canvas.plan

    def holds(self, window: Window) -> bool:
        return all(self._layers.canvas.holds(self._layers.below(plane, window)) for plane in self._planes)

    def write(self, window: Window, array: np.ndarray) -> None:
        for plane, values in zip(self._planes, array, strict=True):
            self._layers.write(plane, window, values)


class _Result:
    """The `Enlarged` of a file whose planes are finished."""

    def __init__(self, file: ScientificFile, arrangement: Arrangement, layers: _Layers, planes: dict[int, int]) -> None:
        self.width, self.height = layers.width, layers.height
        self._file, self._layers, self._planes = file, layers, planes
        self._channels = {channel.layer: channel for channel in arrangement.drawn}
        self._sums = {layer: np.zeros(5) for layer in self._channels}

    def read(self, layer: int, window: Window) -> np.ndarray:
        """Stored values of a layer `[height, width]`, of the file's type."""
        repeated = self.repeated(lambda place: self._file.read([layer], place)[0], window)
        channel = self._channels.get(layer)
        if channel is None:
            return repeated
        values = self._drawn(channel, window)
        dtype = self._file.dtype
        held = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
        least, greatest = self._file.limits or (float(held.min), float(held.max))
        if dtype.kind != "f":
            values = np.floor(values + 0.5)
        values = np.clip(values, least, greatest).astype(dtype)
        for forbidden in self._file.layers[layer].forbidden:
            _avoid(values, forbidden, (least, greatest))
        valid = self.repeated(lambda place: self._valid(layer, place), window) if self._file.has_holes else None
        if valid is not None:
            values = np.where(valid, values, repeated)
        self._count(layer, values, repeated, valid)
        return values

    def repeated(self, read: Callable[[Window], np.ndarray], window: Window) -> np.ndarray:
        """Something of the source, `read(window of the source)`, enlarged by nearest neighbour."""
        rows = _nearest(self._file.height, self.height, window.y, window.height)
        columns = _nearest(self._file.width, self.width, window.x, window.width)
        top, left = int(rows[0]), int(columns[0])
        source = read(Window(left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top))
        return source[rows - top][:, columns - left]

    def report(self) -> None:
        """Say in the log how mean and deviation of every layer have come through, in physical units.

        Of many layers, the one whose mean has changed most.
        """
        sums = {layer: one for layer, one in self._sums.items() if one[0] > 0}
        if len(sums) > _FEW:
            most = max(sums, key=lambda layer: abs(sums[layer][3] - sums[layer][1]) / sums[layer][0])
            _log.info("%s: of %d layers, this one's mean has changed most:", self._file.path, len(sums))
            sums = {most: sums[most]}
        for layer, (count, before, before_squared, after, after_squared) in sorted(sums.items()):
            about = self._file.layers[layer]
            means = [about.scale * total / count + about.offset for total in (before, after)]
            deviations = [
                abs(about.scale) * max(squared / count - (total / count) ** 2, 0.0) ** 0.5
                for total, squared in ((before, before_squared), (after, after_squared))
            ]
            _log.info(
                "%s: %s: mean %.6g, in the result %.6g; standard deviation %.6g, in the result %.6g%s",
                self._file.path,
                about.name,
                *means,
                *deviations,
                f" ({about.unit})" if about.unit else "",
            )

    def _drawn(self, channel: Channel, window: Window) -> np.ndarray:
        """Stored values, float64, not rounded."""
        place = self._layers.below(self._planes[channel.layer], window)
        values = channel.range.from_unit(self._layers.finished.read(place)[0])
        if channel.range.covers(self._file.dtype):
            return values
        rows = bicubic.taps(self._file.height, self.height, window.y, window.y + window.height)
        columns = bicubic.taps(self._file.width, self.width, window.x, window.x + window.width)
        around = Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        excess = channel.range.excess(filled(self._file, (channel,), around)[0])
        if excess.any():
            values += bicubic.enlarge_part(excess.astype(np.float64), rows, columns)
        return values

    def _valid(self, layer: int, window: Window) -> np.ndarray:
        known = self._file.valid([layer], window)
        return np.ones((window.height, window.width), bool) if known is None else known[0]

    def _count(self, layer: int, values: np.ndarray, repeated: np.ndarray, valid: np.ndarray | None) -> None:
        after, before = (one.astype(np.float64) for one in (values, repeated))
        if valid is not None:
            after, before = after[valid], before[valid]
        self._sums[layer] += after.size, before.sum(), np.square(before).sum(), after.sum(), np.square(after).sum()


def _nearest(length: int, new: int, start: int, count: int) -> np.ndarray:
    """Which of `length` old pixels stand for `count` of `new` ones from `start` on."""
    return np.minimum(((2 * np.arange(start, start + count, dtype=np.int64) + 1) * length) // (2 * new), length - 1)


def _avoid(values: np.ndarray, forbidden: tuple[float, float], held: tuple[float, float]) -> None:
    """Move values, in place, that would by chance mean "no data", to the nearest that do not and that are `held`."""
    low, high = forbidden
    exact = values.astype(np.float64)  # what a file forbids can be beyond the type
    struck = (exact >= low) & (exact <= high)
    if not struck.any():
        return
    if values.dtype.kind == "f":
        below, above = (np.nextafter(np.float32(end), np.float32(to)) for end, to in ((low, "-inf"), (high, "inf")))
    else:
        below, above = low - 1, high + 1
    up = (exact - low >= high - exact) & (above <= held[1])
    values[struck] = np.where(up | (below < held[0]), above, below)[struck]
