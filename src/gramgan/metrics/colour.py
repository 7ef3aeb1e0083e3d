"""Colour drift: whether a generator changes the colours of surfaces, apart from all texture."""

import torch.nn.functional as F
from torch import Tensor

from gramgan.metrics.inputs import cropped_pair
from gramgan.ops.colour import ciede2000, lab_of_linear, linear_light

_BLOCK = 16


def colour_drift(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean CIEDE2000 difference of the mean colours of 16×16 blocks (lower is better; 1 is just seen side by side).

    The means are taken in linear light, as an eye from afar sees them, so that the texture within a block, invented or
    not, does not count. Blocks at the right and bottom may be smaller; they count like the others.

    Args:
        sr: sRGB `[B, 3, H, W]` in [0, 1].
        hr: the truth, of the same shape.

    Returns:
        `[B]` in float64.

    Raises:
        ValueError: shapes differ, or not RGB.
    """
    sr, hr = cropped_pair(sr, hr)
    if sr.shape[1] != 3:
        raise ValueError(f"colours need RGB images [B, 3, H, W], got {list(sr.shape)}")
    return ciede2000(_blocks(sr), _blocks(hr)).mean(dim=(1, 2))


def _blocks(images: Tensor) -> Tensor:
    means = F.avg_pool2d(linear_light(images.double()), _BLOCK, ceil_mode=True, count_include_pad=False)
    return lab_of_linear(means)
