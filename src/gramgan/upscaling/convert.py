"""The weights of an upscaling job, and what they are converted to: networks that OpenVINO and ONNX Runtime run.

Weights are found at once and read by torch only when somebody needs them as a network; the cards of converted networks
are read without it.
"""

import hashlib
import logging
import os
import shutil
import tempfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from gramgan.cache import is_whole, make_room, seal, temporary_cache, working_cache
from gramgan.errors import UserError, WriteFailedError
from gramgan.files import ensure_folder, write_bytes
from gramgan.installed import is_installed
from gramgan.locks import exclusive
from gramgan.upscaling.backends.common import one_line
from gramgan.weights.card import CARD_KEY, Card, card_from_metadata
from gramgan.weights.locate import Located, locate_generator

if TYPE_CHECKING:
    from gramgan.networks.build import LoadedGenerator
    from gramgan.networks.foreign import ForeignGenerator

Graph = Literal["xml", "onnx"]

_FORM = "2"  # of the converted networks; another one makes the old ones in the cache useless
_KEPT = 8  # converted networks in the cache

_EXTRAS = {
    "openvino": "openvino runs networks fast on CPUs",
    "onnxruntime": "onnxruntime runs ONNX networks on CPUs",
    "onnx": "onnx reads and writes ONNX networks",
}

_log = logging.getLogger(__name__)


class WeightsInUse:
    """Weights of a generator, or those between two generators.

    Args:
        spec: a name of `gramgan weights list`, a weight file, or a network of `gramgan export` (`.onnx`, `.xml`).
        blend: (PSNR-oriented weights, strength): what is used lies between them (0) and `spec` (1).

    Raises:
        UserError: a file or name is not there, or networks that can only be run are to be blended.
    """

    def __init__(self, spec: str | Path, blend: tuple[str | Path, float] | None = None) -> None:
        self.located = locate_generator(spec)
        self._psnr = locate_generator(blend[0]) if blend is not None else None
        self._strength = blend[1] if blend is not None else 1.0
        for located in (self.located, self._psnr):
            if blend is not None and located is not None and located.is_graph:
                raise UserError(f"{located.path}: nothing can be blended with this network; give the weights instead")
        digest = self.located.digest()
        if self._psnr is not None:
            digest = _sha256(digest, self._psnr.digest(), repr(self._strength))
        self.sha256 = digest
        self._graphs: dict[Graph, Path] = {}

    @cached_property
    def key(self) -> str:
        """Names everything that a converted network and its card depend on."""
        known = [located.known for located in (self.located, self._psnr) if located is not None]
        return _sha256(_FORM, self.sha256, *map(repr, known))[:32]

    @property
    def folder(self) -> Path:
        """The folder in the user's cache for what is made of these weights."""
        return working_cache() / "models" / self.key

    @cached_property
    def foreign(self) -> "ForeignGenerator | None":
        """The network where it is of another architecture than ours, which is for torch alone; None for ours.

        Raises:
            UserError: the weights are damaged, or their architecture is not known.
        """
        if self.located.known is not None or self.located.is_graph or self.kept_graph() is not None:
            return None
        from gramgan.networks.build import is_own
        from gramgan.weights.formats import read_weights

        path = self.located.path
        weights = read_weights(path)
        if is_own(weights.state) or weights.card is not None:
            return None
        if self._psnr is not None:
            raise UserError(f"{path}: strength is for generators of ESRGAN's type alone; leave it out")
        from gramgan.networks.foreign import read_foreign

        return read_foreign(weights.state, path)

    @cached_property
    def generator(self) -> "LoadedGenerator":
        """The network on torch.

        Raises:
            UserError: the weights are damaged or of another architecture, or a network that can only be run.
        """
        from gramgan.networks.build import load_generator

        generator = load_generator(_spec(self.located))
        if self._psnr is None:
            return generator
        return _blended(load_generator(_spec(self._psnr)), generator, self._strength)

    def graph(self, kind: Graph) -> Path:
        """The network as a file for OpenVINO (`xml`) or ONNX Runtime (`onnx`), converted once and kept in the cache.

        Where the cache cannot take it, it is kept for this process alone.

        Raises:
            UserError: see `generator`; or there is no room at all.
        """
        if self.located.is_graph:
            return self.located.path
        if kind not in self._graphs:
            name = f"models/{self.key}/network.{kind}"
            try:
                self._graphs[kind] = self._kept(working_cache() / name)
            except WriteFailedError as error:
                _log.warning("the converted network is not kept, so the next run converts again: %s", error)
                self._graphs[kind] = self._kept(temporary_cache() / name)
        return self._graphs[kind]

    def kept_graph(self) -> Path | None:
        """A converted network that is in the cache already, whichever it is."""
        paths = (self.folder / f"network.{kind}" for kind in get_args(Graph))
        return next((path for path in paths if is_whole(path)), None)

    def _kept(self, path: Path) -> Path:
        if not is_whole(path):
            lock = path.parent.with_name(f".{self.key}.lock")
            make_room(lock)
            with exclusive(lock):
                if not is_whole(path):
                    self._convert(path)
        _touch(path.parent)
        return path

    def card(self, graph: Path) -> Card:
        """The card of the generator if it is loaded; otherwise that in the converted network `graph`."""
        if "generator" in self.__dict__:
            return self.generator.card
        return read_graph_card(graph)

    def _convert(self, path: Path) -> None:
        generator = self.generator
        _log.info("%s: converting for %s, once", generator.card.name, "OpenVINO" if path.suffix == ".xml" else "ONNX")
        files = [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]
        for file in files:
            make_room(file)
        write_graph(path, generator)
        seal(*files)
        folders = [folder for folder in path.parent.parent.iterdir() if folder.is_dir() and folder != path.parent]
        for folder in sorted(folders, key=lambda folder: folder.stat().st_mtime, reverse=True)[_KEPT - 1 :]:
            shutil.rmtree(folder, ignore_errors=True)  # another process may be at it, too


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
    if path.suffix == ".xml":
        require("openvino")
    require("onnx")
    from gramgan.networks.onnx_graph import onnx_model

    is_onnx = path.suffix == ".onnx"
    network = onnx_model(generator.config, generator.network.state_dict(), generator.card, half=half and is_onnx)
    if is_onnx:
        write_bytes(path, network.SerializeToString())
        return
    import openvino
    from openvino.passes import ConstantFolding, Manager

    # `openvino.convert_model` takes 15 seconds for what reads as ONNX in one, and reports its use to OpenVINO.
    core = openvino.Core()
    model = core.read_model(network.SerializeToString(), b"")
    folding = Manager()
    folding.register_pass(ConstantFolding())  # ONNX has more constants than it needs, and each costs time to compile
    folding.run_passes(model)
    model.set_rt_info(generator.card.model_dump_json(), CARD_KEY.split("."))  # pyright: ignore[reportArgumentType]
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}.", dir=ensure_folder(path.parent)) as folder:
        temporary = Path(folder) / path.name
        try:
            openvino.save_model(model, temporary, compress_to_fp16=half)
            core.read_model(temporary)  # it does not say what a full disk has cut off
        except RuntimeError as error:
            raise WriteFailedError(f"{path}: cannot be written ({one_line(error)}); free some space") from None
        # The numbers first: who finds the .xml finds its .bin.
        write_bytes(path.with_suffix(".bin"), temporary.with_suffix(".bin").read_bytes())
        write_bytes(path, temporary.read_bytes())


