"""What every degradation has in common: seeds, checks, and where it is computed."""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from gramgan.ops.bicubic import SCALE


class Degradation(ABC):
    """Makes LR images from HR images, each with its own seed.

    All that is random about an image follows from its seed and from nothing else: not from the other images of the
    batch, not from the global generators. The parameters are the same on every device; noise is drawn on the images'
    own device, so that its pixels differ between a CPU and a GPU while its distribution does not.
    """

    name: ClassVar[str]

    def __init__(self, scale: int = SCALE) -> None:
        """`scale` is how many times smaller than HR the LR images are."""
        self.scale = scale

    @torch.no_grad()
    def __call__(self, hr: Tensor, seeds: Sequence[int]) -> Tensor:
        """Degrade a batch.

        Args:
            hr: RGB `[B, 3, H, W]` in [0, 1]; H and W multiples of `scale`.
            seeds: one for each image, 0 ≤ seed < 2⁶³.

        Returns:
            `[B, 3, H/scale, W/scale]` in 8-bit steps of [0, 1], on the images' device and in their memory format.

        Raises:
            ValueError: another shape, or another number of seeds.
        """
        if hr.ndim != 4 or hr.shape[1] != 3:
            raise ValueError(f"a degradation needs RGB images [B, 3, H, W], got {list(hr.shape)}")
        height, width = hr.shape[-2:]
        if height % self.scale or width % self.scale:
            raise ValueError(f"image of {height}x{width} cannot be divided by {self.scale}; crop it first")
        if len(seeds) != len(hr):
            raise ValueError(f"{len(hr)} images need as many seeds, got {len(seeds)}")
        channels_last = hr.is_contiguous(memory_format=torch.channels_last)
        # In half precision the errors would be larger than 8-bit steps.
        with torch.autocast(hr.device.type, enabled=False):
            lr = self._degrade(hr.float(), seeds)
        return lr.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)

    @abstractmethod
    def describe(self, seed: int) -> list[str]:
        """What `seed` does to an image, one operation a line, in the order in which they are done."""

    @abstractmethod
    def _degrade(self, hr: Tensor, seeds: Sequence[int]) -> Tensor:
        """`__call__` for checked float32 images."""


def seed_of(name: str) -> int:
    """The seed of an image that is always to be degraded alike, from its name."""
    return zlib.crc32(name.encode("utf-8", "surrogateescape"))


def to_8_bits(images: Tensor) -> Tensor:
    """Clamped to [0, 1] and rounded to multiples of 1/255."""
    return images.clamp(0, 1).mul(255).round().div(255)
