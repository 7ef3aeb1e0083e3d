"""A discriminator that judges every pixel: a U-Net with spectral normalisation (Wang et al., "Real-ESRGAN", 2021)."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from gramgan.networks.discriminator import SLOPE, Critique, DiscriminatorConfig, unchanged

_MULTIPLE = 8
"""The three convolutions of stride 2 halve the sides; those of the images are multiples of it."""


class UNetDiscriminator(nn.Module):
    """Three convolutions down and three up with the way down added, then three at full size.

    A judgement for the whole image, as `Discriminator` gives it, says little where half of an image is out of focus:
    this one learns where real photographs are soft, and tells the generator so pixel by pixel. State-dict keys are
    those of Real-ESRGAN's `UNetDiscriminatorSN`, but for the names that torch's parametrization adds.
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        wrap = spectral_norm if config.spectral_norm else unchanged
        width = config.width
        self.conv0 = nn.Conv2d(3, width, 3, padding=1)
        self.conv1 = wrap(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False))
        self.conv2 = wrap(nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1, bias=False))
        self.conv3 = wrap(nn.Conv2d(4 * width, 8 * width, 4, stride=2, padding=1, bias=False))
        self.conv4 = wrap(nn.Conv2d(8 * width, 4 * width, 3, padding=1, bias=False))
        self.conv5 = wrap(nn.Conv2d(4 * width, 2 * width, 3, padding=1, bias=False))
        self.conv6 = wrap(nn.Conv2d(2 * width, width, 3, padding=1, bias=False))
        self.conv7 = wrap(nn.Conv2d(width, width, 3, padding=1, bias=False))
        self.conv8 = wrap(nn.Conv2d(width, width, 3, padding=1, bias=False))
        self.conv9 = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, images: Tensor) -> Critique:
        """Judge every pixel of RGB images `[B, 3, H, W]` in [0, 1], H and W multiples of 8.

        The critique's `logit` is `[B, 1, H, W]`; `early` is conv 2's output `[B, 4 width, H/4, W/4]`, `late` conv 3's
        `[B, 8 width, H/8, W/8]`, both before activation.

        Raises:
            ValueError: sides that are no multiples of 8.
        """
        if any(side % _MULTIPLE for side in images.shape[-2:]):
            raise ValueError(f"the U-Net needs sides that are multiples of {_MULTIPLE}, got {list(images.shape)}")
        full = _active(self.conv0(images * 2 - 1))
        half = _active(self.conv1(full))
        early = self.conv2(half)
        quarter = _active(early)
        late = self.conv3(quarter)
        x = _active(self.conv4(_doubled(_active(late)))) + quarter
        x = _active(self.conv5(_doubled(x))) + half
        x = _active(self.conv6(_doubled(x))) + full
        return Critique(self.conv9(_active(self.conv8(_active(self.conv7(x))))), early, late)


def _active(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE)  # not in place: features are results, and what goes up is added to what went down


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
