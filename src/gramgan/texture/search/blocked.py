"""Exact search by matrix products in torch, on any device."""

import contextlib
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from gramgan.share import SharedMaker, own_memory
from gramgan.texture.search.index import check_neighbours

_CHUNK = 256  # at most so many vectors share one score in blocked search, the smallest
_TILES = {"cpu": (1024, 2048), "cuda": (4096, 16384)}  # queries x vectors; on a CPU their scores must stay in its cache
_MINIMA = 2**26  # most chunk minima held at a time: 256 MiB
_EXACT = 2**22  # most components compared in float64 at a time: 32 MiB


class BlockedSearch:
    """Exact search by matrix products in torch, on any device, in blocks of bounded memory.

    ‖p - q‖² = ‖p‖² - 2 p·q + ‖q‖² is fast, but loses digits to cancellation in float32. So the products only rule out:
    vectors are grouped into chunks of neighbours, and of each chunk the smallest score, less a bound on its rounding
    error, says how near its vectors can be at most. Chunks that may hold the nearest one, mostly one or two, are
    compared in float64.
    """

    name = "blocked"
    recall = 1.0

    def __init__(self, vectors: Tensor, place: SharedMaker = own_memory) -> None:
        """On a CPU, the order of the vectors and their centred copy lie in `place`."""
        self._vectors = vectors.detach().float()
        self._size = len(vectors)
        self._rows = _placed(place, vectors.device, lambda: _chunks_of_neighbours(self._vectors))
        self._mean = self._vectors.mean(dim=0)  # centred, norms and with them rounding errors are smaller
        rows = self._rows.flatten()
        self._centred = _placed(
            place, vectors.device, lambda: self._vectors[rows.clamp_max(self._size - 1)] - self._mean
        )
        self._square = self._centred.square().sum(dim=1)
        self._radius = self._square.view_as(self._rows).amax(dim=1).sqrt()
        self._square[rows == self._size] = torch.inf  # what fills up a chunk is never nearest
        # |error| ≤ (2 D + 16) u (‖p‖ + ‖q‖)² with u = 2⁻²⁴: D + 1 roundings of the product, as many of ‖p‖² (Higham,
        # "Accuracy and Stability of Numerical Algorithms", §3.1), the rest for centring, ‖q‖² and this bound itself.
        self._rounding = (2 * self._vectors.shape[1] + 16) * 2.0**-24

    @torch.no_grad()
    def query(self, vectors: Tensor, neighbours: int = 1) -> tuple[Tensor, Tensor]:
        """Euclidean distances (float64) and rows (int64) of the nearest vectors of each of `[M, D]`."""
        check_neighbours(neighbours, self._size)
        queries = vectors.to(self._vectors).detach()
        if not len(queries):
            empty = vectors.new_empty((0,) if neighbours == 1 else (0, neighbours), dtype=torch.float64)
            return empty, empty.long()
        most = _TILES.get(queries.device.type, _TILES["cuda"])[0]
        size = max(1, min(most, _MINIMA // len(self._rows)))
        with torch.autocast(queries.device.type, enabled=False), _full_precision():
            parts = [self._nearest(block, neighbours) for block in queries.split(size)]
        distance, row = (torch.cat(column).to(vectors.device) for column in zip(*parts, strict=True))
        return (distance.squeeze(1), row.squeeze(1)) if neighbours == 1 else (distance, row)

    def _nearest(self, queries: Tensor, neighbours: int) -> tuple[Tensor, Tensor]:
        centred = queries - self._mean
        norm = centred.norm(dim=1, keepdim=True)
        lower = self._chunk_minima(centred).sub_((self._radius + norm).square_().mul_(self._rounding))
        # The chunks that seem nearest, one for each neighbour, give a limit; it says which others have to be looked at.
        first = lower.topk(min(neighbours, lower.shape[1]), dim=1, largest=False).indices
        every = torch.arange(len(queries), device=queries.device)
        query, chunk = every.repeat_interleave(first.shape[1]), first.flatten()
        square, row = self._compare(queries, query, chunk, neighbours)
        best = square.view(len(queries), -1).sort(dim=1).values[:, neighbours - 1]
        limit = best - centred.double().square().sum(dim=1)
        possible = (lower <= limit.float().unsqueeze(1)).scatter_(1, first, False)
        more_query, more_chunk = possible.nonzero(as_tuple=True)
        more_square, more_row = self._compare(queries, more_query, more_chunk, neighbours)
        query = torch.cat((query, more_query)).repeat_interleave(square.shape[1])
        square, row = torch.cat((square, more_square)).flatten(), torch.cat((row, more_row)).flatten()
        # By query, then distance, then row, so that the result does not depend on the order of execution.
        order = row.argsort(stable=True)
        for key in (square, query):
            order = order[key[order].argsort(stable=True)]
        start = torch.searchsorted(query[order], every).unsqueeze(1)
        found = order[start + torch.arange(neighbours, device=order.device)]
        distance, row = square[found].sqrt(), row[found].clamp_max(self._size - 1)
        return distance.where(distance.isfinite(), torch.nan), row

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

    def _compare(self, queries: Tensor, query: Tensor, chunk: Tensor, neighbours: int) -> tuple[Tensor, Tensor]:
        """The vectors in `chunk[i]` nearest to `queries[query[i]]`: squared distances (float64) and rows `[P, n]`.

        n is the number of neighbours, or the length of a chunk if that is less; where a chunk has fewer vectors the
        squares are infinite.
        """
        length = self._rows.shape[1]
        size = max(1, _EXACT // (length * self._vectors.shape[1]))
        squares, rows = [], []
        for q, c in zip(query.split(size), chunk.split(size), strict=True):
            candidates = self._rows[c]
            difference = self._vectors[candidates.clamp_max(self._size - 1)].double() - queries[q].double().unsqueeze(1)
            square = difference.square().sum(dim=2).masked_fill(candidates == self._size, torch.inf)
            if neighbours == 1:
                nearest = square.amin(dim=1, keepdim=True)
                row = candidates.masked_fill(square != nearest, self._size).amin(dim=1, keepdim=True)
            else:  # rows ascend within a chunk: a stable sort leaves the first of equally near ones in front
                nearest, position = (part[:, :neighbours] for part in square.sort(dim=1, stable=True))
                row = candidates.gather(1, position)
            squares.append(nearest)
            rows.append(row)
        return torch.cat(squares), torch.cat(rows)


def _placed(place: SharedMaker, device: torch.device, make: Callable[[], Tensor]) -> Tensor:
    return torch.from_numpy(place(lambda: make().numpy())) if device.type == "cpu" else make()


def _chunks_of_neighbours(vectors: Tensor) -> Tensor:
    """Rows of `vectors` in C = 2^n chunks of equal length ≤ `_CHUNK`, near ones together, ascending: `[C, length]`.

    Halved again and again at the median of the component that spreads most, as a kd-tree is built, all halves at once.
    N, no row, fills up the last ones.
    """
    depth = max(0, math.ceil(math.log2(len(vectors) / _CHUNK)))
    length = math.ceil(len(vectors) / 2**depth)
    rows = torch.arange(length * 2**depth, device=vectors.device).clamp_max(len(vectors))
    for level in range(depth):
        rows = rows.view(2**level, -1)
        parts = vectors[rows.clamp_max(len(vectors) - 1)]
        widest = (parts.amax(dim=1) - parts.amin(dim=1)).argmax(dim=1)
        component = parts.gather(2, widest.view(-1, 1, 1).expand(-1, rows.shape[1], 1)).squeeze(2)
        rows = rows.gather(1, component.argsort(dim=1, stable=True))
    return rows.view(2**depth, length).sort(dim=1).values


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """The bound on rounding errors holds for float32 products, not for TF32 or bfloat16, which a program may allow."""
    allowed = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(allowed)
