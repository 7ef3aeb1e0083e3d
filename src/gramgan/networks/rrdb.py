"""The generator: residual-in-residual dense blocks (RRDBNet, Wang et al., "ESRGAN", ECCVW 2018)."""

from dataclasses import asdict, dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

_RESIDUAL_SCALE = 0.2
_SLOPE = 0.2
_LITTLE = 0.1


SCALES = (1, 2, 3, 4, 8)
"""How many times larger an `RRDBNet` can make pictures."""

Upsampler = Literal["pixelshuffle", "nearest"]

# A step of 3 has a name of its own: its weights look like those of a step of 2.
_STEPS: dict[int, dict[str, int]] = {
    1: {},
    2: {"conv_up1": 2},
    3: {"conv_up_x3": 3},
    4: {"conv_up1": 2, "conv_up2": 2},
    8: {"conv_up1": 2, "conv_up2": 2, "conv_up3": 2},
}
_UNSHUFFLED = {1: 4, 2: 2}


@dataclass(frozen=True)
class RRDBConfig:
    """Architecture of an `RRDBNet`.

    `nf` feature channels, `nb` RRDB blocks, `gc` growth channels of a dense block. `upsampler` is `pixelshuffle` (the
    method's own: sub-pixel convolutions) or `nearest` (ESRGAN's: nearest-neighbour ×2, then a convolution).

    `scale` is 1, 2, 3, 4 or 8. With `unshuffle` r the input's r×r blocks become channels, so that all layers but the
    last work on r times fewer rows and columns (Real-ESRGAN's way for ×2 and ×1, with r = 2 and 4); ESRGAN's first
    release had ×2 and ×1 without it, as fewer upsampling steps.

    Raises:
        ValueError: no steps of upsampling lead to that scale.
    """

    nf: int = 64
    nb: int = 23
    gc: int = 32
    upsampler: Upsampler = "pixelshuffle"
    scale: int = 4
    unshuffle: int = 1

    def __post_init__(self) -> None:
        if self.scale not in SCALES or self.scale * self.unshuffle not in _STEPS:
            raise ValueError(f"no RRDBNet for x{self.scale} with an input unshuffled by {self.unshuffle}")

    @classmethod
    def usual(
        cls, nf: int = 64, nb: int = 23, gc: int = 32, upsampler: Upsampler = "pixelshuffle", scale: int = 4
    ) -> "RRDBConfig":
        """The architecture that generators for `scale` usually have: for ×1 and ×2 they unshuffle their input."""
        return cls(nf, nb, gc, upsampler, scale, _UNSHUFFLED.get(scale, 1))

    @property
    def steps(self) -> dict[str, int]:
        """The factor of each upsampling step, by the name of its convolution."""
        return _STEPS[self.scale * self.unshuffle]

    @property
    def network(self) -> Literal["rrdb"]:
        """The architecture's name in cards and settings."""
        return "rrdb"

    def to_dict(self) -> dict[str, int | str]:
        """Plain values for a card or a checkpoint; `RRDBConfig(**values)` reads them back."""
        return asdict(self)


