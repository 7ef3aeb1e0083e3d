"""Gram-matrix descriptors of small patches (Song et al., "Gram-GAN", Sensors 2023).

For a patch with C channels, P in R^(C x k²), the texture is its Gram matrix G = P Pᵀ / k². It is symmetric, so only the
upper triangle is kept, off-diagonal entries times √2: the Euclidean distance of two vectors is the Frobenius distance
of the matrices.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from gramgan.ops.patches import cut_patches
from gramgan.ops.transfer import constant

DescriptorName = Literal["rgb", "rgb-centred", "rgb-gradient"]
DESCRIPTORS: tuple[DescriptorName, ...] = get_args(DescriptorName)

_CHANNELS: dict[DescriptorName, int] = {"rgb": 3, "rgb-centred": 3, "rgb-gradient": 9}


def dimension(descriptor: DescriptorName) -> int:
    """Length D of the descriptor's vectors: C(C+1)/2 for C channels."""
    channels = _CHANNELS[descriptor]
    return channels * (channels + 1) // 2


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
    return grams[..., rows, columns] * _off_diagonal_factor(channels, math.sqrt(2), grams)


def _derivatives(images: Tensor) -> tuple[Tensor, Tensor]:
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    horizontal = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    vertical = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    return horizontal, vertical


@lru_cache(maxsize=16)
def _upper_triangle(channels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    rows, columns = torch.triu_indices(channels, channels, device=device)
    return rows, columns


def _off_diagonal_factor(channels: int, factor: float, like: Tensor) -> Tensor:
    values = tuple(1.0 if i == j else factor for i in range(channels) for j in range(i, channels))
    return constant(values, like.dtype, like.device)


@dataclass(frozen=True)
class Descriptor:
    """A descriptor with its patch side and the scale that makes its components comparable.

    The natural scales of the three descriptors, and of components within one, differ by up to thousands; dividing each
    component by its standard deviation over real textures makes one loss weight mean the same for all of them. The
    scale is estimated when a database is built and belongs to the database; without one the shipped values serve.
    """

    name: DescriptorName
    k: int
    scale: tuple[float, ...]

    @classmethod
    def default(cls, name: DescriptorName, k: int = 4) -> "Descriptor":
        """The descriptor with the shipped scale: standard deviations over 4×4 patches of the project's photographs."""
        channels = _CHANNELS[name]
        colour, contrast = (0.27, 0.36), (0.0050, 0.0068)  # (diagonal, off-diagonal × √2)
        derivative, mixed = (0.0021, 0.0031), 0.0088

        def scale(row: int, column: int) -> float:
            if name == "rgb-centred":
                return contrast[row != column]
            if row >= 3:
                return derivative[row != column]
            return mixed if column >= 3 else colour[row != column]

        return cls(name, k, tuple(scale(i, j) for i in range(channels) for j in range(i, channels)))

    def __post_init__(self) -> None:
        if len(self.scale) != self.dimension or min(self.scale) <= 0:
            raise ValueError(f"descriptor {self.name} needs {self.dimension} positive scales, got {len(self.scale)}")

    @property
    def dimension(self) -> int:
        """Length D of the vectors."""
        return dimension(self.name)

    def encode(self, images: Tensor, stride: int | None = None) -> Tensor:
        """Standardised Gram vectors `[B, N, D]` of RGB images `[B, 3, H, W]` in [0, 1]; the stride is k by default."""
        vectors = encode(images, self.name, self.k, stride or self.k)
        return vectors / constant(self.scale, vectors.dtype, vectors.device)

    def matrix_l1(self, difference: Tensor) -> Tensor:
        """L1 norm over all C×C matrix entries of standardised vector differences: `[..., D]` → `[...]`.

        The vector holds each off-diagonal entry once, times √2; the matrix holds it twice: one more √2.
        """
        factor = _off_diagonal_factor(_CHANNELS[self.name], math.sqrt(2), difference)
        return (difference.abs() * factor).sum(dim=-1)
