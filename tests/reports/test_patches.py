import numpy as np
import pytest

from gramgan.reports.patches import PATCH_TILE, context_side, in_context, map_grid, mosaic, texture_map, with_dots
from gramgan.texture.origins import cut_context


def photograph(height: int = 90, width: int = 120) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, (3, height, width), np.uint8)


@pytest.mark.parametrize("k", [2, 4, 8, 32])
@pytest.mark.parametrize(("x", "y"), [(0, 0), (40, 30), (88, 58)])
def test_a_patch_stands_in_its_surroundings_and_enlarged(k: int, x: int, y: int) -> None:
    image = photograph()
    patch = np.full((k, k, 3), (250, 240, 230), np.uint8)  # brighter than all else but the frames
    image[:, y : y + k, x : x + k] = patch.transpose(2, 0, 1)
    picture = in_context(patch, cut_context(image, x, y, k, 1.0, context_side(k)))
    assert picture.shape == (PATCH_TILE, PATCH_TILE, 3)
    zoom = PATCH_TILE // context_side(k)
    shown = (picture == (250, 240, 230)).all(axis=2).sum()
    assert shown >= (k * zoom) ** 2 + (64 // k * k) ** 2


def test_a_patch_without_its_photograph_fills_the_picture() -> None:
    patch = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    np.testing.assert_array_equal(in_context(patch, None)[24::48, 24::48], patch)


def test_surroundings_that_are_smaller_than_the_picture() -> None:
    image = photograph(9, 20)
    patch = image[:, 2:6, 3:7].transpose(1, 2, 0)
    assert in_context(patch, cut_context(image, 3, 2, 4, 1.0, 48)).shape == (PATCH_TILE, PATCH_TILE, 3)


@pytest.mark.parametrize("k", [2, 4, 5, 8, 32])
def test_map_holds_each_patch_in_its_cell(k: int) -> None:
    columns, rows = map_grid(k)
    patches = [np.full((k, k, 3), value, np.uint8) for value in (100, 150, 200)]
    picture = texture_map(patches, np.array([0, columns - 1, columns * rows - 1]))
    height, width = picture.shape[:2]
    assert height < 900
    assert 1200 < width <= 1301
    assert (picture[2, 2] == 100).all()
    assert (picture[2, -3] == 150).all()
    assert (picture[-3, -3] == 200).all()
    assert (picture[height // 2, width // 2] < 50).all()


@pytest.mark.parametrize(("count", "shape"), [(1, (14, 14)), (3, (27, 27)), (400, (105, 105))])
def test_mosaic(count: int, shape: tuple[int, int]) -> None:
    assert mosaic([np.zeros((4, 4, 3), np.uint8)] * count, 110).shape[:2] == shape


def test_dots_are_where_patches_were_taken() -> None:
    shown = with_dots(np.full((50, 80, 3), 100, np.uint8), np.array([[0.5, 0.5], [1.0, 1.0]]))
    y, x = np.nonzero(shown[..., 0] == 255)
    assert {(25, 40), (26, 41), (49, 79)} <= set(zip(y.tolist(), x.tolist(), strict=True))
    assert with_dots(np.full((50, 80, 3), 100, np.uint8), np.zeros((0, 2))).max() < 100
