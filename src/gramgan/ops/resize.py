"""Resizing with the filters that the field's benchmarks were made with."""

import torch
import torch.nn.functional as F
from torch import Tensor

_HALF_SUPPORT = 2  # of Keys' cubic kernel (a = -0.5), in source pixels when enlarging, times the factor when shrinking


def matlab_bicubic_down(images: Tensor, factor: int = 4, *, quantise: bool = True) -> Tensor:
    """Shrink as MATLAB's `imresize(image, 1/factor)` does: Keys' cubic (a = -0.5), anti-aliased, mirrored borders.

    The published ×4 benchmarks were made from 8-bit images, for which `imresize` rounds after the vertical pass and
    again after the horizontal one; `quantise` does the same.

    Args:
        images: `[B, C, H, W]` in [0, 1]; H and W multiples of `factor`.
        factor: how many times smaller.
        quantise: clamp and round to multiples of 1/255 after each pass, which has no gradient: a loss needs False.

    Returns:
        `[B, C, H/factor, W/factor]`, in [0, 1] where `quantise` is set (else the filter may overshoot slightly).

    Raises:
        ValueError: H or W is not a multiple of `factor`.
    """
    height, width = images.shape[-2:]
    if height % factor or width % factor:
        raise ValueError(f"image of {height}x{width} cannot be divided by {factor}; crop it first")
    for dim in (-2, -1):
        images = _shrink(images, factor, dim)
        if quantise:
            images = images.clamp(0, 1).mul(255).round().div(255)
    return images


def bicubic_up(images: Tensor, factor: int = 4) -> Tensor:
    """Enlarge with Keys' cubic (a = -0.5) as MATLAB's `imresize` does: `[B, C, H, W]` → `[B, C, fH, fW]`, in [0, 1]."""
    return _enlarged(images, factor).clamp(0, 1)


def back_project(lr: Tensor, sr: Tensor, steps: int = 5) -> Tensor:
    """Iterated back-projection (Irani and Peleg, 1991): move `sr` until its shrunken copy is `lr`.

    Each step adds the bicubic enlargement of what is missing. `gramgan.upscaling.refine` does the same without torch.

    Args:
        lr: `[B, C, H, W]` in [0, 1].
        sr: `[B, C, fH, fW]`; clamped to [0, 1].
        steps: how often.

    Returns:
        `[B, C, fH, fW]` in [0, 1].

    Raises:
        ValueError: `sr` is not a whole number of times as large as `lr`.
    """
    factor = sr.shape[-1] // lr.shape[-1]
    if (sr.shape[-2], sr.shape[-1]) != (factor * lr.shape[-2], factor * lr.shape[-1]):
        raise ValueError(f"{list(sr.shape)} is not a whole number of times as large as {list(lr.shape)}")
    sr = sr.clamp(0, 1)
    for _ in range(steps):
        sr = (sr + _enlarged(lr - matlab_bicubic_down(sr, factor, quantise=False), factor)).clamp(0, 1)
    return sr


def _enlarged(images: Tensor, factor: int) -> Tensor:
    for dim in (-2, -1):
        images = _enlarge(images, factor, dim)
    return images


def _shrink(images: Tensor, factor: int, dim: int) -> Tensor:
    # The filter of `interpolate` is renormalised at borders where MATLAB mirrors; with mirrored context around the
    # image (a multiple of the factor, so that the sampling grid stays) the border pixels agree too.
    context = factor * _HALF_SUPPORT
    size = list(images.shape[-2:])
    size[dim] = size[dim] // factor + 2 * _HALF_SUPPORT
    small = F.interpolate(mirrored(images, context, dim), size=size, mode="bicubic", antialias=True)
    return small.narrow(dim, _HALF_SUPPORT, size[dim] - 2 * _HALF_SUPPORT)


def _enlarge(images: Tensor, factor: int, dim: int) -> Tensor:
    size = list(images.shape[-2:])
    size[dim] = (size[dim] + 2 * _HALF_SUPPORT) * factor
    large = F.interpolate(mirrored(images, _HALF_SUPPORT, dim), size=size, mode="bicubic", antialias=True)
    return large.narrow(dim, _HALF_SUPPORT * factor, size[dim] - 2 * _HALF_SUPPORT * factor)


def mirrored(images: Tensor, context: int, dim: int) -> Tensor:
    """`images` with `context` more pixels at both ends of `dim`, mirrored so that the border pixel is repeated.

    MATLAB and SciPy (`reflect`) mirror so; `F.pad` has no such mode. Images may be shorter than the context.
    """
    length = images.shape[dim]
    outside = torch.arange(-context, 0, device=images.device)
    position = torch.cat((outside, outside + length + context)) % (2 * length)
    position = torch.where(position < length, position, 2 * length - 1 - position)
    before, after = images.index_select(dim, position).chunk(2, dim)
    return torch.cat((before, images, after), dim)
