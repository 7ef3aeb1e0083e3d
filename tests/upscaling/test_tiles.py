"""The tile plan covers every pixel exactly once, with full context, and tiles become a picture again."""

from itertools import pairwise

import numpy as np
import pytest

from gramgan.images import Window
from gramgan.upscaling.tiles import (
    Cell,
    Composer,
    TilePlan,
    final_window,
    needed_tiles,
    plan_axis,
    plan_tiles,
    span_weights,
)

SCALE = 4
SHAPES = [(1, 1, 16, 0), (40, 50, 16, 3), (97, 64, 16, 0), (200, 30, 33, 5), (64, 200, 3, 1)]


@pytest.mark.parametrize("tile", [1, 2, 3, 4, 7, 16, 33, 64])
@pytest.mark.parametrize("overlap", [0, 1, 10, 44])
def test_weights_of_every_length_sum_to_exactly_one(tile: int, overlap: int) -> None:
    for length in [*range(1, 120), 157, 256, 500]:
        total = np.zeros(length * SCALE, dtype=np.float32)
        for span in plan_axis(length, tile, overlap):
            total[span.keep_start * SCALE : span.keep_stop * SCALE] += span_weights(span, SCALE)
        assert np.array_equal(total, np.ones_like(total)), length


@pytest.mark.parametrize(("tile", "overlap"), [(1, 0), (1, 3), (4, 0), (5, 2), (16, 10), (64, 44)])
def test_every_used_pixel_has_its_context_and_all_tiles_have_one_size(tile: int, overlap: int) -> None:
    for length in range(1, 400):
        spans = plan_axis(length, tile, overlap)
        assert len({span.size for span in spans}) == 1
        assert spans[0].size <= max(tile + 2 * overlap, 1)
        for span in spans:
            assert 0 <= span.start <= span.keep_start < span.keep_stop <= span.stop <= length
            assert span.start == 0 or span.keep_start - span.start >= overlap
            assert span.stop == length or span.stop - span.keep_stop >= overlap
        for one, after in pairwise(spans):
            assert one.keep_stop - one.fade_out == after.keep_start, "the zones of blending are the same for both"
            assert after.keep_start + after.fade_in <= after.keep_stop - after.fade_out


def test_all_weights_are_positive() -> None:
    for span in plan_axis(300, 32, 8):
        weights = span_weights(span, SCALE)
        assert weights.min() > 0
        assert weights.max() == 1


def test_tiles_shrink_evenly_instead_of_computing_more_than_needed() -> None:
    spans = plan_axis(512, 256, 44)
    assert len(spans) == 2
    assert spans[0].size == 304  # not 344, which would also need two


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 50), (3, 2), (88, 88)])
def test_a_picture_within_one_tile_is_taken_whole(height: int, width: int) -> None:
    plan = plan_tiles(height, width, tile=64, overlap=12)
    assert len(plan) == 1
    (row,), (column,) = plan.rows, plan.columns
    assert (row.size, column.size) == (height, width)


def test_reading_order() -> None:
    plan = plan_tiles(100, 200, tile=32, overlap=0)
    starts = [(plan.rows[row].start, plan.columns[column].start) for row, column in plan.cells]
    assert len(starts) == len(plan) == len(plan.rows) * len(plan.columns)
    assert starts == sorted(starts)


@pytest.mark.parametrize(("length", "tile", "overlap"), [(0, 4, 0), (4, 0, 0), (4, 4, -1)])
def test_impossible_sizes_are_refused(length: int, tile: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="cannot cut"):
        plan_axis(length, tile, overlap)


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
