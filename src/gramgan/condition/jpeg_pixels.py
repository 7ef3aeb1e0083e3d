"""Traces of JPEG compression in pixels: where its blocks lie and how coarsely they were quantised.

After JPEG each cosine coefficient of a block lies close to a multiple of its quantisation step, on one of 64 possible
grids, and on no other. For every grid and every step the logarithm of the likelihood ratio of "multiples of the step,
blurred by the rounding of pixels" against "any value" is added up over all coefficients (Fan and de Queiroz,
Identification of bitmap compression history: JPEG detection and quantizer estimation, IEEE TIP 2003); the tables of
libjpeg's qualities then compete as wholes. Zeros tell nothing by themselves (a smooth place has them without JPEG), so
that the evidence comes from multiples other than 0 and from the contrast with the other 63 grids.
"""

import functools
from collections.abc import Sequence

import numpy as np

from gramgan.condition.blocks import SIDE, blocks_of, luma_of, transformed
from gramgan.condition.jpeg_file import table
from gramgan.condition.record import Jpeg
from gramgan.ops.jpeg_tables import quantisation_tables

_ROUNDING = 0.4  # standard deviation of a coefficient by rounding to 8-bit luma, then to 8-bit RGB, and a little more
_ODD = 0.02  # share of coefficients that are anywhere: clipped colours, a block that was retouched
_BINS_PER_LEVEL = 4
_LARGEST = 256  # coefficients beyond are left out
_LARGEST_STEP = 255
_DARKEST, _BRIGHTEST = 0.25, 254.75  # a block with values beyond may have been clipped
_BLOCKS = 1500  # that the grid is searched with
_QUALITIES = np.arange(5, 100)
_LEAST_CONTRAST = 40.0  # nats, between the best grid and the next
_LEAST_EACH = 0.1  # nats for each coefficient that is not 0


def jpeg_in(windows: Sequence[tuple[np.ndarray, int, int]]) -> Jpeg | None:
    """Look for JPEG in samples of a picture.

    Args:
        windows: `(pixels [3|1, H, W] in grey levels of 255, top, left)`, the latter the window's place in the picture.

    Returns:
        None where nothing is found: never JPEG, resized after it, quality above 99, or too little is there to tell.
    """
    counts = _histograms(windows)
    gains = counts.reshape(-1, counts.shape[-1]) @ _gain_table()
    gains = gains.reshape(SIDE * SIDE, SIDE * SIDE, -1)  # grid, frequency, step
    steps = _tables()[0]  # quality, frequency
    scores = gains[:, np.arange(SIDE * SIDE)[None], steps - 1]  # grid, quality, frequency
    totals = scores[:, :, 1:].sum(axis=2)  # the mean of a block says too little: it is spread evenly at small steps
    best_of_grid = totals.max(axis=1)
    grid = int(best_of_grid.argmax())
    index = int(totals[grid].argmax())
    contrast = float(best_of_grid[grid] - np.delete(best_of_grid, grid).max())
    values = np.arange(counts.shape[-1]) / _BINS_PER_LEVEL
    nonzero = float((counts[grid] * (values[None] > steps[index][:, None] / 2))[1:].sum())
    if contrast < max(_LEAST_CONTRAST, _LEAST_EACH * nonzero):
        return None
    colour = windows[0][0].shape[0] == 3
    luma, chroma = (one[index].reshape(SIDE, SIDE) for one in _tables())
    return Jpeg(
        quality=int(_QUALITIES[index]),
        luma_table=table(luma),
        chroma_table=table(chroma) if colour else None,
        offset=(grid // SIDE, grid % SIDE),
        subsampling=None,
        chroma_offset=None,
        source="pixels",
    )


def _histograms(windows: Sequence[tuple[np.ndarray, int, int]]) -> np.ndarray:
    """How often a coefficient has which size: `[64 grids, 64 frequencies, bins]`."""
    bins = _LARGEST * _BINS_PER_LEVEL
    counts = np.zeros((SIDE * SIDE, SIDE * SIDE, bins), np.float32)
    each = max(1, _BLOCKS // len(windows))
    base = np.arange(SIDE * SIDE, dtype=np.int32) * bins
    for pixels, top, left in windows:
        plane = luma_of(pixels).astype(np.float32)
        clipped = np.asarray(((pixels <= _DARKEST) | (pixels >= _BRIGHTEST)).any(axis=0))
        for grid in range(SIDE * SIDE):
            y, x = (grid // SIDE - top) % SIDE, (grid % SIDE - left) % SIDE
            blocks = blocks_of(plane, y, x)
            usable = np.flatnonzero(~blocks_of(clipped, y, x).any(axis=(1, 2)))
            usable = usable[:: max(1, len(usable) // each)]
            sizes = np.abs(transformed(blocks[usable])).reshape(-1, SIDE * SIDE) * _BINS_PER_LEVEL + 0.5
            index = sizes.astype(np.int32)
            inside = index < bins
            index += base
            counts[grid] += np.bincount(index[inside], minlength=SIDE * SIDE * bins).reshape(SIDE * SIDE, bins)
    return counts


@functools.cache
def _gain_table() -> np.ndarray:
    """What a coefficient of a size says for a step: log-likelihood ratios, float32 `[bins, steps from 1]`."""
    values = np.arange(_LARGEST * _BINS_PER_LEVEL)[:, None] / _BINS_PER_LEVEL
    steps = np.arange(1, _LARGEST_STEP + 1)[None]
    multiple = np.round(values / steps)
    off = values - multiple * steps
    peak = steps / (_ROUNDING * np.sqrt(2 * np.pi)) * np.exp(-0.5 * (off / _ROUNDING) ** 2)
    gain = np.log((1 - _ODD) * peak + _ODD)
    return np.where(multiple == 0, np.minimum(gain, 0), gain).astype(np.float32)


@functools.cache
def _tables() -> tuple[np.ndarray, np.ndarray]:
    """libjpeg's luma and chroma tables, one row for each of `_QUALITIES`: `[qualities, 64]`."""
    tables = [quantisation_tables(int(quality)) for quality in _QUALITIES]
    luma, chroma = (np.stack([one[part].reshape(-1) for one in tables]).astype(int) for part in range(2))
    return luma, chroma
