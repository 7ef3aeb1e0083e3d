"""The passes of the network that lead to a size, one picture after the other, and what is said about them."""

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from gramgan.images import Raster, Window
from gramgan.images.canvas import Canvas
from gramgan.progress import Progress
from gramgan.upscaling.control import Control
from gramgan.upscaling.engine import SCALE, Sink, Upscaler
from gramgan.upscaling.scales import Scale, ScalePlan

_STRIP = 256  # rows of the result that are resized at a time

_log = logging.getLogger(__name__)


class NamedSink(Sink, Protocol):
    """A sink beside whose `path` the canvases between the passes are kept."""

    @property
    def path(self) -> Path: ...  # noqa: D102


def run_passes(
    upscaler: Upscaler,
    raster: Raster,
    writer: NamedSink,
    plan: ScalePlan,
    key: str | None,
    control: Control | None,
    progress: Callable[[int], Progress],
) -> None:
    """One picture, by all passes of `plan`, into `writer`.

    Args:
        upscaler: the network.
        raster: the picture.
        writer: entered; takes the result, in the picture's channels.
        plan: the passes.
        key: says all that decides the pixels, so that passes go on after a crash (see `RasterWriter`); or None.
        control: the refinement that the upscaler was made with, for its report.
        progress: gives the callback of a pass, by its number from 0.

    Raises:
        UserError: see `Upscaler.upscale_raster`.
    """
    name = str(raster.info.path)
    with contextlib.ExitStack() as stack:
        dtype = np.dtype(np.float32 if raster.info.bits == 32 else np.uint16)
        steps: list[Canvas] = []
        for number, stage in enumerate(plan.stages[: intermediates(plan)], start=1):
            shape = (SCALE * stage.height, SCALE * stage.width, raster.info.channels)
            steps.append(stack.enter_context(Canvas(writer.path, shape, dtype, key, step=number)))
        for number, stage in enumerate(plan.stages):
            source = raster
            if number:
                source = steps[number - 1].read_as(replace(raster.info, width=stage.width, height=stage.height))
            sink = steps[number] if number < len(steps) else writer
            upscaler.upscale_raster(source, sink, progress(number))
            report_residual(name, number, plan, control)
        if not plan.native:
            _copy(steps[-1].read_as(replace(raster.info, width=plan.width, height=plan.height)), writer)


def _copy(raster: Raster, writer: NamedSink) -> None:
    writer.follow({"strip": _STRIP})
    for top in range(0, writer.height, _STRIP):
        window = Window(0, top, writer.width, min(_STRIP, writer.height - top))
        if not writer.holds(window):
            writer.write(window, raster.read(window))


def intermediates(plan: ScalePlan) -> int:
    """How many passes write a picture that is read again: all but the last one if that gives the result's size."""
    return len(plan.stages) - plan.native


def tell_plan(name: str, plan: ScalePlan, scale: Scale) -> None:
    """Say in the log by which passes the picture `name` is enlarged, and whether its proportions change."""
    if len(plan.stages) > 1 or not plan.native:
        _log.info("%s: %s", name, plan.describe())
    source = next(iter(plan.stages))
    asked = plan.width / plan.height * source.height / source.width
    if scale.factor is None and not 0.99 < asked < 1.01:
        _log.info("%s: %dx%d changes its proportions by %.0f %%", name, plan.width, plan.height, 100 * abs(asked - 1))


def report_residual(name: str, number: int, plan: ScalePlan, control: Control | None) -> None:
    """Say in the log how far the result of a pass, shrunk again, is from its input."""
    residual = None if control is None else control.take_residual()
    if residual is not None:
        of = f"pass {number + 1}" if len(plan.stages) > 1 else "the result"
        _log.info(
            "%s: shrunk again, %s differs from its input by %.2f grey levels (%.2f before; root mean square)",
            name,
            of,
            residual.after,
            residual.before,
        )


def comment(scale: Scale) -> str:
    """The description that every result carries."""
    much = f"{scale}x" if scale.factor is not None else f"to {scale}"
    return f"Upscaled {much} with Gram-GAN; fine texture is synthesised, not measured."


def resume_key(source: Path, settings: str | None) -> str | None:
    """What decides the pixels of the result of `source` with `settings` (see `RasterWriter`); None for None."""
    if settings is None:
        return None
    status = source.stat()
    text = json.dumps([str(source.resolve()), status.st_size, status.st_mtime_ns, settings])
    return hashlib.sha256(text.encode()).hexdigest()


class Parts:
    """One count of tiles for all passes over all pages; of those to come it is estimated from their pixels."""

    def __init__(self, progress: Progress, plan: ScalePlan, pages: int = 1) -> None:
        self._progress = progress
        self._pixels = [stage.width * stage.height for stage in plan.stages] * pages
        self.stages = len(plan.stages)
        self._tiles: list[int] = []  # known from the first report on

    def part(self, index: int) -> Progress:
        """The callback of one pass over one page."""
        if len(self._pixels) == 1:
            return self._progress

        def report(done: int, total: int) -> None:
            if not self._tiles:
                self._tiles = [max(1, round(total * one / self._pixels[0])) for one in self._pixels]
            before, own = sum(self._tiles[:index]), self._tiles[index]
            self._progress(before + own * done // total, sum(self._tiles))

        return report
