"""Search against brute force in float64."""

import pytest
import torch

from gramgan.errors import UserError
from gramgan.texture.search import BlockedSearch, FaissFlat, KdTree, NearestNeighbours, SearchBackend, build_index

BACKENDS: list[SearchBackend] = ["kdtree", "blocked", "faiss-flat"]


def excess(index: NearestNeighbours, vectors: torch.Tensor, queries: torch.Tensor) -> float:
    """Largest excess of a returned neighbour's float64 distance over the true minimum."""
    _, row = index.query(queries)
    distances = torch.cdist(queries.double(), vectors.double(), compute_mode="donot_use_mm_for_euclid_dist")
    return float((distances.gather(1, row.unsqueeze(1)).squeeze(1) - distances.min(dim=1).values).max())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dimension", [6, 45])
def test_exact(backend: SearchBackend, dimension: int) -> None:
    if backend == "faiss-flat":
        pytest.importorskip("faiss")
    generator = torch.Generator().manual_seed(dimension)
    vectors = torch.randn(20_000, dimension, generator=generator) + 3  # off-centre: the harder case for cancellation
    queries = torch.randn(500, dimension, generator=generator) + 3
    index = build_index(vectors, backend)
    assert excess(index, vectors, queries) <= 1e-6
    distance, row = index.query(queries)
    torch.testing.assert_close(distance, (vectors[row] - queries).norm(dim=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_argmin_of_the_weighted_distances(backend: SearchBackend) -> None:
    """argmin of α‖p - g‖² + β‖p - e‖² is the nearest neighbour of (αg + βe)/(α + β), for any α, β."""
    if backend == "faiss-flat":
        pytest.importorskip("faiss")
    from gramgan.texture.candidates import combined_query

    generator = torch.Generator().manual_seed(7)
    vectors = torch.rand(3000, 6, generator=generator)
    index = build_index(vectors, backend)
    for _ in range(20):
        alpha, beta = (float(v) for v in torch.rand(2, generator=generator) * 3)
        g, e = torch.rand(2, 50, 6, generator=generator)
        cost = (
            alpha * torch.cdist(g.double(), vectors.double()) ** 2
            + beta * torch.cdist(e.double(), vectors.double()) ** 2
        )
        _, row = index.query(combined_query(g, e, alpha, beta))
        chosen = cost.gather(1, row.unsqueeze(1)).squeeze(1)
        assert float((chosen - cost.min(dim=1).values).max()) <= 1e-6


def test_auto_chooses_by_dimension() -> None:
    assert isinstance(build_index(torch.rand(10, 6)), KdTree)
    assert isinstance(build_index(torch.rand(10, 45)), BlockedSearch)


def test_faiss_flat_is_used_when_asked_for() -> None:
    pytest.importorskip("faiss")
    assert isinstance(build_index(torch.rand(10, 6), "faiss-flat"), FaissFlat)


def test_no_vectors() -> None:
    with pytest.raises(UserError, match="no vectors"):
        build_index(torch.zeros(0, 6))
