"""The 8×8 cosine transform of a plane's blocks, on any of the 64 grids."""

import functools

import numpy as np

BLOCK = 8
ORDER = np.add.outer(np.arange(BLOCK), np.arange(BLOCK))
"""Of each frequency: how many half waves across and down together."""


def luma_of(window: np.ndarray) -> np.ndarray:
    """JFIF luma (BT.601, full range) of `[3|1, H, W]`, in the window's own units: `[H, W]`."""
    if window.shape[0] == 1:
        return window[0]
    return np.tensordot(np.array([0.299, 0.587, 0.114], window.dtype), window[:3], axes=1)


def blocks_of(plane: np.ndarray, top: int = 0, left: int = 0) -> np.ndarray:
    """`[H, W]` → `[N, 8, 8]`: the whole blocks of the grid that begins at row `top` and column `left`."""
    rows, columns = max(0, plane.shape[0] - top) // BLOCK, max(0, plane.shape[1] - left) // BLOCK
    inside = plane[top : top + rows * BLOCK, left : left + columns * BLOCK]
    return inside.reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2).reshape(rows * columns, BLOCK, BLOCK)


def transformed(blocks: np.ndarray) -> np.ndarray:
    """Orthonormal type-II cosine transform of `[N, 8, 8]`, in the units that JPEG's tables quantise: `[N, 8, 8]`."""
    matrix = _matrix().astype(blocks.dtype)
    return matrix @ blocks @ matrix.T


@functools.cache
def _matrix() -> np.ndarray:
    wave, place = np.mgrid[:BLOCK, :BLOCK]
    matrix = np.sqrt(2 / BLOCK) * np.cos(np.pi * wave * (2 * place + 1) / (2 * BLOCK))
    matrix[0] /= np.sqrt(2)
    return matrix
