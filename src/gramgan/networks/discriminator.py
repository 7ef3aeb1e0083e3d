"""The discriminator, whose features also serve as a perceptual loss (Song et al., 2023)."""

from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

_WIDTHS = (64, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512)
_FEATURE_LAYERS = (5, 11)  # counted from 1; the paper's conv 5 and conv 11
_HIDDEN = 256
SLOPE = 0.2
"""Of the leaky ReLUs of all discriminators."""

MINIMUM_SIZE = 64


DiscriminatorKind = Literal["classifier", "unet", "semantic"]


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Architecture of a discriminator.

    `spectral_norm` bounds the Lipschitz constant of every layer (Miyato et al., ICLR 2018). `width` is the number of
    channels of the first layer, which all others follow; 64 is the method's own. `kind` is the method's own
    `classifier`, one judgement for each image; a `unet`, one for each pixel; or `semantic`, one for each patch beside
    `channels` feature maps of what is true (see `networks.build`).
    """

    spectral_norm: bool = False
    width: int = 64
    kind: DiscriminatorKind = "classifier"
    channels: int = 0

    def to_dict(self) -> dict[str, bool | int | str]:
        """Plain values for a card or a checkpoint; `DiscriminatorConfig(**values)` reads them back."""
        return asdict(self)


class Critique(NamedTuple):
    """What a discriminator says: `logit` (larger: more real), and features before activation.

    Of a `Discriminator`, `logit` is `[B, 1]`, `early` conv 5's output `[B, 4 width, H/4, W/4]` and `late` conv 11's
    `[B, 8 width, H/32, W/32]`; of the others, see there.
    """

    logit: Tensor
    early: Tensor
    late: Tensor


class Discriminator(nn.Module):
    """Eleven 3×3 convolutions, every second one of stride 2, global pooling and two linear layers.

    There is no batch normalisation: its statistics would leak between the images whose logits a relativistic loss
    compares, and differ between processes.
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        wrap = spectral_norm if config.spectral_norm else unchanged
        widths = [width * config.width // 64 for width in _WIDTHS]
        channels = (3, *widths)
        self.convs = nn.ModuleList(
            wrap(_initialised(nn.Conv2d(channels[i], channels[i + 1], 3, stride=1 + i % 2, padding=1)))
            for i in range(len(widths))
        )
        self.hidden = wrap(_initialised(nn.Linear(widths[-1], _HIDDEN)))
        self.logit = wrap(_initialised(nn.Linear(_HIDDEN, 1)))

    def forward(self, images: Tensor) -> Critique:
        """Judge RGB images `[B, 3, H, W]` in [0, 1], H, W ≥ 64.

        Raises:
            ValueError: the images are smaller than that.
        """
        if min(images.shape[-2:]) < MINIMUM_SIZE:
            raise ValueError(
                f"the discriminator needs images of at least {MINIMUM_SIZE} pixels, got {list(images.shape)}"
            )
        features: list[Tensor] = []
        # Around 0 instead of [0, 1]: brightness, which SR and HR share, would otherwise drown the texture that tells
        # them apart. Measured against frozen Real-ESRGAN, batch 2, paired, 25 steps: 91 to 97 % of held-out pairs right
        # (three seeds); with [0, 1] 37 % (one seed), and 51 to 77 % from step 50 to 300.
        x = images * 2 - 1
        for number, conv in enumerate(self.convs, start=1):
            x = conv(x)
            if number in _FEATURE_LAYERS:
                features.append(x)
                x = F.leaky_relu(x, SLOPE)  # not in place: the feature is a result
            else:
                x = F.leaky_relu(x, SLOPE, inplace=True)
        pooled = x.mean(dim=(-2, -1))
        return Critique(self.logit(F.leaky_relu(self.hidden(pooled), SLOPE)), *features)


def _initialised(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    # PyTorch's default gain shrinks the signal layer by layer: D would answer about 0 for everything and learn nothing.
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def unchanged(layer: nn.Module) -> nn.Module:
    """The layer itself: where there is no spectral normalisation."""
    return layer
