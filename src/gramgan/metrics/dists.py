"""DISTS: similarity of structure and texture in VGG-16's feature maps, which forgives where a texture's grains lie.

Ding et al., "Image Quality Assessment: Unifying Structure and Texture Similarity", TPAMI 2020, with the authors'
weights of feature maps on torchvision's ImageNet VGG-16, whose maximum pooling is replaced by L2 pooling.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gramgan.metrics.imagenet import (
    VGG16_BLOCKS,
    VGG16_INDICES,
    FeatureDistance,
    vgg16_convolutions,
    vgg16_features,
)
from gramgan.weights.catalog import weight_path
from gramgan.weights.formats import load_strict, read_state

_CATALOG_NAME = "dists-vgg16"
TRUNK_NAME = "vgg16"

_CHANNELS = (3, *(block[-1] for block in VGG16_BLOCKS))
_C = 1e-6  # the authors' c1 and c2


class Dists(FeatureDistance):
    """DISTS with VGG-16."""

    smallest = 16  # four poolings leave one
    blur: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.convs = vgg16_convolutions()
        self.alpha = nn.Parameter(torch.rand(1, sum(_CHANNELS), 1, 1))
        self.beta = nn.Parameter(torch.rand(1, sum(_CHANNELS), 1, 1))
        hann = torch.tensor([0.5, 1.0, 0.5])
        self.register_buffer("blur", torch.outer(hann, hann)[None, None] / 4, persistent=False)
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def from_files(cls, path: Path, trunk: Path) -> "Dists":
        """The metric with the authors' weights at `path` on the VGG-16 at `trunk`.

        Raises:
            UserError: a file cannot be read or is not what it should be.
        """
        own, vgg = read_state(path), read_state(trunk)
        metric = cls()
        used = {name: own[name] for name in ("alpha", "beta") if name in own}
        for position, index in enumerate(VGG16_INDICES):
            for kind in ("weight", "bias"):
                if f"features.{index}.{kind}" in vgg:
                    used[f"convs.{position}.{kind}"] = vgg[f"features.{index}.{kind}"]
        load_strict(metric, used, f"{path} with {trunk} (as DISTS)")
        return metric

    @classmethod
    def load(cls, device: torch.device | str = "cpu") -> "Dists":
        """The metric with the published weights from the user's cache, on `device`.

        Raises:
            UserError: the weights are not in the cache; the message holds the command that brings them.
        """
        return cls.from_files(weight_path(_CATALOG_NAME), weight_path(TRUNK_NAME)).to(device)

    def _distance(self, sr: Sequence[Tensor], hr: Sequence[Tensor]) -> Tensor:
        total = self.alpha.sum() + self.beta.sum()
        alphas = (self.alpha.flatten() / total).split(_CHANNELS)
        betas = (self.beta.flatten() / total).split(_CHANNELS)
        similarity = torch.zeros(len(sr[0]), device=sr[0].device)
        with torch.autocast(sr[0].device.type, enabled=False):
            for alpha, beta, x, y in zip(alphas, betas, sr, hr, strict=True):
                x, y = x.float(), y.float()
                mean_x, mean_y = x.mean((2, 3)), y.mean((2, 3))
                deviation_x, deviation_y = x - mean_x[..., None, None], y - mean_y[..., None, None]
                covariance = (deviation_x * deviation_y).mean((2, 3))
                variances = deviation_x.square().mean((2, 3)) + deviation_y.square().mean((2, 3))
                texture = (2 * mean_x * mean_y + _C) / (mean_x.square() + mean_y.square() + _C)
                structure = (2 * covariance + _C) / (variances + _C)
                similarity = similarity + texture @ alpha + structure @ beta
        return 1 - similarity

    def _features(self, images: Tensor) -> list[Tensor]:
        """The image itself and five feature maps."""
        return [images.float(), *vgg16_features(self.normalise(images), list(self.convs), self._l2_pool)]

    def _l2_pool(self, x: Tensor) -> Tensor:
        kernel = self.blur.expand(x.shape[1], 1, 3, 3)
        return (F.conv2d(x.square(), kernel, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()
