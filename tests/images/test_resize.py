"""Shrinking: the size that is asked for, no shift, no aliasing, no fringes."""

import numpy as np
import pytest

from gramgan.images.resize import resize_array


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(24, 18), (63, 47), (64, 48), (1, 1), (64, 5), (3, 48)])
def test_sizes_and_range(channels: int, size: tuple[int, int]) -> None:
    array = np.random.default_rng(0).integers(0, 2, (channels, 48, 64)).astype(np.float32)
    result = resize_array(array, *size, channels in (2, 4))
    assert result.shape == (channels, size[1], size[0])
    assert result.dtype == np.float32
    assert result.min() >= 0, "Lanczos overshoots"
    assert result.max() <= 1


def test_nothing_is_shifted() -> None:
    ramp = np.broadcast_to(((np.arange(96) + 0.5) / 96).astype(np.float32), (1, 40, 96))
    result = resize_array(ramp, 36, 15, False)
    expected = (np.arange(36) + 0.5) / 36
    np.testing.assert_allclose(result[0, 7, 3:-3], expected[3:-3], atol=1e-3)


def test_what_is_too_fine_becomes_even_grey() -> None:
    lines = np.zeros((1, 60, 60), np.float32)
    lines[:, ::2] = 1
    result = resize_array(lines, 20, 20, False)
    np.testing.assert_allclose(result[:, 4:-4], 0.5, atol=0.02)


@pytest.mark.parametrize("under", [0.0, 1.0])
def test_colours_under_transparency_do_not_bleed(under: float) -> None:
    picture = np.full((4, 40, 40), 0.6, np.float32)
    picture[:, :, :17] = under
    picture[3] = 1
    picture[3, :, :17] = 0
    result = resize_array(picture, 25, 25, True)
    seen = result[3] > 0.02
    assert seen.any()
    np.testing.assert_allclose(result[:3][:, seen], 0.6, atol=0.01)
    assert np.abs(result[:3, :, :8] - under).max() < 0.01, "where nothing is seen the colours stay"
