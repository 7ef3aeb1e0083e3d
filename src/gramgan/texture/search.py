"""Nearest neighbours among Gram vectors: exact, one query for all patches of a step."""

import contextlib
import math
from collections.abc import Iterator
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from gramgan.errors import UserError

SearchBackend = Literal["auto", "kdtree", "blocked", "faiss-flat"]

# A kd-tree prunes little in many dimensions: measured in benchmarks/texture_search.py it is far ahead at 6, and behind
# blocked search at 45. There is no descriptor between.
_KDTREE_DIMENSIONS = 16

_CHUNK = 256  # at most so many vectors share one score in blocked search, the smallest
_TILES = {"cpu": (1024, 2048), "cuda": (4096, 16384)}  # queries x vectors; on a CPU their scores must stay in its cache
_MINIMA = 2**26  # most chunk minima held at a time: 256 MiB
_EXACT = 2**22  # most components compared in float64 at a time: 32 MiB


class NearestNeighbours(Protocol):
    """An index over N vectors of dimension D."""

    name: str

    def query(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Distance (Euclidean) and row of the nearest vector of each: `[M, D]` → `[M]` float32, `[M]` int64.

        The result lies on the device of `vectors`. A query that is not finite has no neighbour: its distance is NaN and
        its row any valid one, so that a diverging training is told by its losses.
        """
        ...


def build_index(vectors: Tensor, backend: SearchBackend = "auto") -> NearestNeighbours:
    """An exact index over `vectors` (`[N, D]` float32), searched on the device where they lie.

    `auto`: a kd-tree for few dimensions on a CPU; blocked matrix search in torch for many, and on a GPU (no way through
    the host's memory).

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
        self._size = len(vectors)

    def query(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """See `NearestNeighbours.query`."""
        distance, row = self._tree.query(_as_numpy(vectors), k=1)
        return _found(distance, row.astype(np.int64), self._size, vectors.device)


class BlockedSearch:
    """Exact search by matrix products in torch, on any device, in blocks of bounded memory.

    ‖p - q‖² = ‖p‖² - 2 p·q + ‖q‖² is fast, but loses digits to cancellation in float32. So the products only rule out:
    vectors are grouped into chunks of neighbours, and of each chunk the smallest score, less a bound on its rounding
    error, says how near its vectors can be at most. Chunks that may hold the nearest one, mostly one or two, are
    compared in float64.
    """

    name = "blocked"

    def __init__(self, vectors: Tensor) -> None:
        self._vectors = vectors.detach().float()
        self._rows = _chunks_of_neighbours(self._vectors)
        self._mean = self._vectors.mean(dim=0)  # centred, norms and with them rounding errors are smaller
        self._centred = self._vectors[self._rows.flatten()] - self._mean
        self._square = self._centred.square().sum(dim=1)
        self._radius = self._square.view_as(self._rows).amax(dim=1).sqrt()
        # |error| ≤ (2 D + 16) u (‖p‖ + ‖q‖)² with u = 2⁻²⁴: D + 1 roundings of the product, as many of ‖p‖² (Higham,
        # "Accuracy and Stability of Numerical Algorithms", §3.1), the rest for centring, ‖q‖² and this bound itself.
        self._rounding = (2 * self._vectors.shape[1] + 16) * 2.0**-24

    @torch.no_grad()
    def query(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """See `NearestNeighbours.query`."""
        queries = vectors.to(self._vectors).detach()
        most = _TILES.get(queries.device.type, _TILES["cuda"])[0]
        size = max(1, min(most, _MINIMA // len(self._rows)))
        with torch.autocast(queries.device.type, enabled=False), _full_precision():
            parts = [self._nearest(block) for block in queries.split(size)]
        distance, row = (torch.cat(column).to(vectors.device) for column in zip(*parts, strict=True))
        return distance, row

    def _nearest(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        centred = queries - self._mean
        norm = centred.norm(dim=1, keepdim=True)
        lower = self._chunk_minima(centred).sub_((self._radius + norm).square_().mul_(self._rounding))
        first = lower.argmin(dim=1, keepdim=True)
        every = torch.arange(len(queries), device=queries.device)
        square, row = self._compare(queries, every, first.squeeze(1))
        limit = square - centred.double().square().sum(dim=1)
        possible = (lower <= limit.float().unsqueeze(1)).scatter_(1, first, False)
        query, chunk = possible.nonzero(as_tuple=True)
        more_square, more_row = self._compare(queries, query, chunk)
        best = square.scatter_reduce(0, query, more_square, "amin")
        # Among equally near vectors the smallest row, so that the result does not depend on the order of execution.
        row = row.where(~(best < square), torch.iinfo(row.dtype).max)
        won = more_square == best[query]
        distance = best.sqrt().float().where(best.isfinite(), torch.nan)
        return distance, row.scatter_reduce(0, query[won], more_row[won], "amin")

    def _chunk_minima(self, centred: Tensor) -> Tensor:
        """min over each chunk of ‖p‖² - 2 p·q: `[Q, D]` → `[Q, C]`."""
        chunks, length = self._rows.shape
        step = max(1, _TILES.get(centred.device.type, _TILES["cuda"])[1] // length)
        minima = centred.new_empty(len(centred), chunks)
        # One piece of memory for all blocks: fresh pages for each would cost as much as the minima.
        scratch = centred.new_empty(len(centred) * step * length)
        for start in range(0, chunks, step):
            block = slice(start * length, (start + step) * length)
            vectors = self._centred[block]
            scores = scratch[: len(centred) * len(vectors)].view(len(centred), len(vectors))
            torch.addmm(self._square[block], centred, vectors.T, alpha=-2, out=scores)
            minima[:, start : start + step] = scores.unflatten(1, (-1, length)).amin(dim=2)
        return minima

    def _compare(self, queries: Tensor, query: Tensor, chunk: Tensor) -> tuple[Tensor, Tensor]:
        """Square distance (float64) and row of the vector in `chunk[i]` nearest to `queries[query[i]]`: `[P]` each."""
        size = max(1, _EXACT // (self._rows.shape[1] * self._vectors.shape[1]))
        squares, rows = [], []
        for q, c in zip(query.split(size), chunk.split(size), strict=True):
            candidates = self._rows[c]
            difference = self._vectors[candidates].double() - queries[q].double().unsqueeze(1)
            square, position = difference.square().sum(dim=2).min(dim=1)
            squares.append(square)
            rows.append(candidates.gather(1, position.unsqueeze(1)).squeeze(1))
        return torch.cat(squares), torch.cat(rows)


class FaissFlat:
    """Faiss' flat index, made to compare vectors by their differences, which is exact and slow.

    Its matrix products lose digits to cancellation: of bright, flat patches they return neighbours that are up to 1e-4
    too far away.
    """

    name = "faiss-flat"

    def __init__(self, vectors: Tensor) -> None:
        try:
            import faiss
        except ImportError:
            raise UserError(
                "texture.search faiss-flat: Faiss is not installed; run: pip install 'gramgan[faiss]'"
            ) from None
        self._vectors = _as_numpy(vectors)
        self._settings = faiss.cvar
        self._index = faiss.IndexFlatL2(self._vectors.shape[1])
        self._index.add(self._vectors)  # pyright: ignore[reportCallIssue]

    def query(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """See `NearestNeighbours.query`."""
        queries = _as_numpy(vectors)
        allowed = self._settings.distance_compute_blas_threshold
        self._settings.distance_compute_blas_threshold = np.iinfo(np.int32).max
        try:
            row = self._index.search(queries, 1)[1][:, 0]  # pyright: ignore[reportCallIssue]
        finally:
            self._settings.distance_compute_blas_threshold = allowed
        distance = np.linalg.norm(self._vectors[row] - queries, axis=1)
        return _found(distance, row, len(self._vectors), vectors.device)


def _chunks_of_neighbours(vectors: Tensor) -> Tensor:
    """Rows of `vectors` in C = 2^n chunks of equal length ≤ `_CHUNK`, near ones together: `[C, length]`.

    Halved again and again at the median of the component that spreads most, as a kd-tree is built, all halves at once.
    The last row is repeated to fill up.
    """
    depth = max(0, math.ceil(math.log2(len(vectors) / _CHUNK)))
    length = math.ceil(len(vectors) / 2**depth)
    rows = torch.arange(length * 2**depth, device=vectors.device).clamp_max(len(vectors) - 1)
    for level in range(depth):
        rows = rows.view(2**level, -1)
        parts = vectors[rows]
        widest = (parts.amax(dim=1) - parts.amin(dim=1)).argmax(dim=1)
        component = parts.gather(2, widest.view(-1, 1, 1).expand(-1, rows.shape[1], 1)).squeeze(2)
        rows = rows.gather(1, component.argsort(dim=1, stable=True))
    return rows.view(2**depth, length)


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """The bound on rounding errors holds for float32 products, not for TF32 or bfloat16, which a program may allow."""
    allowed = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(allowed)


def _found(distance: np.ndarray, row: np.ndarray, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    # Both libraries answer a query that is not finite with a row that does not exist.
    lost = (row < 0) | (row >= size)
    distance, row = np.where(lost, np.float32(np.nan), distance), np.where(lost, 0, row)
    return torch.from_numpy(distance).to(device), torch.from_numpy(row).to(device)


def _as_numpy(vectors: Tensor) -> np.ndarray:
    return np.ascontiguousarray(vectors.detach().cpu().numpy(), dtype=np.float32)
