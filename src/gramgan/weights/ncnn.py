"""Reads an RRDBNet or a SPAN from ncnn's pair of files: the network as text (`.param`), its numbers (`.bin`).

The format is ncnn's own (Tencent, "ncnn", param and model file structure). The graph is followed far enough to know
which network it is: the order, widths and activations of all convolutions, what is done between them, and the
upsampling steps.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gramgan.errors import UserError

_MAGIC = "7767517"
_FLOAT16 = 0x01306B47
_FLOAT32 = 0
_LEAKY = 2
_CONVS_PER_BLOCK = 15
_CONVS_OUTSIDE = 6
_SUBTRACT, _MULTIPLY = 1, 2
_PIXELS = 255


@dataclass(frozen=True)
class _Layer:
    kind: str
    values: dict[str, str]


@dataclass(frozen=True)
class _Conv:
    key: str
    inputs: int
    outputs: int
    side: int = 3

    @property
    def size(self) -> int:
        """How many weights it has."""
        return self.inputs * self.outputs * self.side**2


def read_ncnn(path: Path) -> dict[str, Tensor]:
    """Read an RRDBNet or a SPAN from `path` (`.param` or `.bin`; the other file must stand beside it).

    Returns:
        float32 tensors under the names of `gramgan.networks.rrdb.RRDBNet` (`nearest` variant, ×4) or
        `gramgan.networks.span.SPAN`.

    Raises:
        UserError: a file is missing, damaged or truncated, or the network is another one.
    """
    param, numbers = path.with_suffix(".param"), path.with_suffix(".bin")
    for file in (param, numbers):
        if not file.is_file():
            raise UserError(
                f"{file}: not there; ncnn weights are a .param and a .bin file of the same name, side by side"
            )
    layers = _parse(param)
    if any(layer.kind == "PixelShuffle" for layer in layers):
        return _read_numbers(numbers, _span_convolutions(param, layers), skip=3)
    return _read_numbers(numbers, _rrdb_convolutions(param, layers))


def _span_convolutions(param: Path, layers: list[_Layer]) -> list[_Conv]:
    """All convolutions of a SPAN, in the order in which it runs them; three numbers, the mean, stand before them."""
    block = ["Convolution", "Swish"] * 2 + ["Convolution", "Sigmoid", "BinaryOp", "BinaryOp", "BinaryOp"]
    order = [layer.kind for layer in layers if layer.kind not in ("Input", "Split")]
    blocks = order.count("Sigmoid")
    begin, end = ["MemoryData", "BinaryOp", "BinaryOp", "Convolution"], ["Convolution", "Concat", "Convolution"]
    if blocks < 1 or order != [*begin, *block * blocks, *end, "Convolution", "PixelShuffle"]:
        raise _other(param, "its layers are not in the order of a SPAN")
    for layer, (what, number) in zip(
        (layer for layer in layers if layer.kind == "BinaryOp"),
        [(_SUBTRACT, None), (_MULTIPLY, _PIXELS), *[(_SUBTRACT, 0.5), (0, None), (_MULTIPLY, None)] * blocks],
        strict=True,
    ):
        by = _numbers(param, layer, "2")[0] if number is not None and "2" in layer.values else None
        if _number(param, layer, "0", 0) != what or by != number:
            raise _other(param, "its sums and products are not those of a SPAN")
    convs = [layer for layer in layers if layer.kind == "Convolution"]
    nf, sub_pixels = _number(param, convs[0], "0"), _number(param, convs[-1], "0")
    plan = [_Conv("conv_1", 3, nf)]
    plan += [_Conv(f"block_{number}.c{i}_r", nf, nf) for number in range(1, blocks + 1) for i in (1, 2, 3)]
    plan += [_Conv("conv_2", nf, nf), _Conv("conv_cat", 4 * nf, nf, 1), _Conv("upsampler.0", nf, sub_pixels)]
    for layer, conv in zip(convs, plan, strict=True):
        _check_shape(param, layer, conv)
        if _number(param, layer, "9", 0):
            raise _other(param, f"{conv.key} has the wrong activation")
    return plan


def _rrdb_convolutions(param: Path, layers: list[_Layer]) -> list[_Conv]:
    convs = [layer for layer in layers if layer.kind == "Convolution"]
    blocks, rest = divmod(len(convs) - _CONVS_OUTSIDE, _CONVS_PER_BLOCK)
    if rest or blocks < 1:
        raise _other(param, f"{len(convs)} convolutions do not make up whole blocks of {_CONVS_PER_BLOCK}")
    _check_graph(param, layers, blocks)
    plan = _plan(_number(param, convs[0], "0"), _number(param, convs[1], "0"), blocks)
    for layer, conv in zip(convs, plan, strict=True):
        _check_convolution(param, layer, conv)
    return plan


def _plan(nf: int, gc: int, nb: int) -> list[_Conv]:
    """All convolutions of the network, in the order in which it runs them."""
    plan = [_Conv("conv_first", 3, nf)]
    for block in range(nb):
        for dense in (1, 2, 3):
            plan += [
                _Conv(f"body.{block}.rdb{dense}.conv{i}", nf + (i - 1) * gc, gc if i < 5 else nf) for i in range(1, 6)
            ]
    plan += [_Conv(key, nf, nf) for key in ("conv_body", "conv_up1", "conv_up2", "conv_hr")]
    return [*plan, _Conv("conv_last", nf, 3)]


def _has_activation(key: str) -> bool:
    return key in ("conv_up1", "conv_up2", "conv_hr") or (key.startswith("body.") and not key.endswith("conv5"))


def _check_shape(param: Path, layer: _Layer, conv: _Conv) -> None:
    if _number(param, layer, "0") != conv.outputs or _number(param, layer, "6") != conv.size:
        raise _other(param, f"{conv.key} should have {conv.inputs} input and {conv.outputs} output channels")
    padding = conv.side // 2
    found = [_number(param, layer, key, default) for key, default in (("1", -1), ("4", 0), ("5", -1))]
    if found != [conv.side, padding, 1]:
        raise _other(
            param, f"{conv.key} should be a {conv.side}×{conv.side} convolution with padding {padding} and bias"
        )
    for key in ("2", "3", "7"):
        if _number(param, layer, key, 1) != 1:
            raise _other(param, f"{conv.key} should have stride, dilation and groups of 1")


def _check_convolution(param: Path, layer: _Layer, conv: _Conv) -> None:
    _check_shape(param, layer, conv)
    if _number(param, layer, "9", 0) != (_LEAKY if _has_activation(conv.key) else 0):
        raise _other(param, f"{conv.key} has the wrong activation")
    if _has_activation(conv.key) and _numbers(param, layer, "-23310") != [0.2]:
        raise _other(param, f"{conv.key} should have a leaky ReLU of slope 0.2")


def _check_graph(param: Path, layers: list[_Layer], blocks: int) -> None:
    """Everything between the convolutions: residual sums and their scales, and the two upsampling steps."""
    order = [layer.kind for layer in layers if layer.kind not in ("Input", "Split", "Concat")]
    dense = ["Convolution"] * 5 + ["Eltwise"]
    upsampling = ["Interp", "Convolution"] * 2
    expected = ["Convolution", *(dense * 3 + ["Eltwise"]) * blocks, "Convolution", "BinaryOp", *upsampling]
    if order != [*expected, "Convolution", "Convolution"]:
        raise _other(param, "its layers are not in the order of an RRDBNet for ×4")
    for layer in layers:
        if layer.kind == "Eltwise":
            # Sum (1) of the branch times 0.2 and the identity.
            if _number(param, layer, "0") != 1 or _numbers(param, layer, "-23301") != [0.2, 1.0]:
                raise _other(param, "its residual sums are not scaled by 0.2")
        elif layer.kind == "BinaryOp":
            if _number(param, layer, "0", 0) != 0:
                raise _other(param, "the trunk should be added to the first features")
        elif layer.kind == "Interp":
            scales = [_numbers(param, layer, key) for key in ("1", "2")]
            if _number(param, layer, "0") != 1 or scales != [[2.0], [2.0]]:
                raise _other(param, "its upsampling is not twice nearest-neighbour ×2")


def _parse(param: Path) -> list[_Layer]:
    try:
        lines = param.read_text(encoding="ascii").split("\n")
    except UnicodeDecodeError:
        raise UserError(f"{param}: not an ncnn .param text file; give the text form, not .param.bin") from None
    if not lines or lines[0].strip() != _MAGIC:
        raise UserError(f"{param}: not an ncnn .param file (it does not begin with {_MAGIC}); get the file again")
    layers: list[_Layer] = []
    try:
        count = int(lines[1].split()[0])
        for line in filter(str.strip, lines[2:]):
            kind, _, inputs, outputs, *rest = line.split()
            settings = rest[int(inputs) + int(outputs) :]  # behind the names of the blobs
            layers.append(_Layer(kind, dict(item.split("=", 1) for item in settings)))
    except (ValueError, IndexError):
        raise UserError(f"{param}: line {len(layers) + 3} is damaged; get the file again") from None
    if len(layers) != count:
        raise UserError(f"{param}: truncated, it has {len(layers)} of {count} layers; get the file again")
    return layers


def _numbers(param: Path, layer: _Layer, key: str) -> list[float]:
    """The value of `key` as numbers; arrays carry their length first."""
    text = layer.values.get(key, "")
    try:
        numbers = [float(part) for part in text.split(",")] if text else []
        if not all(map(math.isfinite, numbers)):
            raise ValueError
    except ValueError:
        raise UserError(f"{param}: {key}={text} in a layer {layer.kind} is damaged; get the file again") from None
    return numbers[1:] if key.startswith("-233") else numbers


def _number(param: Path, layer: _Layer, key: str, default: int = -1) -> int:
    numbers = _numbers(param, layer, key)
    return int(numbers[0]) if numbers else default


def _read_numbers(path: Path, convs: list[_Conv], skip: int = 0) -> dict[str, Tensor]:
    """The tensors of `convs`, which stand one after the other behind `skip` numbers in fp32."""
    data = path.read_bytes()
    state: dict[str, Tensor] = {}
    position = 4 * skip
    for conv in convs:
        flag = int.from_bytes(data[position : position + 4], "little")
        if position + 4 > len(data):
            raise _truncated(path, conv, len(data))
        if flag not in (_FLOAT16, _FLOAT32):
            raise UserError(f"{path}: {conv.key} is quantised (flag {flag:#010x}), only fp16 and fp32 weights are read")
        dtype = np.dtype("<f2" if flag == _FLOAT16 else "<f4")
        count = conv.size
        start = position + 4
        biases = start + (count * dtype.itemsize + 3) // 4 * 4
        position = biases + conv.outputs * 4
        if position > len(data):
            raise _truncated(path, conv, len(data))
        weight = (
            np.frombuffer(data, dtype, count, start)
            .astype(np.float32)
            .reshape(conv.outputs, conv.inputs, conv.side, conv.side)
        )
        state[f"{conv.key}.weight"] = torch.from_numpy(weight)
        state[f"{conv.key}.bias"] = torch.from_numpy(
            np.frombuffer(data, "<f4", conv.outputs, biases).astype(np.float32)
        )
    if position != len(data):
        raise UserError(
            f"{path}: {len(data) - position:,} bytes too many for the network in its .param; get both files again"
        )
    return state


def _truncated(path: Path, conv: _Conv, size: int) -> UserError:
    return UserError(f"{path}: truncated in {conv.key}, {size:,} bytes are too few; get the file again")


def _other(param: Path, why: str) -> UserError:
    return UserError(f"{param}: neither an RRDBNet for ×4 nor a SPAN ({why}); give the weights of one of them")
