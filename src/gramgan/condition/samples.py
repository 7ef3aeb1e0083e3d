"""Samples of a picture: all of a small one, windows spread over a large one."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from gramgan.images import Raster, Window

_SIDE = 256
_MOST = 20  # windows; 1.3 megapixels
_WHOLE = _SIDE * _SIDE * _MOST
_GOLDEN = 0.6180339887  # the fractional part of the golden ratio spreads places evenly, whatever their number


@dataclass(frozen=True)
class Sample:
    """A window: `pixels` `[3|1, h, w]` float32 in grey levels of 255, and the row and column of its first pixel."""

    pixels: np.ndarray
    top: int
    left: int


def samples_of_array(pixels: np.ndarray) -> list[Sample]:
    """Windows of `[3|1, H, W]` in [0, 1]."""
    height, width = pixels.shape[1:]
    return [
        Sample(in_levels(pixels[:, one.y : one.y + one.height, one.x : one.x + one.width]), one.y, one.x)
        for one in windows_of(width, height)
    ]


def samples_of_raster(raster: Raster) -> list[Sample]:
    """Windows of an open file; alpha is left out."""
    info = raster.info
    return [
        Sample(in_levels(raster.read(one)[: info.colour_channels]), one.y, one.x)
        for one in windows_of(info.width, info.height)
    ]


def windows_of(width: int, height: int) -> list[Window]:
    """The whole picture, if it is small, or 20 windows of 256 pixels a side, from top to bottom.

    They begin at multiples of 16 and none begins above the end of the one before, if the picture is high enough: a
    decoder that goes from top to bottom can then read them.
    """
    if width * height <= _WHOLE:
        return [Window(0, 0, width, height)]
    wide, high = min(_SIDE, width), min(_SIDE, height)
    if high < _SIDE:
        wide = min(width, _SIDE * _SIDE // high)
    elif wide < _SIDE:
        high = min(height, _SIDE * _SIDE // wide)
    windows = []
    for number in range(_MOST):
        across = (0.5 + number * _GOLDEN) % 1
        down = number / (_MOST - 1)
        left, top = (int(room * part) // 16 * 16 for room, part in ((width - wide, across), (height - high, down)))
        windows.append(Window(left, top, wide, high))
    return windows


def one_after_another(windows: list[Window]) -> bool:
    """Whether there are several and each begins below the end of the one before: decoding once from the top will do."""
    return len(windows) > 1 and all(one.y + one.height <= next_.y for one, next_ in pairwise(windows))


def in_levels(pixels: np.ndarray) -> np.ndarray:
    """[0, 1] as grey levels of 255, float32; what is not a number counts as black."""
    return np.clip(np.nan_to_num(np.asarray(pixels, np.float32), posinf=1.0), 0, 1) * np.float32(255)
