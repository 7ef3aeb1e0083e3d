"""A contact sheet of what a degradation does: the truth, and LR samples with what was done to each."""

import numpy as np
import torch
from torch import Tensor

from gramgan.degradation import Degradation
from gramgan.degradation.bicubic import degrade_bicubic
from gramgan.errors import UserError
from gramgan.evaluation.crops import most_textured
from gramgan.reports.pixels import repeat_pixels, to_rgb8
from gramgan.reports.strips import Panel, comparison

_COLUMNS = 4
_ZOOM = 2


def degradation_sheet(
    image: np.ndarray, degradation: Degradation, *, seed: int, samples: int, crop: int = 192
) -> np.ndarray:
    """The most textured crop of an image, its bicubic LR image, and LR samples of seeds `seed`, `seed` + 1, …

    Nothing is interpolated: HR pixels are 2×2 pixels of the sheet, LR pixels as much larger as they are.

    Args:
        image: float32 RGB `[3, H, W]` in [0, 1].
        degradation: what makes the samples.
        seed: of the first sample.
        samples: how many, at least 1.
        crop: side of the crop in HR pixels, a multiple of the degradation's scale.

    Returns:
        uint8 `[H, W, 3]`.

    Raises:
        UserError: the image is smaller than the crop.
    """
    scale = degradation.scale
    height, width = image.shape[-2:]
    if min(height, width) < crop:
        raise UserError(f"an image of {width}x{height} is smaller than the crop of {crop}; give a larger one")
    top, left = most_textured(image, crop)
    hr = torch.from_numpy(image[:, top : top + crop, left : left + crop].copy())
    seeds = range(seed, seed + samples)
    lr = degradation(hr.expand(samples, -1, -1, -1), list(seeds))
    bicubic = _as_large(degrade_bicubic(hr[None], scale)[0], scale)
    panels = [
        Panel(hr.numpy(), "HR", f"{crop}×{crop} pixels"),
        Panel(bicubic, "bicubic", f"{crop // scale}×{crop // scale} pixels"),
        *(
            Panel(_as_large(low, scale), f"{degradation.name}, seed {number}", "\n".join(degradation.describe(number)))
            for low, number in zip(lr, seeds, strict=True)
        ),
    ]
    return comparison([panels[i : i + _COLUMNS] for i in range(0, len(panels), _COLUMNS)], zoom=_ZOOM)


def _as_large(low: Tensor, scale: int) -> np.ndarray:
    """An LR image with every pixel repeated, as large as its HR image."""
    return repeat_pixels(to_rgb8(low.numpy()), scale)
