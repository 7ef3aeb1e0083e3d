"""Generators written as files for other programs, each read again and compared with the original."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gramgan.errors import UserError
from gramgan.hardware.precision import Precision
from gramgan.networks.build import LoadedGenerator, load_generator
from gramgan.networks.rrdb import RRDBConfig
from gramgan.networks.span import SPANConfig, with_training_branches
from gramgan.places import as_place
from gramgan.upscaling.backends import Backend
from gramgan.upscaling.choice import difference, probe_picture
from gramgan.upscaling.convert import require, write_graph
from gramgan.upscaling.openmodeldb import Listing
from gramgan.weights.formats import COMMON_GROWTH, old_esrgan_names, widened, write_pth, write_safetensors

_FORMATS = ("safetensors", "pth", "onnx", "xml")
"""Suffixes of what is written."""

MAX_DIFFERENCE = 1e-4
"""Largest difference from the original that a file in fp32 may have, of values in [0, 1]: rounding of sums."""
MAX_HALF_RMS = 0.005
"""Root mean square difference that a file in fp16 may have."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """What was written, and how far its result on a test picture is from the original's: root mean square and largest.

    `path` is the file to give to other programs; OpenVINO's `.xml` has its numbers in a `.bin` beside it. `record` is
    that for OpenModelDB, where it was asked for.
    """

    path: Path
    size: int
    rms: float
    max_difference: float
    record: Path | None = None


def export_generator(
    spec: str | Path,
    target: Path,
    form: str | None = None,
    *,
    half: bool = False,
    old_keys: bool = False,
    name: str | None = None,
    licence: str | None = None,
    consistency: bool | None = None,
    listing: Listing | None = None,
) -> Exported:
    """Write a generator to `target`, read it with the program that it is for, and compare the results.

    The card goes into safetensors, ONNX and OpenVINO files; `.pth` has no place for it.

    Args:
        spec: a name of `gramgan weights list` or a weight file.
        target: the file; its suffix chooses the format, if `form` does not.
        form: one of `_FORMATS`.
        half: store weights in fp16 (half the size); ONNX Runtime computes in it too.
        old_keys: `.pth` under the names of ESRGAN's first release, `model.1.sub.0.RDB1.conv1.0.weight`, instead of
            `body.0.rdb1.conv1.weight`.
        name: what the card is to call the generator; None: as it does.
        licence: of the weights themselves; None: as the card says.
        consistency: whether results are to be back-projected where users do not decide; None: as the card says. The
            network itself does not do it: other programs show what it makes.
        listing: write a record for OpenModelDB beside the file, with this in it.

    Raises:
        UserError: format, target or weights are unusable, a package is not installed, or the written file's results are
            too far from the original's (it is deleted then).
    """
    form = _form(target, form)
    if target.suffix.lower() != f".{form}":
        target = target.with_name(f"{target.name}.{form}")
    if old_keys and form != "pth":
        raise UserError(f"old_keys: only .pth files have ESRGAN's old names, not .{form}; leave it out")
    if form == "onnx":
        require("onnxruntime")
    generator = load_generator(spec)
    wanted = {"name": name, "licence": licence, "consistent": consistency}
    said = {key: value for key, value in wanted.items() if value is not None}
    if said:
        if form == "pth":
            raise UserError(f"{next(iter(said))}: .pth files have no card that could say it; leave it out")
        generator = replace(generator, card=generator.card.model_copy(update=said))
    if target.exists() and as_place(spec).exists() and target.samefile(spec):
        raise UserError(f"{target}: these are the weights themselves; choose another name for the output")
    if old_keys and not (isinstance(generator.config, RRDBConfig) and generator.config.upsampler == "nearest"):
        raise UserError("old_keys: ESRGAN knows RRDBNets with the upsampler 'nearest' only; leave it out")
    if old_keys and generator.config.scale == 3:
        raise UserError("old_keys: under ESRGAN's old names x3 could not be told from x2; leave it out")
    if listing is not None:
        listing.check(form, generator)
    _write(target, generator, form, half, old_keys)
    rms, largest = _compare(target, generator, form)
    if not (rms <= MAX_HALF_RMS if half else largest <= MAX_DIFFERENCE):
        for file in _files(target, form):
            file.unlink()
        raise UserError(
            f"{target}: its results differ by {largest:.2g} from the original's, so it was deleted; "
            + ("export it without fp16" if half else "update the package that reads this format")
        )
    if isinstance(generator.config, RRDBConfig) and form in ("pth", "safetensors"):
        if generator.config.upsampler != "nearest":
            _log.warning("%s: its sub-pixel upsampling is not ESRGAN's, other programs may not know it", target)
        elif generator.config.scale == 3:
            _log.warning("%s: ESRGAN has no ×3, so other programs do not know it; export .onnx for them", target)
    record = listing.write(target, generator) if listing is not None else None
    return Exported(target, sum(file.stat().st_size for file in _files(target, form)), rms, largest, record)


def _files(target: Path, form: str) -> list[Path]:
    return [target, target.with_suffix(".bin")] if form == "xml" else [target]


def _form(target: Path, form: str | None) -> str:
    if form is None:
        form = target.suffix.lower().removeprefix(".")
        if form not in _FORMATS:
            raise UserError(f"{target}: its suffix names no format; use .{', .'.join(_FORMATS)}, or give --format")
    elif form not in _FORMATS:
        raise UserError(f"format {form!r}: unknown; use {', '.join(_FORMATS)}")
    return form


def _write(target: Path, generator: LoadedGenerator, form: str, half: bool, old_keys: bool) -> None:
    state: Mapping[str, Tensor] = generator.network.state_dict()
    card = generator.card
    if isinstance(generator.config, SPANConfig):
        if form in ("safetensors", "pth"):  # the form that other programs know
            state = with_training_branches(state)
    elif form in ("safetensors", "pth") and generator.config.gc < COMMON_GROWTH:
        state = widened(state)
        card = card.model_copy(update={"architecture": {**card.architecture, "gc": COMMON_GROWTH}})
        _log.info("%s: its dense blocks got %d growth channels, as other programs want them", target, COMMON_GROWTH)
    if form == "safetensors":
        write_safetensors(target, state, card, half=half)
    elif form == "pth":
        write_pth(target, old_esrgan_names(state) if old_keys else state, half=half)
    else:
        write_graph(target, generator, half=half)


def _compare(target: Path, generator: LoadedGenerator, form: str) -> tuple[float, float]:
    tile = probe_picture()[None]
    with torch.inference_mode():
        truth = generator.network(torch.from_numpy(tile)).numpy()
    if form in ("safetensors", "pth"):
        with torch.inference_mode():
            found = load_generator(target).network(torch.from_numpy(tile)).numpy()
    else:
        found = _backend(target, form).run(tile)
    if not np.isfinite(found).all():
        return float("inf"), float("inf")
    return difference(found, truth)


def _backend(target: Path, form: str) -> Backend:
    precision: Precision = "fp32"
    if form == "onnx":
        from gramgan.upscaling.backends.onnxruntime_backend import OnnxRuntimeBackend

        return OnnxRuntimeBackend(target, target.name, 0)
    from gramgan.upscaling.backends.openvino_backend import OpenVinoBackend

    return OpenVinoBackend(target, target.name, precision, 0)
