"""Photographs as cameras take them and the web passes them on: from no damage at all to two compressions.

Real-ESRGAN's degradation (`realphoto`) is built to cover the worst; what is trained on it takes every picture for a bad
one and paints over its texture. This profile draws each fault by itself, mild ones more often than strong ones, and
leaves a part of the pictures clean. The source of every number is in `docs/explanation/degradations.md`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gramgan.degradation.base import Degradation, to_8_bits
from gramgan.degradation.draws import Bounds, Draws
from gramgan.degradation.filters import ResizeFilter, blur, resize
from gramgan.degradation.jpeg import Coding, jpeg
from gramgan.degradation.kernels import gaussian_kernel, sinc_kernel
from gramgan.degradation.noise import sensor_noise
from gramgan.ops.bicubic import SCALE
from gramgan.ops.resize import matlab_bicubic_down

_FILTERS: tuple[ResizeFilter, ...] = ("area", "bilinear", "bicubic")
_KERNEL = 13
"""Side of blur kernels on the HR grid, 3 standard deviations of the widest."""


@dataclass(frozen=True)
class Faults:
    """The numbers of the profile. Noise is in grey levels of 255; each fault has its own, independent probability."""

    clean: float = 0.15
    """Nothing but shrinking: half of them as the benchmarks are shrunk."""
    blur: float = 0.5
    """The lens, on the HR grid."""
    sigma: Bounds = (0.3, 2.2)
    ring: float = 0.05
    """A sinc filter in place of the lens."""
    larger: float = 0.4
    """The camera has more pixels than the LR image: shrunk once more at the end."""
    size: Bounds = (1.0, 2.2)
    """How many times as many, along a side."""
    smaller: float = 0.1
    """Enlarged before: it has fewer."""
    enlarged: Bounds = (0.55, 1.0)
    aliased: float = 0.15
    """A resize without anti-aliasing."""
    noise: float = 0.65
    grain: Bounds = (0.7, 20.0)
    """Standard deviation at mid-grey, drawn by its logarithm: weak noise is as frequent as strong."""
    correlated: float = 0.6
    """Noise that a demosaicing has smoothed."""
    correlation: Bounds = (0.3, 0.9)
    denoised: float = 0.12
    """Detail near the noise's own height is flattened, as cameras and phones do."""
    sharpened: float = 0.3
    amount: Bounds = (0.2, 1.3)
    halo: Bounds = (0.5, 1.4)
    compressed: float = 0.8
    quality: tuple[int, int] = (35, 97)
    subsampled: float = 0.75
    again: float = 0.3
    """Passed on: compressed once more, after the last resize."""
    webp: float = 0.15
    """Of those, the share that becomes WebP."""
    second_quality: tuple[int, int] = (45, 95)


@dataclass(frozen=True)
class Grain:
    """Noise of a sensor, and whether it was flattened afterwards."""

    sigma: float
    shot: float
    correlation: float
    chroma: float
    denoised: bool
    seed: int

    def add(self, image: Tensor) -> Tensor:
        """The noisy image, clamped to [0, 1]."""
        noisy = sensor_noise(image, self.sigma / 255, self.shot, self.correlation, self.chroma, self.seed).clamp(0, 1)
        return _flattened(noisy, 1.5 * self.sigma / 255) if self.denoised else noisy

    def __str__(self) -> str:
        kind = f", correlated over {self.correlation:.1f} pixels" if self.correlation else ""
        after = ", flattened" if self.denoised else ""
        return f"sensor noise: σ {self.sigma:.1f}/255 at mid-grey, {self.shot:.0%} of it shot noise{kind}{after}"


