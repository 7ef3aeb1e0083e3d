"""How often an approximate index finds the nearest vector."""

import numpy as np
import torch

from gramgan.texture.search.curve import Curve

_MOST, _LEAST = 1000, 100  # queries
_WORK = 5e10  # components compared at most: some seconds
_DRAWN = 100_000
_APART = 1  # places between two of them along a space-filling curve: alike and not the same, as SR and HR patches
_BLOCK = 2**16  # vectors
_AGAIN = 4  # of each block are compared in float64


def sample_queries(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Queries such as a training asks, and the distances of their nearest vectors by comparing all.

    Args:
        vectors: float32 `[N, D]`.

    Returns:
        Queries halfway between two similar vectors, float32 `[M, D]`, and distances, float64 `[M]`.
    """
    number = int(min(_MOST, max(_LEAST, _WORK / vectors.size)))
    random = np.random.default_rng(0)
    some = vectors[random.choice(len(vectors), min(len(vectors), _DRAWN), replace=False)]
    some = some[Curve(some).order(some)]
    position = random.integers(0, len(some), number)
    queries = (some[position] + some[(position + _APART) % len(some)]) / 2
    return queries, _smallest_distances(vectors, queries)


def share_found(distance: np.ndarray, truth: np.ndarray) -> float:
    """Share of queries whose distance is the true one (both float64 `[M]`)."""
    return float((distance <= truth * (1 + 1e-9)).mean())


def _smallest_distances(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    asked, points = torch.from_numpy(queries), torch.from_numpy(vectors)
    smallest = torch.full((len(queries),), torch.inf, dtype=torch.float64)
    for block in points.split(_BLOCK):
        centred = block - torch.from_numpy(mean)
        scores = torch.addmm(centred.square().sum(dim=1), asked - torch.from_numpy(mean), centred.T, alpha=-2)
        near = block[scores.topk(min(_AGAIN, len(block)), dim=1, largest=False).indices]
        distance = (near.double() - asked.double().unsqueeze(1)).norm(dim=2).amin(dim=1)
        smallest = torch.minimum(smallest, distance)
    return smallest.numpy()
