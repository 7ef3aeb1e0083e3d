"""Pictures as a push-broom satellite takes them: optics, sampling, shot noise, quantisation, resampling.

`docs/explanation/degradations.md` has the model and the source of every number. Frequencies are of the LR grid: its
Nyquist frequency is half a cycle for every LR pixel, an eighth for every HR pixel.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gramgan.degradation.base import Degradation, to_8_bits
from gramgan.degradation.draws import Bounds, Draws
from gramgan.degradation.filters import blur, sample
from gramgan.degradation.jpeg import Coding, jpeg
from gramgan.degradation.kernels import gaussian_kernel
from gramgan.degradation.noise import poisson_noise
from gramgan.ops.bicubic import SCALE

MID_GREY = 0.5
"""The value at which the signal-to-noise ratio is stated."""

_KERNEL_REACH = 2.5  # LR pixels: 4 standard deviations at the lowest modulation


@dataclass(frozen=True)
class Sensor:
    """The numbers of the sensors that the profile draws from."""

    mtf: Bounds = (0.15, 0.36)
    """Modulation at the Nyquist frequency across the track."""
    smear: Bounds = (2 / math.pi, 1.0)
    """Factor on it along the track, for the motion during one integration."""
    snr: Bounds = (45.0, 170.0)
    """Signal-to-noise ratio at mid-grey."""
    bits: tuple[int, ...] = (11, 12)
    used: Bounds = (0.1, 0.5)
    """Share of the sensor's range that the picture's 0 to 1 stands for."""
    jpeg: float = 0.3
    """Probability that the product is a JPEG."""
    quality: tuple[int, int] = (85, 95)


@dataclass(frozen=True)
class SatellitePlan:
    """What is done to one image."""

    mtf: tuple[float, float]
    """Across the track, along the track."""
    angle: float
    shift: tuple[float, float]
    """Rows and columns, in LR pixels, between the sensor's grid and the product's."""
    snr: float
    bits: int
    used: float
    coding: Coding | None
    seed: int

    def kernel(self, scale: int = SCALE) -> Tensor:
        """The point-spread function on the HR grid, float64 `[21, 21]` at a scale of 4."""
        across, along = (sigma_of_mtf(mtf, scale) for mtf in self.mtf)
        return gaussian_kernel(2 * math.ceil(_KERNEL_REACH * scale) + 1, across, along, self.angle)

    def run(self, hr: Tensor, scale: int = SCALE) -> Tensor:
        """`[3, H, W]` → `[3, H/scale, W/scale]`: everything but the JPEG."""
        image = blur(hr, self.kernel(scale))
        for shift, dim in zip(self.shift, (-2, -1), strict=True):
            image = sample(image, scale, (scale - 1) / 2 + scale * shift, dim)
        image = poisson_noise(image, self.snr**2 / MID_GREY, self.seed)
        steps = self.used * (2**self.bits - 1)
        image = image.mul(steps).round().div(steps)
        for shift, dim in zip(self.shift, (-2, -1), strict=True):
            image = sample(image, 1, -shift, dim)
        return image.clamp(0, 1)

    def lines(self) -> list[str]:
        """What `seed` does to an image, one operation a line, in the order in which they are done."""
        (across, along), (down, right) = self.mtf, self.shift
        return [
            f"MTF at Nyquist {across:.2f} across, {along:.2f} along the track at {math.degrees(self.angle):.0f}°",
            f"sampled {down:+.2f}, {right:+.2f} LR pixels off",
            f"shot noise, SNR {self.snr:.0f} at mid-grey",
            f"{self.bits} bits, {self.used:.0%} of the range used",
            "cubic convolution back onto the grid",
            *([] if self.coding is None else [f"JPEG, quality {self.coding.quality}"]),
        ]


class Satellite(Degradation):
    """LR images as a satellite with `scale` times the pixel size would have taken them."""

    name = "satellite"

    def __init__(self, sensor: Sensor | None = None, *, scale: int = SCALE) -> None:
        super().__init__(scale)
        self._sensor = sensor or Sensor()

    def plan(self, seed: int) -> SatellitePlan:
        """What `seed` does to an image."""
        sensor, draws = self._sensor, Draws(seed)
        across = draws.uniform(sensor.mtf)
        along = max(sensor.mtf[0], across * draws.uniform(sensor.smear))
        return SatellitePlan(
            mtf=(across, along),
            angle=draws.uniform((0.0, math.pi)),
            shift=(draws.uniform((-0.5, 0.5)), draws.uniform((-0.5, 0.5))),
            snr=draws.uniform(sensor.snr),
            bits=draws.choice(sensor.bits),
            used=draws.uniform(sensor.used),
            coding=Coding(draws.integer(*sensor.quality), (draws.integer(0, 15), draws.integer(0, 15)))
            if draws.chance(sensor.jpeg)
            else None,
            seed=draws.seed(),
        )

    def describe(self, seed: int) -> list[str]:
        """What `seed` does to an image, one operation a line, in the order in which they are done."""
        return self.plan(seed).lines()

    def _degrade(self, hr: Tensor, seeds: Sequence[int]) -> Tensor:
        plans = [self.plan(seed) for seed in seeds]
        images = [plan.run(image, self.scale) for image, plan in zip(hr, plans, strict=True)]
        return to_8_bits(torch.stack(jpeg(images, [plan.coding for plan in plans])))


def sigma_of_mtf(mtf: float, scale: int = SCALE) -> float:
    """Standard deviation, in HR pixels, of the Gaussian with this modulation at the LR grid's Nyquist frequency.

    A Gaussian of deviation σ passes exp(-2 π² σ² f²); here f = 1/(2 scale) cycles per HR pixel.
    """
    return scale * math.sqrt(-2 * math.log(mtf)) / math.pi
