"""The generator on OpenVINO's CPU plugin: on processors with bf16 units the fastest. Does not import torch."""

import logging
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino import opset13 as ops
from openvino.preprocess import PrePostProcessor

from gramgan.cache import keep_bytes, read_bytes
from gramgan.errors import UserError
from gramgan.hardware.allocator import usable_bytes
from gramgan.hardware.precision import Precision
from gramgan.hardware.processor import threads
from gramgan.upscaling.backends import OutOfMemory
from gramgan.upscaling.backends.common import finite, one_line

_PRECISIONS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
_OUT_OF_MEMORY = ("bad_alloc", "bad allocation", "llocate")
_KEPT = 2  # compiled networks of different tile shapes; each holds a copy of the weights
_LIMIT = 1e6  # no pixel of a working generator is beyond
_BLOB_PIXELS = 256 * 256  # compiling takes as long as computing some 30,000 pixels: kept on disk for small tiles only
_BLOBS = 4

_log = logging.getLogger(__name__)


def supported_precisions() -> tuple[Precision, ...]:
    """What this machine's processor computes in, fp32 first."""
    found = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    names: dict[Precision, str] = {"bf16": "BF16", "fp16": "FP16"}
    return ("fp32", *(precision for precision, name in names.items() if name in found))


class OpenVinoBackend:
    """A `Backend` (see there) for a network in OpenVINO's own format or ONNX.

    Every tile shape is compiled by itself (half a second): dynamic shapes are slower and have given wrong pixels. What
    the engine cuts from one picture has one shape.

    Args:
        path: the network, `.xml` or `.onnx`.
        weights: name of the weights, for messages.
        precision: one of `supported_precisions`.
        bytes_per_pixel: see `Backend`.
        blobs: folder where compiled networks for small tiles are kept; None: nowhere.

    Raises:
        UserError: the processor has no such precision, or the file cannot be read.
    """

    side = None
    batch = 1

    def __init__(
        self, path: Path, weights: str, precision: Precision, bytes_per_pixel: int, blobs: Path | None = None
    ) -> None:
        if precision != "fp32" and precision not in supported_precisions():
            raise UserError(
                f"precision {precision!r}: OpenVINO does not compute in it on this processor; use auto or fp32"
            )
        self._path, self._weights, self._blobs = path, weights, blobs
        self.precision: Precision = precision
        self.bytes_per_pixel = bytes_per_pixel
        self.name = f"openvino cpu {precision}"
        self._core = openvino.Core()
        self._compiled: OrderedDict[tuple[int, int, Precision], openvino.CompiledModel] = OrderedDict()

    def free_bytes(self) -> int:
        """Memory of the device that new tiles may use."""
        return usable_bytes()

    def run(self, tiles: np.ndarray) -> np.ndarray:
        """Enlarge tiles; a result that is not finite in reduced precision is computed again in fp32."""
        return np.stack([finite(self._run, tile, self.precision, self._weights) for tile in tiles])

    def _run(self, tile: np.ndarray, precision: Precision) -> np.ndarray | None:
        """The network's result on `tile`; None where it is not finite."""
        try:
            request = self._network(tile.shape[1], tile.shape[2], precision)
            found = request(np.ascontiguousarray(tile[None]), share_inputs=True, share_outputs=True)[0]
        except MemoryError as error:
            raise OutOfMemory(str(error)) from error
        except RuntimeError as error:
            if any(words in str(error) for words in _OUT_OF_MEMORY):
                self._compiled.clear()
                raise OutOfMemory(str(error)) from error
            raise
        # The clamp that `_read` puts behind the network turns NaN and infinity into a number beyond the limit.
        finite = np.isfinite(found).all() and max(-float(found.min()), float(found.max())) < _LIMIT
        return found[0].copy() if finite else None

    def _network(self, height: int, width: int, precision: Precision) -> openvino.CompiledModel:
        key = (height, width, precision)
        if key in self._compiled:
            self._compiled.move_to_end(key)
        else:
            while len(self._compiled) >= _KEPT:
                self._compiled.popitem(last=False)
            self._compiled[key] = self._compile(*key)
        return self._compiled[key]

    def _compile(self, height: int, width: int, precision: Precision) -> openvino.CompiledModel:
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads(),
        }
        if self._blobs is None or height * width > _BLOB_PIXELS:
            return self._core.compile_model(self._read(height, width), "CPU", settings)
        blob = self._blobs / f"{width}x{height}-{precision}-{threads()}.blob"
        kept = read_bytes(blob)
        if kept is not None:
            try:
                return self._core.import_model(kept, "CPU", settings)
            except RuntimeError as error:
                _log.info("%s: not usable (%s); compiling again", blob, one_line(error))
        compiled = self._core.compile_model(self._read(height, width), "CPU", settings)
        self._keep(blob, compiled)
        return compiled

    def _keep(self, blob: Path, compiled: openvino.CompiledModel) -> None:
        try:
            keep_bytes(blob, compiled.export_model().getvalue())
        except UserError as error:
            _log.info("the compiled network is not kept, so the next run compiles again: %s", error)
            return
        newest = sorted(blob.parent.glob("*.blob"), key=lambda file: file.stat().st_mtime, reverse=True)
        for file in newest[_BLOBS:]:
            file.unlink(missing_ok=True)

    def _read(self, height: int, width: int) -> openvino.Model:
        try:
            model = self._core.read_model(self._path)
        except RuntimeError as error:
            raise UserError(
                f"{self._path}: OpenVINO cannot read this network ({one_line(error)}); export it again"
            ) from None
        model.reshape([1, 3, height, width])
        # The plugin stores a last convolution in the reduced precision: in bf16 that is 8 bits. What it fuses into the
        # convolution counts as the graph's tail, which it leaves in fp32; so a clamp that changes nothing.
        last = model.get_results()[0].input_value(0)
        clamped = ops.clamp(ops.convert(last, "f32"), -_LIMIT, _LIMIT)
        parameters = model.get_parameters()
        whole = openvino.Model([ops.result(clamped)], parameters, "gramgan")  # pyright: ignore[reportGeneralTypeIssues]
        if parameters[0].get_element_type() == openvino.Type.f32:
            return whole
        steps = PrePostProcessor(whole)
        steps.input().tensor().set_element_type(openvino.Type.f32)
        return steps.build()
