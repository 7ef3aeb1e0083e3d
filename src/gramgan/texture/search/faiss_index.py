"""Search with Faiss: exact (flat) or approximate (IVF, HNSW), on the CPU or on the GPU where the vectors lie."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gramgan.errors import UserError
from gramgan.texture.search.index import as_numpy, as_result, check_neighbours
from gramgan.texture.search.recall import sample_queries, share_found
from gramgan.texture.search.rerank import distances, nearest_first

_MARGIN = 4  # so many more neighbours are taken from Faiss than wanted, and compared in float64
_SEED = 1234

_log = logging.getLogger(__name__)


def require_faiss(name: str) -> ModuleType:
    """The module `faiss`, for the search that is called `name`.

    Raises:
        UserError: it is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise UserError(f"texture.search {name}: Faiss is not installed; run: pip install 'gramgan[faiss]'") from None
    return faiss


class _FaissIndex(ABC):
    """What all have in common: queries in, rows of all vectors out."""

    name: str
    recall: float
    margin = _MARGIN

    def __init__(self, vectors: Tensor) -> None:
        faiss = require_faiss(self.name)
        self._vectors = as_numpy(vectors)
        # Centred, rounding errors are smaller.
        self._mean = self._vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        self._index, self.on_gpu = self._build(faiss, self._vectors - self._mean, vectors.device)

    def query(self, vectors: Tensor, neighbours: int = 1) -> tuple[Tensor, Tensor]:
        """Euclidean distances (float64) and rows (int64) of the nearest vectors of each of `[M, D]`."""
        check_neighbours(neighbours, len(self._vectors))
        return as_result(*self._nearest(as_numpy(vectors), neighbours), vectors.device)

    def _build(self, faiss: ModuleType, points: np.ndarray, device: torch.device) -> tuple[Any, bool]:
        """The filled index, and whether it lies on a GPU."""
        raise NotImplementedError

    def _nearest(self, queries: np.ndarray, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
        """Distances (float64) and rows, `[M, neighbours]`: the nearest of a few more that Faiss finds."""
        asked = min(neighbours + self.margin, len(self._vectors))
        _, row = self._index.search(queries - self._mean, asked)
        missing = row < 0  # an approximate index found too few, or the query is not finite
        row = np.where(missing, 0, row)
        distance = distances(self._vectors, queries, row)
        distance[missing] = np.inf
        distance[~np.isfinite(queries).all(axis=1)] = np.nan
        return nearest_first(distance, row, neighbours)

    def _measured_recall(self) -> float:
        samples, truth = sample_queries(self._vectors)
        return share_found(self._nearest(samples, 1)[0][:, 0], truth)


class FaissFlat(_FaissIndex):
    """Faiss' flat index.

    On a CPU it is exact: made to compare vectors by their differences, which is slow, because its matrix products lose
    digits to cancellation and return neighbours of bright, flat patches that are up to 1e-4 too far away. On a GPU
    there are only products, and `recall` is measured. Five neighbours are compared again in float64.
    """

    name = "faiss-flat"

    def __init__(self, vectors: Tensor) -> None:
        super().__init__(vectors)
        self.recall = self._measured_recall() if self.on_gpu else 1.0

    def _build(self, faiss: ModuleType, points: np.ndarray, device: torch.device) -> tuple[Any, bool]:
        self._settings = faiss.cvar
        index, on_gpu = _placed(faiss, faiss.IndexFlatL2(points.shape[1]), device)
        index.add(points)
        return index, on_gpu

    def _nearest(self, queries: np.ndarray, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
        allowed = self._settings.distance_compute_blas_threshold
        self._settings.distance_compute_blas_threshold = np.iinfo(np.int32).max
        try:
            return super()._nearest(queries, neighbours)
        finally:
            self._settings.distance_compute_blas_threshold = allowed


class Approximate(_FaissIndex):
    """An index that looks at a part of the vectors: as large a part as the wanted recall takes on sample queries.

    The samples lie halfway between two similar vectors of the database, as a training's queries do between HR and SR.
    """

    def __init__(self, vectors: Tensor, recall: float) -> None:
        super().__init__(vectors)
        self._search_wide_enough(*sample_queries(self._vectors), recall)

    def _search_wide_enough(self, samples: np.ndarray, truth: np.ndarray, recall: float) -> None:
        for width in self._widths():
            self._widen(width)
            self.recall = share_found(self._nearest(samples, 1)[0][:, 0], truth)
            if self.recall >= recall:
                break
        else:
            _log.warning(
                "%s search finds only %.1f %% of nearest patches, %.1f %% were asked for (texture.recall); another "
                "texture.search may do better",
                self.name,
                100 * self.recall,
                100 * recall,
            )

    @abstractmethod
    def _widths(self) -> Iterable[int]:
        """How wide to search, the narrowest first; one at least."""

    @abstractmethod
    def _widen(self, width: int) -> None:
        """Search so wide from now on."""


class FaissIvf(Approximate):
    """Faiss' inverted file: vectors in lists around centres; the lists of the nearest centres are compared."""

    name = "faiss-ivf"

    def _build(self, faiss: ModuleType, points: np.ndarray, device: torch.device) -> tuple[Any, bool]:
        self._lists = max(1, min(int(2 * len(points) ** 0.5), len(points) // 40, 4096))
        index = faiss.IndexIVFFlat(faiss.IndexFlatL2(points.shape[1]), points.shape[1], self._lists)
        index.cp.niter, index.cp.seed, index.cp.min_points_per_centroid = 8, _SEED, 1
        index, on_gpu = _placed(faiss, index, device)
        count = min(len(points), 40 * self._lists)
        index.train(points[np.random.default_rng(_SEED).choice(len(points), count, replace=False)])
        index.add(points)
        return index, on_gpu

    def _widths(self) -> Iterable[int]:
        return [2**power for power in range(self._lists.bit_length())]

    def _widen(self, width: int) -> None:
        self._index.nprobe = width


class FaissHnsw(Approximate):
    """Faiss' navigable small-world graph. It lives on the CPU, Faiss has none for GPUs."""

    name = "faiss-hnsw"

    def _build(self, faiss: ModuleType, points: np.ndarray, device: torch.device) -> tuple[Any, bool]:
        index = faiss.IndexHNSWFlat(points.shape[1], 16)
        index.add(points)
        return index, False

    def _widths(self) -> Iterable[int]:
        return [16, 32, 64, 128, 256, 512]

    def _widen(self, width: int) -> None:
        self._index.hnsw.efSearch = width


def _placed(faiss: ModuleType, index: Any, device: torch.device) -> tuple[Any, bool]:
    """The index on the vectors' GPU, if they lie on one that this Faiss can use."""
    if device.type == "cuda" and hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus():
        return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), device.index or 0, index), True
    return index, False
