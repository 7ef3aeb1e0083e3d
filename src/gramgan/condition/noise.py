"""The noise of a picture, measured in its smoothest places; texture is told from noise.

8×8 patches at all positions are transformed by the cosine transform; the smoothest few of each hundred, by the energy
of their lowest frequencies, are looked at in the frequencies above those, which the choice does not touch (Ponomarenko
et al., An automatic approach to lossy compression of AVIRIS images, IGARSS 2007; Colom and Buades, Analysis and
extension of the Ponomarenko method, IPOL 2013). What is found there is taken for noise only if it behaves like noise:

- *Independent noise.* Noise of a sensor differs between the colour channels, texture is nearly the same in all of them.
  For each frequency the smallest eigenvalue of the 3×3 covariance of the channels is what no texture of one colour
  explains (the idea of Pyatykh, Hesser and Zheng, Image noise level estimation by principal component analysis, IEEE
  TIP 2013, applied to channels instead of pixels). If most of what is there is of that kind it is noise, whatever its
  spectrum: demosaicing makes it coarser.
- *Grey noise* (grey pictures, grain): as strong in all frequencies and in all of the smoothest patches; texture gets
  weaker towards high frequencies and differs from place to place.

All values are in grey levels of 255.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from gramgan.condition.blocks import BLOCK, ORDER, transformed
from gramgan.condition.record import Noise

_POSITIONS = 30_000  # patches that are looked at
_SMOOTHEST, _VERY_SMOOTHEST = 0.03, 0.01  # shares of them that are taken for smooth
_FEWEST = 60  # patches, below which nothing is said
_DARKEST, _BRIGHTEST = 0.25, 254.75  # a value beyond is clipped, and noise there is cut off
_FROM_THE_ENDS = (3.0, 2.5, 2.0)  # standard deviations of noise, within which of black and white it would be cut off
_FLAT = 0.02  # mean square of a patch's frequencies, below which it is exactly flat: drawn, not photographed

_LOW = (ORDER > 0) & (ORDER <= 2)
_SEEN = np.arange(3, 2 * BLOCK - 1)  # orders of frequency that are measured, and how many frequencies each has
_COUNT = np.array([np.count_nonzero(order == ORDER) for order in _SEEN], np.float64)
_UNSEEN = BLOCK * BLOCK - _COUNT.sum()
_MID, _UPPER, _HIGH = (3, 4), (6, 8), (9, 14)

# What noise is told from texture by; tests/condition/test_noise.py holds them against both.
_WHITE = 1.45  # middle over high frequencies of white noise is 1, of texture 2 and more
_WHITE_LEAST = 1.7  # grey levels
_INDEPENDENT = 0.55  # share that is independent between channels, as a ratio of standard deviations
_INDEPENDENT_LEAST = 1.0
_COARSE_LEAST = 1.6
_GREY_LEAST = 1.0
_FEWEST_GREY = 8_000  # patches, overlapping: of fewer the smoothest resemble one another, as noise does
_GREY_MID_LEAST = 0.85
_STRONG = 8.0  # texture is strong, so that strong noise has to show clearer


class _Rule(NamedTuple):
    """Of grey noise: middle over high frequencies at most, upper over high ones, spread of the patches at most."""

    mid: float
    upper: tuple[float, float]
    spread: float


_EVEN = _Rule(1.65, (0.9, 1.14), 0.275)
_GREY_FLAT = _Rule(1.45, (0.88, 1.25), 0.6)
_STRONG_FLAT = _Rule(1.2, (0.88, 1.25), 0.32)
_UNTOLD = 1.5  # what cannot be told from texture is not called more than this
_LEVELS = 8  # of brightness


@dataclass(frozen=True)
class NoiseBlocks:
    """Cosine coefficients of patches, `[C, N, 8, 8]`, in grey levels."""

    coefficients: np.ndarray

    def __len__(self) -> int:
        return self.coefficients.shape[1]

    @property
    def means(self) -> np.ndarray:
        """Of each patch: `[C, N]`."""
        return self.coefficients[:, :, 0, 0] / BLOCK

    def chosen(self, which: np.ndarray) -> "NoiseBlocks":
        """Only these."""
        return NoiseBlocks(self.coefficients[:, which])

    def smoothest(self, share: float = _SMOOTHEST) -> "NoiseBlocks":
        """Those with the least energy in the lowest frequencies."""
        low = np.square(self.coefficients[:, :, _LOW]).mean(axis=(0, 2))
        count = max(int(len(low) * share), min(len(low), _FEWEST))
        return self.chosen(np.argpartition(low, count - 1)[:count])


def patches_of(windows: Sequence[np.ndarray], positions: int = _POSITIONS) -> NoiseBlocks:
    """Patches of all places in windows `[C, H, W]`, or of evenly thinned ones, but clipped and exactly flat ones."""
    sizes = [(one.shape[1] - BLOCK + 1, one.shape[2] - BLOCK + 1) for one in windows]
    total = sum(max(0, height) * max(0, width) for height, width in sizes)
    step = max(1, int(np.ceil(np.sqrt(total / positions))))
    kept = [np.zeros((windows[0].shape[0], 0, BLOCK, BLOCK), np.float32)]
    for window in windows:
        if min(window.shape[1:]) < BLOCK:
            continue
        views = np.lib.stride_tricks.sliding_window_view(window, (BLOCK, BLOCK), axis=(1, 2))[:, ::step, ::step]
        patches = views.reshape(window.shape[0], -1, BLOCK, BLOCK)
        kept.append(patches[:, ((patches >= _DARKEST) & (patches <= _BRIGHTEST)).all(axis=(0, 2, 3))])
    coefficients = transformed(np.concatenate(kept, axis=1).astype(np.float32, copy=False))
    energy = np.square(coefficients[:, :, ORDER > 0]).mean(axis=(0, 2))
    return NoiseBlocks(coefficients).chosen(energy > _FLAT)


def measure_noise(patches: NoiseBlocks) -> Noise | None:
    """The noise of what the patches were taken from; None where they are too few to say."""
    found = noise_at_first_sight(patches)
    if found is None or found.kind == "none":
        return found
    # Again without places so dark or bright in a channel that its noise is cut off there, if enough others are left.
    means = patches.means
    for margin in (deviations * max(found.sigma) for deviations in _FROM_THE_ENDS):
        inside = (means.min(axis=0) > margin) & (means.max(axis=0) < 255 - margin)
        if np.count_nonzero(inside) >= 4 * _FEWEST:
            patches = patches.chosen(inside)
            again = noise_at_first_sight(patches)
            found = again if again is not None and again.kind == found.kind else found
            break
    return Noise(found.sigma, found.kind, found.coarse, _levels(patches, found))


def noise_at_first_sight(patches: NoiseBlocks) -> Noise | None:
    """The same at first sight: with places where noise is cut off, and without its levels."""
    if len(patches) < _FEWEST:
        return None
    d = patches.smoothest().coefficients
    covariance = _covariance(d)
    least = _least(covariance)
    found = _independent(covariance, least) if len(d) == 3 else None
    if found is None and len(patches) >= _FEWEST_GREY:
        found = _grey(d) or _grey(patches.smoothest(_VERY_SMOOTHEST).coefficients)
    if found is not None:
        return found
    bound = min(_deviation(least, _HIGH), _UNTOLD)
    return Noise((bound,) * len(d), "none")


def noise_bound(patches: NoiseBlocks) -> float:
    """What noise there can be at most: all that is in the smoothest patches and no texture of one colour."""
    return _root(_total(_least(_covariance(patches.smoothest().coefficients))))[0]


def _covariance(d: np.ndarray) -> np.ndarray:
    """Of the channels, by frequency: `[C, N, 8, 8]` → `[8, 8, C, C]`."""
    return np.einsum("cnij,dnij->ijcd", d, d, optimize=True).astype(np.float64) / d.shape[1]


def _least(covariance: np.ndarray) -> np.ndarray:
    """The smallest eigenvalues of the channels' covariances, by order of frequency: `[orders, 1]`."""
    return _by_order(np.linalg.eigvalsh(covariance)[:, :, :1].clip(0))


