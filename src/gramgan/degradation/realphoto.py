"""Photographs as they are met with: blurred, resized, noisy and compressed, twice over.

The second-order degradation of Real-ESRGAN (Wang et al., "Real-ESRGAN: Training Real-World Blind Super-Resolution with
Pure Synthetic Data", ICCVW 2021, arXiv 2107.10833), with the numbers of its published ×4 training. Where this differs,
`docs/explanation/degradations.md` says why.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gramgan.degradation.base import Degradation, to_8_bits
from gramgan.degradation.draws import Bounds, Draws
from gramgan.degradation.filters import RESIZE_FILTERS, ResizeFilter, blur, resize
from gramgan.degradation.jpeg import Coding, jpeg
from gramgan.degradation.kernels import gaussian_kernel, plateau_kernel, sinc_kernel
from gramgan.degradation.noise import gaussian_noise, poisson_noise
from gramgan.ops.bicubic import SCALE

KernelShape = Literal["Gaussian", "generalised Gaussian", "plateau"]

_KERNELS: dict[tuple[KernelShape, bool], float] = {
    ("Gaussian", True): 0.45,
    ("Gaussian", False): 0.25,
    ("generalised Gaussian", True): 0.12,
    ("generalised Gaussian", False): 0.03,
    ("plateau", True): 0.12,
    ("plateau", False): 0.03,
}
"""Probability of each (shape, isotropic) of those kernels that are no sinc filter."""

_SIZES = tuple(range(7, 22, 2))
_BETA: dict[KernelShape, Bounds] = {"generalised Gaussian": (0.5, 4.0), "plateau": (1.0, 2.0)}
_PHOTON_LEVELS = 256.0
"""Events that a full 8-bit value counts in Poisson noise of scale 1."""


@dataclass(frozen=True)
class Round:
    """The numbers of one of the two stages. Noise is in grey levels of 255."""

    blur: float
    """Probability of a blur at all."""
    sigma: Bounds
    resize: tuple[float, float, float]
    """Weights of enlarging, shrinking and keeping the size."""
    scale: Bounds
    """Smallest and largest scale: shrinking draws below 1, enlarging above."""
    gaussian_sigma: Bounds
    poisson_scale: Bounds
    sinc: float = 0.1
    """Probability that a blur is a sinc filter."""
    gaussian: float = 0.5
    """Probability of Gaussian noise; else it is Poisson noise."""
    grey: float = 0.4
    """Probability that noise is the same in all three channels."""
    quality: tuple[int, int] = (30, 95)


FIRST_ROUND = Round(1.0, (0.2, 3.0), (0.2, 0.7, 0.1), (0.15, 1.5), (1.0, 30.0), (0.05, 3.0))
SECOND_ROUND = Round(0.8, (0.2, 1.5), (0.3, 0.4, 0.3), (0.3, 1.2), (1.0, 25.0), (0.05, 2.5))


@dataclass(frozen=True)
class Blur:
    """A kernel of one of the three shapes."""

    shape: KernelShape
    size: int
    sigma: tuple[float, float]
    angle: float
    beta: float

    def kernel(self) -> Tensor:
        """Float64 `[size, size]`."""
        make = plateau_kernel if self.shape == "plateau" else gaussian_kernel
        return make(self.size, *self.sigma, self.angle, self.beta)

    def __str__(self) -> str:
        one, two = self.sigma
        isotropic = one == two
        spread = f"σ {one:.2f}" if isotropic else f"σ {one:.2f} and {two:.2f} at {math.degrees(self.angle):.0f}°"
        beta = "" if self.shape == "Gaussian" else f", β {self.beta:.2f}"
        return f"blur: {self.shape}, {self.size}×{self.size}, {spread}{beta}"


@dataclass(frozen=True)
class Sinc:
    """A sinc filter."""

    size: int
    cutoff: float

    def kernel(self) -> Tensor:
        """Float64 `[size, size]`."""
        return sinc_kernel(self.size, self.cutoff)

    def __str__(self) -> str:
        return f"sinc filter {self.size}×{self.size}, ω {self.cutoff / math.pi:.2f} π"


@dataclass(frozen=True)
class PlannedNoise:
    """Gaussian noise in grey levels, or Poisson noise with a scale."""

    kind: Literal["Gaussian", "Poisson"]
    strength: float
    grey: bool
    seed: int

    def add(self, image: Tensor) -> Tensor:
        """The image with noise, clamped to [0, 1]."""
        if self.kind == "Gaussian":
            noisy = gaussian_noise(image, self.strength / 255, self.seed, grey=self.grey)
        else:
            noisy = poisson_noise(image, _PHOTON_LEVELS, self.seed, scale=self.strength, grey=self.grey)
        return noisy.clamp(0, 1)

    def __str__(self) -> str:
        strength = f"σ {self.strength:.1f}/255" if self.kind == "Gaussian" else f"scale {self.strength:.2f}"
        return f"{self.kind} noise, {strength}, {'grey' if self.grey else 'colour'}"


@dataclass(frozen=True)
class RoundPlan:
    """What one stage does to one image."""

    blur: Blur | Sinc | None
    scale: float
    filter: ResizeFilter
    noise: PlannedNoise
    coding: Coding

    def run(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """Blur, resize to `scale` times `size` and add noise; JPEG is done for all images together."""
        if self.blur is not None:
            image = blur(image, self.blur.kernel())
        height, width = (max(1, round(side * self.scale)) for side in size)
        return self.noise.add(resize(image, (height, width), self.filter))

    def lines(self, of: str) -> list[str]:
        """Up to the noise; `of` says what the scale is relative to."""
        blurred = [] if self.blur is None else [str(self.blur)]
        return [*blurred, f"resize: {self.scale:.2f} × {of}, {self.filter}", str(self.noise)]


@dataclass(frozen=True)
class RealPhotoPlan:
    """What is done to one image.

    The last sinc filter and the resize to the LR size come before the second JPEG or after it (`jpeg_last`).
    """

    first: RoundPlan
    second: RoundPlan
    filter: ResizeFilter
    sinc: Sinc | None
    jpeg_last: bool

    def finish(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """Resize to the LR size and filter, clamped to [0, 1]."""
        image = resize(image, size, self.filter)
        return (image if self.sinc is None else blur(image, self.sinc.kernel())).clamp(0, 1)

    def lines(self) -> list[str]:
        """What `seed` does to an image, one operation a line, in the order in which they are done."""
        first, second = (f"JPEG, quality {stage.coding.quality}" for stage in (self.first, self.second))
        ending = [f"resize to LR: {self.filter}", *([] if self.sinc is None else [str(self.sinc)])]
        ending = [*ending, second] if self.jpeg_last else [second, *ending]
        return [*self.first.lines("HR"), first, *self.second.lines("LR"), *ending]


class RealPhoto(Degradation):
    """Real-ESRGAN's second-order degradation.

    Args:
        first: numbers of the first stage, whose scales are relative to the HR size.
        second: numbers of the second, whose scales are relative to the LR size.
        final_sinc: probability of the last sinc filter.
        jpeg_last: probability that the second JPEG comes after it.
        scale: see `Degradation`.
    """

    name = "realphoto"

    def __init__(
        self,
        first: Round = FIRST_ROUND,
        second: Round = SECOND_ROUND,
        *,
        final_sinc: float = 0.8,
        jpeg_last: float = 0.5,
        scale: int = SCALE,
    ) -> None:
        super().__init__(scale)
        self._first = first
        self._second = second
        self._final_sinc = final_sinc
        self._jpeg_last = jpeg_last

    def plan(self, seed: int) -> RealPhotoPlan:
        """What `seed` does to an image."""
        draws = Draws(seed)
        return RealPhotoPlan(
            first=_draw_stage(self._first, draws),
            second=_draw_stage(self._second, draws),
            filter=draws.choice(RESIZE_FILTERS),
            sinc=Sinc(draws.choice(_SIZES), draws.uniform((math.pi / 3, math.pi)))
            if draws.chance(self._final_sinc)
            else None,
            jpeg_last=draws.chance(self._jpeg_last),
        )

    def describe(self, seed: int) -> list[str]:
        """What `seed` does to an image, one operation a line, in the order in which they are done."""
        return self.plan(seed).lines()

    def _degrade(self, hr: Tensor, seeds: Sequence[int]) -> Tensor:
        plans = [self.plan(seed) for seed in seeds]
        large, small = (hr.shape[-2], hr.shape[-1]), (hr.shape[-2] // self.scale, hr.shape[-1] // self.scale)
        images = [plan.first.run(image, large) for image, plan in zip(hr, plans, strict=True)]
        images = jpeg(images, [plan.first.coding for plan in plans])
        images = [plan.second.run(image, small) for image, plan in zip(images, plans, strict=True)]
        images = jpeg(images, [None if plan.jpeg_last else plan.second.coding for plan in plans])
        images = [plan.finish(image, small) for image, plan in zip(images, plans, strict=True)]
        images = jpeg(images, [plan.second.coding if plan.jpeg_last else None for plan in plans])
        return to_8_bits(torch.stack(images))


def _draw_stage(stage: Round, draws: Draws) -> RoundPlan:
    return RoundPlan(
        blur=_draw_blur(stage, draws) if draws.chance(stage.blur) else None,
        scale=_draw_scale(stage, draws),
        filter=draws.choice(RESIZE_FILTERS),
        noise=_draw_noise(stage, draws),
        coding=Coding(draws.integer(*stage.quality), (draws.integer(0, 15), draws.integer(0, 15))),
    )


def _draw_blur(stage: Round, draws: Draws) -> Blur | Sinc:
    size = draws.choice(_SIZES)
    if draws.chance(stage.sinc):
        # A small kernel cannot hold the longer waves.
        return Sinc(size, draws.uniform((math.pi / (3 if size < 13 else 5), math.pi)))
    shape, isotropic = draws.choice(list(_KERNELS), list(_KERNELS.values()))
    sigma = draws.uniform(stage.sigma)
    other = sigma if isotropic else draws.uniform(stage.sigma)
    angle = 0.0 if isotropic else draws.uniform((-math.pi, math.pi))
    return Blur(shape, size, (sigma, other), angle, _draw_beta(shape, draws))


def _draw_beta(shape: KernelShape, draws: Draws) -> float:
    if shape == "Gaussian":
        return 1.0
    low, high = _BETA[shape]
    # As many peaked kernels as flat ones, where both are possible.
    return draws.uniform((low, 1.0)) if low < 1 and draws.chance(0.5) else draws.uniform((1.0, high))


def _draw_scale(stage: Round, draws: Draws) -> float:
    low, high = stage.scale
    direction = draws.choice(("up", "down", "keep"), stage.resize)
    if direction == "keep":
        return 1.0
    return draws.uniform((1.0, high) if direction == "up" else (low, 1.0))


def _draw_noise(stage: Round, draws: Draws) -> PlannedNoise:
    gaussian = draws.chance(stage.gaussian)
    strength = draws.uniform(stage.gaussian_sigma if gaussian else stage.poisson_scale)
    return PlannedNoise("Gaussian" if gaussian else "Poisson", strength, draws.chance(stage.grey), draws.seed())
