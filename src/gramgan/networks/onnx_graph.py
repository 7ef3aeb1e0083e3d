"""The generator as an ONNX model, made without an exporter."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from torch import Tensor

from gramgan.networks.rrdb import RRDBConfig
from gramgan.weights.card import METADATA_KEY, Card

OPSET = 17
IR_VERSION = 8
"""Old enough for programs of some years ago."""

_RESIDUAL_SCALE = 0.2
_SLOPE = 0.2  # of the leaky ReLU


def onnx_model(config: RRDBConfig, state: Mapping[str, Tensor], card: Card, *, half: bool = False) -> onnx.ModelProto:
    """The generator for any batch, height and width: input `lr` `[B, 3, H, W]`, output `sr` `[B, 3, 4H, 4W]`.

    Args:
        config: its architecture.
        state: its tensors, under `RRDBNet`'s names.
        card: goes into the metadata, as in a safetensors file.
        half: weights and arithmetic in fp16; input and output stay fp32.
    """
    ops = _Ops(state, half)
    lr, sr = "lr", "sr"
    if half:
        lr = ops.node("Cast", ["lr"], to=onnx.TensorProto.FLOAT16)
    last = _rrdb(config, ops, lr)
    if half:
        ops.node("Cast", [last], output=sr, to=onnx.TensorProto.FLOAT)
    else:
        ops.node("Identity", [last], output=sr)
    graph = helper.make_graph(
        ops.nodes,
        "gramgan",
        [helper.make_tensor_value_info("lr", onnx.TensorProto.FLOAT, ["batch", 3, "height", "width"])],
        [helper.make_tensor_value_info("sr", onnx.TensorProto.FLOAT, ["batch", 3, "height_4", "width_4"])],
        ops.initialisers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="gramgan")
    model.ir_version = IR_VERSION
    helper.set_model_props(model, {METADATA_KEY: card.model_dump_json()})
    onnx.checker.check_model(model)
    return model


def _rrdb(config: RRDBConfig, ops: "_Ops", lr: str) -> str:
    """`RRDBNet.forward` once more, on `lr` `[B, 3, H, W]` → `[B, 3, 4H, 4W]`."""
    features = ops.convolution(lr, "conv_first", leaky=False)
    trunk = features
    for block in range(config.nb):
        inner = trunk
        for dense in (1, 2, 3):
            inner = _dense_block(ops, inner, f"body.{block}.rdb{dense}")
        trunk = ops.add(trunk, ops.scaled(inner, _RESIDUAL_SCALE))
    features = ops.add(features, ops.convolution(trunk, "conv_body", leaky=False))
    for name in ("conv_up1", "conv_up2"):
        if config.upsampler == "pixelshuffle":
            features = ops.leaky(ops.pixel_shuffle_twice(ops.convolution(features, name, leaky=False)))
        else:
            features = ops.convolution(ops.nearest_twice(features), name, leaky=True)
    return ops.convolution(ops.convolution(features, "conv_hr", leaky=True), "conv_last", leaky=False)


def _dense_block(ops: "_Ops", x: str, name: str) -> str:
    parts = [x]
    for number in range(1, 5):
        inputs = ops.concat(parts) if number > 1 else x
        parts.append(ops.convolution(inputs, f"{name}.conv{number}", leaky=True))
    last = ops.convolution(ops.concat(parts), f"{name}.conv5", leaky=False)
    return ops.add(x, ops.scaled(last, _RESIDUAL_SCALE))


class _Ops:
    """Nodes as they are added, on tensors `[B, C, H, W]` that are called by their names."""

    def __init__(self, state: Mapping[str, Tensor], half: bool) -> None:
        self._state = state
        self._dtype = np.float16 if half else np.float32
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []
        self._scales = self._constant("scales_2", np.array([1, 1, 2, 2], np.float32))
        self._factors: dict[float, str] = {}

    def node(self, kind: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def convolution(self, x: str, name: str, *, leaky: bool) -> str:
        inputs = [x]
        for kind in ("weight", "bias"):
            tensor = self._state[f"{name}.{kind}"].detach().cpu().numpy().astype(self._dtype)
            inputs.append(self._constant(f"{name}.{kind}", tensor))
        result = self.node("Conv", inputs, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        return self.leaky(result) if leaky else result

    def concat(self, parts: list[str]) -> str:
        return self.node("Concat", parts, axis=1)

    def add(self, x: str, y: str) -> str:
        return self.node("Add", [x, y])

    def scaled(self, x: str, factor: float) -> str:
        if factor not in self._factors:
            self._factors[factor] = self._constant(f"factor_{factor}", np.array(factor, self._dtype))
        return self.node("Mul", [x, self._factors[factor]])

    def nearest_twice(self, x: str) -> str:
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.node("Resize", [x, "", self._scales], **how)

    def pixel_shuffle_twice(self, x: str) -> str:
        return self.node("DepthToSpace", [x], blocksize=2, mode="CRD")

    def leaky(self, x: str) -> str:
        return self.node("LeakyRelu", [x], alpha=_SLOPE)

    def _constant(self, name: str, values: np.ndarray) -> str:
        self.initialisers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name
