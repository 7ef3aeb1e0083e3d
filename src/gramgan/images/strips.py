"""Going through an image of any size once, from top to bottom, in bounded memory."""

from collections.abc import Iterator

import numpy as np

from gramgan.images.info import Window
from gramgan.images.raster import Raster

ROWS = 256
"""Rows decoded at a time."""


def strips(raster: Raster) -> Iterator[tuple[int, np.ndarray]]:
    """All pixels of an image, `ROWS` rows at a time: (number of the first row, float32 RGB `[3, h, W]` in [0, 1]).

    Grey is repeated, alpha is dropped.

    Raises:
        UserError: the file is truncated or damaged.
    """
    info = raster.info
    for top in range(0, info.height, ROWS):
        strip = raster.read(Window(0, top, info.width, min(ROWS, info.height - top)))
        yield top, np.repeat(strip[:1], 3, axis=0) if info.colour_channels == 1 else strip[:3]


def luma(rgb: np.ndarray) -> np.ndarray:
    """Brightness as the eye weighs it (ITU-R BT.601, full range): `[3, h, W]` → float32 `[h, W]`, in the same range."""
    return np.float32(0.299) * rgb[0] + np.float32(0.587) * rgb[1] + np.float32(0.114) * rgb[2]
