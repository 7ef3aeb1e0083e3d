import numpy as np
import pytest

from gramgan.texture.layout import cells, one_of_each, project, representatives


def test_project_finds_the_direction_that_varies_most() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(5000, 6)).astype(np.float32) * [0.1, 5, 0.1, 1, 0.1, 0.1]
    projection = project(vectors)
    for axis, component in ((0, 1), (1, 3)):
        # Stretching keeps the order, and an axis points where its largest component grows.
        order = np.argsort(vectors[:, component])
        inner = projection.positions[order, axis][100:-100]
        assert np.corrcoef(np.arange(len(inner)), inner)[0, 1] > 0.95
    assert projection.explained == pytest.approx((25 / 26.04, 1 / 26.04), abs=0.01)


def test_positions_fill_the_unit_square_in_spite_of_outliers() -> None:
    vectors = np.random.default_rng(1).standard_t(2, (20_000, 6)).astype(np.float32)  # heavy tails, as contrast has
    vectors[0] = 10_000
    positions = project(vectors).positions
    assert positions.dtype == np.float32
    assert positions.min() == 0
    assert positions.max() == 1
    assert np.quantile(positions, 0.9, axis=0).min() - np.quantile(positions, 0.1, axis=0).max() > 0.2


def test_project_in_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(2).random((1000, 6)).astype(np.float32)
    whole = project(vectors)
    monkeypatch.setattr("gramgan.texture.layout._BLOCK", 64)
    np.testing.assert_allclose(project(vectors).positions, whole.positions, atol=1e-5)


@pytest.mark.parametrize("number", [1, 5])
def test_equal_vectors_lie_in_the_middle(number: int) -> None:
    projection = project(np.full((number, 6), 3, np.float32))
    np.testing.assert_array_equal(projection.positions, np.full((number, 2), 0.5))
    assert projection.explained == (0, 0)


def test_nothing_to_lay_out() -> None:
    with pytest.raises(ValueError, match="no vectors"):
        project(np.zeros((0, 6), np.float32))


def test_cells_are_numbered_from_the_upper_left() -> None:
    positions = np.array([[0, 1], [1, 1], [0, 0], [1, 0], [0.5, 0.5]], np.float32)
    np.testing.assert_array_equal(cells(positions, 4, 3), [0, 3, 8, 11, 6])


def test_one_of_each_cell_and_not_always_the_first() -> None:
    cell = np.array([7, 7, 2, 2, 2, 7, 9] * 50)
    chosen = one_of_each(cell, seed=0)
    np.testing.assert_array_equal(cell[chosen], [2, 7, 9])
    assert len({tuple(one_of_each(cell, seed)) for seed in range(5)}) > 1
    np.testing.assert_array_equal(chosen, one_of_each(cell, seed=0))


@pytest.mark.parametrize("number", [1, 6, 8, 20])
def test_representatives_stand_for_equal_shares(number: int) -> None:
    vectors = np.random.default_rng(3).normal(size=(1000, 3)) ** 3
    chosen = representatives(vectors, number)
    assert len(set(chosen.tolist())) == number
    # A patch of each part, and parts are equal: the one that fills up 9/10 of the space has 9/10 of them.
    many = np.concatenate([np.random.default_rng(4).normal(size=(900, 3)), 100 + np.zeros((100, 3))])
    far = (many[representatives(many, 20)] > 50).all(axis=1).sum()
    assert far == pytest.approx(2, abs=1)


def test_fewer_patches_than_representatives() -> None:
    np.testing.assert_array_equal(np.sort(representatives(np.eye(3), 8)), [0, 1, 2])
    assert len(representatives(np.zeros((0, 3)), 8)) == 0
    with pytest.raises(ValueError, match="at least one"):
        representatives(np.eye(3), 0)
