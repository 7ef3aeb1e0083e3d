"""Nearest neighbours among Gram vectors: exact, one query for all patches of a step."""

from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from gramgan.errors import UserError

SearchBackend = Literal["auto", "kdtree", "blocked", "faiss-flat"]

# A kd-tree beats brute force on a CPU while few vectors share a cell's neighbourhood; measured in benchmarks/texture_search.py:
# 7 times a flat Faiss index at 6 dimensions, slower than it at 45.
_KDTREE_DIMENSIONS = 16
_BLOCK_ROWS = 16384
_BLOCK_QUERIES = 4096
_SHORTLIST = 4


class NearestNeighbours(Protocol):
    """An index over N vectors of dimension D."""

    name: str

    def query(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Distance (Euclidean) and row of the nearest vector of each: `[M, D]` → `[M]` float32, `[M]` int64.

        The result lies on the device of `vectors`.
        """
        ...


def build_index(vectors: Tensor, backend: SearchBackend = "auto") -> NearestNeighbours:
    """An exact index over `vectors` (`[N, D]` float32), searched on the device where they lie.

    `auto`: blocked matrix search in torch on a GPU (no way through the host's memory) and in high dimensions, a kd-tree on a
    CPU otherwise.

    Raises:
        UserError: there are no vectors, or `faiss-flat` is asked for and Faiss is not installed.
    """
    if vectors.ndim != 2 or not len(vectors):
        raise UserError("texture search: there are no vectors to search in; build a larger texture database")
    if backend == "auto":
        small = vectors.device.type == "cpu" and vectors.shape[1] <= _KDTREE_DIMENSIONS
        backend = "kdtree" if small else "blocked"
    if backend == "kdtree":
        return KdTree(vectors)
    if backend == "blocked":
        return BlockedSearch(vectors)
    return FaissFlat(vectors)


class KdTree:
    """pykdtree: exact, on the CPU, for few dimensions."""

    name = "kdtree"

    def __init__(self, vectors: Tensor) -> None:
        from pykdtree.kdtree import KDTree

        self._tree = KDTree(_as_numpy(vectors))

    def query(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """See `NearestNeighbours.query`."""
        distance, row = self._tree.query(_as_numpy(vectors), k=1)
        return (
            torch.from_numpy(distance).to(vectors.device),
            torch.from_numpy(row.astype(np.int64)).to(vectors.device),
        )


class BlockedSearch:
    """Exact search by matrix products in torch, on any device, in blocks of bounded memory.

    ‖p - q‖² = ‖p‖² - 2 p·q + ‖q‖² loses digits to cancellation in float32. The products therefore only make a short list
    (the best few of each block); distances of the short-listed are then computed from differences in float64.
    """

    name = "blocked"

    def __init__(self, vectors: Tensor) -> None:
        self._mean = vectors.mean(dim=0)  # centred, the cancellation is smaller
        self._vectors = (vectors - self._mean).float().contiguous()
        self._square = self._vectors.square().sum(dim=1)

    @torch.no_grad()
    def query(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """See `NearestNeighbours.query`."""
        with torch.autocast(vectors.device.type, enabled=False):
            centred = vectors.to(self._vectors.device).float() - self._mean
            parts = [self._query_block(block) for block in centred.split(_BLOCK_QUERIES)]
            distance = torch.cat([part[0] for part in parts]).to(vectors.device)
            return distance, torch.cat([part[1] for part in parts]).to(vectors.device)

    def _query_block(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        shortlist = []
        for start in range(0, len(self._vectors), _BLOCK_ROWS):
            block = self._vectors[start : start + _BLOCK_ROWS]
            score = torch.addmm(self._square[start : start + _BLOCK_ROWS], queries, block.T, alpha=-2)
            keep = min(_SHORTLIST, len(block))
            shortlist.append(score.topk(keep, dim=1, largest=False).indices + start)
        rows = torch.cat(shortlist, dim=1)
        distance = (self._vectors[rows].double() - queries.unsqueeze(1).double()).norm(dim=-1)
        best = distance.argmin(dim=1, keepdim=True)
        return distance.gather(1, best).squeeze(1).float(), rows.gather(1, best).squeeze(1)


class FaissFlat:
    """Faiss' flat index. Its order is right; the distances it returns are not (float32 cancellation), so they are recomputed."""

    name = "faiss-flat"

    def __init__(self, vectors: Tensor) -> None:
        try:
            import faiss
        except ImportError:
            raise UserError(
                "texture.search faiss-flat: Faiss is not installed; run: pip install 'gramgan[faiss]'"
            ) from None
        self._vectors = _as_numpy(vectors)
        self._index = faiss.IndexFlatL2(self._vectors.shape[1])
        self._index.add(self._vectors)  # pyright: ignore[reportCallIssue]

    def query(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """See `NearestNeighbours.query`."""
        queries = _as_numpy(vectors)
        row = self._index.search(queries, 1)[1][:, 0]  # pyright: ignore[reportCallIssue]
        distance = np.linalg.norm(self._vectors[row] - queries, axis=1)
        return torch.from_numpy(distance).to(vectors.device), torch.from_numpy(row).to(vectors.device)


def _as_numpy(vectors: Tensor) -> np.ndarray:
    return np.ascontiguousarray(vectors.detach().cpu().numpy(), dtype=np.float32)
