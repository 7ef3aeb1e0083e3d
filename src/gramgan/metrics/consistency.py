"""Consistency with the low-resolution image: what a result says about the pixels that were really measured."""

from torch import Tensor

from gramgan.metrics.psnr import psnr
from gramgan.ops.resize import matlab_bicubic_down


def lr_psnr(sr: Tensor, lr: Tensor) -> Tensor:
    """PSNR over RGB between the result, shrunk by MATLAB's bicubic, and the LR image, in dB (higher is better).

    The result should be of 8 bits; shrinking rounds as `imresize` does. The NTIRE challenges on the space of
    super-resolutions (Lugmayr et al., "NTIRE 2021 Learning the Super-Resolution Space Challenge", CVPRW 2021) call it
    LR-PSNR, and ask for 45 dB. Where the LR image has noise, or was not made by bicubic shrinking, a high value is no
    virtue.

    Args:
        sr: RGB `[B, 3, fH, fW]` in [0, 1].
        lr: `[B, 3, H, W]` in [0, 1].

    Returns:
        `[B]` in float64, infinite where they are equal.

    Raises:
        ValueError: `sr` is not a whole number of times as large as `lr`.
    """
    factor = sr.shape[-1] // max(lr.shape[-1], 1)
    if factor < 1 or (sr.shape[-2], sr.shape[-1]) != (factor * lr.shape[-2], factor * lr.shape[-1]):
        raise ValueError(f"a result {list(sr.shape)} is not a whole number of times as large as {list(lr.shape)}")
    return psnr(matlab_bicubic_down(sr, factor), lr)
