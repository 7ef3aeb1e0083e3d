"""What the metrics that look through ImageNet's networks share: normalisation, VGG-16's feature maps, one memory."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gramgan.metrics.inputs import cropped_pair
from gramgan.networks.trunks import IMAGENET_MEAN, IMAGENET_STD

VGG16_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
VGG16_INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""Where VGG-16's convolutions are in torchvision's `features`, which is how weight files call them."""


class Normalise(nn.Module):
    """RGB in [0, 1] → ImageNet's mean 0 and deviation 1, float32, channels last."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """`[B, 3, H, W]`, normalised."""
        return ((images.float() - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


def vgg16_convolutions() -> nn.ModuleList:
    """VGG-16's thirteen convolutions with random weights (Simonyan & Zisserman, ICLR 2015, configuration D)."""
    widths = [3, *(width for block in VGG16_BLOCKS for width in block)]
    return nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))


def vgg16_features(x: Tensor, convolutions: Sequence[nn.Module], pool: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """The five feature maps relu1_2, relu2_2, relu3_3, relu4_3, relu5_3 of normalised images; `pool` halves them."""
    features, position = [], 0
    for number, block in enumerate(VGG16_BLOCKS):
        x = pool(x) if number else x
        for _ in block:
            x = F.relu(convolutions[position](x))
            position += 1
        features.append(x)
    return features


class FeatureDistance(nn.Module, ABC):
    """A distance of feature maps; lower is better, 0 for identical images.

    Freshly made it has random weights; the class method `load` gives the published ones. Called, it is a score, through
    which no gradient flows; `loss` is for training.
    """

    smallest: ClassVar[int]
    """Height and width in pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.normalise = Normalise()
        self._last = LastTruth()

    @torch.no_grad()
    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Distance of each pair.

        Args:
            sr: RGB `[B, 3, H, W]` in [0, 1], H and W ≥ `smallest`.
            hr: the truth, of the same shape.

        Returns:
            `[B]` in float32.

        Raises:
            ValueError: shapes differ, or smaller than `smallest`.
        """
        sr, hr = cropped_pair(sr, hr, smallest=self.smallest)
        with torch.autocast(sr.device.type, enabled=False):
            return self._distance(self._features(sr), self._last.of(hr, self._features))

    def loss(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Mean distance of the pairs, a scalar in float32 whose gradient flows to `sr` alone.

        Feature maps are computed in the precision that autocast sets, the rest in float32. Arguments and errors as for
        a score.
        """
        sr, hr = cropped_pair(sr, hr, smallest=self.smallest)
        with torch.no_grad():
            wanted = self._features(hr.detach())
        return self._distance(self._features(sr), wanted).mean()

    @abstractmethod
    def _features(self, images: Tensor) -> list[Tensor]:
        """The feature maps that are compared."""

    @abstractmethod
    def _distance(self, sr: Sequence[Tensor], hr: Sequence[Tensor]) -> Tensor:
        """`[B]` from the feature maps of both."""


class WeightedDistance(FeatureDistance):
    """The squared difference of feature maps of unit length, weighted by channel (`linear`), its mean over the map."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.linear = nn.ModuleList([nn.Conv2d(width, 1, 1, bias=False) for width in widths])

    def _distance(self, sr: Sequence[Tensor], hr: Sequence[Tensor]) -> Tensor:
        distance = torch.zeros(len(sr[0]), device=sr[0].device)
        with torch.autocast(sr[0].device.type, enabled=False):
            for linear, a, b in zip(self.linear, sr, hr, strict=True):
                distance = distance + linear((a - b).square()).mean(dim=(1, 2, 3))
        return distance


def of_unit_length(features: Iterable[Tensor]) -> list[Tensor]:
    """Feature maps in float32, whose channels have the length 1 at every place."""
    return [x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10) for x in map(Tensor.float, features)]


class LastTruth:
    """What was computed of the last truth: models are scored one after another on the same picture."""

    def __init__(self) -> None:
        self._truth: Tensor | None = None
        self._value: Any = None

    def of(self, truth: Tensor, compute: Callable[[Tensor], Any]) -> Any:
        """`compute(truth)`, or what it gave the last time if `truth` holds the same numbers."""
        same = self._truth is not None and self._truth.device == truth.device and torch.equal(self._truth, truth)
        if not same:
            self._truth, self._value = truth.clone(), compute(truth)
        return self._value
