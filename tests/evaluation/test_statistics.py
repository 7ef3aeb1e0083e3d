"""Intervals against SciPy, and what cannot have one."""

import math

import numpy as np
import pytest
import scipy.stats

from gramgan.evaluation.statistics import mean_with_interval, paired, t_quantile


@pytest.mark.parametrize("degrees", [1, 2, 4, 13, 99, 2000])
def test_quantile_agrees_with_scipy(degrees: int) -> None:
    assert t_quantile(degrees) == pytest.approx(scipy.stats.t.ppf(0.975, degrees), rel=1e-6)


def test_interval_agrees_with_scipy() -> None:
    values = np.random.default_rng(0).normal(30, 2, 14).tolist()
    mean = mean_with_interval(values)
    low, high = scipy.stats.t.interval(0.95, 13, loc=np.mean(values), scale=scipy.stats.sem(values))
    assert (mean.low, mean.value, mean.high) == pytest.approx((low, np.mean(values), high), rel=1e-7)


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    inside = 0
    for _ in range(500):
        mean = mean_with_interval(random.normal(1, 3, 5).tolist())
        inside += mean.low <= 1 <= mean.high
    assert 0.92 < inside / 500 < 0.98


def test_what_has_no_interval() -> None:
    assert math.isnan(mean_with_interval([30.0]).half_width)
    endless = mean_with_interval([30.0, math.inf])
    assert endless.value == math.inf
    assert math.isnan(endless.half_width)
    with pytest.raises(ValueError, match="at least one"):
        mean_with_interval([])


def test_paired_differences_are_of_the_same_image() -> None:
    # The images differ much more than the programs do: only pairs can tell these two apart.
    first = [20.0, 30.0, 40.0, 50.0]
    other = [20.5, 30.4, 40.6, 50.5]
    pair = paired(first, other, higher_is_better=True)
    assert pair.difference.value == pytest.approx(0.5)
    assert (pair.wins, pair.losses, pair.ties) == (4, 0, 0)
    assert pair.is_clear
    assert paired(first, other, higher_is_better=False).losses == 4


def test_ties_and_infinite_scores() -> None:
    pair = paired([math.inf, 30.0, 30.0], [math.inf, 30.0, 29.0], higher_is_better=True)
    assert (pair.wins, pair.losses, pair.ties) == (0, 1, 2)
    assert pair.difference.value == pytest.approx(-1 / 3)
    assert not pair.is_clear
    assert not paired([1.0], [2.0], higher_is_better=True).is_clear
    with pytest.raises(ValueError, match="zip"):
        paired([1.0], [1.0, 2.0], higher_is_better=True)
