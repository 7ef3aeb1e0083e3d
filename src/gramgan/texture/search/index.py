"""What every index over vectors has in common."""

from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from gramgan.errors import UserError

SearchBackend = Literal["auto", "kdtree", "blocked", "direct", "faiss-flat", "faiss-ivf", "faiss-hnsw", "faiss-disk"]


class NearestNeighbours(Protocol):
    """An index over N vectors of dimension D.

    `recall` is 1 for an exact index; of an approximate one it is the share of sample queries whose nearest vector it
    finds, measured when it was built.
    """

    name: str
    recall: float

    def query(self, vectors: Tensor, neighbours: int = 1) -> tuple[Tensor, Tensor]:
        """Euclidean distances (float64) and rows (int64) of the nearest vectors of each of `[M, D]`.

        As with SciPy's trees, one neighbour gives `[M]` and more give `[M, neighbours]`, the nearest first. Distances
        are computed by differences in float64 from the float32 vectors: those of `kdtree`, `blocked` and `direct`
        are brute force's. The results lie on the device of `vectors`. A query that is not finite has no
        neighbour: its distance is NaN and its row any valid one, so that a diverging training is told by its losses.

        Raises:
            UserError: more neighbours than vectors.
        """
        ...


def check_neighbours(neighbours: int, size: int) -> None:
    """Refuse to look for more neighbours than there are vectors.

    Raises:
        UserError: it is so.
    """
    if neighbours > size:
        raise UserError(
            f"texture search: {neighbours} neighbours are asked for, the texture database has {size} patches; "
            "ask for fewer or build a larger one"
        )
    if neighbours < 1:
        raise ValueError(f"neighbours must be at least 1, got {neighbours}")


def as_numpy(vectors: Tensor) -> np.ndarray:
    """Contiguous float32 on the CPU; shares memory where it can."""
    return np.ascontiguousarray(vectors.detach().cpu().numpy(), dtype=np.float32)


def as_result(distance: np.ndarray, row: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
    """`[M, n]` arrays as `query` returns them."""
    if distance.shape[1] == 1:
        distance, row = distance[:, 0], row[:, 0]
    return torch.from_numpy(distance).to(device), torch.from_numpy(row).to(device)
