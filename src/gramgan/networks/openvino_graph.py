"""The generator as an OpenVINO model, made without a converter."""

from collections.abc import Mapping

import numpy as np
import openvino
from openvino import opset13 as ops
from torch import Tensor

from gramgan.networks.graph import SLOPE, build_rrdb
from gramgan.networks.rrdb import RRDBConfig
from gramgan.weights.card import METADATA_KEY, Card


def openvino_model(config: RRDBConfig, state: Mapping[str, Tensor], card: Card) -> openvino.Model:
    """The generator for any batch, height and width, in fp32, with its card.

    Args:
        config: its architecture.
        state: its tensors, under `RRDBNet`'s names.
        card: goes into the run-time information, as JSON.
    """
    parameter = ops.parameter([-1, 3, -1, -1], np.float32, name="lr")
    parameter.output(0).set_names({"lr"})
    result = ops.result(build_rrdb(config, _Ops(state), parameter.output(0)))
    result.output(0).set_names({"sr"})
    model = openvino.Model([result], [parameter], "gramgan")  # pyright: ignore[reportGeneralTypeIssues]
    model.set_rt_info(card.model_dump_json(), METADATA_KEY.split("."))  # pyright: ignore[reportArgumentType]
    return model


class _Ops:
    """`gramgan.networks.graph.GraphOps` for OpenVINO."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self._state = state

    def convolution(self, x: openvino.Output, name: str, *, leaky: bool) -> openvino.Output:
        weight = ops.constant(self._state[f"{name}.weight"].detach().cpu().float().numpy(), name=f"{name}.weight")
        bias = self._state[f"{name}.bias"].detach().cpu().float().numpy().reshape(1, -1, 1, 1)
        convolved = ops.convolution(x, weight, [1, 1], [1, 1], [1, 1], [1, 1], name=name)
        result = ops.add(convolved, ops.constant(bias, name=f"{name}.bias")).output(0)
        return self.leaky(result) if leaky else result

    def concat(self, parts: list[openvino.Output]) -> openvino.Output:
        return ops.concat(parts, 1).output(0)

    def add(self, x: openvino.Output, y: openvino.Output) -> openvino.Output:
        return ops.add(x, y).output(0)

    def scaled(self, x: openvino.Output, factor: float) -> openvino.Output:
        return ops.multiply(x, ops.constant(np.float32(factor))).output(0)

    def nearest_twice(self, x: openvino.Output) -> openvino.Output:
        scales = ops.constant(np.array([2, 2], np.float32))
        axes = ops.constant(np.array([2, 3], np.int64))
        return ops.interpolate(
            x,
            scales,
            mode="nearest",
            shape_calculation_mode="scales",
            axes=axes,
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ).output(0)

    def pixel_shuffle_twice(self, x: openvino.Output) -> openvino.Output:
        return ops.depth_to_space(x, "depth_first", 2).output(0)

    def leaky(self, x: openvino.Output) -> openvino.Output:
        return ops.prelu(x, ops.constant(np.array([SLOPE], np.float32))).output(0)
