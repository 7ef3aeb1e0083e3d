import numpy as np
import pytest
import torch

from gramgan.errors import UserError
from gramgan.texture.descriptors import DESCRIPTORS, Descriptor, DescriptorName
from gramgan.texture.explain import (
    corner_of,
    cut_patches_at,
    nearest,
    spot_vectors,
    textured_spots,
    typical_distance,
)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (3, height, width), np.uint8)


@pytest.mark.parametrize("descriptor", DESCRIPTORS)
@pytest.mark.parametrize("k", [4, 8])
def test_spot_vectors_are_those_that_training_asks_for(descriptor: DescriptorName, k: int) -> None:
    image = noise(24, 32)
    chosen = Descriptor.default(descriptor, k)
    corners = [(x, y) for y in range(0, 24, k) for x in range(0, 32, k)]  # borders and corners among them
    expected = chosen.encode(torch.from_numpy(image).unsqueeze(0).float() / 255)[0]
    torch.testing.assert_close(spot_vectors(image, corners, chosen), expected, rtol=1e-4, atol=1e-5)


def test_cut_patches_at() -> None:
    image = noise(10, 12)
    patches = cut_patches_at(image, [(0, 0), (8, 6)], 4)
    np.testing.assert_array_equal(patches[1], image[:, 6:10, 8:12].transpose(1, 2, 0))


@pytest.mark.parametrize("size", [6, 45])
def test_nearest_equals_brute_force(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gramgan.texture.explain._BLOCK", 100 * size)  # ten blocks
    random = np.random.default_rng(0)
    vectors, queries = (random.normal(size=(n, size)).astype(np.float32) for n in (1003, 7))
    distances, rows = nearest(vectors, queries, 12)
    every = np.linalg.norm(vectors[None].astype(np.float64) - queries[:, None].astype(np.float64), axis=2)
    np.testing.assert_array_equal(rows, np.argsort(every, axis=1)[:, :12])
    np.testing.assert_allclose(distances, np.sort(every, axis=1)[:, :12], rtol=1e-14)


def test_of_equal_vectors_the_first_rows_are_nearest() -> None:
    distances, rows = nearest(np.ones((50, 6), np.float32), np.ones((1, 6), np.float32), 3)
    np.testing.assert_array_equal(rows, [[0, 1, 2]])
    np.testing.assert_array_equal(distances, [[0, 0, 0]])


def test_more_neighbours_than_vectors() -> None:
    with pytest.raises(ValueError, match="4 neighbours of 3 vectors"):
        nearest(np.ones((3, 6), np.float32), np.ones((1, 6), np.float32), 4)


def test_typical_distance_is_the_median() -> None:
    vectors = np.arange(101, dtype=np.float32)[:, None].repeat(1, axis=1)
    assert typical_distance(vectors, np.array([[0.0]]))[0] == 50
    assert typical_distance(vectors, np.array([[50.0]]))[0] == 25


def test_spots_lie_in_texture_and_apart() -> None:
    image = np.full((3, 256, 384), 90, np.uint8)
    image[:, 32:128, 32:128] = noise(96, 96)
    image[:, 160:224, 256:352] = noise(64, 96, 1) // 2
    spots = textured_spots(image, 6, 4)
    assert len(set(spots)) == 6
    left = [(x, y) for x, y in spots if 32 <= x <= 124 and 32 <= y <= 124]
    right = [(x, y) for x, y in spots if 256 <= x <= 348 and 160 <= y <= 220]
    assert left and right
    assert len(left) + len(right) == 6
    for index, (x, y) in enumerate(spots):
        assert all(max(abs(x - a), abs(y - b)) >= 4 for a, b in spots[:index])
    assert spots == textured_spots(image, 6, 4)


@pytest.mark.parametrize(("height", "width"), [(4, 4), (5, 40), (17, 9)])
def test_spots_of_a_small_image(height: int, width: int) -> None:
    for x, y in textured_spots(noise(height, width), 12, 4):
        assert 0 <= x <= width - 4
        assert 0 <= y <= height - 4


def test_corner_of_a_pixel() -> None:
    image = noise(20, 30)
    assert corner_of(image, 15, 10, 4) == (13, 8)
    assert corner_of(image, 0, 0, 4) == (0, 0)
    assert corner_of(image, 29, 19, 4) == (26, 16)
    with pytest.raises(UserError, match=r"--at 30,2: lies outside the image, whose pixels are 0,0 to 29,19"):
        corner_of(image, 30, 2, 4)
