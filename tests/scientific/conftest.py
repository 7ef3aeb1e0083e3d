"""A network that needs no weights, and the way from file to file with it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gramgan.scientific.bands import parse_bands
from gramgan.scientific.base import Reading
from gramgan.scientific.radiometry import parse_radiometry
from gramgan.upscaling.control import Control
from gramgan.upscaling.engine import Upscaler
from gramgan.upscaling.files import FileOptions, upscale_file
from gramgan.upscaling.scales import Scale
from gramgan.upscaling.scientific import ScientificJob

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


def job(**options: Any) -> ScientificJob:
    control = Control(consistent=True) if options.pop("consistent", True) else None
    overlap = OVERLAP if control is None else control.overlap(OVERLAP)
    bands, radiometry = parse_bands(options.pop("bands", ())), parse_radiometry(options.pop("radiometry", None))
    return ScientificJob(
        upscaler=Upscaler(Blurring(), name="blurring", overlap=overlap, tile=options.pop("tile", 64), refine=control),
        control=control,
        scale=Scale(factor=options.pop("scale", 4)),
        reading=Reading(bands, radiometry, options.pop("cog", False)),
        model="blurring",
        settings="test",
        **options,
    )


@pytest.fixture
def enlarge() -> Enlarge:
    """`enlarge(source, target, **options)` → `target`."""

    def run(source: Path, target: Path, **options: Any) -> Path:
        own = job(**options)
        return upscale_file(own.upscaler, source, target, FileOptions(scale=own.scale, scientific=own))

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
