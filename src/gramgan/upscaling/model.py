"""Weights opened for upscaling: found, converted where need be, and given to the backend that runs them best.

torch is imported only where it runs the network, or where weights are converted or backends are compared for the first
time; after that OpenVINO and ONNX Runtime find all they need in the user's cache.
"""

import hashlib
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from gramgan.errors import UserError
from gramgan.hardware.allocator import keep_memory
from gramgan.hardware.precision import Precision, check_precision
from gramgan.hardware.processor import bf16_instructions, may_have_accelerator, processor_key
from gramgan.installed import is_installed, package_version
from gramgan.upscaling.backends import Backend
from gramgan.upscaling.backends.common import bytes_per_pixel
from gramgan.upscaling.backends.trial import Form, try_out
from gramgan.upscaling.backends.turns import TurnsBackend
from gramgan.upscaling.choice import BackendName, Candidate, Choice
from gramgan.upscaling.convert import Graph, WeightsInUse, require
from gramgan.weights.card import Card

if TYPE_CHECKING:
    from gramgan.networks.foreign import ForeignGenerator

DEFAULT_MODEL = "gramgan-x4"
"""The weights that are used for clean pictures where none are named: the project's own, which are in the package."""
PHOTO_MODEL = "gramgan-x4-photo"
"""The same for pictures with noise or JPEG blocks."""
BACKENDS: tuple[str, ...] = ("auto", *get_args(BackendName))

_WHOLE = 1 << 30  # a tile that no picture fills
_FULL_NF = 64  # assumed of networks without a card

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenModel:
    """A generator that is ready to run: its backend, the card of its weights, their name and their SHA-256 digest.

    `tile` is the side that a tile should have, in low-resolution pixels: for some architectures more than any picture
    has; None: the engine chooses.
    """

    backend: Backend
    card: Card
    name: str
    sha256: str
    tile: int | None = None


def open_model(
    spec: str | Path | None = None,
    *,
    backend: str = "auto",
    precision: str = "auto",
    device: str = "auto",
    blend: tuple[str | Path, float] | None = None,
) -> OpenModel:
    """Open a generator for upscaling.

    `auto` takes a GPU where torch sees one. On a CPU the backends that are installed, and right, take turns until the
    work has shown which is fastest (see `gramgan.upscaling.choice`).

    Args:
        spec: a name of `gramgan weights list`, a weight file, or a network written by `gramgan export` (`.onnx`,
            `.xml`); None for `DEFAULT_MODEL`.
        backend: one of `BACKENDS`.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`; all but the first two mean torch.
        blend: (PSNR-oriented weights, strength from 0 to 1): weights between those and `spec` (network interpolation).

    Raises:
        UserError: weights, device or backend are not there, or the backend cannot do that precision.
    """
    keep_memory()
    if backend not in BACKENDS:
        raise UserError(f"backend {backend!r}: unknown; use {', '.join(BACKENDS)}")
    wanted = check_precision(precision)
    weights = WeightsInUse(DEFAULT_MODEL if spec is None else spec, blend)
    if weights.foreign is not None:
        return _open_foreign(weights, weights.foreign, backend, precision, device)
    if _on_torch(backend, device, weights):
        return _open_torch(weights, precision, device)
    if backend == "onnxruntime" and wanted not in (None, "fp32"):
        raise UserError(f"precision {wanted!r}: onnxruntime computes in fp32 here; use auto or fp32")

    only = _only_choice(weights, backend, wanted)
    form = try_out(weights.located.path, weights.sha256) if weights.located.is_graph else None
    if only is not None:
        made, card = _make(weights, form, *only)
    else:
        made, card = _by_turns(weights, form, backend, precision, wanted)
    if form is not None:
        card = form.fit(card)
    _log.debug("%s: runs on %s", card.name, made.name)
    return OpenModel(made, card, card.name, weights.sha256)


def _by_turns(
    weights: WeightsInUse, form: Form | None, backend: str, precision: str, wanted: Precision | None
) -> tuple[TurnsBackend, Card]:
    reference, candidates = _candidates(weights, backend, wanted)
    choice = Choice(f"{weights.key} {backend} {precision}", candidates)
    card = _card(weights, choice)
    made = TurnsBackend(
        choice,
        candidates,
        reference,
        lambda *one: _make(weights, form, *one)[0],
        partial(_room, card, form),
        f"{backend} cpu {precision}",
        side=None if form is None else form.side,
    )
    return made, card


def _card(weights: WeightsInUse, choice: Choice) -> Card:
    """The card, from where it costs least: torch takes a second to import, and may not be needed."""
    if weights.located.is_graph:
        return weights.card(weights.located.path)
    graph = weights.kept_graph() if choice.tried else None
    return weights.generator.card if graph is None else weights.card(graph)


def _on_torch(backend: str, device: str, weights: WeightsInUse) -> bool:
    """Whether the device or the user decides for torch, so that there is nothing to choose."""
    on_cpu = device == "cpu" or (device == "auto" and not _has_accelerator(backend))
    if weights.located.is_graph:
        if backend == "torch":
            raise UserError(
                f"{weights.located.path}: torch does not run this kind of file; use openvino or onnxruntime"
            )
    elif backend == "torch" or (backend == "auto" and not on_cpu):
        return True
    if device not in ("auto", "cpu"):
        raise UserError(f"device {device!r}: this runs on the CPU only; use cpu or auto, or weights and backend torch")
    return False


