"""What the metrics that look through ImageNet's networks share: normalisation, VGG-16's feature maps, one memory."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

VGG16_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
VGG16_INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""Where VGG-16's convolutions are in torchvision's `features`, which is how weight files call them."""


class Normalise(nn.Module):
    """RGB in [0, 1] → ImageNet's mean 0 and deviation 1, float32, channels last."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

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
