"""Where in a picture the noise is: a clean logo on a noisy scan, a retouched sky."""

import numpy as np

from gramgan.condition.noise import noise_at_first_sight, noise_bound, patches_of
from gramgan.condition.record import Condition
from gramgan.condition.samples import in_levels

_TILE = 64
"""Pixels a side of a tile; much smaller ones have too few smooth patches to tell. The last ones are moved inwards."""
_POSITIONS = 2_000


def noise_map(pixels: np.ndarray, condition: Condition) -> np.ndarray:
    """Noise by place, on a grid of tiles.

    Where noise shows clearly in a tile it is that tile's own. Elsewhere it is that of the whole picture, or less where
    less is there at all: the smoothest patches of a clean tile hold next to nothing. Single tiles that differ from all
    around them are taken for mistakes.

    Args:
        pixels: a picture or a window of it, `[3|1, H, W]` in [0, 1].
        condition: that of the whole picture.

    Returns:
        float32 `[⌈H/64⌉, ⌈W/64⌉]`, in grey levels of 255.
    """
    height, width = pixels.shape[1:]
    rows, columns = -(-height // _TILE), -(-width // _TILE)
    levels = np.zeros((rows, columns), np.float32)
    for row, column in np.ndindex(rows, columns):
        top, left = (max(0, min(at * _TILE, side - _TILE)) for at, side in ((row, height), (column, width)))
        levels[row, column] = _level(in_levels(pixels[:, top : top + _TILE, left : left + _TILE]), condition)
    return _without_single_ones(levels)


def _level(window: np.ndarray, condition: Condition) -> float:
    patches = patches_of([window], _POSITIONS)
    found = noise_at_first_sight(patches)
    if found is None:  # flat or clipped: nothing is there
        return 0.0
    if found.kind != "none":
        return found.level
    return min(noise_bound(patches), condition.noise_level)


def _without_single_ones(levels: np.ndarray) -> np.ndarray:
    """Each value limited to the range of its neighbours."""
    if min(levels.shape) < 3:
        return levels
    padded = np.pad(levels, 1, mode="reflect")
    around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).reshape(*levels.shape, 9)
    others = np.delete(around, 4, axis=2)
    return np.clip(levels, others.min(axis=2), others.max(axis=2))
