"""Computing Gram vectors: what `gramgan.texture.descriptors` names. Apart from it, since this needs torch."""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from gramgan.ops.patches import cut_patches
from gramgan.ops.transfer import constant
from gramgan.texture.descriptors import DescriptorName


def encode(images: Tensor, descriptor: DescriptorName = "rgb", k: int = 4, stride: int = 4) -> Tensor:
    """Gram vectors of all patches, in the descriptor's natural units.

    `rgb` is the paper's. `rgb-centred` removes each patch's mean colour, so that the Gram matrix is a covariance:
    contrast and its colour, not brightness. `rgb-gradient` adds the horizontal and vertical derivatives of each
    channel, taken on the image so that patch borders are no edges: it sees orientation and coarseness, which the other
    two cannot.

    Args:
        images: RGB `[B, 3, H, W]` in [0, 1]; computed in float32 at least, whatever the autocast state.
        descriptor: one of `DESCRIPTORS`.
        k: patch side in pixels.
        stride: step between patches in pixels.

    Returns:
        `[B, N, D]`, differentiable with respect to `images`.

    Raises:
        ValueError: not RGB, or smaller than one patch.
    """
    with torch.autocast(images.device.type, enabled=False):
        patches = cut_patches(texture_channels(images, descriptor), k, stride)
        return gram_vectors(patches, centred=descriptor == "rgb-centred")


def texture_channels(images: Tensor, descriptor: DescriptorName) -> Tensor:
    """The C channels that a descriptor looks at, in float32 (float64 stays): `[B, 3, H, W]` → `[B, C, H, W]`.

    Raises:
        ValueError: `images` is not RGB.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"descriptors need RGB images [B, 3, H, W], got {list(images.shape)}")
    images = images if images.dtype == torch.float64 else images.float()
    if descriptor == "rgb-gradient":
        return torch.cat((images, *_derivatives(images)), dim=1)
    return images


def gram_vectors(patches: Tensor, *, centred: bool) -> Tensor:
    """Gram vectors of cut patches: `[..., C, k²]` → `[..., C(C+1)/2]`; `centred` removes each patch's mean first."""
    if centred:
        patches = patches - patches.mean(dim=-1, keepdim=True)
    channels, pixels = patches.shape[-2:]
    grams = patches @ patches.transpose(-1, -2) / pixels
    rows, columns = _upper_triangle(channels, patches.device)
    return grams[..., rows, columns] * off_diagonal_factor(channels, math.sqrt(2), grams)


def _derivatives(images: Tensor) -> tuple[Tensor, Tensor]:
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    horizontal = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    vertical = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    return horizontal, vertical


@lru_cache(maxsize=16)
def _upper_triangle(channels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    rows, columns = torch.triu_indices(channels, channels, device=device)
    return rows, columns


def off_diagonal_factor(channels: int, factor: float, like: Tensor) -> Tensor:
    """1 where a vector's component is from the matrix's diagonal, `factor` elsewhere: `[C(C+1)/2]`, as `like` is."""
    values = tuple(1.0 if i == j else factor for i in range(channels) for j in range(i, channels))
    return constant(values, like.dtype, like.device)
