"""LPIPS v0.1: learned perceptual distance of deep features.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018, with the linear heads
of version 0.1 on torchvision's ImageNet networks. AlexNet is what super-resolution papers report.
"""

from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gramgan.metrics.imagenet import (
    VGG16_BLOCKS,
    VGG16_INDICES,
    WeightedDistance,
    of_unit_length,
    vgg16_convolutions,
    vgg16_features,
)
from gramgan.weights.catalog import weight_path
from gramgan.weights.formats import load_strict, read_state

LpipsNetwork = Literal["alex", "vgg"]
CATALOG_NAMES: dict[LpipsNetwork, str] = {"alex": "lpips-alex", "vgg": "vgg16"}

_ALEX_WIDTHS = (64, 192, 384, 256, 256)
_ALEX_INDICES = (0, 3, 6, 8, 10)


class Lpips(WeightedDistance):
    """LPIPS v0.1 with AlexNet or VGG-16."""

    smallest = 31  # below it AlexNet's second pooling has nothing to look at

    def __init__(self, network: LpipsNetwork = "alex") -> None:
        super().__init__(_ALEX_WIDTHS if network == "alex" else [block[-1] for block in VGG16_BLOCKS])
        self.network: LpipsNetwork = network
        indices = _ALEX_INDICES if network == "alex" else VGG16_INDICES
        if network == "alex":
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
            self.convs = vgg16_convolutions()
        self._file_keys = {  # ours → the file's
            **{
                f"convs.{i}.{kind}": f"features.{index}.{kind}"
                for i, index in enumerate(indices)
                for kind in ("weight", "bias")
            },
            **{f"linear.{i}.weight": f"lin{i}.weight" for i in range(5)},
        }
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
        return of_unit_length(features)
