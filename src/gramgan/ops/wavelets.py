"""Wavelet bands of images."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gramgan.ops.luma import luma_full


def haar_details(images: Tensor) -> Tensor:
    """The three high bands of luma's undecimated Haar transform: across, along and diagonal.

    Args:
        images: RGB `[B, 3, H, W]` in [0, 1].

    Returns:
        `[B, 3, H, W]` in [-1, 1], of each pixel with its neighbours to the right and below (repeated at the border); 0
        where luma does not change.
    """
    luma = F.pad(luma_full(images), (0, 1, 0, 1), mode="replicate")
    here, right = luma[..., :-1, :-1], luma[..., :-1, 1:]
    below, opposite = luma[..., 1:, :-1], luma[..., 1:, 1:]
    across = here - right + below - opposite
    along = here + right - below - opposite
    diagonal = here - right - below + opposite
    return torch.cat((across, along, diagonal), dim=1) / 2
