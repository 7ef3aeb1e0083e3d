"""Named scoring protocols: the same images score 30.0 or 32.0 dB depending on luma, border and rounding."""

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Protocol:
    """How images are scored. A number without the name of its protocol cannot be compared with another."""

    name: str
    scale: int
    """Enlargement; HR images are cropped at the right and bottom to multiples of it."""
    crop: int
    """Border pixels that PSNR and SSIM leave out on each side; the other metrics see the whole image."""
    bits: int
    """SR and HR are clamped to [0, 1] and rounded to this many bits first."""
    luma: str
    """What PSNR and SSIM are taken on."""

    def quantise(self, images: Tensor) -> Tensor:
        """Images clamped to [0, 1] and rounded to the protocol's bits."""
        levels = 2**self.bits - 1
        return images.clamp(0, 1).mul(levels).round().div(levels)

    def crop_to_scale(self, images: Tensor) -> Tensor:
        """`[B, C, H, W]` without the last rows and columns that no low-resolution pixel covers."""
        height, width = (size - size % self.scale for size in images.shape[-2:])
        return images[..., :height, :width]


SR_Y_CROP4 = Protocol(
    name="sr-y-crop4", scale=4, crop=4, bits=8, luma="MATLAB rgb2ycbcr (BT.601, studio range 16 to 235), not rounded"
)
"""What ×4 super-resolution papers report: MATLAB's Y, 4 border pixels cropped, 8-bit images."""


@dataclass(frozen=True)
class Metric:
    """One metric as it was computed: `weights_sha256` is the hash of its network's file, empty where it has none."""

    name: str
    version: str
    higher_is_better: bool
    unit: str = ""
    weights_sha256: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)
