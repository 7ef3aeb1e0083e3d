"""Cutting one crop out of one image, decoding no more of it than needed."""

import numpy as np

from gramgan.data.items import Item
from gramgan.data.order import Draw
from gramgan.errors import UserError
from gramgan.images import RasterInfo, Window

_SHARES = {1: "the size", 2: "a half", 3: "a third", 4: "a quarter", 8: "an eighth"}

_Cut = tuple[np.ndarray, np.ndarray | None]
"""HR crop, uint8 `[3, side, side]`, and of pairs the same part of LR, uint8 `[3, side / scale, side / scale]`."""


def cut_crop(item: Item, draw: Draw, side: int, *, augment: bool, scale: int = 4) -> _Cut:
    """The crop of `side` HR pixels that was drawn; HR is `scale` times as large as LR.

    Raises:
        UserError: an image is missing, damaged down to the crop's last row or too small, or the sizes do not fit.
    """
    high = item.high.open(sequential=True)
    check_crop_fits(item, high.info, side)
    if item.low is None:
        y, x = draw.corner(high.info.height, high.info.width, side)
        return _finished(high.read_rgb8(Window(x, y, side, side)), draw, augment), None
    low, part = item.low.open(sequential=True), side // scale
    check_pair(item, high.info, low.info, scale)
    y, x = draw.corner(low.info.height, low.info.width, part)
    return (
        _finished(high.read_rgb8(Window(x * scale, y * scale, side, side)), draw, augment),
        _finished(low.read_rgb8(Window(x, y, part, part)), draw, augment),
    )


def check_crop_fits(item: Item, high: RasterInfo, side: int) -> None:
    """Make sure that a crop of `side` pixels fits into the HR image.

    Raises:
        UserError: it is too small.
    """
    if min(high.width, high.height) < side:
        raise UserError(f"{item.high}: {high.width}x{high.height} is smaller than a crop of {side}")


def check_pair(item: Item, high: RasterInfo, low: RasterInfo, scale: int) -> None:
    """Make sure that HR is exactly `scale` times as wide and high as LR.

    Raises:
        UserError: it is not.
    """
    if (high.width, high.height) != (low.width * scale, low.height * scale):
        raise UserError(
            f"{item.low}: {low.width}x{low.height} is not exactly {_SHARES[scale]} of {item.high.path.name}, "
            f"{high.width}x{high.height}"
        )


def _finished(crop: np.ndarray, draw: Draw, augment: bool) -> np.ndarray:
    return np.ascontiguousarray(draw.turned(crop)) if augment else crop
