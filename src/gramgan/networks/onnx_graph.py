"""The generator as an ONNX model, made without an exporter."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from torch import Tensor

from gramgan.networks.build import Architecture
from gramgan.networks.rrdb import RRDBConfig
from gramgan.networks.span import MEAN, RANGE, SPANConfig
from gramgan.weights.card import CARD_KEY, Card

OPSET = 17
IR_VERSION = 8
"""Old enough for programs of some years ago."""

_RESIDUAL_SCALE = 0.2
_SLOPE = 0.2  # of the leaky ReLU


def onnx_model(config: Architecture, state: Mapping[str, Tensor], card: Card, *, half: bool = False) -> onnx.ModelProto:
    """The generator for any batch, height and width: input `lr` `[B, 3, H, W]`, output `sr` `[B, 3, sH, sW]`.

    Args:
        config: its architecture.
        state: its tensors, under the network's names.
        card: goes into the metadata, as in a safetensors file.
        half: weights and arithmetic in fp16; input and output stay fp32.
    """
    ops = _Ops(state, half)
    lr, sr = "lr", "sr"
    if half:
        lr = ops.node("Cast", ["lr"], to=onnx.TensorProto.FLOAT16)
    last = _span(config, ops, lr) if isinstance(config, SPANConfig) else _rrdb(config, ops, lr)
    if half:
        ops.node("Cast", [last], output=sr, to=onnx.TensorProto.FLOAT)
    else:
        ops.node("Identity", [last], output=sr)
    size = [f"height_{config.scale}", f"width_{config.scale}"]
    graph = helper.make_graph(
        ops.nodes,
        "gramgan",
        [helper.make_tensor_value_info("lr", onnx.TensorProto.FLOAT, ["batch", 3, "height", "width"])],
        [helper.make_tensor_value_info("sr", onnx.TensorProto.FLOAT, ["batch", 3, *size])],
        ops.initialisers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="gramgan")
    model.ir_version = IR_VERSION
    helper.set_model_props(model, {CARD_KEY: card.model_dump_json()})
    onnx.checker.check_model(model)
    return model


def _rrdb(config: RRDBConfig, ops: "_Ops", lr: str) -> str:
    """`RRDBNet.forward` once more, on `lr` `[B, 3, H, W]` → `[B, 3, sH, sW]`.

    Where the network unshuffles its input, H and W must be multiples of `config.unshuffle`.
    """
    features = ops.convolution(lr, "conv_first", leaky=False, block=config.unshuffle)
    trunk = features
    for block in range(config.nb):
        inner = trunk
        for dense in (1, 2, 3):
            inner = _dense_block(ops, inner, f"body.{block}.rdb{dense}")
        trunk = ops.add(trunk, ops.scaled(inner, _RESIDUAL_SCALE))
    features = ops.add(features, ops.convolution(trunk, "conv_body"))
    for name, factor in config.steps.items():
        if config.upsampler == "pixelshuffle":
            features = ops.leaky(ops.pixel_shuffle(ops.convolution(features, name), factor))
        else:
            features = ops.convolution(ops.nearest(features, factor), name, leaky=True)
    return ops.convolution(ops.convolution(features, "conv_hr", leaky=True), "conv_last")


def _span(config: SPANConfig, ops: "_Ops", lr: str) -> str:
    """`SPAN.forward` once more, on `lr` `[B, 3, H, W]` → `[B, 3, sH, sW]`."""
    centred = ops.add(lr, ops.constant("mean", -np.array(MEAN).reshape(1, 3, 1, 1)))
    first = x = activation = early = ops.convolution(ops.scaled(centred, RANGE), "conv_1")
    for number in range(1, config.nb + 1):
        activation = ops.silu(ops.convolution(x, f"block_{number}.c1_r"))
        inner = ops.silu(ops.convolution(activation, f"block_{number}.c2_r"))
        features = ops.convolution(inner, f"block_{number}.c3_r")
        attention = ops.add(ops.node("Sigmoid", [features]), ops.constant("minus_half", np.array(-0.5)))
        x = ops.node("Mul", [ops.add(features, x), attention])
        early = x if number == 1 else early
    parts = [first, ops.convolution(x, "conv_2"), early, activation]
    return ops.pixel_shuffle(
        ops.convolution(ops.convolution(ops.concat(parts), "conv_cat"), "upsampler.0"), config.scale
    )


def _dense_block(ops: "_Ops", x: str, name: str) -> str:
    parts = [x]
    for number in range(1, 5):
        inputs = ops.concat(parts) if number > 1 else x
        parts.append(ops.convolution(inputs, f"{name}.conv{number}", leaky=True))
    last = ops.convolution(ops.concat(parts), f"{name}.conv5")
    return ops.add(x, ops.scaled(last, _RESIDUAL_SCALE))


class _Ops:
    """Nodes as they are added, on tensors `[B, C, H, W]` that are called by their names."""

    def __init__(self, state: Mapping[str, Tensor], half: bool) -> None:
        self._state = state
        self._dtype = np.float16 if half else np.float32
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []
        self._scales: dict[int, str] = {}
        self._factors: dict[float, str] = {}

    def node(self, kind: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def convolution(self, x: str, name: str, *, leaky: bool = False, block: int = 1) -> str:
        """3×3 or 1×1; with `block` r, of the input's r×r blocks as channels, which is 3r×3r in steps of r."""
        weight, bias = (self._state[f"{name}.{kind}"].detach().cpu().numpy() for kind in ("weight", "bias"))
        if block > 1:  # [out, colour, place in the block, place of the block]
            weight = weight.reshape(len(weight), -1, block, block, 3, 3).transpose(0, 1, 4, 2, 5, 3)
            weight = weight.reshape(len(weight), -1, 3 * block, 3 * block)
        inputs = [x]
        for kind, tensor in (("weight", weight), ("bias", bias)):
            inputs.append(self.constant(f"{name}.{kind}", tensor))
        side, steps = weight.shape[-1], [block] * 2
        pads = 2 * steps if side > 1 else [0] * 4
        result = self.node("Conv", inputs, kernel_shape=[side] * 2, pads=pads, strides=steps)
        return self.leaky(result) if leaky else result

    def concat(self, parts: list[str]) -> str:
        return self.node("Concat", parts, axis=1)

    def add(self, x: str, y: str) -> str:
        return self.node("Add", [x, y])

    def scaled(self, x: str, factor: float) -> str:
        if factor not in self._factors:
            self._factors[factor] = self.constant(f"factor_{factor}", np.array(factor))
        return self.node("Mul", [x, self._factors[factor]])

    def nearest(self, x: str, factor: int) -> str:
        if factor not in self._scales:
            scales = np.array([1, 1, factor, factor], np.float32)
            self._scales[factor] = self._initialiser(f"scales_{factor}", scales)
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.node("Resize", [x, "", self._scales[factor]], **how)

    def pixel_shuffle(self, x: str, factor: int) -> str:
        return self.node("DepthToSpace", [x], blocksize=factor, mode="CRD")

    def leaky(self, x: str) -> str:
        return self.node("LeakyRelu", [x], alpha=_SLOPE)

    def silu(self, x: str) -> str:
        return self.node("Mul", [x, self.node("Sigmoid", [x])])

    def constant(self, name: str, values: np.ndarray) -> str:
        """Numbers in the network's own precision, kept once under `name`."""
        known = any(tensor.name == name for tensor in self.initialisers)
        return name if known else self._initialiser(name, values.astype(self._dtype))

    def _initialiser(self, name: str, values: np.ndarray) -> str:
        self.initialisers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name
