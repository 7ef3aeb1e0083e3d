"""Going through an image of any size once, from top to bottom, in bounded memory."""

from collections.abc import Iterator

import numpy as np

from gramgan.images.info import Window
from gramgan.images.raster import Raster
from gramgan.images.values import ENOUGH, depth_note

_ROWS = 256
_PIXELS = 1 << 22


def rows_at_once(width: int) -> int:
    """How many rows of an image to decode at a time: 256, fewer of one that is wider than 16,384 pixels."""
    return max(1, min(_ROWS, _PIXELS // width))


def strips(raster: Raster) -> Iterator[tuple[int, np.ndarray]]:
    """All pixels of an image, some rows at a time: (number of the first row, float32 RGB `[3, h, W]` in [0, 1]).

    Grey is repeated, alpha is dropped.

    Raises:
        UserError: the file is truncated or damaged.
    """
    info = raster.info
    rows = rows_at_once(info.width)
    for top in range(0, info.height, rows):
        strip = raster.read(Window(0, top, info.width, min(rows, info.height - top)))
        yield top, np.repeat(strip[:1], 3, axis=0) if info.colour_channels == 1 else strip[:3]


def look_through(raster: Raster) -> str | None:
    """Go through an image, as far as needed, before any work on it is begun; what `depth_note` says of 16-bit samples.

    Raises:
        UserError: it is damaged, or has float samples beyond [0, 1].
    """
    info = raster.info
    if info.dtype == "uint8":
        return None
    highest = 0
    rows = rows_at_once(info.width)
    for top in range(0, info.height, rows):
        samples = raster.read_samples(Window(0, top, info.width, min(rows, info.height - top)))
        if info.dtype == "uint16":
            highest = max(highest, int(samples[: info.colour_channels].max()))
            if highest >= ENOUGH:
                return None
    return depth_note(highest)


def luma(rgb: np.ndarray) -> np.ndarray:
    """Brightness as the eye weighs it (ITU-R BT.601, full range): `[3, h, W]` → float32 `[h, W]`, in the same range."""
    return np.float32(0.299) * rgb[0] + np.float32(0.587) * rgb[1] + np.float32(0.114) * rgb[2]
