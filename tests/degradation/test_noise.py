"""Noise: its mean, its variance over the signal, its distribution, its seeds."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from gramgan.degradation.noise import gaussian_noise, poisson_noise

SIDE = 128
COUNT = 3 * SIDE**2


def flat(value: float) -> torch.Tensor:
    return torch.full((3, SIDE, SIDE), value)


@pytest.mark.parametrize("sigma", [1 / 255, 30 / 255])
def test_gaussian_noise_is_normal(sigma: float) -> None:
    noise = (gaussian_noise(flat(0.5), sigma, seed=1) - 0.5).flatten().double().numpy() / sigma
    assert abs(noise.mean()) < 4 / math.sqrt(COUNT)
    assert noise.var() == pytest.approx(1, abs=4 * math.sqrt(2 / COUNT))
    assert stats.kstest(noise, "norm").pvalue > 1e-3  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("value", [0.02, 0.2, 0.9])
@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_variance_of_poisson_noise_grows_with_the_signal(value: float, scale: float) -> None:
    noisy = poisson_noise(flat(value), 256, seed=2, scale=scale).double()
    variance = scale**2 * value / 256
    assert float(noisy.mean()) == pytest.approx(value, abs=4 * math.sqrt(variance / COUNT))
    # The variance of a sample variance also has the fourth moment in it: 1/λ for Poisson.
    spread = math.sqrt((2 + 1 / (256 * value)) / COUNT)
    assert float(noisy.var()) == pytest.approx(variance, rel=4 * spread)


def test_poisson_noise_counts_events() -> None:
    counts = (poisson_noise(flat(0.3), 8, seed=3) * 8).round().long().flatten()
    seen = np.bincount(counts.numpy(), minlength=12)[:12] / COUNT
    np.testing.assert_allclose(seen, stats.poisson.pmf(np.arange(12), 8 * 0.3), atol=0.01)


def test_poisson_noise_takes_overshoot_below_zero() -> None:
    assert torch.equal(poisson_noise(flat(-0.1), 256, seed=0), flat(-0.1))


def test_grey_noise_is_the_same_in_all_channels() -> None:
    colour = torch.tensor([0.8, 0.4, 0.1]).view(3, 1, 1).expand(3, SIDE, SIDE)
    for make in (
        lambda grey: gaussian_noise(colour, 0.1, 4, grey=grey),
        lambda grey: poisson_noise(colour, 256, 4, grey=grey),
    ):
        grey, coloured = make(True) - colour, make(False) - colour
        assert (grey - grey[:1]).abs().max() < 1e-6
        assert abs(float(torch.corrcoef(coloured.flatten(1))[0, 1])) < 4 / SIDE
    luma = 0.299 * 0.8 + 0.587 * 0.4 + 0.114 * 0.1
    assert float((poisson_noise(colour, 256, 4, grey=True) - colour)[0].var()) == pytest.approx(luma / 256, rel=0.05)


def test_the_seed_decides() -> None:
    for make in (lambda seed: gaussian_noise(flat(0.5), 0.1, seed), lambda seed: poisson_noise(flat(0.5), 256, seed)):
        torch.manual_seed(0)
        one = make(5)
        torch.manual_seed(1)
        assert torch.equal(one, make(5))
        assert not torch.equal(one, make(6))
