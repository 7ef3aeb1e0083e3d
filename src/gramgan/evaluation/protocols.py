"""Named scoring protocols: the same images score 30.0 or 32.0 dB depending on luma, border and rounding."""

import re
from collections.abc import Callable
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


def sr_y(scale: int) -> Protocol:
    """What super-resolution papers report: MATLAB's Y, 8-bit images, as many border pixels cropped as the scale is."""
    return Protocol(name=f"sr-y-crop{scale}", scale=scale, crop=scale, bits=8, space="y")


def rgb_crop(scale: int) -> Protocol:
    """The same on RGB, as restoration challenges report it."""
    return Protocol(name=f"rgb-crop{scale}", scale=scale, crop=scale, bits=8, space="rgb")


def rgb(scale: int) -> Protocol:
    """The whole image in RGB, as general image comparison does."""
    return Protocol(name="rgb", scale=scale, crop=0, bits=8, space="rgb")


SR_Y_CROP4 = sr_y(4)

FAMILIES: dict[str, Callable[[int], Protocol]] = {"sr-y-crop": sr_y, "rgb-crop": rgb_crop, "rgb": rgb}
"""A protocol for every scale; `sr-y-crop2` is that of ×2."""


def protocol_named(name: str, scale: int | None = None) -> Protocol:
    """The protocol called `name`, for the scale of what is scored.

    Args:
        name: one of `FAMILIES`; the first two may have their scale behind them, as in `rgb-crop2`.
        scale: None: the name's, or else 4.

    Raises:
        UserError: there is none of this name, or it is for another scale.
    """
    match = re.fullmatch(r"(sr-y-crop|rgb-crop|rgb)([1-9]\d?)?", name)
    if match is None or (match[1] == "rgb" and match[2]):
        raise UserError(f"protocol {name!r}: unknown; use {', '.join(FAMILIES)}")
    said = int(match[2]) if match[2] else None
    if said is not None and scale not in (None, said):
        raise UserError(f"protocol {name!r}: is for x{said}, but what is scored enlarges x{scale}; use {match[1]}")
    return FAMILIES[match[1]](scale or said or 4)


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
