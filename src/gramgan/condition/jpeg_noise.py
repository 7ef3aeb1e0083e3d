"""Noise that was in a picture before it became a JPEG, from what quantisation has left of it.

Quantisation sets most of a weak noise to zero and keeps the rest as whole steps. How much energy is left of Gaussian
noise in a coefficient of step q is a known function of its standard deviation; it is solved for that deviation with the
energy in the smoothest blocks. It counts as noise if low and high frequencies agree on it, and if the blocks differ no
more from one another than quantised noise would: detail is in some blocks and not in others.
"""

import functools
import math
from collections.abc import Sequence

import numpy as np

from gramgan.condition.blocks import BLOCK, ORDER, blocks_of, luma_of, transformed
from gramgan.condition.record import Jpeg, Noise
from gramgan.condition.samples import Sample

_SMOOTHEST = 0.1
_FEWEST = 40
_DARKEST, _BRIGHTEST = 0.5, 254.5  # a block with values beyond was clipped
_LOW, _MID, _UPPER, _SEEN = (1, 2), (3, 4), (5, 8), (3, 8)
_ROUNDING = 0.08  # variance by rounding to 8 bits
_SIGMAS = np.geomspace(0.3, 40, 120)
_LEAST = 1.7
_AGREE, _APART = (0.75, 1.2), 1.45  # ratio of the deviations; spread of the blocks against that of noise
_STRONG, _STRONG_AGREE, _STRONG_APART = 8.0, 0.85, 1.25  # texture is strong, so that strong noise has to show clearer


def noise_before(jpeg: Jpeg, samples: Sequence[Sample], channels: int) -> Noise | None:
    """White luma noise before the last compression, in grey levels; None where there is none or none that tells."""
    coefficients = np.concatenate([_blocks(sample, jpeg.offset) for sample in samples])
    if len(coefficients) < _FEWEST:
        return None
    low = np.square(coefficients[:, _inside(_LOW)]).mean(axis=1)
    count = max(int(len(low) * _SMOOTHEST), _FEWEST)
    smooth = coefficients[np.argpartition(low, count - 1)[:count]]
    steps = np.clip(np.array(jpeg.luma_table), 1, 255)
    mid, upper, sigma = (_solved(smooth, steps, band) for band in (_MID, _UPPER, _SEEN))
    if sigma < _LEAST:
        return None
    energies = np.square(smooth[:, _inside(_SEEN)]).sum(axis=1)
    moments = [_left(int(step)) for step in steps[_inside(_SEEN)]]
    mean = np.sum([second for second, _ in moments], axis=0)
    variance = np.sum([fourth - second**2 for second, fourth in moments], axis=0)
    expected = float(np.interp(sigma, _SIGMAS, np.sqrt(np.maximum(variance, 0)) / mean))
    apart = float(energies.std() / energies.mean()) / max(expected, 1e-3)
    strong = sigma > _STRONG
    least, most = (_STRONG_AGREE, _STRONG_APART) if strong else (_AGREE[0], _APART)
    if not least < upper / mid < _AGREE[1] or apart > most:
        return None
    return Noise((sigma,) * channels, "compressed", mid / upper)


def _blocks(sample: Sample, offset: tuple[int, int]) -> np.ndarray:
    top, left = (-place % BLOCK for place in (sample.top - offset[0], sample.left - offset[1]))
    blocks = blocks_of(luma_of(sample.pixels), top, left)
    kept = ((blocks > _DARKEST) & (blocks < _BRIGHTEST)).all(axis=(1, 2))
    return transformed(blocks[kept].astype(np.float32))


def _inside(band: tuple[int, int]) -> np.ndarray:
    return (band[0] <= ORDER) & (band[1] >= ORDER)


def _solved(coefficients: np.ndarray, steps: np.ndarray, band: tuple[int, int]) -> float:
    """The deviation of noise that leaves as much energy in a band as there is."""
    there = float(np.square(coefficients[:, _inside(band)]).mean())
    expected = np.mean([_left(int(step))[0] for step in steps[_inside(band)]], axis=0)
    return float(np.interp(there, expected, _SIGMAS))


@functools.cache
def _left(step: int) -> tuple[np.ndarray, np.ndarray]:
    """Second and fourth moment of Gaussian noise of each of `_SIGMAS` after it was rounded to multiples of `step`."""
    multiples = np.arange(1, int(4 * _SIGMAS[-1] / step) + 2)
    edges = (np.append(multiples, multiples[-1] + 1) - 0.5) * step
    below = np.vectorize(math.erf)(edges[None] / (_SIGMAS[:, None] * math.sqrt(2)))
    share = np.diff(below, axis=1)  # of both signs
    second, fourth = (share @ ((multiples * step) ** power) for power in (2.0, 4.0))
    return second + _ROUNDING, fourth + 3 * _ROUNDING**2
