"""Chooses the index for a number of vectors and their dimension."""

import logging

from torch import Tensor

from gramgan.errors import UserError
from gramgan.installed import is_installed
from gramgan.share import SharedMaker, own_memory
from gramgan.texture.search.blocked import BlockedSearch
from gramgan.texture.search.direct import DirectSearch
from gramgan.texture.search.faiss_index import FaissFlat, FaissHnsw, FaissIvf
from gramgan.texture.search.index import NearestNeighbours, SearchBackend
from gramgan.texture.search.kdtree import KdTree

# A kd-tree prunes little in many dimensions. What a query costs one core, as measured: at 6 dimensions a tree takes 2
# to 8 µs among 10 million vectors; at 45 it takes 0.6 ms among 100 thousand, and blocked search 0.3 ms. Beyond the
# number below either takes longer than all the rest of a full-size training step. No descriptor lies between.
_MANY_DIMENSIONS = 16
_MANY_VECTORS = 300_000

# On a GPU: so many vectors are compared directly, since that never waits for the device. Beyond, its double traffic of
# memory costs more than `blocked` search's one wait for every 4,096 queries.
_DIRECT_VECTORS = 2**19

RECALL = 0.99
"""Least share of nearest vectors that an approximate index is to find."""

_log = logging.getLogger(__name__)


def build_index(
    vectors: Tensor, backend: SearchBackend = "auto", *, recall: float = RECALL, place: SharedMaker = own_memory
) -> NearestNeighbours:
    """An index over `vectors` (`[N, D]` float32), searched on the device where they lie.

    `auto` is exact: on a GPU direct matrix search, or blocked matrix search among more than half a million vectors
    (neither goes through the host's memory); on a CPU a kd-tree for few dimensions and blocked search for many. Only
    more than 300,000 vectors of many dimensions on a CPU go to `faiss-ivf`, which is approximate, if Faiss is
    installed. An approximate index's recall is logged.

    Args:
        vectors: `[N, D]`, finite.
        backend: one of `SearchBackend`.
        recall: least share of nearest vectors that an approximate index is to find.
        place: where an exact index on a CPU lies, so that several processes need not have one each.

    Raises:
        UserError: there are no vectors, or Faiss is asked for and not installed.
    """
    if vectors.ndim != 2 or not len(vectors):
        raise UserError("texture search: there are no vectors to search in; build a larger texture database")
    chosen = _chosen(vectors) if backend == "auto" else backend
    index = _built(vectors, chosen, recall, place)
    say_recall(index, len(vectors), "; texture.search=blocked is exact and slower" if backend == "auto" else "")
    return index


def say_recall(index: NearestNeighbours, count: int, more: str = "") -> None:
    """Say in the log how good an approximate index of `count` vectors is."""
    if index.recall < 1:
        _log.info(
            "%s search is approximate: it found the nearest of %s vectors for %.1f %% of sample queries%s",
            index.name,
            f"{count:,}",
            100 * index.recall,
            more,
        )


def _chosen(vectors: Tensor) -> SearchBackend:
    if vectors.device.type != "cpu":
        return "direct" if len(vectors) <= _DIRECT_VECTORS else "blocked"
    if vectors.shape[1] <= _MANY_DIMENSIONS:
        return "kdtree"
    if len(vectors) <= _MANY_VECTORS:
        return "blocked"
    if not is_installed("faiss"):
        _log.warning(
            "exact search among %s vectors of %d components takes long; with Faiss an approximate one is chosen: "
            "pip install 'gramgan[faiss]'",
            f"{len(vectors):,}",
            vectors.shape[1],
        )
        return "blocked"
    return "faiss-ivf"


def _built(vectors: Tensor, backend: SearchBackend, recall: float, place: SharedMaker) -> NearestNeighbours:
    match backend:
        case "blocked":
            return BlockedSearch(vectors, place)
        case "direct":
            return DirectSearch(vectors)
        case "faiss-flat":
            return FaissFlat(vectors)
        case "faiss-ivf":
            return FaissIvf(vectors, recall)
        case "faiss-hnsw":
            return FaissHnsw(vectors, recall)
        case "faiss-disk":
            raise UserError("texture search: faiss-disk is for whole databases; leave texture.search out")
        case _:
            return KdTree(vectors, place)
