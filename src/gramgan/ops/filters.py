"""Filters in NumPy, for what follows the network without torch."""

import numpy as np


def filtered(plane: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`[H, W]` through a separable filter of odd length, mirrored borders."""
    reach = len(weights) // 2
    for axis in (0, 1):
        length = plane.shape[axis]
        padded = np.moveaxis(np.pad(plane, [(reach * (axis == one),) * 2 for one in (0, 1)], "symmetric"), axis, 0)
        total = sum(weight * padded[shift : shift + length] for shift, weight in enumerate(weights))
        plane = np.moveaxis(np.asarray(total, dtype=np.float32), 0, axis)
    return plane
