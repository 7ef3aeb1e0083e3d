"""Which part of a picture is shown: a rule that looks at the truth alone, so that no result is shown at its best."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gramgan.texture.mask import local_deviation

RULE = "the square of the truth with the largest mean local standard deviation of luma (in 11×11 windows)"
_GRID = 4


@dataclass(frozen=True, eq=False)
class Strip:
    """The same square of the truth and of every result by name: uint8 `[side, side, 3]`, at (`top`, `left`).

    `low` is the part of the LR image that it was made from, `[side/scale, side/scale, 3]`.
    """

    image: str
    top: int
    left: int
    truth: np.ndarray
    low: np.ndarray
    results: dict[str, np.ndarray]


def most_textured(image: np.ndarray, side: int) -> tuple[int, int]:
    """Top and left, multiples of 4, of the side×side square that `RULE` chooses.

    `image` is float32 `[3, H, W]`, at least `side` in both directions.
    """
    deviation = local_deviation(torch.from_numpy(image).unsqueeze(0))
    means = F.avg_pool2d(deviation, side, stride=_GRID)[0, 0]
    row, column = divmod(int(means.argmax()), means.shape[1])
    return row * _GRID, column * _GRID


def cut(image: Tensor, top: int, left: int, side: int) -> np.ndarray:
    """The square as uint8 `[side, side, 3]` of an image `[1, 3, H, W]` in [0, 1]."""
    square = image[0, :, top : top + side, left : left + side]
    return square.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy()


def cut_strip(name: str, hr: Tensor, lr: Tensor, results: dict[str, Tensor], side: int) -> Strip:
    """The square of `side` pixels, or of as many as the image has, of the truth and of all that was made of it.

    `hr` and each result are `[1, 3, H, W]`, `lr` is `[1, 3, H/scale, W/scale]`.
    """
    scale = hr.shape[-1] // lr.shape[-1]
    side = min(side, *hr.shape[-2:]) // scale * scale
    top, left = (place // scale * scale for place in most_textured(hr[0].numpy(), side))
    low = cut(lr, top // scale, left // scale, side // scale)
    return Strip(
        name,
        top,
        left,
        cut(hr, top, left, side),
        low,
        {each: cut(sr, top, left, side) for each, sr in results.items()},
    )
