"""Blurring, resizing and resampling of one image `[C, H, W]`; outside the image there is its mirror."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gramgan.ops.resize import mirrored

ResizeFilter = Literal["area", "bilinear", "bicubic"]

RESIZE_FILTERS: tuple[ResizeFilter, ...] = ("area", "bilinear", "bicubic")


def blur(image: Tensor, kernel: Tensor) -> Tensor:
    """Convolve with a kernel `[k, k]`, k odd, as `scipy.ndimage.convolve(mode="reflect")` does: same shape.

    It goes through the Fourier transform: the cost does not depend on the kernel's size, and tensor cores, which would
    round to 10 bits, have no part in it.
    """
    size = kernel.shape[-1]
    if kernel.shape != (size, size) or size % 2 == 0:
        raise ValueError(f"a kernel is square with an odd side, got {list(kernel.shape)}")
    height, width = image.shape[-2:]
    padded = mirrored(mirrored(image, size // 2, -2), size // 2, -1)
    shape = _fast_length(padded.shape[-2]), _fast_length(padded.shape[-1])
    spectrum = torch.fft.rfft2(padded, s=shape) * torch.fft.rfft2(kernel.to(image), s=shape)
    # What wraps around at the transform's edges falls into the first `size - 1` rows and columns.
    blurred = torch.fft.irfft2(spectrum, s=shape)
    return blurred[..., size - 1 : size - 1 + height, size - 1 : size - 1 + width]


def resize(image: Tensor, size: tuple[int, int], how: ResizeFilter, *, antialias: bool = False) -> Tensor:
    """Resize to `size` (height, width) with pixel centres in line.

    `area` is the mean over the pixels that an output pixel touches. The others shrink without anti-aliasing, as
    Real-ESRGAN's pipeline does: aliasing and overshoot are among the faults that it teaches; `bicubic` has a = -0.75
    then, as in OpenCV. With `antialias` they shrink as picture editors do, and `bicubic` has a = -0.5, as in Pillow.
    """
    if how == "area":
        return F.interpolate(image[None], size=size, mode="area")[0]
    return F.interpolate(image[None], size=size, mode=how, align_corners=False, antialias=antialias)[0]


def sample(image: Tensor, stride: int, offset: float, dim: int) -> Tensor:
    """Values at positions `offset + stride·i`, i = 0, 1, …, between pixels by cubic convolution (Keys, a = -0.5).

    Args:
        image: `[…, H, W]`.
        stride: whole number of pixels from one sample to the next; there are length / stride samples.
        offset: position of the first sample, in pixels from the first pixel's centre; may lie outside.
        dim: along which dimension.
    """
    count = image.shape[dim] // stride
    first = int(offset // 1)
    fraction = offset - first
    context = abs(first) + stride + 3
    around = mirrored(image, context, dim)
    taps = [_keys(fraction - tap) * _strided(around, context + first + tap, stride, count, dim) for tap in range(-1, 3)]
    return taps[0] + taps[1] + taps[2] + taps[3]


def _strided(image: Tensor, start: int, stride: int, count: int, dim: int) -> Tensor:
    window = [slice(None)] * image.ndim
    window[dim] = slice(start, start + stride * (count - 1) + 1, stride)
    return image[tuple(window)]


def _keys(distance: float) -> float:
    """Keys' cubic kernel with a = -0.5."""
    x = abs(distance)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def _fast_length(length: int) -> int:
    """The next number with no prime factor above 5: a fast size for a Fourier transform."""
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 1