def _independent(covariance: np.ndarray, least: np.ndarray) -> Noise | None:
    """Noise that differs between the channels; `least` is what no texture of one colour explains."""
    high, mid = _deviation(least, _HIGH), _deviation(least, _MID)
    whole = _by_order(np.diagonal(covariance, axis1=2, axis2=3).mean(axis=2, keepdims=True))
    shape = mid / max(high, 1e-3)
    apart = mid / max(_deviation(whole, _MID), 1e-3) >= _INDEPENDENT
    own = np.stack([_own(covariance[order == ORDER].mean(axis=0)) for order in _SEEN])
    if shape < _WHITE and high >= (_INDEPENDENT_LEAST if apart else _WHITE_LEAST):
        return Noise(_root(_band(own, _HIGH)), "independent", shape)
    if apart and _root(_total(least))[0] >= _COARSE_LEAST:
        return Noise(_root(_total(own)), "independent", shape)
    return None


def _grey(d: np.ndarray) -> Noise | None:
    """White noise that is the same in all channels."""
    grey = d.mean(axis=0)
    spectrum = _by_order(np.square(grey).mean(axis=0)[:, :, None])
    mid, upper, high = (_deviation(spectrum, band) for band in (_MID, _UPPER, _HIGH))
    each = np.square(grey[:, _UPPER[0] <= ORDER]).mean(axis=1)
    spread = float(each.std() / max(each.mean(), 1e-6))
    if high < _GREY_LEAST or not mid / high > _GREY_MID_LEAST:
        return None
    # Either the patches differ no more than noise does, or the spectrum is as flat as that of noise.
    rules = (_EVEN, _STRONG_FLAT if high > _STRONG else _GREY_FLAT)
    mid_ratio, upper_ratio = mid / high, upper / high
    if any(mid_ratio < most and low < upper_ratio < top and spread < even for most, (low, top), even in rules):
        return Noise((high,) * len(d), "grey", mid_ratio)
    return None


