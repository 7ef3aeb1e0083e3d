"""The generator on ONNX Runtime's CPU provider, in fp32. Does not import torch."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as errors  # pyright: ignore[reportAttributeAccessIssue]

from gramgan.errors import UserError
from gramgan.hardware.allocator import usable_bytes
from gramgan.hardware.precision import Precision
from gramgan.hardware.processor import threads
from gramgan.upscaling.backends import OutOfMemory
from gramgan.upscaling.backends.common import never_finite, one_line

_OUT_OF_MEMORY = ("bad_alloc", "bad allocation", "Failed to allocate memory")
_KEPT = 2  # sessions for different tile shapes; each holds a copy of the weights


class OnnxRuntimeBackend:
    """A `Backend` (see there) for a network in ONNX.

    Every tile shape has a session of its own, as in `OpenVinoBackend`.

    Args:
        path: the network, `.onnx`.
        weights: name of the weights, for messages.
        bytes_per_pixel: see `Backend`.
    """

    side = None
    batch = 1
    precision: Precision = "fp32"

    def __init__(self, path: Path, weights: str, bytes_per_pixel: int) -> None:
        self._path, self._weights = path, weights
        self.bytes_per_pixel = bytes_per_pixel
        self.name = "onnxruntime cpu fp32"
        self._sessions: OrderedDict[tuple[int, int], onnxruntime.InferenceSession] = OrderedDict()

    def free_bytes(self) -> int:
        """Memory of the device that new tiles may use."""
        return usable_bytes()

    def run(self, tiles: np.ndarray) -> np.ndarray:
        """Enlarge tiles `[B, 3, h, w]` to `[B, 3, 4h, 4w]`."""
        try:
            session = self._session(tiles.shape[2], tiles.shape[3])
            given = session.get_inputs()[0]
            dtype = np.float16 if given.type == "tensor(float16)" else np.float32
            found = [session.run(None, {given.name: np.ascontiguousarray(tile[None], dtype)})[0] for tile in tiles]
        except MemoryError as error:
            raise OutOfMemory(str(error)) from error
        except (errors.RuntimeException, errors.Fail) as error:
            if any(words in str(error) for words in _OUT_OF_MEMORY):
                self._sessions.clear()
                raise OutOfMemory(str(error)) from error
            raise
        result = np.concatenate([np.asarray(one, np.float32) for one in found])
        if not np.isfinite(result).all():
            raise never_finite(self._weights)
        return result

    def _session(self, height: int, width: int) -> onnxruntime.InferenceSession:
        key = (height, width)
        if key in self._sessions:
            self._sessions.move_to_end(key)
        else:
            while len(self._sessions) >= _KEPT:
                self._sessions.popitem(last=False)
            self._sessions[key] = self._open(height, width)
        return self._sessions[key]

    def _open(self, height: int, width: int) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads()
        options.log_severity_level = 3
        for name, size in (("batch", 1), ("height", height), ("width", width)):
            options.add_free_dimension_override_by_name(name, size)
        try:
            return onnxruntime.InferenceSession(self._path, options, providers=["CPUExecutionProvider"])
        except (errors.InvalidProtobuf, errors.InvalidGraph, errors.Fail, errors.NoSuchFile) as error:
            raise UserError(
                f"{self._path}: ONNX Runtime cannot read this network ({one_line(error)}); export it again"
            ) from None
