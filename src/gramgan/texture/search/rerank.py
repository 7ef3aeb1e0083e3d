"""From the neighbours that a library finds in float32 to distances in float64."""

import numpy as np


def distances(vectors: np.ndarray, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Euclidean distances, by differences in float64, of `rows` `[M, k]` of `vectors` from `queries` `[M, D]`."""
    difference = vectors[rows] - queries[:, None, :].astype(np.float64)
    return np.sqrt(np.square(difference, out=difference).sum(axis=2))


def nearest_first(distance: np.ndarray, rows: np.ndarray, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    """The `neighbours` nearest of each row of `[M, k]` in order, of equally near ones the first row."""
    order = np.lexsort((rows, distance), axis=1)[:, :neighbours]
    return np.take_along_axis(distance, order, axis=1), np.take_along_axis(rows, order, axis=1)
