"""Scoring generators, or finished results, against the truth."""

import csv
import io
import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

import gramgan
from gramgan.errors import UserError
from gramgan.evaluation.protocols import SR_Y_CROP4, Metric, Protocol
from gramgan.evaluation.scoring import MIN_SIZE, ST_LPIPS_WEIGHTS, Scorer
from gramgan.files import sha256, write_text
from gramgan.hardware.device import resolve_device
from gramgan.hardware.precision import Precision
from gramgan.hardware.probe import probe
from gramgan.images import Raster, read_rgb
from gramgan.images.pairing import Pair, pair_low, pair_with
from gramgan.networks.build import load_generator
from gramgan.ops.resize import bicubic_up, matlab_bicubic_down
from gramgan.progress import Progress, silent
from gramgan.upscaling.engine import Upscaler
from gramgan.weights.catalog import KNOWN, weight_path

PrecisionChoice = Precision | Literal["auto"]

BICUBIC = "bicubic"
"""Name of the pseudo-model that enlarges with MATLAB's bicubic filter."""

_LR_MADE = "made from HR by MATLAB's bicubic, rounded to 8 bits"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageScores:
    """Scores of one image: `{metric name: value}`; PSNR is infinite where the images are identical."""

    image: str
    scores: dict[str, float]


@dataclass(frozen=True)
class ModelScores:
    """Scores of one model; `weights_sha256` and `precision` are empty for `bicubic` and for finished results."""

    name: str
    kind: Literal["generator", "bicubic", "results"]
    weights_sha256: str
    precision: str
    images: tuple[ImageScores, ...]

    def mean(self) -> dict[str, float]:
        """Mean of each metric over the images."""
        return {
            metric: math.fsum(row.scores[metric] for row in self.images) / len(self.images)
            for metric in self.images[0].scores
        }


