"""Blur kernels: Gaussian, generalised Gaussian, plateau and sinc, as Real-ESRGAN draws them (arXiv 2107.10833).

Every kernel is float64 `[size, size]` on the CPU, sums to 1, and is symmetric about its centre, so that convolution and
correlation are the same.
"""

import math

import torch
from torch import Tensor


def gaussian_kernel(
    size: int, sigma_x: float, sigma_y: float | None = None, angle: float = 0.0, beta: float = 1.0
) -> Tensor:
    """exp(-½ (xᵀ Σ⁻¹ x)^β): a Gaussian for β = 1, the generalised Gaussian of Liu et al. (2020) for others.

    Args:
        size: odd side in pixels.
        sigma_x: standard deviation in pixels along the first axis of the ellipse.
        sigma_y: along the second; none: as along the first.
        angle: of the first axis against the rows, in radians.
        beta: below 1 peaked, above 1 with a flat top.

    Raises:
        ValueError: an even size, or a number that is not positive.
    """
    return _normalised(torch.exp(-0.5 * _distance(size, sigma_x, sigma_y, angle, beta)))


def plateau_kernel(
    size: int, sigma_x: float, sigma_y: float | None = None, angle: float = 0.0, beta: float = 1.0
) -> Tensor:
    """1 / (1 + (xᵀ Σ⁻¹ x)^β), arguments and errors as for `gaussian_kernel`."""
    return _normalised(1 / (1 + _distance(size, sigma_x, sigma_y, angle, beta)))


def sinc_kernel(size: int, cutoff: float) -> Tensor:
    """ω/(2πr) J₁(ωr), ω²/(4π) at the centre: the ideal circular low-pass filter, which rings (equation 8 of the paper).

    Args:
        size: odd side in pixels.
        cutoff: ω, radians per pixel, at most π.

    Raises:
        ValueError: an even size, or a cut-off outside (0, π].
    """
    if not 0 < cutoff <= math.pi:
        raise ValueError(f"the cut-off of a sinc filter lies between 0 and π, got {cutoff:g}")
    x, y = _grid(size)
    radius = torch.hypot(x, y)
    radius[size // 2, size // 2] = 1  # replaced below
    kernel = cutoff * torch.special.bessel_j1(cutoff * radius) / (2 * math.pi * radius)
    kernel[size // 2, size // 2] = cutoff**2 / (4 * math.pi)
    return _normalised(kernel)


def _distance(size: int, sigma_x: float, sigma_y: float | None, angle: float, beta: float) -> Tensor:
    sigma_y = sigma_x if sigma_y is None else sigma_y
    if min(sigma_x, sigma_y, beta) <= 0:
        raise ValueError(f"sigma and beta of a kernel are positive, got {sigma_x:g}, {sigma_y:g}, {beta:g}")
    x, y = _grid(size)
    along = (x * math.cos(angle) + y * math.sin(angle)) / sigma_x
    across = (y * math.cos(angle) - x * math.sin(angle)) / sigma_y
    return (along.square() + across.square()) ** beta


def _grid(size: int) -> tuple[Tensor, Tensor]:
    """x (along the rows) and y of every pixel, from the centre."""
    if size < 1 or size % 2 == 0:
        raise ValueError(f"the side of a kernel is odd, got {size}")
    axis = torch.arange(size, dtype=torch.float64) - size // 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x, y


def _normalised(kernel: Tensor) -> Tensor:
    return kernel / kernel.sum()
