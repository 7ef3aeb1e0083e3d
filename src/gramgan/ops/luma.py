"""Luma of RGB images (ITU-R BT.601)."""

from torch import Tensor

from gramgan.ops.transfer import constant

_WEIGHTS = (65.481, 128.553, 24.966)
_FULL_RANGE = (0.299, 0.587, 0.114)


def luma_bt601(images: Tensor) -> Tensor:
    """MATLAB's `rgb2ycbcr` Y, the luma that super-resolution scores are quoted on.

    Args:
        images: RGB, `[B, 3, H, W]` in [0, 1].

    Returns:
        `[B, 1, H, W]` in [16/255, 235/255], not rounded.
    """
    return _weighted(images, _WEIGHTS) / 255 + 16 / 255


def luma_full(images: Tensor) -> Tensor:
    """Full-range BT.601 luma of RGB images `[B, 3, H, W]` in [0, 1]: `[B, 1, H, W]` in [0, 1]."""
    return _weighted(images, _FULL_RANGE)


def _weighted(images: Tensor, weights: tuple[float, float, float]) -> Tensor:
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"luma needs RGB images [B, 3, H, W], got {list(images.shape)}")
    factors = constant(weights, images.dtype, images.device).view(1, 3, 1, 1)
    return (images * factors).sum(dim=1, keepdim=True)
