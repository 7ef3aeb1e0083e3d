"""Cutting images into patches, and sliding-window means."""

import torch.nn.functional as F
from torch import Tensor


def cut_patches(images: Tensor, k: int, stride: int) -> Tensor:
    """Every k×k patch of every image, row by row.

    Args:
        images: `[B, C, H, W]`.
        k: patch side in pixels.
        stride: step between patches in pixels; pixels that no whole patch covers at the right and bottom are left out.

    Returns:
        `[B, N, C, k*k]`, N = ((H-k)//stride + 1) · ((W-k)//stride + 1).

    Raises:
        ValueError: the image is smaller than one patch.
    """
    batch, channels, height, width = images.shape
    if height < k or width < k:
        raise ValueError(f"images of {height}x{width} hold no patch of {k}x{k}")
    columns = F.unfold(images, kernel_size=k, stride=stride)
    return columns.view(batch, channels, k * k, -1).permute(0, 3, 1, 2)


def patch_grid(height: int, width: int, k: int, stride: int) -> tuple[int, int]:
    """Rows and columns of the patches that `cut_patches` makes."""
    return (height - k) // stride + 1, (width - k) // stride + 1


def box_mean(images: Tensor, window: int) -> Tensor:
    """Mean over a sliding odd `window`, reflect-padded: `[B, C, H, W]` → `[B, C, H, W]`.

    Raises:
        ValueError: `window` is even, or the image is too small to be reflected.
    """
    margin = window // 2
    if window % 2 == 0 or min(images.shape[-2:]) <= margin:
        raise ValueError(f"a window of {window} needs to be odd and images larger than {margin} pixels")
    return F.avg_pool2d(F.pad(images, (margin,) * 4, mode="reflect"), window, stride=1)
