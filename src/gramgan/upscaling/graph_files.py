"""Networks as files that OpenVINO and ONNX Runtime run: written, and their cards read (without torch)."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gramgan.errors import UserError
from gramgan.files import ensure_folder, write_bytes
from gramgan.hardware.processor import is_installed
from gramgan.upscaling.backends.common import one_line
from gramgan.weights.card import METADATA_KEY, Card, card_from_metadata

if TYPE_CHECKING:
    from gramgan.networks.build import LoadedGenerator

_EXTRAS = {
    "openvino": "openvino runs networks fast on CPUs",
    "onnxruntime": "onnxruntime runs ONNX networks on CPUs",
    "onnx": "onnx reads and writes ONNX networks",
}


def require(module: str) -> None:
    """Make sure that an optional package is there.

    Raises:
        UserError: it is not; the message says what it is for and the command that brings it.
    """
    if not is_installed(module):
        extra = "openvino" if module == "openvino" else "onnx"
        raise UserError(f"{_EXTRAS[module]} and is not installed; run `pip install 'gramgan[{extra}]'`")


def write_graph(path: Path, generator: "LoadedGenerator", *, half: bool = False) -> None:
    """Write a generator as ONNX (`.onnx`) or OpenVINO IR (`.xml` with `.bin` beside it), with its card, atomically.

    Args:
        path: the file; its suffix chooses.
        generator: from `gramgan.load_generator`.
        half: weights in fp16; an ONNX network computes in it too, OpenVINO computes in what it is told.

    Raises:
        UserError: the package for it is not installed, or the file cannot be written.
    """
    state = generator.network.state_dict()
    if path.suffix == ".onnx":
        require("onnx")
        from gramgan.networks.onnx_graph import onnx_model

        write_bytes(path, onnx_model(generator.config, state, generator.card, half=half).SerializeToString())
        return
    require("openvino")
    import openvino

    from gramgan.networks.openvino_graph import openvino_model

    model = openvino_model(generator.config, state, generator.card)
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}.", dir=ensure_folder(path.parent)) as folder:
        temporary = Path(folder) / path.name
        openvino.save_model(model, temporary, compress_to_fp16=half)
        # The numbers first: who finds the .xml finds its .bin.
        write_bytes(path.with_suffix(".bin"), temporary.with_suffix(".bin").read_bytes())
        write_bytes(path, temporary.read_bytes())


def read_graph_card(path: Path) -> Card:
    """The card inside an ONNX or OpenVINO network; a plain one where there is none.

    Raises:
        UserError: the package for it is not installed, or the file or its card is damaged.
    """
    text = _onnx_card(path) if path.suffix.lower() == ".onnx" else _openvino_card(path)
    card = card_from_metadata({METADATA_KEY: text}, str(path)) if text else None
    return card or Card(
        name=path.stem,
        architecture={"network": "rrdb"},
        licence="unknown",
        origin=str(path),
        notes=["The file has no card: data, licence and overlap are not known."],
    )


def _onnx_card(path: Path) -> str:
    require("onnxruntime")
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors  # pyright: ignore[reportAttributeAccessIssue]

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except (errors.InvalidProtobuf, errors.InvalidGraph, errors.Fail) as error:
        raise UserError(f"{path}: ONNX Runtime cannot read this network ({one_line(error)}); export it again") from None
    return session.get_modelmeta().custom_metadata_map.get(METADATA_KEY, "")


def _openvino_card(path: Path) -> str:
    require("openvino")
    import openvino

    try:
        model = openvino.Core().read_model(path)
    except RuntimeError as error:
        raise UserError(f"{path}: OpenVINO cannot read this network ({one_line(error)}); export it again") from None
    key = METADATA_KEY.split(".")
    return str(model.get_rt_info(key).astype(str)) if model.has_rt_info(key) else ""
