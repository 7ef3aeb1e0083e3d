"""Keys' cubic (a = -0.5) by whole factors in NumPy: `gramgan.ops.resize` for backends without torch."""

from functools import cache
from typing import NamedTuple

import numpy as np

SCALE = 4
"""How many times smaller LR is than HR where nobody says otherwise."""
CONTEXT = 2
"""Low-resolution pixels on each side that a pixel of either result depends on."""


def enlarge(planes: np.ndarray, factor: int = SCALE) -> np.ndarray:
    """Larger, as MATLAB's `imresize(image, factor)`: float32 `[C, H, W]` → `[C, fH, fW]`, not clamped."""
    return _enlarge_rows(_enlarge_rows(planes.swapaxes(1, 2), factor).swapaxes(1, 2), factor)


def shrink(planes: np.ndarray, factor: int = SCALE) -> np.ndarray:
    """Smaller, anti-aliased, as MATLAB's `imresize(image, 1/factor)` before rounding; not clamped.

    Args:
        planes: float32 `[C, H, W]`; H and W multiples of `factor`.
        factor: how many times.

    Returns:
        float32 `[C, H/factor, W/factor]`.

    Raises:
        ValueError: H or W is not a multiple of `factor`.
    """
    if planes.shape[1] % factor or planes.shape[2] % factor:
        raise ValueError(f"planes of {planes.shape[1]}x{planes.shape[2]} cannot be divided by {factor}")
    return _shrink_rows(_shrink_rows(planes, factor).swapaxes(1, 2), factor).swapaxes(1, 2)


def enlarge_part(plane: np.ndarray, rows: "Taps", columns: "Taps") -> np.ndarray:
    """A window of a plane that is enlarged by any factor, not clamped; edges are repeated outwards.

    Args:
        plane: float `[h, w]`: rows `rows.start` to `rows.stop` of the whole plane, and columns the same way.
        rows: which rows of the result, see `taps`.
        columns: which columns.
    """
    down = sum(plane[rows.indices[:, tap]] * rows.weights[:, tap, None] for tap in range(2 * CONTEXT))
    assert isinstance(down, np.ndarray)
    across = sum(down[:, columns.indices[:, tap]] * columns.weights[:, tap] for tap in range(2 * CONTEXT))
    return np.asarray(across)


class Taps(NamedTuple):
    """What new pixels are made of: old ones `start` to `stop`, `indices` `[n, 4]` counted from `start`, `weights`."""

    start: int
    stop: int
    indices: np.ndarray
    weights: np.ndarray


def taps(length: int, new: int, start: int, stop: int) -> Taps:
    """For the pixels `start` to `stop` of an axis of `length` pixels that is enlarged to `new`."""
    position = (np.arange(start, stop) + 0.5) * (length / new) - 0.5
    around = np.floor(position).astype(np.int64)[:, None] + np.arange(1 - CONTEXT, CONTEXT + 1)
    weights = _cubic(position[:, None] - around)
    inside = np.clip(around, 0, length - 1)
    first = int(inside.min())
    return Taps(first, int(inside.max()) + 1, inside - first, weights)


def _cubic(x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


@cache
def _up(factor: int) -> np.ndarray:
    """Of each of the new rows in an old one, the weights of the old rows from 2 above to 2 below."""
    places = (np.arange(factor)[:, None] + 0.5) / factor - 0.5
    return _cubic(places - np.arange(-CONTEXT, CONTEXT + 1)).astype(np.float32)


@cache
def _down(factor: int) -> np.ndarray:
    """Weights of the old rows that become one, and of those above and below that count too."""
    count = factor + 2 * (3 * factor // 2)
    weights = _cubic((np.arange(count) - (count - 1) / 2) / factor)
    return (weights / weights.sum()).astype(np.float32)


def _enlarge_rows(planes: np.ndarray, factor: int) -> np.ndarray:
    channels, height, width = planes.shape
    padded = np.pad(planes, ((0, 0), (CONTEXT, CONTEXT), (0, 0)), "symmetric")
    result = np.zeros((channels, height, factor, width), np.float32)
    for phase, weights in enumerate(_up(factor)):
        for shift, weight in enumerate(weights):
            if weight:
                result[:, :, phase] += weight * padded[:, shift : shift + height]
    return result.reshape(channels, factor * height, width)


def _shrink_rows(planes: np.ndarray, factor: int) -> np.ndarray:
    channels, height, width = planes.shape
    taps = _down(factor)
    context = (len(taps) - factor) // 2
    padded = np.pad(planes, ((0, 0), (context, context), (0, 0)), "symmetric")
    result = np.zeros((channels, height // factor, width), np.float32)
    for shift, weight in enumerate(taps):
        result += weight * padded[:, shift : shift + height : factor]
    return result
