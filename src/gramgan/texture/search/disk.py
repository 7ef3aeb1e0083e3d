"""Search among vectors that do not fit into memory: in files of the user's cache, which all processes of a machine map.

An inverted file of product codes finds candidates (Jégou, Douze and Schmid, 2011, "Product quantization for nearest
neighbor search"), and the vectors, in a file too, decide among them exactly. Only making the index takes memory: that
of the codes, 14 bytes for a vector of 6 components and 23 for one of 45.
"""

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from gramgan.errors import UserError
from gramgan.files import ensure_folder, write_error
from gramgan.locks import exclusive
from gramgan.places import cache_folder
from gramgan.texture.search.faiss_index import Approximate, require_faiss
from gramgan.texture.search.recall import sample_queries

FEWEST = 10_000
"""Vectors below which no inverted file is made."""

_FORMAT = 1
_BLOCK = 1_000_000  # vectors that are added at a time
_CODES = 16  # bytes of a code at most
_PER_LIST = 40  # vectors that a list's centre is trained on
_MOST_LISTS = 65_536
_MARGIN = 60  # so many more neighbours are compared exactly than wanted
_SEED = 1234

_log = logging.getLogger(__name__)

_Blocks = Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]
"""Gives vectors (float32 `[n, D]`) and their patch ids (int64 `[n]`), block by block."""


class FaissDisk(Approximate):
    """The index in `folder`, as `shared_disk_index` has made it."""

    name = "faiss-disk"
    margin = _MARGIN

    def __init__(self, folder: Path, dimension: int, recall: float) -> None:
        faiss = require_faiss(self.name)
        self._vectors = _mapped(folder / "vectors", np.float32).reshape(-1, dimension)
        self.ids = _mapped(folder / "ids", np.int64)
        self._mean = np.load(folder / "mean.npy")
        self._index, self.on_gpu = faiss.read_index(str(folder / "index"), faiss.IO_FLAG_MMAP), False
        samples = np.load(folder / "samples.npz")
        self._search_wide_enough(samples["queries"], samples["truth"], recall)

    @property
    def vectors(self) -> np.ndarray:
        """All vectors, float32 `[N, D]`, mapped from their file."""
        return self._vectors

    def _widths(self) -> Iterable[int]:
        return [2**power for power in range(self._index.nlist.bit_length())]

    def _widen(self, width: int) -> None:
        self._index.nprobe = width


def shared_disk_index(key: str, blocks: _Blocks, count: int, dimension: int, recall: float) -> FaissDisk:
    """The index of some vectors, made by the first process of this machine that asks for it.

    Args:
        key: a text that only the same vectors have.
        blocks: the vectors.
        count: of the vectors, at most.
        dimension: of a vector.
        recall: least share of nearest vectors that it is to find.

    Raises:
        UserError: Faiss is not installed, there are few vectors, or the cache's disk has no room.
    """
    require_faiss(FaissDisk.name)
    parent = ensure_folder(cache_folder() / "search")
    folder = parent / hashlib.sha256(f"{_FORMAT} {key}".encode()).hexdigest()[:24]
    with exclusive(folder.with_suffix(".lock")):
        if not folder.is_dir():
            _build(folder, blocks, count, dimension)
    return FaissDisk(folder, dimension, recall)


def _build(folder: Path, blocks: _Blocks, count: int, dimension: int) -> None:
    bytes_needed = count * (4 * dimension + 8 + _code_bytes(dimension) + 8)
    free = shutil.disk_usage(folder.parent).free
    if free < bytes_needed:  # a full disk would end the process where files are mapped
        raise UserError(
            f"{folder.parent}: the search needs {bytes_needed / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free; "
            "free some, or set GRAMGAN_CACHE to another disk"
        )
    _log.info("texture search: the index of %s patches is made in %s, once", f"{count:,}", folder)
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir()
        with (unfinished / "vectors").open("wb") as vectors, (unfinished / "ids").open("wb") as ids:
            for some, their_ids in blocks():
                vectors.write(np.ascontiguousarray(some, np.float32).data)
                ids.write(np.ascontiguousarray(their_ids, np.int64).data)
        _index(unfinished, _mapped(unfinished / "vectors", np.float32).reshape(-1, dimension))
        unfinished.rename(folder)
    except OSError as error:
        raise write_error(folder, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _index(folder: Path, vectors: np.ndarray) -> None:
    faiss = require_faiss(FaissDisk.name)
    count, dimension = vectors.shape
    if count < FEWEST:
        raise UserError(
            f"texture.search {FaissDisk.name}: {count} patches are few; leave texture.search out, memory will do"
        )
    mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    lists = max(1, min(int(4 * count**0.5), count // _PER_LIST, _MOST_LISTS))
    index = faiss.IndexIVFPQ(faiss.IndexFlatL2(dimension), dimension, lists, _code_bytes(dimension), 8)
    for trained in (index.cp, index.pq.cp):
        trained.niter, trained.seed, trained.min_points_per_centroid = 8, _SEED, 1
    random = np.random.default_rng(_SEED)
    chosen = np.sort(random.choice(count, min(count, max(_PER_LIST * lists, FEWEST)), replace=False))
    index.train(vectors[chosen] - mean)
    for start in range(0, count, _BLOCK):
        index.add(vectors[start : start + _BLOCK] - mean)
    faiss.write_index(index, str(folder / "index"))
    np.save(folder / "mean.npy", mean)
    queries, truth = sample_queries(vectors)
    np.savez(folder / "samples.npz", queries=queries, truth=truth)


def _code_bytes(dimension: int) -> int:
    return max(parts for parts in range(1, _CODES + 1) if dimension % parts == 0)


def _mapped(path: Path, kind: type) -> np.ndarray:
    return np.memmap(path, kind, "c")  # nobody writes; torch warns of arrays that say so
