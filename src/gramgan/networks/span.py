"""The small generator: SPAN (Wan et al., "Swift Parameter-free Attention Network", CVPRW 2024), as it is deployed.

Its training form has a 3×3, a 1×1→3×3→1×1 and a 1×1 convolution side by side wherever one 3×3 convolution stands here;
they are linear, so what they learned fits into it. Fine-tuning goes on with the 3×3 alone.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN = (0.4488, 0.4371, 0.4040)  # of DIV2K
RANGE = 255.0
_BRANCHED = re.compile(r"(conv_1|conv_2|block_\d+\.c[123]_r)\.(weight|bias)")
_END = ".eval_conv.weight"


@dataclass(frozen=True)
class SPANConfig:
    """Architecture of a `SPAN`: `nf` feature channels, `nb` blocks, and how many times larger its results are."""

    nf: int = 48
    nb: int = 6
    scale: int = 4

    def to_dict(self) -> dict[str, int | str]:
        """Plain values for a card or a checkpoint; `SPANConfig(**values)` reads them back."""
        return asdict(self)

    @property
    def network(self) -> Literal["span"]:
        """The architecture's name in cards and settings."""
        return "span"


class Block(nn.Module):
    """Three 3×3 convolutions whose result is its own attention map, `[B, nf, H, W]` → two of the same shape."""

    def __init__(self, nf: int) -> None:
        super().__init__()
        self.c1_r, self.c2_r, self.c3_r = (nn.Conv2d(nf, nf, 3, padding=1) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The block's result (eq. 3 of the paper: (features + x) · (σ(features) − ½)) and its first activation."""
        first = F.silu(self.c1_r(x))
        features = self.c3_r(F.silu(self.c2_r(first)))
        return (features + x) * (torch.sigmoid(features) - 0.5), first


class SPAN(nn.Module):
    """Generator, RGB `[B, 3, H, W]` in [0, 1] → `[B, 3, sH, sW]` (about [0, 1], not clamped), s = `config.scale`.

    State-dict keys are SPAN's own without `eval_conv`, the name of the convolution that its training form ends in.
    """

    def __init__(self, config: SPANConfig) -> None:
        super().__init__()
        self.config = config
        nf = config.nf
        self.conv_1 = nn.Conv2d(3, nf, 3, padding=1)
        for number in range(1, config.nb + 1):
            self.add_module(f"block_{number}", Block(nf))
        self.conv_2 = nn.Conv2d(nf, nf, 3, padding=1)
        self.conv_cat = nn.Conv2d(4 * nf, nf, 1)
        self.upsampler = nn.Sequential(nn.Conv2d(nf, 3 * config.scale**2, 3, padding=1), nn.PixelShuffle(config.scale))

    @property
    def body(self) -> list[nn.Module]:
        """The blocks, in their order."""
        return [self.get_submodule(f"block_{number}") for number in range(1, self.config.nb + 1)]

    @property
    def last(self) -> nn.Conv2d:
        """The convolution whose result is the picture."""
        return cast(nn.Conv2d, self.upsampler[0])

    def forward(self, lr: Tensor) -> Tensor:
        """`[B, 3, H, W]` in [0, 1] → `[B, 3, sH, sW]`."""
        features = self.conv_1((lr - lr.new_tensor(MEAN).view(1, 3, 1, 1)) * RANGE)
        x, activation = self.body[0](features)
        early = x
        for block in self.body[1:]:
            x, activation = block(x)
        return self.upsampler(self.conv_cat(torch.cat((features, self.conv_2(x), early, activation), 1)))


def infer_span(state: Mapping[str, Tensor]) -> SPANConfig:
    """Read the architecture of a `SPAN` from the shapes of its state dict (see `is_span`).

    Raises:
        ValueError: its last layer does not make RGB pictures.
    """
    blocks = {name.partition(".")[0] for name in state if name.startswith("block_")}
    sub_pixels = state["upsampler.0.weight"].shape[0] // 3
    scale = round(sub_pixels**0.5)
    if scale < 1 or 3 * scale**2 != state["upsampler.0.weight"].shape[0]:
        raise ValueError(f"a SPAN with {state['upsampler.0.weight'].shape[0]} channels before its sub-pixels")
    return SPANConfig(state["conv_1.weight"].shape[0], len(blocks), scale)


def is_span(state: Mapping[str, Tensor]) -> bool:
    """Whether the tensors have the names of a `SPAN`, with or without the branches of its training form.

    One without the subtraction of a mean (it says `no_norm`) is another network.
    """
    layers = ("conv_1", "block_1.c1_r", "conv_cat", "upsampler.0")
    return "no_norm" not in state and all(
        any(f"{layer}{kind}" in state for kind in (".weight", _END)) for layer in layers
    )


def without_training_branches(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a `SPAN` with each layer's branches added up to one 3×3 convolution; deployed ones as they are.

    Raises:
        KeyError: a branch is missing.
        RuntimeError: the shapes of a layer's branches do not fit together.
    """
    layers = [name.removesuffix(_END) for name in state if name.endswith(_END)]
    deployed = {name: tensor for name, tensor in state.items() if not name.startswith(tuple(f"{x}." for x in layers))}
    for layer in layers:
        (first, into), (middle, between), (last, out), (beside, shift) = (
            (state[f"{layer}.{part}.weight"], state[f"{layer}.{part}.bias"])
            for part in ("conv.0", "conv.1", "conv.2", "sk")
        )
        weight = torch.einsum("om,mnij,nc->ocij", last[..., 0, 0], middle, first[..., 0, 0])
        weight[..., 1, 1] += beside[..., 0, 0]
        deployed[f"{layer}.weight"] = weight
        deployed[f"{layer}.bias"] = last[..., 0, 0] @ (middle.sum((2, 3)) @ into + between) + out + shift
    return deployed


def with_training_branches(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a `SPAN` under the names and with the branches of its training form, for the community's programs.

    A 3×3 convolution becomes the middle of 1×1→3×3→1×1 (twice the channels, as SPAN has them) between identities; the
    1×1 beside it is 0. The network's results stay the same.
    """
    whole: dict[str, Tensor] = {}
    for name, tensor in state.items():
        match = _BRANCHED.fullmatch(name)
        if match is None:
            whole[name] = tensor
            continue
        layer, kind = match.groups()
        whole[f"{layer}.eval_conv.{kind}"] = tensor
        if kind == "bias":
            continue
        outputs, inputs = tensor.shape[:2]
        into, out_of = torch.eye(2 * inputs, inputs), torch.eye(outputs, 2 * outputs)
        middle = tensor.new_zeros(2 * outputs, 2 * inputs, 3, 3)
        middle[:outputs, :inputs] = tensor
        whole[f"{layer}.sk.weight"] = tensor.new_zeros(outputs, inputs, 1, 1)
        whole[f"{layer}.sk.bias"] = tensor.new_zeros(outputs)
        for number, weight in enumerate((into[..., None, None], middle, out_of[..., None, None])):
            whole[f"{layer}.conv.{number}.weight"] = weight.to(tensor)
            whole[f"{layer}.conv.{number}.bias"] = tensor.new_zeros(len(weight))
        whole[f"{layer}.conv.2.bias"] = state[f"{layer}.bias"]
    return whole
