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
from typing import NamedTuple

import numpy as np

from gramgan.condition.blocks import BLOCK, blocks_of, luma_of, transformed
from gramgan.condition.jpeg_file import quality_of, table
from gramgan.condition.record import Jpeg
from gramgan.ops.jpeg_tables import quantisation_tables

_ROUNDING = 0.4  # standard deviation of a coefficient by rounding to 8-bit luma, then to 8-bit RGB, and a little more
_ODD = 0.02  # share of coefficients that are anywhere: clipped colours, a block that was retouched
_BINS_PER_LEVEL = 4
_LARGEST = 256  # coefficients beyond are left out
_LARGEST_STEP = 255
_DARKEST, _BRIGHTEST = 0.25, 254.75  # a block with values beyond may have been clipped
_BLOCKS = 1500  # that the grid is searched with
_QUALITIES = range(5, 100)
_STANDARD = 0.8  # of what free steps gain, below which the tables are none of libjpeg's
_SURE = 12.0  # nats, from which on a frequency's own step is known
_FEWEST_BLOCKS = 4  # on any grid: with nothing to compare with, nothing stands out
_NO_LOSS = 98  # steps of 1 and 2 lose nothing that could be seen, and leave faint traces
_LEAST_CONTRAST = 40.0  # nats, between the best grid and the next
_LEAST_EACH = 0.1  # nats for each coefficient that is not 0


def jpeg_in(windows: Sequence[tuple[np.ndarray, int, int]]) -> Jpeg | None:
    """Look for JPEG in samples of a picture.

    Args:
        windows: `(pixels [3|1, H, W] in grey levels of 255, top, left)`, the latter the window's place in the picture.

    Returns:
        None where nothing is found: never JPEG, resized after it, quality above 97, or too little is there to tell.
    """
    counts = _histograms(windows)
    gains = counts.reshape(-1, counts.shape[-1]) @ _gain_table()
    gains = gains.reshape(BLOCK * BLOCK, BLOCK * BLOCK, -1)[
        :, 1:
    ]  # grid, frequency, step; a block's mean says too little
    candidates = _candidates()
    steps = np.stack([one.luma.ravel()[1:] for one in candidates])
    totals = gains[:, np.arange(BLOCK * BLOCK - 1)[None], steps - 1].sum(axis=2)  # grid, candidate
    grid = _apart(totals.max(axis=1), counts, steps[totals.max(axis=0).argmax()])
    if grid is None:
        return None
    free = gains[grid].max(axis=1)  # every frequency its own step
    best = candidates[int(totals[grid].argmax())]
    if best.quality >= _NO_LOSS:
        return None
    luma = best.luma.copy()
    quality = best.quality
    if totals[grid].max() < _STANDARD * free.sum():  # tables of somebody's own, as cameras and Photoshop have
        own = gains[grid].argmax(axis=1) + 1
        known = np.flatnonzero(free >= _SURE)
        luma.ravel()[known + 1] = own[known]
        quality = quality_of(luma)
    return Jpeg(
        quality=quality,
        luma_table=table(luma),
        chroma_table=table(best.chroma) if windows[0][0].shape[0] == 3 else None,
        offset=(grid // BLOCK, grid % BLOCK),
        subsampling=None,
        chroma_offset=None,
        source="pixels",
    )


def _apart(totals: np.ndarray, counts: np.ndarray, steps: np.ndarray) -> int | None:
    """The grid with the highest total, if it stands out from the others; `steps` are those it was found with."""
    grid = int(totals.argmax())
    contrast = float(totals[grid] - np.delete(totals, grid).max())
    values = np.arange(counts.shape[-1]) / _BINS_PER_LEVEL
    nonzero = float((counts[grid, 1:] * (values[None] > steps[:, None] / 2)).sum())
    if counts[:, -1].sum(axis=1).min() < _FEWEST_BLOCKS:
        return None
    return grid if contrast >= max(_LEAST_CONTRAST, _LEAST_EACH * nonzero) else None


def _histograms(windows: Sequence[tuple[np.ndarray, int, int]]) -> np.ndarray:
    """How often a coefficient has which size: `[64 grids, 64 frequencies, bins]`."""
    bins = _LARGEST * _BINS_PER_LEVEL
    counts = np.zeros((BLOCK * BLOCK, BLOCK * BLOCK, bins), np.float32)
    each = max(1, _BLOCKS // len(windows))
    base = np.arange(BLOCK * BLOCK, dtype=np.int32) * bins
    for pixels, top, left in windows:
        plane = luma_of(pixels).astype(np.float32)
        clipped = np.asarray(((pixels <= _DARKEST) | (pixels >= _BRIGHTEST)).any(axis=0))
        for grid in range(BLOCK * BLOCK):
            y, x = (grid // BLOCK - top) % BLOCK, (grid % BLOCK - left) % BLOCK
            blocks = blocks_of(plane, y, x)
            usable = np.flatnonzero(~blocks_of(clipped, y, x).any(axis=(1, 2)))
            usable = usable[:: max(1, len(usable) // each)]
            sizes = np.abs(transformed(blocks[usable])).reshape(-1, BLOCK * BLOCK) * _BINS_PER_LEVEL + 0.5
            index = sizes.astype(np.int32)
            inside = index < bins
            index += base
            counts[grid] += np.bincount(index[inside], minlength=BLOCK * BLOCK * bins).reshape(BLOCK * BLOCK, bins)
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


class _Candidate(NamedTuple):
    quality: int
    luma: np.ndarray
    chroma: np.ndarray


@functools.cache
def _candidates() -> tuple[_Candidate, ...]:
    """libjpeg's tables for each of `_QUALITIES`, as they are and for pictures that were turned on their side later."""
    upright = [
        _Candidate(quality, *(one.astype(int) for one in quantisation_tables(quality))) for quality in _QUALITIES
    ]
    return (*upright, *(_Candidate(one.quality, one.luma.T, one.chroma.T) for one in upright))