@dataclass(frozen=True)
class EvaluationReport:
    """Scores of one or more models on the same images under one protocol."""

    protocol: Protocol
    metrics: tuple[Metric, ...]
    models: tuple[ModelScores, ...]
    hr_folder: str
    low_resolution: str
    """Folder of the LR images, or how they were made; empty where only finished results were scored."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values; infinite numbers are written as the text `inf`, for JSON has none."""
        return {
            "gramgan_version": gramgan.__version__,
            "protocol": asdict(self.protocol),
            "hr_folder": self.hr_folder,
            "low_resolution": self.low_resolution,
            "metrics": [asdict(metric) for metric in self.metrics],
            "models": [
                {
                    "name": model.name,
                    "kind": model.kind,
                    "weights_sha256": model.weights_sha256,
                    "precision": model.precision,
                    "mean": _finite(model.mean()),
                    "images": [{"image": row.image, "scores": _finite(row.scores)} for row in model.images],
                }
                for model in self.models
            ],
        }

    def to_json(self, path: Path) -> None:
        """Write `to_dict` to `path`.

        Raises:
            UserError: the file cannot be written.
        """
        write_text(path, json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")

    def to_csv(self, path: Path) -> None:
        """Write a line for each number, with its protocol, the metric's version and the hashes of all weights
        involved.

        The image `mean` stands for the mean over the images.

        Raises:
            UserError: the file cannot be written.
        """
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(
            (
                "protocol",
                "model",
                "model_sha256",
                "precision",
                "image",
                "metric",
                "value",
                "unit",
                "metric_version",
                "metric_sha256",
            )
        )
        for model in self.models:
            for row in (*model.images, ImageScores("mean", model.mean())):
                lines.writerows(
                    (
                        self.protocol.name,
                        model.name,
                        model.weights_sha256,
                        model.precision,
                        row.image,
                        metric.name,
                        repr(row.scores[metric.name]),
                        metric.unit,
                        metric.version,
                        metric.weights_sha256,
                    )
                    for metric in self.metrics
                )
        write_text(path, text.getvalue())


def evaluate(
    models: str | Path | Sequence[str | Path],
    hr_folder: str | Path,
    lr_folder: str | Path | None = None,
    *,
    results: Sequence[str | Path] = (),
    protocol: Protocol = SR_Y_CROP4,
    device: str = "auto",
    precision: PrecisionChoice = "auto",
    progress: Progress | None = None,
) -> EvaluationReport:
    """Score models and folders of finished results on the images of a folder.

    HR images are cropped at the right and bottom to multiples of 4. LR images are those of `lr_folder`, or those in
    `hr_folder` whose names say LR, or else are made from the HR images by MATLAB's bicubic. Files belong together
    whose names are equal but for the tokens HR, LR, SR and x4. ST-LPIPS is computed where its weights are in the
    cache; else a log message says how to bring them. Grey images count as RGB with three equal channels.

    Args:
        models: a name from the catalogue, the path of a weight file, `bicubic`, or several of them; may be empty.
        hr_folder: folder of the truth.
        lr_folder: folder of the LR images.
        results: folders of images that another program enlarged.
        protocol: how images are scored.
        device: `auto`, `cpu`, `cuda`, `cuda:N`.
        precision: of the generators; `auto` for what the probe found. The scores themselves are computed in float32
            or more.
        progress: called with (images done, all images) over all models.

    Returns:
        Scores of each image and model.

    Raises:
        UserError: a folder is missing or empty, files have no partner, sizes do not fit, an image is damaged or too
            small, or weights are missing.
    """
    hr_folder = Path(hr_folder)
    specs = [models] if isinstance(models, str | Path) else list(models)
    folders = [Path(folder) for folder in results]
    if not specs and not folders:
        raise UserError("evaluate: nothing to score; give a model or a folder of results")
    device = resolve_device(device)
    low = pair_low(hr_folder, Path(lr_folder) if lr_folder is not None else None) if specs else []
    finished = [pair_with(hr_folder, folder, "result") for folder in folders]
    _check_sizes(low, protocol, protocol.scale)
    for pairs in finished:
        _check_sizes(pairs, protocol, 1)
    # Every weight file is opened before the first image is enlarged: a wrong name must not show after an hour.
    entrants = [_entrant(spec, device, precision) for spec in specs]
    entrants += [_Entrant(folder.resolve().name, str(folder), "results", _results) for folder in folders]
    pairs_of = [low] * len(specs) + finished
    scorer = Scorer.best(protocol, device)
    if not scorer.with_st_lpips:
        _log.warning(
            "ST-LPIPS is left out, its weights are not here; `gramgan weights get %s` brings them", ST_LPIPS_WEIGHTS
        )
    done, total = 0, sum(map(len, pairs_of))
    report = progress or silent
    report(done, total)
    scored: list[ModelScores] = []
    for entrant, name, pairs in zip(entrants, _unique_names(entrants), pairs_of, strict=True):
        rows: list[ImageScores] = []
        for pair in pairs:
            hr = protocol.crop_to_scale(_read(pair.hr))
            sr = protocol.crop_to_scale(entrant.image(pair.other, hr, protocol))
            rows.append(ImageScores(pair.name, scorer.score(sr.to(device), hr.to(device))[0]))
            done += 1
            report(done, total)
        scored.append(ModelScores(name, entrant.kind, entrant.sha256, entrant.precision, tuple(rows)))
    made = bool(low) and low[0].other is None
    origin = _LR_MADE if made else str(lr_folder or hr_folder) if specs else ""
    return EvaluationReport(protocol, scorer.metrics, tuple(scored), str(hr_folder), origin)


@dataclass(frozen=True)
class _Entrant:
    name: str
    spec: str
    kind: Literal["generator", "bicubic", "results"]
    image: Callable[[Path | None, Tensor, Protocol], Tensor]
    """(LR image or finished result, HR image, protocol) → SR image `[1, 3, H, W]`."""
    sha256: str = ""
    precision: str = ""


def _entrant(spec: str | Path, device: str, precision: PrecisionChoice) -> _Entrant:
    if str(spec) == BICUBIC:
        return _Entrant(BICUBIC, BICUBIC, "bicubic", lambda low, hr, protocol: bicubic_up(_low(low, hr, protocol)))
    generator = load_generator(spec)
    resolved = probe(device).precision if precision == "auto" else precision
    upscaler = Upscaler.for_generator(generator, resolved, device)

    def enlarge(low: Path | None, hr: Tensor, protocol: Protocol) -> Tensor:
        return torch.from_numpy(upscaler.upscale_array(_low(low, hr, protocol)[0].numpy()))[None]

    known = str(spec) in KNOWN
    name = str(spec) if known else Path(spec).stem
    path = weight_path(str(spec)) if known else Path(spec)
    tensors = path.with_suffix(".bin") if path.suffix == ".param" else path  # ncnn's .param has no weights in it
    return _Entrant(name, str(spec), "generator", enlarge, sha256(tensors), resolved)


def _results(path: Path | None, _hr: Tensor, _protocol: Protocol) -> Tensor:
    assert path is not None
    return _read(path)


def _low(path: Path | None, hr: Tensor, protocol: Protocol) -> Tensor:
    return _read(path) if path is not None else matlab_bicubic_down(protocol.quantise(hr), protocol.scale)


def _read(path: Path) -> Tensor:
    return torch.from_numpy(read_rgb(path))[None]


def _unique_names(entrants: list[_Entrant]) -> list[str]:
    names = [entrant.name for entrant in entrants]
    return [entrant.spec if names.count(entrant.name) > 1 else entrant.name for entrant in entrants]


def _check_sizes(pairs: list[Pair], protocol: Protocol, factor: int) -> None:
    """Look at the sizes of all images, from their headers alone; `factor` is how many times smaller the others are."""
    for pair in pairs:
        truth = Raster.open(pair.hr).info
        width, height = (size - size % protocol.scale for size in (truth.width, truth.height))
        if min(width, height) < MIN_SIZE:
            raise UserError(
                f"{pair.hr}: {truth.width}x{truth.height} is too small to be scored; leave out images below "
                f"{MIN_SIZE}x{MIN_SIZE} pixels"
            )
        if pair.other is None:
            continue
        other = Raster.open(pair.other).info
        fits = (other.width, other.height) == (width // factor, height // factor)
        if not fits and not (factor == 1 and (other.width, other.height) == (truth.width, truth.height)):
            raise UserError(
                f"{pair.other}: {other.width}x{other.height}, but {pair.hr.name} needs {width // factor}x"
                f"{height // factor}; give images of {'the same size' if factor == 1 else f'1/{factor} of the size'}"
            )


def _finite(scores: dict[str, float]) -> dict[str, float | str]:
    return {name: value if math.isfinite(value) else str(value) for name, value in scores.items()}