def _own(covariance: np.ndarray) -> np.ndarray:
    """What each channel has for itself: the variances less one factor that all three share (texture of one colour)."""
    variance = np.diag(covariance).copy()
    xy, xz, yz = covariance[0, 1], covariance[0, 2], covariance[1, 2]
    if min(xy, xz, yz) > 0.03 * variance.mean():
        variance -= np.clip((xy * xz / yz, xy * yz / xz, xz * yz / xy), 0, variance)
    return variance


def _by_order(spectrum: np.ndarray) -> np.ndarray:
    """`[8, 8, C]` → `[orders of _SEEN, C]`, means."""
    return np.stack([spectrum[order == ORDER].mean(axis=0) for order in _SEEN])


def _band(by_order: np.ndarray, band: tuple[int, int]) -> np.ndarray:
    """Mean variance of the frequencies from one order to another: `[C]`."""
    weights = _COUNT * ((band[0] <= _SEEN) & (band[1] >= _SEEN))
    return weights @ by_order / weights.sum()


def _deviation(by_order: np.ndarray, band: tuple[int, int]) -> float:
    """Standard deviation in a band of the one spectrum `[orders, 1]`."""
    return float(np.sqrt(_band(by_order, band)[0]))


def _total(by_order: np.ndarray) -> np.ndarray:
    """Variance of a pixel, `[C]`; the lowest frequencies, which hold the picture, are carried on from those above."""
    mid, upper = _band(by_order, _MID), _band(by_order, _UPPER)
    slope = np.clip(mid / np.maximum(upper, 1e-6), 1, 4)
    return (_COUNT @ by_order + _UNSEEN * mid * np.sqrt(slope)) / BLOCK**2


def _root(variances: np.ndarray) -> tuple[float, ...]:
    return tuple(float(one) for one in np.sqrt(np.maximum(variances, 0)))


def _levels(patches: NoiseBlocks, found: Noise) -> tuple[tuple[float, float], ...]:
    """`(brightness, sigma)` in steps of brightness, where there are enough patches of it."""
    levels = []
    brightness = patches.means.mean(axis=0)
    edges = np.linspace(0, 255, _LEVELS + 1)
    for low, high in pairwise(edges):
        inside = patches.chosen((brightness >= low) & (brightness < high))
        if len(inside) < 4 * _FEWEST:
            continue
        one = noise_at_first_sight(inside)
        if one is not None and one.kind == found.kind:
            levels.append((float(inside.smoothest().means.mean()), float(np.mean(one.sigma))))
    return tuple(levels)
