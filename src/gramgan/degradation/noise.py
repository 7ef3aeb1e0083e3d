"""Noise, drawn on the image's device with a seed for each image."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gramgan.ops.luma import luma_full
from gramgan.ops.resize import mirrored


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


def sensor_noise(image: Tensor, sigma: float, shot: float, correlation: float, chroma: float, seed: int) -> Tensor:
    """Add a sensor's noise, as demosaicing leaves it, to `[3, H, W]`; not clamped.

    Its variance grows with the signal (Foi et al., "Practical Poissonian-Gaussian noise modeling", 2008): at value v it
    is sigma² ((1 - shot) + 2 shot v), so that `sigma` is the standard deviation at mid-grey. Demosaicing makes
    neighbours alike, and colours more than brightness.

    Args:
        image: values in [0, 1].
        sigma: standard deviation at mid-grey, in units of [0, 1].
        shot: share of the variance there that is shot noise, 0 to 1.
        correlation: standard deviation in pixels of the Gaussian that the noise has passed; 0: none.
        chroma: of the further one that the colour differences have passed; 0: none.
        seed: of the noise.
    """
    noise = torch.randn(image.shape, generator=_generator(image, seed), device=image.device, dtype=image.dtype)
    grey = noise.mean(dim=0, keepdim=True)
    noise = _correlated(grey, correlation) + _correlated(noise - grey, math.hypot(correlation, chroma))
    variance = (1 - shot) + 2 * shot * image.clamp(0, 1)
    return image + sigma * variance.sqrt() * noise


def _correlated(noise: Tensor, sigma: float) -> Tensor:
    """White noise through a Gaussian, its variance kept."""
    if sigma <= 0:
        return noise
    reach = math.ceil(3 * sigma)
    axis = torch.arange(-reach, reach + 1, device=noise.device, dtype=noise.dtype)
    weights = torch.exp(-0.5 * (axis / sigma).square())
    weights = weights / weights.square().sum().sqrt()
    for dim, shape in ((-1, (1, 1, 1, -1)), (-2, (1, 1, -1, 1))):
        # Mirrored: at a border there is as much noise as elsewhere.
        noise = F.conv2d(mirrored(noise, reach, dim)[:, None], weights.reshape(shape))[:, 0]
    return noise


def _generator(image: Tensor, seed: int) -> torch.Generator:
    return torch.Generator(device=image.device).manual_seed(seed)
