"""Extends known values over their edge into unknown regions."""

import numpy as np

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


def _neighbours(planes: np.ndarray) -> np.ndarray:
    """Sum over the 3×3 neighbourhood of every pixel, `[C, H, W]`; outside of the picture there is 0."""
    padded = np.pad(planes, ((0, 0), (1, 1), (1, 1)))
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
