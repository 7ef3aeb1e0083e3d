"""Transparency: what the network sees where a picture shows nothing, and how the alpha channel is enlarged."""

import numpy as np

from gramgan.upscaling import bicubic

CONTEXT = bicubic.CONTEXT
"""Pixels around a window that the enlargement of its alpha looks at, besides the network."""
REACH = 16
"""How far, in pixels, colours are extended into the transparent part."""


def extend_colours(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Carry the colours at the edge of the visible part into the fully transparent part.

    What lies under full transparency is whatever a program left there, often black. The network would draw it into
    the edge as a dark fringe. Each of `REACH` passes gives every transparent pixel the mean of its coloured
    neighbours (of 8), so the result at a pixel depends on nothing farther than `REACH` pixels away.

    Args:
        colours: `[C, H, W]` in [0, 1], straight (not multiplied by alpha).
        alpha: `[H, W]` in [0, 1].

    Returns:
        `[C, H, W]`; equal to `colours` where alpha is above 0 and beyond the reach.
    """
    known = alpha > 0
    if known.all() or not known.any():
        return colours
    colours = colours.copy()
    for _ in range(REACH):
        count = _neighbours(known[None].astype(np.float32))[0]
        new = ~known & (count > 0)
        if not new.any():
            break
        total = _neighbours(np.where(known, colours, 0))
        colours[:, new] = total[:, new] / count[new]
        known |= new
    return colours


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


def _neighbours(planes: np.ndarray) -> np.ndarray:
    """Sum over the 3×3 neighbourhood of every pixel, `[C, H, W]`; outside of the picture there is 0."""
    padded = np.pad(planes, ((0, 0), (1, 1), (1, 1)))
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