@dataclass(frozen=True)
class PhotoPlan:
    """What is done to one image; None and 1.0 stand for "not at all"."""

    shrink: ResizeFilter | None
    """The filter of a clean picture; `bicubic` is the benchmarks' own. None: it is not clean."""
    kernel: tuple[float, float, float] | None = None
    """σ along two axes and the angle, in HR pixels; or, with σ 0, the cut-off of a sinc filter as the second."""
    size: float = 1.0
    filters: tuple[ResizeFilter, ResizeFilter] = ("bicubic", "bicubic")
    antialias: tuple[bool, bool] = (True, True)
    grain: Grain | None = None
    sharpening: tuple[float, float] | None = None
    coding: Coding | None = None
    second: Coding | None = None
    webp: int | None = None
    """A quality, in place of `second`."""

    def first(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """HR `[3, H, W]` to what the camera compresses, [0, 1]; `size` is that of LR."""
        if self.shrink is not None:
            if self.shrink == "bicubic":
                return matlab_bicubic_down(image[None], image.shape[-1] // size[1])[0]
            return resize(image, size, self.shrink, antialias=True).clamp(0, 1)
        if self.kernel is not None:
            one, two, angle = self.kernel
            image = blur(image, gaussian_kernel(_KERNEL, one, two, angle) if one else sinc_kernel(_KERNEL, two))
        height, width = (max(1, round(side * self.size)) for side in size)
        image = resize(image, (height, width), self.filters[0], antialias=self.antialias[0]).clamp(0, 1)
        if self.grain is not None:
            image = self.grain.add(image)
        return image if self.sharpening is None else _sharpened(image, *self.sharpening)

    def last(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """What the camera made, at LR's size, and as WebP if it becomes one."""
        if tuple(image.shape[-2:]) != size:
            image = resize(image, size, self.filters[1], antialias=self.antialias[1]).clamp(0, 1)
        return image if self.webp is None else _through_webp(image, self.webp)

    def lines(self) -> list[str]:
        """What `seed` does to an image, one operation a line, in the order in which they are done."""
        if self.shrink is not None:
            how = "MATLAB's bicubic" if self.shrink == "bicubic" else f"{self.shrink}, anti-aliased"
            return [f"{how}, and nothing else"]
        lines = []
        if self.kernel is not None:
            one, two, angle = self.kernel
            lines.append(
                f"blur: σ {one:.2f} and {two:.2f} at {math.degrees(angle):.0f}°"
                if one
                else f"sinc filter, ω {two / math.pi:.2f} π"
            )
        lines.append(f"resize: {self.size:.2f} × LR, {_named(self.filters[0], self.antialias[0])}")
        if self.grain is not None:
            lines.append(str(self.grain))
        if self.sharpening is not None:
            lines.append(f"sharpened by {self.sharpening[0]:.1f}, radius {self.sharpening[1]:.1f} pixels")
        if self.coding is not None:
            lines.append(_coded(self.coding))
        if self.size != 1:
            lines.append(f"resize to LR: {_named(self.filters[1], self.antialias[1])}")
        if self.webp is not None:
            lines.append(f"WebP, quality {self.webp}")
        return lines if self.second is None else [*lines, _coded(self.second)]


class Photo(Degradation):
    """LR images as cameras and the web make them."""

    name = "photo"

    def __init__(self, faults: Faults | None = None, *, scale: int = SCALE) -> None:
        super().__init__(scale)
        self._faults = faults or Faults()

    def plan(self, seed: int) -> PhotoPlan:
        """What `seed` does to an image."""
        faults, draws = self._faults, Draws(seed)
        if draws.chance(faults.clean):
            return PhotoPlan("bicubic" if draws.chance(0.5) else draws.choice(("area", "bilinear")))
        again = draws.chance(faults.again)
        as_webp = again and draws.chance(faults.webp)
        return PhotoPlan(
            shrink=None,
            kernel=_draw_kernel(faults, draws),
            size=_draw_size(faults, draws),
            filters=(draws.choice(_FILTERS), draws.choice(_FILTERS)),
            antialias=(not draws.chance(faults.aliased), not draws.chance(faults.aliased)),
            grain=_draw_grain(faults, draws) if draws.chance(faults.noise) else None,
            sharpening=(draws.uniform(faults.amount), draws.uniform(faults.halo))
            if draws.chance(faults.sharpened)
            else None,
            coding=_draw_coding(faults.quality, faults, draws) if draws.chance(faults.compressed) else None,
            second=_draw_coding(faults.second_quality, faults, draws) if again and not as_webp else None,
            webp=draws.integer(*faults.second_quality) if as_webp else None,
        )

    def describe(self, seed: int) -> list[str]:
        """What `seed` does to an image, one operation a line, in the order in which they are done."""
        return self.plan(seed).lines()

    def _degrade(self, hr: Tensor, seeds: Sequence[int]) -> Tensor:
        plans = [self.plan(seed) for seed in seeds]
        size = hr.shape[-2] // self.scale, hr.shape[-1] // self.scale
        images = [plan.first(image, size) for image, plan in zip(hr, plans, strict=True)]
        images = jpeg(images, [plan.coding for plan in plans])
        images = [plan.last(image, size) for image, plan in zip(images, plans, strict=True)]
        return to_8_bits(torch.stack(jpeg(images, [plan.second for plan in plans])))


def _sharpened(image: Tensor, amount: float, radius: float) -> Tensor:
    """Unsharp masking, clamped to [0, 1]: what stands out stands out more, with a halo around edges."""
    return (image + amount * (image - _smoothed(image, radius))).clamp(0, 1)


def _flattened(image: Tensor, height: float) -> Tensor:
    """Detail below `height` taken away and the rest lowered by it (soft thresholding; Donoho, 1995)."""
    coarse = _smoothed(image, 1.0)
    detail = image - coarse
    return coarse + detail.sign() * (detail.abs() - height).clamp_min(0)


def _smoothed(image: Tensor, sigma: float) -> Tensor:
    return blur(image, gaussian_kernel(2 * math.ceil(3 * sigma) + 1, sigma))


def _through_webp(image: Tensor, quality: int) -> Tensor:
    """`[3, H, W]` in [0, 1] written and read by libwebp, on the CPU: VP8 has no short description in tensors."""
    pixels = image.mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
    from gramgan.images.vips import pyvips  # a training without WebP needs no image library

    data = pyvips.Image.new_from_array(np.ascontiguousarray(pixels)).webpsave_buffer(Q=quality)
    read = pyvips.Image.new_from_buffer(data, "").numpy()
    return torch.from_numpy(read).to(image.device).permute(2, 0, 1).to(image.dtype).div(255)


def _named(how: ResizeFilter, antialias: bool) -> str:
    return how if antialias or how == "area" else f"{how} without anti-aliasing"


def _coded(coding: Coding) -> str:
    return f"JPEG, quality {coding.quality}, {'4:2:0' if coding.subsampled else '4:4:4'}"


def _draw_kernel(faults: Faults, draws: Draws) -> tuple[float, float, float] | None:
    if draws.chance(faults.ring):
        return 0.0, draws.uniform((math.pi / 4, math.pi)), 0.0
    if not draws.chance(faults.blur):
        return None
    one = draws.uniform(faults.sigma)
    # Mostly round: lenses are, motion and astigmatism are not.
    return (one, one, 0.0) if draws.chance(0.7) else (one, draws.uniform(faults.sigma), draws.uniform((0.0, math.pi)))


def _draw_size(faults: Faults, draws: Draws) -> float:
    which = draws.uniform((0.0, 1.0))
    if which < faults.larger:
        return draws.uniform(faults.size)
    return draws.uniform(faults.enlarged) if which < faults.larger + faults.smaller else 1.0


def _draw_grain(faults: Faults, draws: Draws) -> Grain:
    low, high = faults.grain
    correlated = draws.chance(faults.correlated)
    return Grain(
        sigma=math.exp(draws.uniform((math.log(low), math.log(high)))),
        shot=draws.uniform((0.0, 0.95)),
        correlation=draws.uniform(faults.correlation) if correlated else 0.0,
        chroma=draws.uniform((0.0, 1.5)) if correlated else 0.0,
        denoised=draws.chance(faults.denoised),
        seed=draws.seed(),
    )


def _draw_coding(quality: tuple[int, int], faults: Faults, draws: Draws) -> Coding:
    offset = draws.integer(0, 15), draws.integer(0, 15)
    return Coding(draws.integer(*quality), offset, draws.chance(faults.subsampled))
