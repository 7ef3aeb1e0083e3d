"""Peak signal-to-noise ratio."""

import torch
from torch import Tensor

from gramgan.metrics.inputs import cropped_pair
from gramgan.ops.luma import luma_bt601


def psnr(sr: Tensor, hr: Tensor, crop: int = 0) -> Tensor:
    """PSNR over all channels, in dB (higher is better); infinite for identical images.

    Args:
        sr: `[B, C, H, W]` in [0, 1].
        hr: the truth, of the same shape.
        crop: border pixels left out on each side.

    Returns:
        `[B]` in float64.

    Raises:
        ValueError: shapes differ, or nothing is left after cropping.
    """
    sr, hr = cropped_pair(sr, hr, crop)
    return -10 * torch.log10((sr.double() - hr.double()).square().mean(dim=(1, 2, 3)))


def psnr_y(sr: Tensor, hr: Tensor, crop: int = 4) -> Tensor:
    """PSNR on MATLAB's studio-range BT.601 luma with peak 255, in dB: what ×4 super-resolution papers report.

    Args:
        sr: RGB `[B, 3, H, W]` in [0, 1].
        hr: the truth, of the same shape.
        crop: border pixels left out on each side; by convention the scale.

    Returns:
        `[B]` in float64.

    Raises:
        ValueError: shapes differ, not RGB, or nothing is left after cropping.
    """
    return psnr(luma_bt601(sr.double()), luma_bt601(hr.double()), crop)
