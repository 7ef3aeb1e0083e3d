"""Means with their uncertainty, and paired differences: what scored images say about others.

Intervals are Student's t over the images. A percentile bootstrap is the usual alternative; with the five images of Set5
it covers far less than the 95 % it promises, for it knows no other images than those five.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

CONFIDENCE = 0.95
INTERVAL = "95 % interval of the mean over images, Student's t"
_GRID = 200_001


@dataclass(frozen=True)
class Mean:
    """A mean over `count` images; `half_width` is that of its 95 % interval, NaN where there is none.

    There is none for a single image, and where a value is infinite (the PSNR of two equal images).
    """

    value: float
    half_width: float
    count: int

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.value - self.half_width

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.value + self.half_width


def mean_with_interval(values: Sequence[float]) -> Mean:
    """Mean of `values` and its 95 % interval.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("a mean needs at least one value")
    count, mean = len(values), math.fsum(values) / len(values)
    if count < 2 or not all(map(math.isfinite, values)):
        return Mean(mean, math.nan, count)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    return Mean(mean, t_quantile(count - 1) * math.sqrt(variance / count), count)


@dataclass(frozen=True)
class Paired:
    """Differences of one metric between two sets of results, image by image: `other` minus `first`.

    An image is won by `other` where its score is better in the metric's own direction.
    """

    difference: Mean
    wins: int
    losses: int
    ties: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval of the mean difference leaves out 0."""
        return not math.isnan(self.difference.half_width) and abs(self.difference.value) > self.difference.half_width


def paired(first: Sequence[float], other: Sequence[float], *, higher_is_better: bool) -> Paired:
    """Compare the scores of the same images.

    Where both are infinite (both results equal the truth) the difference is 0.

    Raises:
        ValueError: no scores, or different numbers of them.
    """
    differences = [0.0 if a == b else b - a for a, b in zip(first, other, strict=True)]
    signed = differences if higher_is_better else [-each for each in differences]
    wins, losses = sum(each > 0 for each in signed), sum(each < 0 for each in signed)
    return Paired(mean_with_interval(differences), wins, losses, len(signed) - wins - losses)


@lru_cache
def t_quantile(degrees: int) -> float:
    """t so that a Student variable with `degrees` of freedom lies within ±t with probability `CONFIDENCE`.

    With t = √degrees · tan θ that probability is the integral of cos^(degrees - 1) from 0 to θ over the one to π/2.
    """
    theta = np.linspace(0, math.pi / 2, _GRID)
    density = np.cos(theta) ** (degrees - 1)
    share = np.concatenate(([0.0], np.cumsum((density[1:] + density[:-1]) / 2)))
    return math.sqrt(degrees) * math.tan(np.interp(CONFIDENCE * share[-1], share, theta))