def read_graph_card(path: Path) -> Card:
    """The card inside an ONNX or OpenVINO network; a plain one where there is none.

    Raises:
        UserError: the package for it is not installed, or the file or its card is damaged.
    """
    text = _onnx_card(path) if path.suffix.lower() == ".onnx" else _openvino_card(path)
    card = card_from_metadata({CARD_KEY: text}, str(path)) if text else None
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
    return session.get_modelmeta().custom_metadata_map.get(CARD_KEY, "")


def _openvino_card(path: Path) -> str:
    require("openvino")
    import openvino

    try:
        model = openvino.Core().read_model(path)
    except RuntimeError as error:
        raise UserError(f"{path}: OpenVINO cannot read this network ({one_line(error)}); export it again") from None
    key = CARD_KEY.split(".")
    return str(model.get_rt_info(key).astype(str)) if model.has_rt_info(key) else ""


def _blended(psnr: "LoadedGenerator", texture: "LoadedGenerator", strength: float) -> "LoadedGenerator":
    import torch

    from gramgan.networks.build import LoadedGenerator, build_generator
    from gramgan.weights.formats import load_strict
    from gramgan.weights.interpolate import interpolate

    names = (psnr.card.name, texture.card.name)
    name = f"{names[1]} at strength {strength:g} from {names[0]}"
    state = interpolate(psnr.network.state_dict(), texture.network.state_dict(), strength, names)
    with torch.device("meta"):
        network = build_generator(texture.config)
    load_strict(network, state, name)
    card = texture.card.model_copy(
        update={"name": name, "overlap": max(psnr.card.overlap, texture.card.overlap), "scores": {}}
    )
    return LoadedGenerator(network.eval(), texture.config, card)


def _spec(located: Located) -> str | Path:
    return located.path if located.known is None else located.known.name


def _touch(folder: Path) -> None:
    try:
        os.utime(folder)
    except OSError as error:
        _log.info("%s: its time cannot be set (%s)", folder, error.strerror)


def _sha256(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
