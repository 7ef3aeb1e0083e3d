"""ST-LPIPS: learned perceptual distance that small shifts do not disturb.

Ghildyal & Liu, "Shift-tolerant Perceptual Similarity Metric", ECCV 2022, with the AlexNet weights the authors
published (ST0.0).
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gramgan.metrics.imagenet import WeightedDistance, of_unit_length
from gramgan.networks.blur_pool import blur_half
from gramgan.weights.catalog import weight_path
from gramgan.weights.formats import load_strict, read_state

_CATALOG_NAME = "st-lpips-alex"

_WIDTHS = (64, 192, 384, 256, 256)
_FILE_KEYS = {  # ours → the published file's
    **{
        f"convs.{i}.{kind}": f"net.slice{i + 1}.{index}.{kind}"
        for i, index in enumerate((0, 5, 9, 11, 13))
        for kind in ("weight", "bias")
    },
    **{f"linear.{i}.weight": f"lin{i}.model.1.weight" for i in range(5)},
}


class StLpips(WeightedDistance):
    """ST-LPIPS with AlexNet."""

    smallest = 24  # below it the deepest blur has nothing to reflect

    def __init__(self) -> None:
        super().__init__(_WIDTHS)
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(3, 64, 11, padding=2),
                nn.Conv2d(64, 192, 5, padding=2),
                nn.Conv2d(192, 384, 3, padding=1),
                nn.Conv2d(384, 256, 3, padding=1),
                nn.Conv2d(256, 256, 3, padding=1),
            ]
        )
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def from_file(cls, path: Path) -> "StLpips":
        """The metric with the published weights at `path`.

        Raises:
            UserError: the file cannot be read or is not ST-LPIPS with AlexNet.
        """
        state = read_state(path)
        metric = cls()
        used = {ours: state[theirs] for ours, theirs in _FILE_KEYS.items() if theirs in state}
        load_strict(metric, used, f"{path} (as ST-LPIPS with AlexNet)")
        return metric

    @classmethod
    def load(cls, device: torch.device | str = "cpu") -> "StLpips":
        """The metric with the published weights from the user's cache, on `device`.

        Raises:
            UserError: the weights are not in the cache; the message holds the command that brings them.
        """
        return cls.from_file(weight_path(_CATALOG_NAME)).to(device)

    def _features(self, images: Tensor) -> list[Tensor]:
        # The order of blur and ReLU in the first stage is the authors'.
        conv1, conv2, conv3, conv4, conv5 = self.convs
        x = self.normalise(images)  # the published shift and scale are for [-1, 1]; for [0, 1] they are ImageNet's
        x1 = F.relu(blur_half(conv1(x)))
        x2 = F.relu(conv2(blur_half(F.max_pool2d(x1, 3, stride=1))))
        x3 = F.relu(conv3(blur_half(F.max_pool2d(x2, 3, stride=1))))
        x4 = F.relu(conv4(x3))
        x5 = F.relu(conv5(x4))
        return of_unit_length((x1, x2, x3, x4, x5))
