"""Noise, drawn on the image's device from a seed of its own."""

import torch
from torch import Tensor

from gramgan.ops.luma import luma_full


def gaussian_noise(image: Tensor, sigma: float, seed: int, *, grey: bool = False) -> Tensor:
    """Add normal noise of standard deviation `sigma` (in units of [0, 1]) to `[3, H, W]`; not clamped.

    `grey`: the same noise in all three channels.
    """
    noise = torch.randn(
        1 if grey else len(image),
        *image.shape[-2:],
        generator=_generator(image, seed),
        device=image.device,
        dtype=image.dtype,
    )
    return image + sigma * noise


def poisson_noise(image: Tensor, levels: float, seed: int, *, scale: float = 1.0, grey: bool = False) -> Tensor:
    """Add shot noise to `[3, H, W]`: each value v counts `levels`·v events on average; variance scale²·v / levels.

    Not clamped. Values below 0 count as 0.

    Args:
        image: values in [0, 1].
        levels: events at value 1.
        seed: of the noise.
        scale: factor on the noise.
        grey: the same noise in all three channels, that of the luma.
    """
    signal = (luma_full(image[None])[0] if grey else image).clamp_min(0)
    counted = torch.poisson(signal * levels, generator=_generator(image, seed)) / levels
    return image + scale * (counted - signal)


def _generator(image: Tensor, seed: int) -> torch.Generator:
    return torch.Generator(device=image.device).manual_seed(seed)
