"""The sharpness of a picture's sharpest edges: is it larger than its detail, and was it oversharpened?

Along rows and columns every monotone run of luma is an edge: its contrast is what it rises by, its width that contrast
over its steepest step (Marziliano, Dufaux, Winkler and Ebrahimi, A no-reference perceptual blur metric, ICIP 2002,
measure from end to end; a rise over its slope is less shaken by the tails). A step that a camera or a good filter
sampled is about one pixel wide; enlarging by s makes every edge s times wider, so the sharpest tell, whatever is out of
focus beside them. A halo is what an edge between two even places goes beyond both.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gramgan.condition.blocks import luma_of
from gramgan.condition.record import Softness

_LEAST_CONTRAST = 20.0  # grey levels, above noise
_FEWEST = 40  # edges, below which nothing is said
_WIDEST = 10.0  # pixels; what rises slower is no edge
_SHARPEST = 0.15  # share of the edges that tells
_STRONGEST = 0.5  # share of the edges, by contrast, that is looked at
SHARP_WIDTH = 1.05  # of the sharpest edges in pictures that were shrunk well
_NEAR, _FAR = 4, 9  # pixels from the end of an edge, between which an even place begins beside it
_EVEN = 0.12  # of the contrast, by which an even place may vary
_FEWEST_EVEN = 12  # edges between even places, below which nothing is said of halos


class _Runs(NamedTuple):
    """Of monotone runs: contrast, steepest step, and halo (a share of the contrast; NaN where no even places are)."""

    contrast: np.ndarray
    steepest: np.ndarray
    halo: np.ndarray


def measure_softness(windows: Sequence[np.ndarray], noise: float = 0.0) -> Softness | None:
    """Softness of samples `[3|1, H, W]` in grey levels with noise of that many; None without enough edges to say."""
    least = max(_LEAST_CONTRAST, 6 * noise)
    parts = [_runs(plane, least) for window in windows for plane in (luma_of(window), luma_of(window).T)]
    runs = _Runs(*(np.concatenate(values) for values in zip(*parts, strict=True)))
    if len(runs.contrast) < _FEWEST:
        return None
    strongest = runs.contrast >= np.quantile(runs.contrast, 1 - _STRONGEST)
    width = float(np.quantile(runs.contrast[strongest] / runs.steepest[strongest], _SHARPEST))
    halo = runs.halo[~np.isnan(runs.halo)]
    overshoot = float(np.median(halo)) if len(halo) >= _FEWEST_EVEN else None
    return Softness(width, max(1.0, width / SHARP_WIDTH), overshoot)


def _runs(plane: np.ndarray, least: float) -> _Runs:
    """The monotone runs of the rows that rise or fall by at least so much."""
    width = plane.shape[1]
    if width < 3:
        return _Runs(np.zeros(0), np.zeros(0), np.zeros(0))
    plane = np.ascontiguousarray(plane, np.float32)
    steps = np.pad(np.diff(plane, axis=1), ((0, 0), (0, 1))).ravel()  # a zero ends each row's last run
    starts = np.flatnonzero(np.diff(np.sign(steps), prepend=np.nan) != 0)
    ends = np.append(starts[1:], len(steps) - 1)
    contrast = np.abs(np.add.reduceat(steps, starts))
    steepest = np.maximum.reduceat(np.abs(steps), starts)
    strong = (contrast >= least) & (contrast <= _WIDEST * steepest)
    starts, ends = starts[strong], ends[strong]
    halo = np.full(len(starts), np.nan)
    inside = (starts % width >= _FAR) & (ends % width < width - _FAR) & (starts // width == ends // width)
    if inside.any():
        beside = np.arange(_NEAR, _FAR + 1)
        flat = plane.ravel()
        first, last = starts[inside], ends[inside]
        before, after = flat[first[:, None] - beside], flat[last[:, None] + beside]
        step = after.mean(axis=1) - before.mean(axis=1)
        size = np.abs(step)
        even = np.maximum(np.ptp(before, axis=1), np.ptp(after, axis=1)) <= _EVEN * size
        beyond = (flat[last] - flat[first]) * np.sign(step) - size
        halo[inside] = np.where(even & (size >= least), beyond / 2 / np.maximum(size, 1), np.nan)
    return _Runs(contrast[strong], steepest[strong], halo)
