"""The benchmark's degradation: MATLAB's bicubic, 8-bit."""

from collections.abc import Sequence

from torch import Tensor

from gramgan.degradation.base import Degradation
from gramgan.ops.bicubic import SCALE
from gramgan.ops.resize import matlab_bicubic_down


def degrade_bicubic(hr: Tensor, scale: int = SCALE) -> Tensor:
    """LR images as the published benchmarks were made: `[B, 3, H, W]` in [0, 1] → `[B, 3, H/s, W/s]`, 8-bit steps.

    Raises:
        ValueError: H or W is not a multiple of `scale`.
    """
    return matlab_bicubic_down(hr, scale)


class Bicubic(Degradation):
    """`degrade_bicubic`: nothing is random."""

    name = "bicubic"

    def describe(self, seed: int) -> list[str]:
        """What `seed` does to an image, one operation a line, in the order in which they are done."""
        return [f"MATLAB's bicubic, ×1/{self.scale}"]

    def _degrade(self, hr: Tensor, seeds: Sequence[int]) -> Tensor:
        return degrade_bicubic(hr, self.scale)
