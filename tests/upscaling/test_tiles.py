"""The tile plan covers every pixel exactly once, with full context."""

from itertools import pairwise

import numpy as np
import pytest

from gramgan.upscaling.tiles import plan_axis, plan_tiles, span_weights

SCALE = 4


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
