"""Transparency: what the network sees where a picture shows nothing, and how the alpha channel is enlarged."""

import numpy as np

from gramgan.ops.extend import REACH, extend_colours
from gramgan.upscaling import bicubic

__all__ = ["CONTEXT", "REACH", "enlarge_alpha", "extend_colours"]

CONTEXT = bicubic.CONTEXT
"""Pixels around a window that the enlargement of its alpha looks at, besides the network."""


def enlarge_alpha(alpha: np.ndarray, drawn: np.ndarray | None) -> np.ndarray:
    """Alpha four times larger: as the network draws it, within what the input says.

    Bicubic alpha has steps where the colours beside it have smooth edges. The network's result is clipped to the range
    of the 3×3 input pixels around, so that what is opaque or transparent stays exactly so.

    Args:
        alpha: float32 `[H, W]` in [0, 1].
        drawn: the network's result `[4H, 4W]` for it; None for bicubic, which is the same where alpha is constant.

    Returns:
        `[4H, 4W]` in [0, 1].
    """
    if drawn is None:
        return np.clip(bicubic.enlarge(alpha[None])[0], 0, 1)
    height, width = alpha.shape
    padded = np.pad(alpha, 1, "edge")
    around = np.stack([padded[y : y + height, x : x + width] for y in range(3) for x in range(3)])
    low, high = (one.repeat(bicubic.SCALE, 0).repeat(bicubic.SCALE, 1) for one in (around.min(0), around.max(0)))
    return np.clip(drawn, low, high)
