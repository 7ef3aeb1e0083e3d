"""Search against brute force in float64."""

import numpy as np
import pytest
import torch

from gramgan.errors import UserError
from gramgan.texture.search import (
    BlockedSearch,
    FaissFlat,
    FaissIvf,
    KdTree,
    NearestNeighbours,
    SearchBackend,
    build_index,
)
from gramgan.texture.search.curve import Curve

BACKENDS: list[SearchBackend] = ["kdtree", "blocked", "direct", "faiss-flat"]
APPROXIMATE: list[SearchBackend] = ["faiss-ivf", "faiss-hnsw"]


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
    torch.testing.assert_close(distance, (vectors[row].double() - queries.double()).norm(dim=1), rtol=1e-14, atol=0)


def brute_force(vectors: torch.Tensor, queries: torch.Tensor, neighbours: int = 1) -> torch.Tensor:
    """Smallest float64 distances, by differences: `[M, neighbours]`."""
    smallest = torch.empty(len(queries), neighbours, dtype=torch.float64)
    vectors = vectors.double()
    for start in range(0, len(queries), 256):
        block = queries[start : start + 256].double()
        every = torch.cdist(block, vectors, compute_mode="donot_use_mm_for_euclid_dist")
        smallest[start : start + 256] = every.topk(neighbours, dim=1, largest=False).values
    return smallest


def texture_like(number: int, dimension: int, generator: torch.Generator) -> torch.Tensor:
    """Lumps of nearly and wholly equal vectors, a heavy tail and a few common directions, as Gram vectors have them."""
    axes = torch.randn(4, dimension, generator=generator)
    vectors = torch.randn(number, 4, generator=generator).exp() @ axes
    vectors[: number // 4] = vectors[0] + 1e-6 * torch.randn(number // 4, dimension, generator=generator)
    vectors[number // 4 : number // 3] = vectors[0]
    return vectors[torch.randperm(number, generator=generator)]


@pytest.mark.parametrize("backend", ["kdtree", "blocked", "direct"])
@pytest.mark.parametrize("dimension", [6, 45])
def test_distances_are_those_of_brute_force(backend: SearchBackend, dimension: int) -> None:
    generator = torch.Generator().manual_seed(dimension)
    vectors = texture_like(3000, dimension, generator)
    queries = torch.cat(
        (texture_like(400, dimension, generator), vectors[:100], (vectors[:100] + vectors[100:200]) / 2)
    )
    index = build_index(vectors, backend)
    expected = brute_force(vectors, queries, 5)
    torch.testing.assert_close(index.query(queries)[0], expected[:, 0], rtol=1e-12, atol=1e-13)
    distance, row = index.query(queries, 5)
    torch.testing.assert_close(distance, expected, rtol=1e-12, atol=1e-13)
    assert all(len(set(some)) == 5 for some in row.tolist())


def test_distances_are_those_of_brute_force_where_vectors_are_put_in_order() -> None:
    generator = torch.Generator().manual_seed(8)
    vectors, queries = texture_like(60_000, 6, generator), texture_like(300, 6, generator)
    index = build_index(vectors)
    assert isinstance(index, KdTree)
    distance, row = index.query(queries)
    torch.testing.assert_close(distance, brute_force(vectors, queries)[:, 0], rtol=1e-12, atol=1e-13)
    torch.testing.assert_close((vectors[row].double() - queries).norm(dim=1), distance, rtol=1e-12, atol=1e-13)


@pytest.mark.slow
def test_distances_of_100_000_queries_are_those_of_brute_force() -> None:
    generator = torch.Generator().manual_seed(9)
    vectors, queries = texture_like(60_000, 6, generator), texture_like(100_000, 6, generator)
    expected = brute_force(vectors, queries)[:, 0]
    for backend in ("kdtree", "blocked", "direct"):
        torch.testing.assert_close(build_index(vectors, backend).query(queries)[0], expected, rtol=1e-12, atol=1e-13)


def test_a_curve_keeps_neighbours_together() -> None:
    vectors = torch.randn(20_000, 6, generator=torch.Generator().manual_seed(2)).numpy()
    order = Curve(vectors).order(vectors)
    assert sorted(order) == list(range(20_000))
    apart = np.linalg.norm(np.diff(vectors[order], axis=0), axis=1).mean()
    assert apart < 0.7 * np.linalg.norm(np.diff(vectors, axis=0), axis=1).mean()


@pytest.mark.parametrize("backend", APPROXIMATE)
def test_recall_is_measured_and_as_asked_for(backend: SearchBackend, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("faiss")
    caplog.set_level("INFO", "gramgan")
    generator = torch.Generator().manual_seed(6)
    vectors = torch.randn(6000, 12, generator=generator)
    low, high = build_index(vectors, backend, recall=0.3), build_index(vectors, backend, recall=0.99)
    assert 0.3 <= low.recall < high.recall
    assert 0.99 <= high.recall <= 1
    assert f"{100 * low.recall:.1f} %" in caplog.text
    queries = (vectors[:500] + vectors[500:1000]) / 2
    truth = brute_force(vectors, queries, 3)
    distance, row = high.query(queries, 3)
    assert float((distance[:, 0] <= truth[:, 0] * (1 + 1e-9)).double().mean()) > 0.9
    torch.testing.assert_close((vectors[row].double() - queries.double().unsqueeze(1)).norm(dim=2), distance)


@pytest.mark.parametrize("backend", [*BACKENDS, *APPROXIMATE])
def test_more_neighbours_than_vectors(backend: SearchBackend) -> None:
    if backend.startswith("faiss"):
        pytest.importorskip("faiss")
    vectors = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
    index = build_index(vectors, backend)
    with pytest.raises(UserError, match="4 neighbours are asked for, the texture database has 3 patches"):
        index.query(vectors, 4)
    if backend in ("kdtree", "blocked", "direct"):
        assert sorted(index.query(vectors, 3)[1][0].tolist()) == [0, 1, 2]
    with pytest.raises(ValueError, match="at least 1"):
        index.query(vectors, 0)


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


def test_auto_is_exact_but_for_millions_of_many_dimensions(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(build_index(torch.rand(10, 6)), KdTree)
    assert isinstance(build_index(torch.rand(10, 45)), BlockedSearch)
    monkeypatch.setattr("gramgan.texture.search.choice._MANY_VECTORS", 999)
    assert isinstance(build_index(torch.rand(1000, 6)), KdTree)
    pytest.importorskip("faiss")
    assert isinstance(build_index(torch.rand(1000, 45)), FaissIvf)


def test_auto_says_so_where_faiss_would_help(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("gramgan.texture.search.choice._MANY_VECTORS", 9)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert isinstance(build_index(torch.rand(10, 45)), BlockedSearch)
    assert "pip install 'gramgan[faiss]'" in caplog.text


def test_faiss_flat_is_used_when_asked_for() -> None:
    pytest.importorskip("faiss")
    assert isinstance(build_index(torch.rand(10, 6), "faiss-flat"), FaissFlat)


def test_no_vectors() -> None:
    with pytest.raises(UserError, match="no vectors"):
        build_index(torch.zeros(0, 6))