class DenseBlock(nn.Module):
    """Five densely connected 3×3 convolutions, `[B, nf, H, W]` → the same shape."""

    def __init__(self, nf: int, gc: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(nf, gc, 3, padding=1)
        self.conv2 = nn.Conv2d(nf + gc, gc, 3, padding=1)
        self.conv3 = nn.Conv2d(nf + 2 * gc, gc, 3, padding=1)
        self.conv4 = nn.Conv2d(nf + 3 * gc, gc, 3, padding=1)
        self.conv5 = nn.Conv2d(nf + 4 * gc, nf, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, nf, H, W]` → `[B, nf, H, W]`."""
        # Each concatenation extends the one before: the backward pass then adds five large gradients in all. To begin
        # with `x` every time gives the same values and a dozen small gradients to add.
        features = x
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            features = torch.cat((features, _lrelu(conv(features))), 1)
        return torch.add(x, self.conv5(features), alpha=_RESIDUAL_SCALE)


class RRDB(nn.Module):
    """Three dense blocks with a scaled residual around them."""

    def __init__(self, nf: int, gc: int) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(nf, gc)
        self.rdb2 = DenseBlock(nf, gc)
        self.rdb3 = DenseBlock(nf, gc)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, nf, H, W]` → `[B, nf, H, W]`."""
        return torch.add(x, self.rdb3(self.rdb2(self.rdb1(x))), alpha=_RESIDUAL_SCALE)


class RRDBNet(nn.Module):
    """Generator, RGB `[B, 3, H, W]` in [0, 1] → `[B, 3, sH, sW]` (about [0, 1], not clamped), s = `config.scale`.

    State-dict keys are those of ESRGAN's current form (`conv_first`, `body.0.rdb1.conv1`, …, `conv_last`), so that the
    community's weights load as they are into the `nearest` variant.

    With `checkpointing` set, training keeps no activations within the RRDB blocks and computes each block again in the
    backward pass: less memory for a third more arithmetic, gradients unchanged (Chen et al., "Training deep nets with
    sublinear memory cost", 2016).
    """

    def __init__(self, config: RRDBConfig) -> None:
        super().__init__()
        self.config = config
        self.checkpointing = False
        nf, gc = config.nf, config.gc
        self.conv_first = nn.Conv2d(3 * config.unshuffle**2, nf, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(nf, gc) for _ in range(config.nb)))
        self.conv_body = nn.Conv2d(nf, nf, 3, padding=1)
        for name, factor in config.steps.items():
            up = factor**2 * nf if config.upsampler == "pixelshuffle" else nf
            self.add_module(name, nn.Conv2d(nf, up, 3, padding=1))
        self.conv_hr = nn.Conv2d(nf, nf, 3, padding=1)
        self.conv_last = nn.Conv2d(nf, 3, 3, padding=1)
        self._initialise()

    @property
    def last(self) -> nn.Conv2d:
        """The convolution whose result is the picture."""
        return self.conv_last

    def forward(self, lr: Tensor) -> Tensor:
        """`[B, 3, H, W]` in [0, 1] → `[B, 3, sH, sW]`."""
        height, width = lr.shape[-2:]
        features = self.conv_first(self._unshuffled(lr))
        features = features + self.conv_body(self._body(features))
        for name, factor in self.config.steps.items():
            features = self._upsample(features, self.get_submodule(name), factor)
        sr = self.conv_last(_lrelu(self.conv_hr(features)))
        # What the padding of `_unshuffled` added; a slice of everything would be another layout for some backends.
        scale = self.config.scale
        return sr if sr.shape[-2:] == (scale * height, scale * width) else sr[..., : scale * height, : scale * width]

    @torch.no_grad()
    def start_as_nearest(self) -> None:
        """Set weights so that the network is nearest-neighbour enlargement, nearly, and still learns everywhere.

        Where the input is unshuffled, it is that of the picture shrunk to the means of the blocks. Its first three
        features carry the picture's colours through all layers outside of the dense blocks; the others stay as they
        were, with little weight in the result. From noise a network needs about a thousand steps to learn that much.
        """
        ups = [cast(nn.Conv2d, self.get_submodule(name)) for name in self.config.steps]
        for conv in (self.conv_first, *ups, self.conv_hr, self.conv_last):
            copies = conv.out_channels // self.config.nf or 1  # sub-pixels of a colour lie side by side
            block = self.config.unshuffle**2 if conv is self.conv_first else 1
            assert conv.bias is not None
            conv.weight[: 3 * copies].mul_(_LITTLE if conv is self.conv_last else 0)
            conv.bias[: 3 * copies] = 0
            for row in range(3 * copies):
                colour = row // copies
                conv.weight[row, colour * block : (colour + 1) * block, 1, 1] = 1 / block
        assert self.conv_body.bias is not None
        self.conv_body.weight[:3] = 0
        self.conv_body.bias[:3] = 0

    def _body(self, features: Tensor) -> Tensor:
        if not (self.checkpointing and torch.is_grad_enabled()):
            return self.body(features)
        for block in self.body:
            # Nothing in a block is drawn by chance: there is no random state to keep for the second time.
            features = checkpoint(block, features, use_reentrant=False, preserve_rng_state=False)  # pyright: ignore[reportAssignmentType]
        return features

    def _unshuffled(self, lr: Tensor) -> Tensor:
        """The input's blocks as channels; its sides are made multiples of a block by mirroring at the right and bottom.

        As Real-ESRGAN does it, but pictures that are narrower than a block are taken too.
        """
        block = self.config.unshuffle
        if block == 1:
            return lr
        down, across = (-side % block for side in lr.shape[-2:])
        if down or across:
            mirrors = down < lr.shape[-2] and across < lr.shape[-1]
            lr = F.pad(lr, (0, across, 0, down), "reflect" if mirrors else "replicate")
        return F.pixel_unshuffle(lr, block)

    def _upsample(self, features: Tensor, conv: nn.Module, factor: int) -> Tensor:
        if self.config.upsampler == "pixelshuffle":
            return _lrelu(F.pixel_shuffle(conv(features), factor))
        return _lrelu(conv(F.interpolate(features, scale_factor=factor, mode="nearest")))

    def _initialise(self) -> None:
        if self.conv_first.weight.is_meta:
            return  # weights follow; drawing normal numbers without storage makes torch import its compiler: seconds
        # ESRGAN scales the Kaiming initialisation of the dense blocks by 0.1: a deep stack then starts near identity.
        for module in self.body.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
                with torch.no_grad():
                    module.weight.mul_(0.1)


def _lrelu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, _SLOPE, inplace=True)