def _has_accelerator(backend: str) -> bool:
    if backend != "auto" or not may_have_accelerator():
        return False
    from gramgan.hardware.device import resolve_device  # imports torch

    return resolve_device("auto", mps=True) != "cpu"


def _only_choice(weights: WeightsInUse, backend: str, precision: Precision | None) -> Candidate | None:
    """What the user, or what is installed, leaves no choice of."""
    if backend != "auto":
        require(backend)
        if backend == "onnxruntime":
            require("onnx")
            if weights.located.path.suffix.lower() == ".xml":
                raise UserError(f"{weights.located.path}: onnxruntime does not read this kind of file; use openvino")
            return Candidate("onnxruntime", "fp32")
        return None if precision is None else Candidate(cast(BackendName, backend), precision)
    if weights.located.is_graph and not _installed(weights):
        require("openvino" if weights.located.path.suffix.lower() == ".xml" else "onnxruntime")
        require("onnx")
    return None


def _installed(weights: WeightsInUse) -> list[BackendName]:
    """The backends but torch that are installed and read these weights, or what they are converted to."""
    can_convert = weights.located.is_graph or is_installed("onnx")
    found: list[BackendName] = ["openvino"] if can_convert and is_installed("openvino") else []
    if weights.located.path.suffix.lower() != ".xml" and is_installed("onnxruntime") and is_installed("onnx"):
        found.append("onnxruntime")
    return found


def _candidates(weights: WeightsInUse, backend: str, precision: Precision | None) -> tuple[Candidate, list[Candidate]]:
    """(the reference, what may be chosen); the first of the latter where nothing is right."""
    found: list[Candidate] = []
    if backend == "auto" and not weights.located.is_graph:
        found += [Candidate("torch", one) for one in _torch_precisions(precision)]
    installed = _installed(weights) if backend == "auto" else [cast(BackendName, backend)]
    if "openvino" in installed:
        from gramgan.upscaling.backends.openvino_backend import supported_precisions

        can = supported_precisions()
        if precision is None:  # where there is bf16, it has the faster units
            found += [Candidate("openvino", one) for one in can if one != "fp16" or "bf16" not in can]
        elif precision in can:
            found.append(Candidate("openvino", precision))
    if "onnxruntime" in installed and precision in (None, "fp32"):
        found.append(Candidate("onnxruntime", "fp32"))
    if not found:
        raise UserError(
            f"precision {precision!r}: no backend that reads {weights.located.path} computes in it here; use auto"
        )
    return found[0] if weights.located.is_graph else Candidate("torch", "fp32"), found


def _torch_precisions(precision: Precision | None) -> list[Precision]:
    if precision is not None:
        return [precision]
    if bf16_instructions():
        return ["fp32", "bf16"]
    from gramgan.hardware.probe import probe  # where nothing says what the processor has

    probed = probe("cpu").precision
    return ["fp32"] if probed == "fp32" else ["fp32", probed]


def _open_torch(weights: WeightsInUse, precision: str, device: str) -> OpenModel:
    from gramgan.upscaling.backends.torch_backend import TorchBackend

    generator = weights.generator
    made = TorchBackend(generator.network, generator.card.name, precision, device)
    return OpenModel(made, generator.card, generator.card.name, weights.sha256)


def _open_foreign(
    weights: WeightsInUse, generator: "ForeignGenerator", backend: str, precision: str, device: str
) -> OpenModel:
    from gramgan.upscaling.backends.spandrel_backend import SpandrelBackend

    path, card = weights.located.path, generator.card
    if backend not in ("auto", "torch"):
        raise UserError(f"backend {backend!r}: {path} is a {card.architecture['kind']}, which torch alone runs")
    _log.info(
        "%s: %s (%s), x%d; licence %s",
        path,
        card.architecture["kind"],
        card.architecture["tags"],
        card.scale,
        card.licence,
    )
    if card.architecture["tiling"] == "discouraged":
        _log.warning("%s: its architecture looks at whole pictures; where tiles meet, something may be seen", path)
    made = SpandrelBackend(generator, card.name, precision, device)
    return OpenModel(made, card, card.name, weights.sha256, _WHOLE if generator.whole else None)


def _make(weights: WeightsInUse, form: Form | None, backend: BackendName, precision: Precision) -> tuple[Backend, Card]:
    if backend == "torch":
        model = _open_torch(weights, precision, "cpu")
        return model.backend, model.card
    graph: Graph = "xml" if backend == "openvino" else "onnx"
    path = weights.graph(graph)
    card = weights.card(path)
    room = _room(card, form, precision)
    if backend == "onnxruntime":
        from gramgan.upscaling.backends.onnxruntime_backend import OnnxRuntimeBackend

        made: Backend = OnnxRuntimeBackend(path, card.name, room)
        return made if form is None else form.around(made), card
    from gramgan.upscaling.backends.openvino_backend import OpenVinoBackend

    release = f"{package_version('openvino')} {processor_key()}"
    blobs = weights.folder / hashlib.sha256(release.encode()).hexdigest()[:16]
    made = OpenVinoBackend(path, card.name, precision, room, blobs)
    return made if form is None else form.around(made), card


def _room(card: Card, form: Form | None, precision: Precision) -> int:
    nf = card.architecture.get("nf")
    known = bytes_per_pixel(nf if isinstance(nf, int) else _FULL_NF, precision, card.scale)
    return known if form is None else max(known, form.bytes_per_pixel)
