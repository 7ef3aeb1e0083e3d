"""Random parameters, drawn on the CPU from one seed: the same for every device and every batch."""

from collections.abc import Sequence
from typing import TypeVar

import torch

_T = TypeVar("_T")

Bounds = tuple[float, float]


class Draws:
    """Random numbers from a generator of their own that begins with `seed`."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def uniform(self, bounds: Bounds) -> float:
        """A number between two bounds, uniformly."""
        low, high = bounds
        return low + (high - low) * float(torch.rand((), generator=self._generator, dtype=torch.float64))

    def integer(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included, uniformly."""
        return int(torch.randint(low, high + 1, (), generator=self._generator))

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.uniform((0.0, 1.0)) < probability

    def choice(self, options: Sequence[_T], weights: Sequence[float] | None = None) -> _T:
        """One of the options, all equally likely or by weights that need not sum to 1."""
        if weights is None:
            return options[self.integer(0, len(options) - 1)]
        left = self.uniform((0.0, sum(weights)))
        for option, weight in zip(options, weights, strict=True):
            left -= weight
            if left < 0:
                return option
        return options[-1]  # the sum was rounded

    def seed(self) -> int:
        """A seed for noise, which is drawn on the device."""
        return int(torch.randint(2**63 - 1, (), generator=self._generator))
