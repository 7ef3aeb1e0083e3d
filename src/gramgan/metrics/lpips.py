"""LPIPS v0.1: learned perceptual distance of deep features.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018, with the linear heads
of version 0.1 on torchvision's ImageNet networks. AlexNet is what super-resolution papers report.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gramgan.metrics.imagenet import (
    VGG16_BLOCKS,
    VGG16_INDICES,
    LastTruth,
    Normalise,
    vgg16_convolutions,
    vgg16_features,
)
from gramgan.metrics.inputs import cropped_pair
from gramgan.weights.catalog import weight_path
from gramgan.weights.formats import load_strict, read_state

LpipsNetwork = Literal["alex", "vgg"]
CATALOG_NAMES: dict[LpipsNetwork, str] = {"alex": "lpips-alex", "vgg": "vgg16"}

_MIN_SIZE = 31
"""Smallest height and width in pixels: below it AlexNet's second pooling has nothing to look at."""

_ALEX_WIDTHS = (64, 192, 384, 256, 256)
_ALEX_INDICES = (0, 3, 6, 8, 10)


class Lpips(nn.Module):
    """LPIPS v0.1 with AlexNet or VGG-16; lower is better, 0 for identical images.

    Freshly made it has random weights; `Lpips.load` gives the published ones. Called, it is a score, through which no
    gradient flows; `loss` is for training.
    """

    def __init__(self, network: LpipsNetwork = "alex") -> None:
        super().__init__()
        self.network: LpipsNetwork = network
        if network == "alex":
            widths, indices = _ALEX_WIDTHS, _ALEX_INDICES
            self.convs = nn.ModuleList(
                [
                    nn.Conv2d(3, 64, 11, stride=4, padding=2),
                    nn.Conv2d(64, 192, 5, padding=2),
                    nn.Conv2d(192, 384, 3, padding=1),
                    nn.Conv2d(384, 256, 3, padding=1),
                    nn.Conv2d(256, 256, 3, padding=1),
                ]
            )
        else:
            widths, indices = tuple(block[-1] for block in VGG16_BLOCKS), VGG16_INDICES
            self.convs = vgg16_convolutions()
        self.linear = nn.ModuleList([nn.Conv2d(width, 1, 1, bias=False) for width in widths])
        self._file_keys = {  # ours → the file's
            **{
                f"convs.{i}.{kind}": f"features.{index}.{kind}"
                for i, index in enumerate(indices)
                for kind in ("weight", "bias")
            },
            **{f"linear.{i}.weight": f"lin{i}.weight" for i in range(5)},
        }
        self.normalise = Normalise()
        self._last = LastTruth()
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def from_file(cls, path: Path, network: LpipsNetwork = "alex") -> "Lpips":
        """The metric with the weights at `path`.

        Raises:
            UserError: the file cannot be read or is not LPIPS with this network.
        """
        state = read_state(path)
        metric = cls(network)
        used = {ours: state[theirs] for ours, theirs in metric._file_keys.items() if theirs in state}
        load_strict(metric, used, f"{path} (as LPIPS with {network})")
        return metric

    @classmethod
    def load(cls, network: LpipsNetwork = "alex", device: torch.device | str = "cpu") -> "Lpips":
        """The metric with the published weights from the user's cache, on `device`.

        Raises:
            UserError: the weights are not in the cache; the message holds the command that brings them.
        """
        return cls.from_file(weight_path(CATALOG_NAMES[network]), network).to(device)

    @torch.no_grad()
    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Distance of each pair.

        Args:
            sr: RGB `[B, 3, H, W]` in [0, 1], H and W ≥ 31.
            hr: the truth, of the same shape.

        Returns:
            `[B]` in float32.

        Raises:
            ValueError: shapes differ, or smaller than 31 pixels.
        """
        sr, hr = cropped_pair(sr, hr, smallest=_MIN_SIZE)
        with torch.autocast(sr.device.type, enabled=False):
            return self._distance(self._features(sr), self._last.of(hr, self._features))

    def loss(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Mean distance of the pairs, a scalar in float32 whose gradient flows to `sr` alone.

        Feature maps are computed in the precision that autocast sets, the rest in float32. Arguments and errors as for
        a score.
        """
        sr, hr = cropped_pair(sr, hr, smallest=_MIN_SIZE)
        with torch.no_grad():
            wanted = self._features(hr.detach())
        return self._distance(self._features(sr), wanted).mean()

    def _distance(self, sr: Sequence[Tensor], hr: Sequence[Tensor]) -> Tensor:
        """`[B]` from the feature maps of both."""
        distance = torch.zeros(len(sr[0]), device=sr[0].device)
        with torch.autocast(sr[0].device.type, enabled=False):
            for linear, a, b in zip(self.linear, sr, hr, strict=True):
                distance = distance + linear((a - b).square()).mean(dim=(1, 2, 3))
        return distance

    def _features(self, images: Tensor) -> list[Tensor]:
        x = self.normalise(images)
        if self.network == "vgg":
            features = vgg16_features(x, list(self.convs), lambda each: F.max_pool2d(each, 2))
        else:
            conv1, conv2, conv3, conv4, conv5 = self.convs
            x1 = F.relu(conv1(x))
            x2 = F.relu(conv2(F.max_pool2d(x1, 3, stride=2)))
            x3 = F.relu(conv3(F.max_pool2d(x2, 3, stride=2)))
            x4 = F.relu(conv4(x3))
            features = [x1, x2, x3, x4, F.relu(conv5(x4))]
        return [_unit(each.float()) for each in features]


def _unit(x: Tensor) -> Tensor:
    return x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)
