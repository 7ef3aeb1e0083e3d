"""Where an image has texture: what the discriminator gets to see (Song et al., 2023; Li et al., "Beby-GAN", 2022)."""

import torch
from torch import Tensor

from gramgan.ops.luma import luma_full
from gramgan.ops.patches import box_mean


def local_deviation(images: Tensor, window: int = 11) -> Tensor:
    """Standard deviation of luma in a sliding window, reflect-padded.

    Args:
        images: RGB `[B, 3, H, W]` in [0, 1], larger than half the window.
        window: odd side of the window in pixels.

    Returns:
        `[B, 1, H, W]`, at most 0.5.
    """
    luma = luma_full(images.float())
    luma = luma - luma.mean(dim=(-2, -1), keepdim=True)  # keeps E[y²] - E[y]² from cancelling in bright images
    variance = box_mean(luma.square(), window) - box_mean(luma, window).square()
    return variance.clamp_min(0).sqrt()


@torch.no_grad()
def texture_mask(hr: Tensor, threshold: float = 0.005, window: int = 11) -> Tensor:
    """1 where the HR image has texture: deviation ≥ `threshold`; 0 elsewhere. `[B, 3, H, W]` → `[B, 1, H, W]` float32.

    The paper's threshold is 0.005; Beby-GAN uses 0.025.
    """
    return (local_deviation(hr, window) >= threshold).float()
