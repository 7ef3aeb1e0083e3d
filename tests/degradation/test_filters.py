"""Blur against scipy.ndimage, each resize filter and the resampling against their definitions."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage, signal
from skimage.measure import block_reduce

from gramgan.degradation.filters import blur, resize, sample
from gramgan.degradation.kernels import gaussian_kernel, sinc_kernel


def image(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("height", "width"), [(40, 33), (11, 64)])
def test_blur_is_a_convolution_with_mirrored_borders(height: int, width: int) -> None:
    kernel = gaussian_kernel(21, 3.0, 0.6, 0.5)
    kernel[0, 3] += 0.1  # not symmetric: a correlation would be seen
    picture = image(height, width)
    expected = ndimage.convolve(picture.double().numpy(), kernel.numpy()[None], mode="reflect")
    np.testing.assert_allclose(blur(picture, kernel).numpy(), expected, atol=2e-6)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 2), (9, 30)])
def test_blur_of_images_smaller_than_the_kernel(height: int, width: int) -> None:
    kernel, picture = gaussian_kernel(21, 3.0, 0.6, 0.5), image(height, width)
    around = np.pad(picture.double().numpy(), ((0, 0), (10, 10), (10, 10)), "symmetric")
    expected = [signal.convolve2d(channel, kernel.numpy(), "valid") for channel in around]
    np.testing.assert_allclose(blur(picture, kernel).numpy(), expected, atol=2e-6)


def test_blur_by_a_gaussian_is_gaussian_filter() -> None:
    picture = image(48, 48)
    expected = ndimage.gaussian_filter(picture.double().numpy(), (0, 1.5, 1.5), mode="reflect", radius=(0, 10, 10))
    np.testing.assert_allclose(blur(picture, gaussian_kernel(21, 1.5)).numpy(), expected, atol=2e-6)


def test_blur_keeps_what_is_flat_up_to_the_border() -> None:
    flat = torch.full((3, 20, 30), 0.7)
    assert (blur(flat, sinc_kernel(21, 1.0)) - 0.7).abs().max() < 1e-6


def test_blur_refuses_kernels_without_a_centre() -> None:
    for shape in ((4, 4), (3, 5)):
        with pytest.raises(ValueError, match="square with an odd side"):
            blur(image(8, 8), torch.ones(shape))


def test_area_is_the_mean_over_touched_pixels() -> None:
    picture = image(24, 36)
    expected = block_reduce(picture.numpy(), (1, 4, 3), np.mean)  # pyright: ignore[reportArgumentType]
    np.testing.assert_allclose(resize(picture, (6, 12), "area").numpy(), expected, atol=1e-6)
    small = resize(picture, (7, 50), "area")
    for row, column in ((0, 0), (3, 17), (6, 49)):
        top, bottom = row * 24 // 7, math.ceil((row + 1) * 24 / 7)
        left, right = column * 36 // 50, math.ceil((column + 1) * 36 / 50)
        torch.testing.assert_close(small[:, row, column], picture[:, top:bottom, left:right].mean((1, 2)))


@pytest.mark.parametrize("size", [(13, 11), (30, 47), (24, 36)])
def test_bilinear_is_scipys(size: tuple[int, int]) -> None:
    picture = image(24, 36)
    rows, columns = ((np.arange(new) + 0.5) * old / new - 0.5 for new, old in zip(size, (24, 36), strict=True))
    grid = np.meshgrid(rows, columns, indexing="ij")
    expected = [ndimage.map_coordinates(channel, grid, order=1, mode="nearest") for channel in picture.double().numpy()]
    np.testing.assert_allclose(resize(picture, size, "bilinear").numpy(), expected, atol=1e-5)


def cubic_matrix(positions: np.ndarray, length: int, a: float, mirror: bool) -> np.ndarray:
    """Rows of cubic convolution weights; outside there is the border pixel, or the mirrored image."""
    matrix = np.zeros((len(positions), length))
    for row, position in enumerate(positions):
        for tap in range(math.floor(position) - 1, math.floor(position) + 3):
            x = abs(position - tap)
            near, far = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * (x**3 - 5 * x**2 + 8 * x - 4)
            inside = tap % (2 * length) if mirror else min(max(tap, 0), length - 1)
            matrix[row, inside if inside < length else 2 * length - 1 - inside] += near if x <= 1 else far
    return matrix


@pytest.mark.parametrize("size", [(13, 11), (30, 47)])
def test_bicubic_is_cubic_convolution(size: tuple[int, int]) -> None:
    picture = image(24, 36)
    vertical, horizontal = (
        cubic_matrix((np.arange(new) + 0.5) * old / new - 0.5, old, -0.75, mirror=False)
        for new, old in zip(size, (24, 36), strict=True)
    )
    expected = np.einsum("ih,chw,jw->cij", vertical, picture.double().numpy(), horizontal)
    np.testing.assert_allclose(resize(picture, size, "bicubic").numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("stride", "offset"), [(4, 1.5), (4, -0.3), (4, 3.4), (1, 0.27), (1, -0.5), (1, 0.0)])
def test_sampling_is_cubic_convolution(stride: int, offset: float) -> None:
    picture = image(24, 20)
    for dim, length in ((-2, 24), (-1, 20)):
        positions = offset + stride * np.arange(length // stride)
        matrix = cubic_matrix(positions, length, -0.5, mirror=True)
        expected = np.moveaxis(np.tensordot(matrix, picture.double().numpy(), (1, dim)), 0, dim)
        np.testing.assert_allclose(sample(picture, stride, offset, dim).numpy(), expected, atol=1e-6)
