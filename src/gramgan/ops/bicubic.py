"""Keys' cubic (a = -0.5) by a factor of 4 in NumPy: `gramgan.ops.resize` for backends without torch."""

from typing import NamedTuple

import numpy as np

SCALE = 4
CONTEXT = 2
"""Low-resolution pixels on each side that a pixel of either result depends on."""


def enlarge(planes: np.ndarray) -> np.ndarray:
    """Four times larger, as MATLAB's `imresize(image, 4)`: float32 `[C, H, W]` → `[C, 4H, 4W]`, not clamped."""
    return _enlarge_rows(_enlarge_rows(planes.swapaxes(1, 2)).swapaxes(1, 2))


def shrink(planes: np.ndarray) -> np.ndarray:
    """Four times smaller, anti-aliased, as MATLAB's `imresize(image, 1/4)` before rounding; not clamped.

    Args:
        planes: float32 `[C, H, W]`; H and W multiples of 4.

    Returns:
        float32 `[C, H/4, W/4]`.

    Raises:
        ValueError: H or W is not a multiple of 4.
    """
    if planes.shape[1] % SCALE or planes.shape[2] % SCALE:
        raise ValueError(f"planes of {planes.shape[1]}x{planes.shape[2]} cannot be divided by {SCALE}")
    return _shrink_rows(_shrink_rows(planes).swapaxes(1, 2)).swapaxes(1, 2)


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


# Of each of the 4 new rows in an old one, the weights of the old rows from 2 above to 2 below.
_UP = _cubic((np.arange(SCALE)[:, None] + 0.5) / SCALE - 0.5 - np.arange(-CONTEXT, CONTEXT + 1)).astype(np.float32)
# Of the 4 old rows that become one, 6 above and 6 below count too.
_DOWN = _cubic((np.arange(4 * SCALE) - 7.5) / SCALE)
_DOWN = (_DOWN / _DOWN.sum()).astype(np.float32)
_DOWN_CONTEXT = (len(_DOWN) - SCALE) // 2


def _enlarge_rows(planes: np.ndarray) -> np.ndarray:
    channels, height, width = planes.shape
    padded = np.pad(planes, ((0, 0), (CONTEXT, CONTEXT), (0, 0)), "symmetric")
    result = np.zeros((channels, height, SCALE, width), np.float32)
    for phase, weights in enumerate(_UP):
        for shift, weight in enumerate(weights):
            if weight:
                result[:, :, phase] += weight * padded[:, shift : shift + height]
    return result.reshape(channels, SCALE * height, width)


def _shrink_rows(planes: np.ndarray) -> np.ndarray:
    channels, height, width = planes.shape
    padded = np.pad(planes, ((0, 0), (_DOWN_CONTEXT, _DOWN_CONTEXT), (0, 0)), "symmetric")
    result = np.zeros((channels, height // SCALE, width), np.float32)
    for shift, weight in enumerate(_DOWN):
        result += weight * padded[:, shift : shift + height : SCALE]
    return result
