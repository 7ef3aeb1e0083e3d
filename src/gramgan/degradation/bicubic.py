"""The benchmark's degradation: MATLAB's bicubic, 8-bit."""

from torch import Tensor

from gramgan.ops.resize import matlab_bicubic_down

SCALE = 4


def degrade_bicubic(hr: Tensor) -> Tensor:
    """LR images as the published ×4 benchmarks were made: `[B, 3, H, W]` in [0, 1] → `[B, 3, H/4, W/4]`, 8-bit steps.

    Raises:
        ValueError: H or W is not a multiple of 4.
    """
    return matlab_bicubic_down(hr, SCALE)
