"""Networks that somebody else has exported are tried out first, in a process of their own.

An ONNX or OpenVINO file is a program: it can loop for ever, or take all memory. So it is looked at, and run on a small
tile, where time and memory are bounded; what it takes and gives is known from then on. This is no proof: a network that
misbehaves on larger tiles alone is not found.
"""

import functools
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gramgan import own_process
from gramgan.errors import UserError
from gramgan.files import record_as
from gramgan.installed import is_installed
from gramgan.names import leads_out
from gramgan.ops.bicubic import SCALE
from gramgan.upscaling.backends import Backend
from gramgan.upscaling.backends.common import one_line
from gramgan.weights.card import Card

_SECONDS = 60
_MEMORY = 3 << 29  # bytes of addresses beside four times the file; frameworks reserve half a GiB
_SIDE = 32  # of the tile, for networks that take any
_LOOPS = ("Loop", "Scan", "TensorIterator")
_FLOATS = {"tensor(float)": "float32", "tensor(float16)": "float16", "f32": "float32", "f16": "float16"}


@dataclass(frozen=True)
class Form:
    """What a network takes: tiles of `height` × `width` pixels, 0 for any; and about how much memory for each pixel.

    `scale` is how many times larger its results are.
    """

    height: int
    width: int
    bytes_per_pixel: int
    scale: int = SCALE

    @property
    def side(self) -> int | None:
        """Largest side of a tile; None for any."""
        return min(self.height, self.width) or None

    def fit(self, card: Card) -> Card:
        """`card` with the network's scale, and an overlap that leaves most of a tile of this size."""
        if card.scale != self.scale:
            card = card.model_copy(update={"architecture": {**card.architecture, "scale": self.scale}})
        return card if self.side is None else card.model_copy(update={"overlap": min(card.overlap, self.side // 4)})

    def around(self, backend: Backend) -> Backend:
        """`backend` for tiles of any size up to this one."""
        return backend if self.side is None else _Padded(backend, self)


class _Padded:
    """A `Backend` (see there) of a network that takes tiles of one size: smaller ones are padded with their edges."""

    def __init__(self, backend: Backend, form: Form) -> None:
        self._backend, self._height, self._width, self._scale = backend, form.height, form.width, form.scale
        self.name, self.batch, self.side = backend.name, backend.batch, min(form.height, form.width)
        self.bytes_per_pixel = backend.bytes_per_pixel

    def free_bytes(self) -> int:
        return self._backend.free_bytes()

    def run(self, tiles: np.ndarray) -> np.ndarray:
        height, width = tiles.shape[2:]
        missing = ((0, 0), (0, 0), (0, self._height - height), (0, self._width - width))
        return self._backend.run(np.pad(tiles, missing, "edge"))[..., : self._scale * height, : self._scale * width]


@functools.lru_cache(maxsize=8)
def try_out(path: Path, sha256: str) -> Form:
    """Run a network, `.onnx` or `.xml`, on a small tile.

    Args:
        path: the file.
        sha256: of the file, which is not tried twice in one process.

    Raises:
        UserError: it cannot be read, does not enlarge RGB by a whole number, loops, or takes too much time or memory.
    """
    command = [sys.executable, "-P", "-m", "gramgan.upscaling.backends.trial", str(path)]
    environment = own_process.environment() | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise UserError(f"{path}: this network does not end within {_SECONDS} s on a small tile; use another") from None
    last = done.stdout.decode("utf-8", "replace").splitlines()[-1:]
    said = json.loads(last[0]) if done.returncode == 0 and last else {}
    if "problem" in said:
        raise UserError(f"{path}: {said['problem']}")
    form = record_as(Form, said)
    if form is None:
        gib = _memory(path) / 2**30
        raise UserError(f"{path}: this network takes more than {gib:.1f} GiB for a small tile, or crashes; use another")
    return form


def main(path: Path) -> dict[str, object]:
    """What the process does: look at the network, run it, and say what it is, or what is wrong."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_memory(path), _memory(path)))
    if path.stat().st_size == 0:
        return {"problem": "the file is empty (0 bytes); export it again"}
    is_onnx = path.suffix.lower() == ".onnx"
    try:
        if is_onnx and is_installed("onnx"):
            _look_at(path)
        runs = _OnnxRuntime(path) if is_onnx and is_installed("onnxruntime") else _OpenVino(path)
        return asdict(_tried(runs))
    except UserError as error:
        return {"problem": str(error)}
    except MemoryError:
        return {}
    except Exception as error:  # noqa: BLE001 (frameworks raise what they like at files that are none of theirs)
        if "llocat" in str(error) or "bad_alloc" in str(error):
            return {}
        return {"problem": f"this network cannot be read or run ({one_line(error)}); export it again"}


def _look_at(path: Path) -> None:
    import onnx

    model = onnx.load(path, load_external_data=False)
    graphs = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        for node in graph.node:
            graphs += [one for attribute in node.attribute for one in (attribute.g, *attribute.graphs) if one.node]
            _refuse_loop(node.op_type)
        for tensor in getattr(graph, "initializer", ()):
            places = [entry.value for entry in tensor.external_data if entry.key == "location"]
            if any(map(leads_out, places)):
                raise UserError("its numbers are to be read from outside of its folder; export it again")


def _refuse_loop(operation: str) -> None:
    if operation in _LOOPS:
        raise UserError(f"this network holds a loop ({operation}), which may never end; export it without")


class _OnnxRuntime:
    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # each has a stack and memory of its own
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs = [(_FLOATS.get(one.type, one.type), one.shape) for one in self._session.get_inputs()]

    def __call__(self, tile: np.ndarray) -> np.ndarray:
        return np.asarray(self._session.run(None, {self._session.get_inputs()[0].name: tile})[0])


class _OpenVino:
    def __init__(self, path: Path) -> None:
        import openvino

        self._model = openvino.Core().read_model(path)
        for operation in self._model.get_ops():
            _refuse_loop(operation.get_type_name())
        self.inputs = [
            (
                _FLOATS.get(one.get_element_type().get_type_name(), one.get_element_type().get_type_name()),
                [length.get_length() if length.is_static else None for length in one.get_partial_shape()],
            )
            for one in self._model.inputs
        ]

    def __call__(self, tile: np.ndarray) -> np.ndarray:
        import openvino

        self._model.reshape(list(tile.shape))
        compiled = openvino.Core().compile_model(self._model, "CPU", {"INFERENCE_NUM_THREADS": 1})
        return np.asarray(compiled(tile)[0])


def _tried(runs: "_OnnxRuntime | _OpenVino") -> Form:
    """Run it once.

    Raises:
        UserError: it takes or gives something else than RGB, enlarged a whole number of times.
    """
    if len(runs.inputs) != 1:
        raise UserError(f"this network takes {len(runs.inputs)} inputs, and a picture is one; use another")
    (kind, shape), sizes = runs.inputs[0], []
    if len(shape) != 4 or kind not in _FLOATS.values():
        raise UserError(f"this network takes {kind} of {len(shape)} dimensions, not pictures [1, 3, H, W]; use another")
    sizes: list[int] = [length if isinstance(length, int) and length > 0 else 0 for length in shape]
    if sizes[0] not in (0, 1) or sizes[1] not in (0, 3):
        raise UserError(f"this network takes {_dimensions(shape)}, and pictures are [1, 3, H, W]; export it for RGB")
    height, width = sizes[2] or _SIDE, sizes[3] or _SIDE
    before = _peak()
    tile = np.random.default_rng(0).random((1, 3, height, width)).astype(kind)
    result = runs(tile)
    if result.ndim != 4 or result.shape[:2] != (1, 3) or result.dtype.kind != "f":
        raise UserError(f"this network gives {_dimensions(result.shape)} of {_dimensions(tile.shape)}; use one for RGB")
    scale = result.shape[2] // height
    if scale < 1 or result.shape[2:] != (scale * height, scale * width):
        raise UserError(f"this network enlarges {result.shape[3] / width:g} times; use one that does so a whole number")
    fixed = Form(height if sizes[2] else 0, width if sizes[3] else 0, 0, scale)
    if bool(fixed.height) != bool(fixed.width):
        fixed = Form(height, width, 0, scale)
    return replace(fixed, bytes_per_pixel=(_peak() - before) // (height * width))


def _dimensions(shape: Any) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _memory(path: Path) -> int:
    return _MEMORY + 4 * (path.stat().st_size + _size(path.with_suffix(".bin")))


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _peak() -> int:
    """Bytes of memory that this process has had at most."""
    if sys.platform == "win32":
        return 0
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else 1024 * used


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
