"""Resizing against a plain definition of the filter, and Pillow."""

import numpy as np
import pytest
import torch
from PIL import Image

from gramgan.ops.resize import back_project, bicubic_up, matlab_bicubic_down
from gramgan.upscaling import refine


def cubic(x: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = -0.5."""
    x = np.abs(x)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def imresize_matrix(length: int, scale: float) -> np.ndarray:
    """MATLAB's `imresize` along one axis as a matrix, mirrored at the borders; scale < 1 widens the kernel."""
    size = round(length * scale)
    matrix = np.zeros((size, length))
    width = min(scale, 1.0)
    for row in range(size):
        centre = (row + 0.5) / scale - 0.5
        taps = np.arange(int(np.floor(centre - 2 / width)), int(np.ceil(centre + 2 / width)) + 1)
        weights = cubic((centre - taps) * width)
        mirrored = taps % (2 * length)
        mirrored = np.where(mirrored < length, mirrored, 2 * length - 1 - mirrored)
        np.add.at(matrix[row], mirrored, weights / weights.sum())
    return matrix


@pytest.mark.parametrize("factor", [2, 4])
def test_down_is_imresize_to_the_border(factor: int) -> None:
    image = torch.rand(1, 3, 24, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    vertical, horizontal = imresize_matrix(24, 1 / factor), imresize_matrix(32, 1 / factor)
    expected = np.einsum("ih,bchw,jw->bcij", vertical, image.numpy(), horizontal)
    np.testing.assert_allclose(matlab_bicubic_down(image, factor, quantise=False).numpy(), expected, atol=1e-12)


def test_up_is_imresize_to_the_border() -> None:
    image = torch.rand(1, 3, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    vertical, horizontal = imresize_matrix(5, 4), imresize_matrix(7, 4)
    expected = np.einsum("ih,bchw,jw->bcij", vertical, image.numpy(), horizontal).clip(0, 1)
    np.testing.assert_allclose(bicubic_up(image).numpy(), expected, atol=1e-12)


def test_quantised_steps() -> None:
    small = matlab_bicubic_down(torch.rand(2, 3, 16, 16)) * 255
    torch.testing.assert_close(small, small.round())


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3)])
def test_up_takes_the_smallest_images(size: tuple[int, int]) -> None:
    assert bicubic_up(torch.full((1, 3, *size), 0.25)).sub(0.25).abs().max() < 1e-6


def test_back_projection_is_that_of_the_upscaling() -> None:
    random = np.random.default_rng(5)
    lr, sr = random.random((3, 9, 12), dtype=np.float32), random.random((3, 36, 48), dtype=np.float32)
    expected, _, _ = refine.back_project_measured(lr, sr)
    result = back_project(torch.from_numpy(lr)[None], torch.from_numpy(sr)[None])[0]
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-5)


def test_back_projection_needs_a_whole_factor() -> None:
    with pytest.raises(ValueError, match="not a whole number of times as large"):
        back_project(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 16, 12))


def test_down_needs_a_multiple() -> None:
    with pytest.raises(ValueError, match="cannot be divided by 4"):
        matlab_bicubic_down(torch.rand(1, 3, 10, 8))


def test_inside_it_agrees_with_pillow() -> None:
    image = np.random.default_rng(2).random((64, 64)).astype(np.float32)
    expected = np.asarray(Image.fromarray(image).resize((16, 16), Image.Resampling.BICUBIC))
    ours = matlab_bicubic_down(torch.from_numpy(image)[None, None], quantise=False)[0, 0].numpy()
    np.testing.assert_allclose(ours[2:-2, 2:-2], expected[2:-2, 2:-2], atol=1e-5)
