"""Structural similarity (Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment", IEEE TIP 2004)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gramgan.metrics.inputs import cropped_pair
from gramgan.ops.luma import luma_bt601

_WINDOW = 11
_SIGMA = 1.5
_C1 = 0.01**2  # (K1 L)² and (K2 L)² with the data range L = 1
_C2 = 0.03**2


def ssim(sr: Tensor, hr: Tensor, crop: int = 0) -> Tensor:
    """SSIM of each channel, averaged over the channels (higher is better, 1 for identical images).

    Gaussian window of 11×11 with σ = 1.5, only where it lies wholly inside the cropped image, K1 = 0.01, K2 = 0.03:
    the authors' own MATLAB code.

    Args:
        sr: `[B, C, H, W]` in [0, 1].
        hr: the truth, of the same shape.
        crop: border pixels left out on each side.

    Returns:
        `[B]` in float64.

    Raises:
        ValueError: shapes differ, or fewer than 11 pixels are left after cropping.
    """
    x, y = cropped_pair(sr.double(), hr.double(), crop, smallest=_WINDOW)
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x = _blur(x * x) - mean_x.square()
    variance_y = _blur(y * y) - mean_y.square()
    covariance = _blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x.square() + mean_y.square() + _C1)
    structure = (2 * covariance + _C2) / (variance_x + variance_y + _C2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def ssim_y(sr: Tensor, hr: Tensor, crop: int = 4) -> Tensor:
    """SSIM on MATLAB's studio-range BT.601 luma over 255: what ×4 super-resolution papers report.

    Args:
        sr: RGB `[B, 3, H, W]` in [0, 1].
        hr: the truth, of the same shape.
        crop: border pixels left out on each side; by convention the scale.

    Returns:
        `[B]` in float64.

    Raises:
        ValueError: shapes differ, not RGB, or fewer than 11 pixels are left after cropping.
    """
    return ssim(luma_bt601(sr.double()), luma_bt601(hr.double()), crop)


def _blur(x: Tensor) -> Tensor:
    offsets = torch.arange(_WINDOW, dtype=x.dtype, device=x.device) - _WINDOW // 2
    weights = torch.exp(-offsets.square() / (2 * _SIGMA**2))
    weights = weights / weights.sum()
    planes = x.flatten(0, 1).unsqueeze(1)
    blurred = F.conv2d(F.conv2d(planes, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
    return blurred.view(*x.shape[:2], *blurred.shape[-2:])
