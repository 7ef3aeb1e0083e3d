"""Perceptual trunks: frozen classification networks whose feature maps the perceptual loss compares.

`vgg19` and `vgg16` are VGG-19 and VGG-16 trained on ImageNet (Simonyan & Zisserman, ICLR 2015, configurations E and
D; VGG-16 is also what LPIPS and DISTS look through, so a model trained with it is judged by one that is not as well).
`st-vgg16` is the shift-tolerant VGG-16 of ST-LPIPS (Ghildyal & Liu, "Shift-tolerant Perceptual Similarity Metric", ECCV
2022), where each 2×2 pooling of stride 2 is a maximum of stride 1 followed by a blur that keeps every second pixel.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gramgan.errors import UserError
from gramgan.networks.blur_pool import blur_half
from gramgan.weights.catalog import weight_path
from gramgan.weights.formats import load_strict, read_state

TrunkName = Literal["vgg19", "vgg16", "st-vgg16"]
TRUNKS: tuple[TrunkName, ...] = get_args(TrunkName)

_MIN_SIZE = 32
"""Smallest height and width of an input, in pixels: five blocks leave two of them."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class TrunkSpec:
    """A VGG trunk: widths of the convolutions of each block, which layers are returned, and how blocks are pooled."""

    blocks: tuple[tuple[int, ...], ...]
    layer_weights: dict[str, float]
    shift_tolerant: bool
    file_key: str
    """Pattern of the state-dict keys in the published file; its group `key` is the key here."""
    catalog_name: str

    def convolutions(self, last: str) -> list[tuple[str, int, int]]:
        """(layer name, index in torchvision's `features`, width) of each convolution up to the layer `last`."""
        layers: list[tuple[str, int, int]] = []
        index = 0
        for number, widths in enumerate(self.blocks, start=1):
            for position, width in enumerate(widths, start=1):
                layers.append((f"conv{number}_{position}", index, width))
                index += 2  # the convolution and its ReLU
                if layers[-1][0] == last:
                    return layers
            index += 2 if self.shift_tolerant else 1  # maximum and blur, or one pooling
        raise ValueError(f"layer {last} is not part of the trunk")


SPECS: dict[TrunkName, TrunkSpec] = {
    "vgg19": TrunkSpec(
        blocks=((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4),
        layer_weights={"conv3_4": 1 / 8, "conv4_4": 1 / 4, "conv5_4": 1 / 2},
        shift_tolerant=False,
        file_key=r"features\.(?P<key>\d+\.(weight|bias))",
        catalog_name="vgg19",
    ),
    "vgg16": TrunkSpec(
        blocks=((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3),
        layer_weights={"conv3_3": 1 / 8, "conv4_3": 1 / 4, "conv5_3": 1 / 2},
        shift_tolerant=False,
        file_key=r"features\.(?P<key>\d+\.(weight|bias))",
        catalog_name="vgg16",
    ),
    "st-vgg16": TrunkSpec(
        blocks=((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3),
        # Features of ST-VGG-16 grow a hundredfold with depth: weighted like VGG-19's, conv5_3 would make nearly all of
        # the gradient. These weights give the layers gradients in the proportion 1/8 : 1/4 : 1/2.
        layer_weights={"conv3_3": 2.0, "conv4_3": 0.17, "conv5_3": 0.0125},
        shift_tolerant=True,
        file_key=r"net\.slice\d\.(?P<key>\d+\.(weight|bias))",
        catalog_name="st-lpips-vgg16",
    ),
}


class PerceptualTrunk(nn.Module):
    """Feature maps before activation of a frozen VGG, as `{layer name: map}` in the order of depth.

    State-dict keys are those of torchvision's VGG, `features.N.weight` and `features.N.bias`. All parameters are
    frozen and the network stays in evaluation mode; the gradient flows to the images. Cast it
    (`trunk.to(torch.bfloat16)`) to compute in another precision: the images may stay in float32. Freshly made it has
    random weights; `load_trunk` gives the trained ones.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: TrunkName, layers: Sequence[str] | None = None) -> None:
        super().__init__()
        spec = SPECS[name]
        wanted = tuple(spec.layer_weights) if layers is None else tuple(layers)
        if not wanted or set(wanted) - set(spec.layer_weights):
            known = ", ".join(spec.layer_weights)
            raise UserError(f"losses.layers: {list(wanted)} are not layers of {name}; choose from {known}")
        self.name: TrunkName = name
        self.weights = {layer: weight for layer, weight in spec.layer_weights.items() if layer in wanted}
        """Weight of each returned layer in the perceptual loss."""
        self._pool = _shift_tolerant_pool if spec.shift_tolerant else _max_pool
        convolutions = spec.convolutions(last=list(self.weights)[-1])
        self._layers = [(layer, str(index)) for layer, index, _ in convolutions]
        self.features = nn.ModuleDict()
        channels = 3
        for _, index, width in convolutions:
            self.features[str(index)] = nn.Conv2d(channels, width, 3, padding=1)
            channels = width
        self.channels = channels
        """Feature maps of the deepest layer."""
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def from_file(cls, name: TrunkName, path: Path, layers: Sequence[str] | None = None) -> "PerceptualTrunk":
        """The trunk `name` with the weights of the published file at `path`; parts that are not used are left out.

        Raises:
            UserError: the file cannot be read or is not of this network, or `layers` names an unknown one.
        """
        pattern = re.compile(SPECS[name].file_key)
        state = {
            f"features.{match['key']}": value
            for key, value in read_state(path).items()
            if (match := pattern.fullmatch(key))
        }
        trunk = cls(name, layers)
        used = {key: state[key] for key in trunk.state_dict() if key in state}
        load_strict(trunk, used, f"{path} (as {name})")
        return trunk

    def train(self, mode: bool = True) -> "PerceptualTrunk":
        """Stays in evaluation mode, also when it is part of a larger module."""
        return super().train(False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features before activation.

        Args:
            images: RGB `[B, 3, H, W]` in [0, 1], H and W ≥ 32; ImageNet normalisation happens here.

        Returns:
            `{layer: [B, C, h, w]}` for the layers of `weights`, in the precision of the trunk's parameters; nothing
            is computed behind the last of them.

        Raises:
            ValueError: not RGB, or smaller than 32 pixels.
        """
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[-2:]) < _MIN_SIZE:
            raise ValueError(f"a trunk needs [B, 3, H, W] with H, W >= {_MIN_SIZE}, got {list(images.shape)}")
        x = ((images - self.mean) / self.std).to(next(self.parameters()).dtype)
        block = "conv1"
        features: dict[str, Tensor] = {}
        for layer, index in self._layers:
            if not layer.startswith(block):
                x = self._pool(x)
                block = layer.partition("_")[0]
            x = self.features[index](x)
            if layer not in self.weights:
                x = F.relu(x, inplace=True)
                continue
            features[layer] = x
            if len(features) < len(self.weights):
                x = F.relu(x)  # not in place: x is a result
        return features


def load_trunk(name: TrunkName, layers: Sequence[str] | None = None) -> PerceptualTrunk:
    """The trained trunk `name`, from the user's cache.

    Args:
        name: one of `TRUNKS`.
        layers: which of its layers to return, by name; all of them if None. Nothing behind the last one is computed.

    Raises:
        UserError: its weights are not in the cache (the message holds the command that brings them), or a layer is
            unknown.
    """
    return PerceptualTrunk.from_file(name, weight_path(SPECS[name].catalog_name), layers)


def _max_pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2)


def _shift_tolerant_pool(x: Tensor) -> Tensor:
    return blur_half(F.max_pool2d(x, 2, stride=1))
