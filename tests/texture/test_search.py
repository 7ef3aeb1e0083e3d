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


@pytest.mark.parametrize("backend", BACKENDS)
def test_exact_where_float32_scores_cannot_tell(backend: SearchBackend) -> None:
    """Thousands of nearly equal vectors far from the mean: bright flat patches are such."""
    if backend == "faiss-flat":
        pytest.importorskip("faiss")
    generator = torch.Generator().manual_seed(3)
    flat = torch.tensor([30.0, -20, 10, 5, 0, 1]) + 1e-4 * torch.randn(4000, 6, generator=generator)
    vectors = torch.cat((torch.randn(5000, 6, generator=generator), flat))[torch.randperm(9000, generator=generator)]
    queries = flat[:300] + 1e-5 * torch.randn(300, 6, generator=generator)
    scores = vectors.square().sum(1) - 2 * queries @ vectors.T
    by_score = (vectors[scores.argmin(1)] - queries).norm(dim=1)
    index = build_index(vectors, backend)
    assert float((by_score - index.query(queries)[0]).max()) > 1e-4  # the case is one that needs more than scores
    assert excess(index, vectors, queries) <= (0 if backend == "blocked" else 1e-6)
    if backend == "faiss-flat":  # it changes its algorithm with the number of queries
        assert torch.equal(index.query(queries.repeat(100, 1))[1], index.query(queries)[1].repeat(100))


def test_blocked_search_does_not_follow_the_program_s_matmul_precision() -> None:
    generator = torch.Generator().manual_seed(4)
    vectors, queries = torch.randn(2, 2000, 45, generator=generator)
    torch.set_float32_matmul_precision("medium")
    try:
        assert excess(BlockedSearch(vectors), vectors, queries) == 0
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 1500])
def test_every_vector_finds_itself(backend: SearchBackend, size: int) -> None:
    if backend == "faiss-flat":
        pytest.importorskip("faiss")
    vectors = torch.rand(size, 6, generator=torch.Generator().manual_seed(size))
    distance, row = build_index(vectors, backend).query(vectors)
    assert torch.equal(row, torch.arange(size))
    assert distance.max() == 0


def test_equally_near_vectors_give_the_first() -> None:
    vectors = torch.rand(3, 6).repeat(400, 1)
    assert torch.equal(BlockedSearch(vectors).query(vectors[:30])[1], torch.arange(30) % 3)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_query_that_is_not_finite_has_no_distance(backend: SearchBackend, value: float) -> None:
    if backend == "faiss-flat":
        pytest.importorskip("faiss")
    vectors = torch.rand(600, 6)
    queries = vectors[:3].clone()
    queries[1, 2] = value
    distance, row = build_index(vectors, backend).query(queries)
    assert distance.isnan().tolist() == [False, True, False]
    assert row[[0, 2]].tolist() == [0, 2]
    assert 0 <= int(row[1]) < 600


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_queries(backend: SearchBackend) -> None:
    if backend == "faiss-flat":
        pytest.importorskip("faiss")
    distance, row = build_index(torch.rand(600, 6), backend).query(torch.rand(0, 6))
    assert distance.shape == row.shape == (0,)


def test_auto_chooses_by_dimension() -> None:
    assert isinstance(build_index(torch.rand(10, 6)), KdTree)
    assert isinstance(build_index(torch.rand(10, 45)), BlockedSearch)


def test_faiss_flat_is_used_when_asked_for() -> None:
    pytest.importorskip("faiss")
    assert isinstance(build_index(torch.rand(10, 6), "faiss-flat"), FaissFlat)


def test_no_vectors() -> None:
    with pytest.raises(UserError, match="no vectors"):
        build_index(torch.zeros(0, 6))
