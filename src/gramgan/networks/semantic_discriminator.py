"""A discriminator that judges patches and knows what they show: it sees a frozen trunk's features of the true image.

Li et al., "SeD: Semantic-Aware Discriminator for Image Super-Resolution", CVPR 2024, in a light form.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from gramgan.networks.discriminator import SLOPE, Critique, DiscriminatorConfig, unchanged

_GROUPS = 32


class SemanticDiscriminator(nn.Module):
    """Three convolutions of stride 2, attention to the features, and two convolutions that judge each patch.

    In the paper CLIP's features of HR ask, and the discriminator's own answer, at three depths; here each place of its
    features asks once, and a VGG's of HR answer: what belongs there is then concatenated. Both SR and HR are judged
    beside the features of HR, so that they say what ought to be seen and not which of the two it is.
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        wrap = spectral_norm if config.spectral_norm else unchanged
        width, channels = config.width, config.channels
        self.conv0 = nn.Conv2d(3, width, 4, stride=2, padding=1)
        self.conv1 = wrap(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1))
        self.conv2 = wrap(nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1))
        # A VGG's features are large, and deeper ones larger. Without weights of its own: torch 2.13 crashes in their
        # backward pass where the input is channels-last and needs no gradient.
        self.norm = nn.GroupNorm(math.gcd(_GROUPS, channels), channels, affine=False)
        self.query = nn.Conv2d(4 * width, width, 1)
        self.key = nn.Conv2d(channels, width, 1)
        self.value = nn.Conv2d(channels, width, 1)
        self.conv3 = wrap(nn.Conv2d(5 * width, 8 * width, 3, padding=1))
        self.conv4 = nn.Conv2d(8 * width, 1, 3, padding=1)

    def forward(self, images: Tensor, semantics: Tensor) -> Critique:
        """Judge RGB images `[B, 3, H, W]` in [0, 1] beside the trunk's features `[B, channels, h, w]` of the true ones.

        The critique's `logit` is `[B, 1, H/8, W/8]`; `early` is conv 2's output `[B, 4 width, H/8, W/8]`, `late` conv
        3's `[B, 8 width, H/8, W/8]`, both before activation.
        """
        early = self.conv2(_active(self.conv1(_active(self.conv0(images * 2 - 1)))))
        x = _active(early)
        late = self.conv3(torch.cat((x, self._attend(x, self.norm(semantics))), dim=1))
        return Critique(self.conv4(_active(late)), early, late)

    def _attend(self, x: Tensor, semantics: Tensor) -> Tensor:
        # Written out: torch's fused attention has no second derivative, which the R1 penalty takes.
        query, key, value = (each.flatten(2) for each in (self.query(x), self.key(semantics), self.value(semantics)))
        attention = (query.transpose(1, 2) @ key / math.sqrt(query.shape[1])).softmax(dim=-1)
        return (value @ attention.transpose(1, 2)).view(len(x), -1, *x.shape[-2:])


def _active(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE)
