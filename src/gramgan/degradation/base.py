"""What every degradation has in common: seeds, checks, and where it is computed."""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from gramgan.degradation.draws import draw_seed

SCALE = 4


class Degradation(ABC):
    """Makes LR images of HR images, each from a seed of its own.

    All that is random about an image follows from its seed and from nothing else: not from the other images of the
    batch, not from the global generators. The parameters are the same on every device; noise is drawn on the images'
    own device, so that its pixels differ between a CPU and a GPU while its distribution does not.
    """

    def __call__(self, hr: Tensor, generator: torch.Generator) -> Tensor:
        """Degrade a batch with seeds drawn from a CPU generator, whose state alone decides what comes out.

        Args:
            hr: RGB `[B, 3, H, W]` in [0, 1]; H and W multiples of 4.
            generator: a CPU generator.

        Returns:
            `[B, 3, H/4, W/4]` in 8-bit steps of [0, 1], on the images' device and in their memory format.

        Raises:
            ValueError: another shape.
        """
        return self.apply(hr, [draw_seed(generator) for _ in range(len(hr))])

    @torch.no_grad()
    def apply(self, hr: Tensor, seeds: Sequence[int]) -> Tensor:
        """Degrade a batch, image `i` with `seeds[i]`: shapes and errors as in `__call__`."""
        if hr.ndim != 4 or hr.shape[1] != 3:
            raise ValueError(f"a degradation needs RGB images [B, 3, H, W], got {list(hr.shape)}")
        height, width = hr.shape[-2:]
        if height % SCALE or width % SCALE:
            raise ValueError(f"image of {height}x{width} cannot be divided by {SCALE}; crop it first")
        if len(seeds) != len(hr):
            raise ValueError(f"{len(hr)} images need as many seeds, got {len(seeds)}")
        channels_last = hr.is_contiguous(memory_format=torch.channels_last)
        # Half precision would be seen in 8-bit steps.
        with torch.autocast(hr.device.type, enabled=False):
            lr = self._degrade(hr.float(), seeds)
        return lr.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)

    @abstractmethod
    def describe(self, seed: int) -> list[str]:
        """What `seed` does to an image, one operation a line, in the order in which they are done."""

    @abstractmethod
    def _degrade(self, hr: Tensor, seeds: Sequence[int]) -> Tensor:
        """`apply` for checked float32 images."""


def seed_of(name: str) -> int:
    """The seed of an image that is always to be degraded alike, from its name."""
    return zlib.crc32(name.encode())


def to_8_bits(images: Tensor) -> Tensor:
    """Clamped to [0, 1] and rounded to multiples of 1/255."""
    return images.clamp(0, 1).mul(255).round().div(255)
