"""Weights in 8 bits for files that travel with the package: half of fp16, and no score changes by it.

Each row of a convolution (one output channel) is cut into groups of 32 weights with a scale of their own (fp16), so
that one large weight costs the resolution of 31 others and not of a whole channel. Everything else stays in fp16.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from gramgan.errors import UserError

METADATA = {"gramgan.packed": "int8, groups of 32"}
"""What a packed safetensors file says of itself."""

_GROUP = 32
_LARGEST = 127
_SCALE = ".scale"


def pack_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` with the weight of every convolution as int8 in its shape, and its scales beside it as `NAME.scale`."""
    packed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if tensor.ndim != 4:
            packed[name] = tensor.half().contiguous() if tensor.is_floating_point() else tensor.contiguous()
            continue
        groups = _grouped(tensor.float())
        scale = (groups.abs().amax(dim=-1) / _LARGEST).half()
        # fp16 rounds the scale down at times: the largest weight is cut off then, by less than half a step.
        steps = groups / scale.float().clamp_min(torch.finfo(torch.float16).tiny)[..., None]
        whole = steps.round().clamp(-_LARGEST, _LARGEST).to(torch.int8)
        packed[name] = whole.flatten(1)[:, : tensor[0].numel()].reshape(tensor.shape).contiguous()
        packed[name + _SCALE] = scale
    return packed


def is_packed(metadata: Mapping[str, str] | None) -> bool:
    """Whether a safetensors file with this metadata holds packed weights."""
    return METADATA.items() <= dict(metadata or {}).items()


def unpack(packed: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """The state dict in float32; `source` names the file in messages.

    Raises:
        UserError: scales are missing or of another shape than the weights need.
    """
    state: dict[str, Tensor] = {}
    for name, tensor in packed.items():
        if name.endswith(_SCALE) and name.removesuffix(_SCALE) in packed:
            continue
        if tensor.dtype != torch.int8:
            state[name] = tensor.float() if tensor.is_floating_point() else tensor
            continue
        scale = packed.get(name + _SCALE)
        weights = tensor[0].numel() if tensor.ndim == 4 and tensor.numel() else 0
        if not weights or scale is None or scale.shape != (len(tensor), -(-weights // _GROUP)):
            raise UserError(f"{source}: damaged: {name} has no scales that fit; get the file again")
        values = tensor.flatten(1).float() * scale.float()[:, torch.arange(weights) // _GROUP]
        state[name] = values.reshape(tensor.shape).contiguous()
    return state


def _grouped(tensor: Tensor) -> Tensor:
    """`[O, I, H, W]` → `[O, groups, 32]`, the last group filled up with zeros."""
    rows = tensor.flatten(1)
    return F.pad(rows, (0, -rows.shape[1] % _GROUP)).view(len(rows), -1, _GROUP)
