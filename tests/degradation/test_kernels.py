"""Blur kernels against SciPy's densities, the Bessel formula, and what a low-pass filter passes."""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from gramgan.degradation.kernels import gaussian_kernel, plateau_kernel, sinc_kernel


def covariance(sigma_x: float, sigma_y: float, angle: float) -> np.ndarray:
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return turn @ np.diag([sigma_x**2, sigma_y**2]) @ turn.T


def points(size: int) -> np.ndarray:
    """(x, y) of every pixel from the centre, `[size, size, 2]`."""
    axis = np.arange(size) - (size - 1) / 2
    return np.stack(np.meshgrid(axis, axis), axis=-1)


@pytest.mark.parametrize(("size", "sigmas", "angle"), [(21, (2.0, 2.0), 0.0), (9, (0.4, 2.5), 0.7), (13, (3, 1), -2.5)])
def test_gaussian_is_the_normal_density(size: int, sigmas: tuple[float, float], angle: float) -> None:
    expected = stats.multivariate_normal(cov=covariance(*sigmas, angle)).pdf(points(size))  # pyright: ignore[reportArgumentType]
    np.testing.assert_allclose(gaussian_kernel(size, *sigmas, angle).numpy(), expected / expected.sum(), atol=1e-12)


def test_one_sigma_is_isotropic() -> None:
    assert torch.equal(gaussian_kernel(7, 1.3), gaussian_kernel(7, 1.3, 1.3, 0.0))
    torch.testing.assert_close(gaussian_kernel(7, 1.3), gaussian_kernel(7, 1.3, 1.3, 1.0))


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_generalised_and_plateau_are_their_formulas(beta: float) -> None:
    inverse = np.linalg.inv(covariance(2.2, 0.8, 0.4))
    distance = np.einsum("ijk,kl,ijl->ij", points(11), inverse, points(11)) ** beta
    for make, expected in ((gaussian_kernel, np.exp(-0.5 * distance)), (plateau_kernel, 1 / (1 + distance))):
        np.testing.assert_allclose(make(11, 2.2, 0.8, 0.4, beta).numpy(), expected / expected.sum(), atol=1e-12)


@pytest.mark.parametrize(("size", "cutoff"), [(7, math.pi / 3), (21, math.pi), (21, 1.1)])
def test_sinc_is_the_bessel_formula(size: int, cutoff: float) -> None:
    radius = np.hypot(*np.moveaxis(points(size), -1, 0))
    with np.errstate(invalid="ignore"):
        expected = cutoff * special.j1(cutoff * radius) / (2 * np.pi * radius)
    expected[size // 2, size // 2] = cutoff**2 / (4 * np.pi)
    # torch's J₁ is not SciPy's to the last digit.
    np.testing.assert_allclose(sinc_kernel(size, cutoff).numpy(), expected / expected.sum(), rtol=0, atol=2e-7)


def test_sinc_passes_what_is_below_the_cutoff() -> None:
    response = np.abs(np.fft.fft2(np.fft.ifftshift(sinc_kernel(201, 1.2).numpy())))
    frequency = np.abs(2 * np.pi * np.fft.fftfreq(201))
    radius = np.hypot(frequency[:, None], frequency)
    assert np.abs(response[radius < 0.9] - 1).max() < 0.05
    assert response[radius > 1.5].max() < 0.05


@pytest.mark.parametrize(
    "kernel", [gaussian_kernel(9, 0.2), gaussian_kernel(21, 3, 0.5, 1, 0.5), plateau_kernel(7, 3), sinc_kernel(15, 2)]
)
def test_every_kernel_sums_to_one_and_is_symmetric(kernel: torch.Tensor) -> None:
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(kernel, kernel.flip(0, 1), atol=1e-15, rtol=0)


def test_impossible_kernels() -> None:
    for make in (lambda: gaussian_kernel(8, 1), lambda: sinc_kernel(4, 1), lambda: plateau_kernel(0, 1)):
        with pytest.raises(ValueError, match="the side of a kernel is odd"):
            make()
    with pytest.raises(ValueError, match="sigma and beta of a kernel are positive, got 1, 0, 1"):
        gaussian_kernel(7, 1, 0)
    with pytest.raises(ValueError, match="lies between 0 and π, got 4"):
        sinc_kernel(7, 4)
