"""Named scoring protocols: the same images score 30.0 or 32.0 dB depending on luma, border and rounding."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import Tensor

from gramgan.errors import UserError


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
    space: Literal["y", "rgb"]
    """What PSNR and SSIM are taken on: MATLAB's BT.601 luma, not rounded, or the three channels of RGB."""

    @property
    def description(self) -> str:
        """What sets its PSNR and SSIM apart, in a few words."""
        spaces = {
            "y": "MATLAB rgb2ycbcr (BT.601, studio range 16 to 235), not rounded",
            "rgb": "RGB, mean over the channels",
        }
        border = f"{self.crop} border pixels cropped" if self.crop else "no border cropped"
        return f"PSNR and SSIM on {spaces[self.space]}; {border}; {self.bits} bits"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the description."""
        return {**asdict(self), "description": self.description}

    def quantise(self, images: Tensor) -> Tensor:
        """Images clamped to [0, 1] and rounded to the protocol's bits."""
        levels = 2**self.bits - 1
        return images.clamp(0, 1).mul(levels).round().div(levels)

    def crop_to_scale(self, images: Tensor) -> Tensor:
        """`[B, C, H, W]` without the last rows and columns that no low-resolution pixel covers."""
        height, width = (size - size % self.scale for size in images.shape[-2:])
        return images[..., :height, :width]


SR_Y_CROP4 = Protocol(name="sr-y-crop4", scale=4, crop=4, bits=8, space="y")
"""What ×4 super-resolution papers report: MATLAB's Y, 4 border pixels cropped, 8-bit images."""


def sr_y(scale: int) -> Protocol:
    """The same for another scale: as many border pixels are cropped as HR has for one of LR."""
    return Protocol(name=f"sr-y-crop{scale}", scale=scale, crop=scale, bits=8, space="y")


RGB_CROP4 = Protocol(name="rgb-crop4", scale=4, crop=4, bits=8, space="rgb")
"""The same on RGB, as restoration challenges report it."""

RGB = Protocol(name="rgb", scale=4, crop=0, bits=8, space="rgb")
"""The whole image in RGB, as general image comparison does."""

PROTOCOLS = {protocol.name: protocol for protocol in (SR_Y_CROP4, RGB_CROP4, RGB)}


def protocol_named(name: str) -> Protocol:
    """The protocol called `name`.

    Raises:
        UserError: there is none of this name.
    """
    if name not in PROTOCOLS:
        raise UserError(f"protocol {name!r}: unknown; use {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


@dataclass(frozen=True)
class Metric:
    """One metric as it was computed: `weights_sha256` is the hash of its network's file, empty where it has none."""

    name: str
    version: str
    higher_is_better: bool
    unit: str = ""
    weights_sha256: str = ""
    title: str = ""
    """As people write it; empty: as `name`."""

    @property
    def heading(self) -> str:
        """Title, unit, and an arrow to where better is."""
        unit = f", {self.unit}" if self.unit else ""
        return f"{self.title or self.name}{unit} {'↑' if self.higher_is_better else '↓'}"

    @property
    def decimals(self) -> int:
        """Decimals that are worth showing."""
        return 2 if self.unit else 4

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)
