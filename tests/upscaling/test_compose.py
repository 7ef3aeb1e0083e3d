"""Tiles become a picture again, wherever one begins."""

import numpy as np
import pytest

from gramgan.images import Window
from gramgan.upscaling.tiles import Cell, Composer, TilePlan, final_window, needed_tiles, plan_tiles

SCALE = 4
SHAPES = [(1, 1, 16, 0), (40, 50, 16, 3), (97, 64, 16, 0), (200, 30, 33, 5), (64, 200, 3, 1)]


def composed(plan: TilePlan, tiles: dict[Cell, np.ndarray], missing: list[Cell], result: np.ndarray) -> np.ndarray:
    """`result` with the windows of `missing` put in."""
    result = result.copy()

    def put(window: Window, pixels: np.ndarray) -> None:
        assert pixels.shape == (result.shape[0], window.height, window.width)
        result[:, window.y : window.y + window.height, window.x : window.x + window.width] = pixels

    composer = Composer(plan, result.shape[0], SCALE, missing, put)
    for cell in needed_tiles(plan, missing):
        composer.add(cell, tiles[cell])
    return result


def random_tiles(plan: TilePlan) -> dict[Cell, np.ndarray]:
    """Tiles that do not agree where they overlap."""
    rng = np.random.default_rng(0)
    rows, columns = plan.rows[0].size, plan.columns[0].size
    return {cell: rng.random((2, SCALE * rows, SCALE * columns), dtype=np.float32) for cell in plan.cells}


@pytest.mark.parametrize(("height", "width", "tile", "overlap"), SHAPES)
def test_final_windows_cover_the_picture_once(height: int, width: int, tile: int, overlap: int) -> None:
    plan = plan_tiles(height, width, tile, overlap)
    covered = np.zeros((SCALE * height, SCALE * width), int)
    for cell in plan.cells:
        window = final_window(plan, cell, SCALE)
        covered[window.y : window.y + window.height, window.x : window.x + window.width] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize(("height", "width", "tile", "overlap"), SHAPES)
def test_whatever_is_missing_comes_out_as_in_one_go(height: int, width: int, tile: int, overlap: int) -> None:
    plan = plan_tiles(height, width, tile, overlap)
    tiles = random_tiles(plan)
    empty = np.full((2, SCALE * height, SCALE * width), -1, np.float32)
    whole = composed(plan, tiles, plan.cells, empty)
    assert whole.min() >= 0
    rng = np.random.default_rng(1)
    for share in (0.0, 0.05, 0.3, 0.9):
        missing = [cell for cell in plan.cells if rng.random() < share]
        begun = whole.copy()
        for cell in missing:
            window = final_window(plan, cell, SCALE)
            begun[:, window.y : window.y + window.height, window.x : window.x + window.width] = -1
        assert np.array_equal(composed(plan, tiles, missing, begun), whole)


def test_neighbours_are_blended_linearly() -> None:
    plan = plan_tiles(1, 60, 32, 4)
    assert len(plan) == 2
    tiles = {cell: np.full((1, SCALE, SCALE * plan.columns[0].size), cell[1], np.float32) for cell in plan.cells}
    result = composed(plan, tiles, plan.cells, np.zeros((1, SCALE, 240), np.float32))[0, 0]
    ramp = result[(result > 0) & (result < 1)]
    assert len(ramp) == SCALE * plan.columns[1].fade_in == 32
    np.testing.assert_allclose(np.diff(ramp), 1 / 32, atol=1e-6)


def test_only_the_neighbours_of_what_is_missing_are_needed() -> None:
    plan = plan_tiles(100, 100, 20, 2)
    assert len(plan.rows) > 3
    assert needed_tiles(plan, [(2, 2)]) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert needed_tiles(plan, [(0, 0)]) == [(0, 0)]
    assert needed_tiles(plan, []) == []
    assert needed_tiles(plan, plan.cells) == plan.cells
