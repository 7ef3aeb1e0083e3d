"""Where the patches of a database lie among each other: their place on a map, and patches that stand for all others."""

from dataclasses import dataclass

import numpy as np

_BLOCK = 2**18  # vectors taken to float64 at a time: 94 MiB of the longest
_REACH = 0.0001  # share of patches beyond each border of the map; they are put onto the border


@dataclass(frozen=True)
class Projection:
    """N vectors in the plane of their two main directions.

    `positions` float32 `[N, 2]` in [0, 1]: x to the right, y upwards. `explained`: the share of the vectors' variance
    along each of the two.
    """

    positions: np.ndarray
    explained: tuple[float, float]


def project(vectors: np.ndarray) -> Projection:
    """Lay standardised Gram vectors `[N, D]`, D ≥ 2, out in a plane: their two first principal components.

    Texture is unevenly spread: most patches are nearly flat, few are many times stronger. So each axis is stretched
    around its median by asinh, which is linear among the many and logarithmic among the few; order is kept.

    Raises:
        ValueError: there are no vectors.
    """
    if not len(vectors):
        raise ValueError("no vectors to lay out")
    variances, axes = _principal_axes(vectors)
    positions = np.empty((len(vectors), 2), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        block = slice(start, start + _BLOCK)
        positions[block] = vectors[block] @ axes
    total = variances.sum()
    shares = variances[:2] / total if total > 0 else np.zeros(2)
    for axis in range(2):
        positions[:, axis] = _stretched(positions[:, axis])
    return Projection(positions, (float(shares[0]), float(shares[1])))


def cells(positions: np.ndarray, columns: int, rows: int) -> np.ndarray:
    """The cell of a grid, row by row from the top, that each position `[N, 2]` in [0, 1] falls into: `[N]` int64."""
    x = (positions[:, 0] * columns).astype(np.int64).clip(0, columns - 1)
    y = ((1 - positions[:, 1]) * rows).astype(np.int64).clip(0, rows - 1)
    return y * columns + x


def one_of_each(cell: np.ndarray, seed: int = 0) -> np.ndarray:
    """For every cell number that occurs in `cell` `[N]`, ascending, one of its members drawn at random: `[M]` int64."""
    order = np.random.default_rng(seed).permutation(len(cell))
    _, first = np.unique(cell[order], return_index=True)
    return order[first]


def representatives(vectors: np.ndarray, number: int) -> np.ndarray:
    """Rows of `number` patches that stand for all N vectors `[N, D]`: `[number]` int64, fewer if N is smaller.

    The set is halved again and again at the median of the component that spreads most, as a kd-tree is built, until
    there are as many equal parts as wanted; the member nearest to the mean of each part stands for it. So each one
    stands for the same share of the texture; equal vectors may be in two parts.

    Raises:
        ValueError: `number` is not positive.
    """
    if number < 1:
        raise ValueError(f"at least one patch has to stand for the others, not {number}")
    parts = [np.arange(len(vectors))] if len(vectors) else []
    while len(parts) < min(number, len(vectors)):
        # The largest part, so that numbers that are no power of two come out nearly even as well.
        largest = max(range(len(parts)), key=lambda index: len(parts[index]))
        part = parts[largest]
        values = vectors[part]
        component = np.ptp(values, axis=0).argmax()
        order = np.argpartition(values[:, component], len(part) // 2)
        parts[largest : largest + 1] = [part[order[: len(part) // 2]], part[order[len(part) // 2 :]]]
    return np.array([_medoid(vectors, part) for part in parts], np.int64)


def _medoid(vectors: np.ndarray, part: np.ndarray) -> int:
    values = vectors[part].astype(np.float64)
    return int(part[np.square(values - values.mean(axis=0)).sum(axis=1).argmin()])


def _principal_axes(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All variances, descending, and the first two axes `[D, 2]`, each pointing where its largest component grows."""
    size = vectors.shape[1]
    mean = vectors.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((size, size))
    for start in range(0, len(vectors), _BLOCK):
        centred = vectors[start : start + _BLOCK] - mean
        covariance += centred.T @ centred
    variances, axes = np.linalg.eigh(covariance / len(vectors))
    axes = axes[:, ::-1][:, :2]
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])])
    return variances[::-1].clip(min=0), axes * signs


def _stretched(values: np.ndarray) -> np.ndarray:
    median = np.median(values)
    spread = np.median(np.abs(values - median))
    if spread == 0:  # more than half of all patches are equal along this axis
        spread = values.std() or 1.0
    stretched = np.arcsinh((values - median) / spread)
    low, high = np.quantile(stretched, (_REACH, 1 - _REACH))
    if low == high:
        return np.full(len(values), 0.5, np.float32)
    return ((stretched - low) / (high - low)).clip(0, 1).astype(np.float32)
