"""A network that needs no weights, and the way from file to file with it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gramgan.upscaling.api import Upscaling
from gramgan.upscaling.model import OpenModel
from gramgan.upscaling.settings import Settings
from gramgan.weights.card import Card

OVERLAP = 4


class Blurring:
    """Every pixel 4×4 times, blurred over its neighbours and with texture of its own: it sees one pixel around."""

    name, batch, side, bytes_per_pixel = "blurring", 1, None, 100

    def free_bytes(self) -> int:
        return 2**40

    def run(self, tiles: np.ndarray) -> np.ndarray:
        large = tiles.repeat(4, axis=-2).repeat(4, axis=-1)
        for axis in (-2, -1):
            large = (np.roll(large, 2, axis) + 2 * large + np.roll(large, -2, axis)) / 4
        texture = np.where(np.indices(large.shape[-2:]).sum(axis=0) % 2, 0.01, -0.01)
        return (large + texture).astype(np.float32)


Enlarge = Callable[..., Path]


@pytest.fixture
def enlarge() -> Enlarge:
    """`enlarge(source, target, **settings)` → `target`."""

    def run(source: Path, target: Path, **settings: Any) -> Path:
        card = Card(name="blurring", architecture={"network": "rrdb"}, licence="CC0-1.0", overlap=OVERLAP)
        model = OpenModel(Blurring(), card, "blurring", "test")
        return Upscaling(Settings(**{"tile": 64, **settings}), model).file(source, target)

    return run


@pytest.fixture
def scene() -> Callable[..., np.ndarray]:
    """`scene(bands, height, width, low, high)`: smooth values with some texture, float64."""

    def make(bands: int, height: int, width: int, low: float, high: float, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:height, :width]
        waves = [np.sin(x / (7 + band) + band) * np.cos(y / (9 + band)) for band in range(bands)]
        unit = 0.5 + 0.35 * np.stack(waves) + 0.02 * rng.standard_normal((bands, height, width))
        return low + np.clip(unit, 0.02, 0.98) * (high - low)

    return make
