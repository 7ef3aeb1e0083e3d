"""The generator: residual-in-residual dense blocks (RRDBNet, Wang et al., "ESRGAN", ECCVW 2018)."""

from dataclasses import asdict, dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

_RESIDUAL_SCALE = 0.2
_SLOPE = 0.2
_LITTLE = 0.1


@dataclass(frozen=True)
class RRDBConfig:
    """Architecture of an `RRDBNet`.

    `nf` feature channels, `nb` RRDB blocks, `gc` growth channels of a dense block. `upsampler` is `pixelshuffle` (the
    method's own: sub-pixel convolutions) or `nearest` (ESRGAN's: nearest-neighbour ×2, then a convolution).
    """

    nf: int = 64
    nb: int = 23
    gc: int = 32
    upsampler: Literal["pixelshuffle", "nearest"] = "pixelshuffle"
    scale: Literal[4] = 4

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
    """×4 generator, RGB `[B, 3, H, W]` in [0, 1] → `[B, 3, 4H, 4W]` (about [0, 1], not clamped).

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
        self.conv_first = nn.Conv2d(3, nf, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(nf, gc) for _ in range(config.nb)))
        self.conv_body = nn.Conv2d(nf, nf, 3, padding=1)
        up = 4 * nf if config.upsampler == "pixelshuffle" else nf
        self.conv_up1 = nn.Conv2d(nf, up, 3, padding=1)
        self.conv_up2 = nn.Conv2d(nf, up, 3, padding=1)
        self.conv_hr = nn.Conv2d(nf, nf, 3, padding=1)
        self.conv_last = nn.Conv2d(nf, 3, 3, padding=1)
        self._initialise()

    def forward(self, lr: Tensor) -> Tensor:
        """`[B, 3, H, W]` in [0, 1] → `[B, 3, 4H, 4W]`."""
        features = self.conv_first(lr)
        features = features + self.conv_body(self._body(features))
        features = self._upsample(features, self.conv_up1)
        features = self._upsample(features, self.conv_up2)
        return self.conv_last(_lrelu(self.conv_hr(features)))

    @torch.no_grad()
    def start_as_nearest(self) -> None:
        """Set weights so that the network is nearest-neighbour ×4 enlargement, nearly, and still learns everywhere.

        Its first three features carry the picture's colours through all layers outside of the dense blocks; the others
        stay as they were, with little weight in the result. From noise a network needs about a thousand steps to learn
        that much.
        """
        for conv in (self.conv_first, self.conv_up1, self.conv_up2, self.conv_hr, self.conv_last):
            copies = 4 if conv.out_channels == 4 * self.config.nf else 1  # sub-pixels of a colour lie side by side
            assert conv.bias is not None
            conv.weight[: 3 * copies].mul_(_LITTLE if conv is self.conv_last else 0)
            conv.bias[: 3 * copies] = 0
            for row in range(3 * copies):
                conv.weight[row, row // copies, 1, 1] = 1
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

    def _upsample(self, features: Tensor, conv: nn.Conv2d) -> Tensor:
        if self.config.upsampler == "pixelshuffle":
            return _lrelu(F.pixel_shuffle(conv(features), 2))
        return _lrelu(conv(F.interpolate(features, scale_factor=2, mode="nearest")))

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
