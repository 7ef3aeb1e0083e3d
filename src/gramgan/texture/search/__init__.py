"""Nearest neighbours among Gram vectors: exact unless asked otherwise, one query for all patches of a step."""

from gramgan.texture.search.blocked import BlockedSearch
from gramgan.texture.search.choice import RECALL, build_index, say_recall
from gramgan.texture.search.direct import DirectSearch
from gramgan.texture.search.faiss_index import FaissFlat, FaissHnsw, FaissIvf
from gramgan.texture.search.index import NearestNeighbours, SearchBackend
from gramgan.texture.search.kdtree import KdTree

__all__ = [
    "RECALL",
    "BlockedSearch",
    "DirectSearch",
    "FaissFlat",
    "FaissHnsw",
    "FaissIvf",
    "KdTree",
    "NearestNeighbours",
    "SearchBackend",
    "build_index",
    "say_recall",
]
