"""Scores as they are kept and written: every number with its protocol, the metric's version and all hashes."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gramgan
from gramgan.evaluation.crops import Strip
from gramgan.evaluation.entrants import EntrantKind
from gramgan.evaluation.protocols import Metric, Protocol
from gramgan.evaluation.statistics import INTERVAL, Mean, Paired, mean_with_interval, paired
from gramgan.files import write_csv, write_text

_MEAN = "mean"
"""Stands where files name an image, for the mean over the images."""

MODEL_HEADINGS = ["model", "kind", "precision", "back-projected", "weights, SHA-256"]
"""Of `EvaluationReport.model_rows`."""

_COLUMNS = (
    "protocol",
    "low_resolution",
    "model",
    "model_sha256",
    "precision",
    "back_projected",
    "image",
    "metric",
    "value",
    "low",
    "high",
    "unit",
    "metric_version",
    "metric_sha256",
    "gramgan_version",
)
_COMPARISON_COLUMNS = (
    "protocol",
    "low_resolution",
    "first",
    "first_sha256",
    "model",
    "model_sha256",
    "image",
    "metric",
    "difference",
    "low",
    "high",
    "outcome",
    "unit",
    "metric_version",
    "metric_sha256",
    "gramgan_version",
)


@dataclass(frozen=True)
class ImageScores:
    """Scores of one image: `{metric name: value}`; PSNR is infinite where the images are identical."""

    image: str
    scores: dict[str, float]


@dataclass(frozen=True)
class ModelScores:
    """Scores of one model; `weights_sha256` and `precision` are empty for `bicubic` and for finished results.

    `back_projected` says that its results were made consistent with LR before they were scored.
    """

    name: str
    kind: EntrantKind
    weights_sha256: str
    precision: str
    images: tuple[ImageScores, ...]
    back_projected: bool = False

    def column(self, metric: str) -> list[float]:
        """One metric's scores, image by image."""
        return [row.scores[metric] for row in self.images]

    def mean(self) -> dict[str, float]:
        """Mean of each metric over the images."""
        return {metric: mean.value for metric, mean in self.means().items()}

    def means(self) -> dict[str, Mean]:
        """Mean of each metric over the images, with its 95 % interval."""
        return {metric: mean_with_interval(self.column(metric)) for metric in self.images[0].scores}


@dataclass(frozen=True)
class UnscoredImage:
    """An image that was scored for no model, since one of its files cannot be read; `why` is one line with its path."""

    image: str
    why: str


@dataclass(frozen=True)
class Comparison:
    """One model against another, image by image: `{metric name: paired differences}`, `other` minus `first`."""

    first: ModelScores
    other: ModelScores
    differences: dict[str, Paired]


@dataclass(frozen=True)
class EvaluationReport:
    """Scores of one or more models on the same images under one protocol.

    `low_resolution` is the folder of the LR images, or how they were made. `strips` are squares of the images, for
    pictures; empty where none were asked for. The images of `left_out` are in no mean.
    """

    protocol: Protocol
    metrics: tuple[Metric, ...]
    models: tuple[ModelScores, ...]
    hr_folder: str
    low_resolution: str
    strips: tuple[Strip, ...] = ()
    left_out: tuple[UnscoredImage, ...] = ()

    def comparisons(self) -> list[Comparison]:
        """Every other model against the first, image by image."""
        return [self.against(self.models[0], other) for other in self.models[1:]]

    def against(self, first: ModelScores, other: ModelScores) -> Comparison:
        """`other` against `first`, two of `models`, image by image."""
        differences = {
            metric.name: paired(
                first.column(metric.name), other.column(metric.name), higher_is_better=metric.higher_is_better
            )
            for metric in self.metrics
        }
        return Comparison(first, other, differences)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; numbers that are not finite are written as the texts `inf` and `nan`, for JSON has none."""
        return {
            "gramgan_version": gramgan.__version__,
            "protocol": self.protocol.to_dict(),
            "hr_folder": self.hr_folder,
            "low_resolution": self.low_resolution,
            "interval": INTERVAL,
            "left_out": [{"image": each.image, "why": each.why} for each in self.left_out],
            "metrics": [metric.to_dict() for metric in self.metrics],
            "models": [
                {
                    "name": model.name,
                    "kind": model.kind,
                    "weights_sha256": model.weights_sha256,
                    "precision": model.precision,
                    "back_projected": model.back_projected,
                    "mean": _finite(model.mean()),
                    "half_width": _finite({name: mean.half_width for name, mean in model.means().items()}),
                    "images": [{"image": row.image, "scores": _finite(row.scores)} for row in model.images],
                }
                for model in self.models
            ],
            "comparisons": [
                {
                    "first": each.first.name,
                    "model": each.other.name,
                    "differences": {
                        name: {
                            **_finite({"mean": pair.difference.value, "half_width": pair.difference.half_width}),
                            "wins": pair.wins,
                            "losses": pair.losses,
                            "ties": pair.ties,
                        }
                        for name, pair in each.differences.items()
                    },
                }
                for each in self.comparisons()
            ],
        }

    def to_json(self, path: Path) -> None:
        """Write `to_dict` to `path`.

        Raises:
            UserError: the file cannot be written.
        """
        write_text(path, json.dumps(self.to_dict(), indent=2, allow_nan=False, ensure_ascii=False) + "\n")

    def to_csv(self, path: Path) -> None:
        """Write a line for each number, with all that belongs to it.

        The image `mean` stands for the mean over the images; `low` and `high` bound its 95 % interval.

        Raises:
            UserError: the file cannot be written.
        """
        rows = (
            (
                *self._head(),
                model.name,
                model.weights_sha256,
                model.precision,
                str(model.back_projected).lower(),
                image,
                metric.name,
                repr(mean.value),
                *_bounds(mean if image == _MEAN else None),
                *_tail(metric),
            )
            for model in self.models
            for image, means in self._rows(model)
            for metric, mean in zip(self.metrics, means, strict=True)
        )
        write_csv(path, _COLUMNS, rows)

    def comparisons_to_csv(self, path: Path) -> None:
        """Write a line for each difference from the first model, image by image, with all that belongs to it.

        Raises:
            UserError: the file cannot be written.
        """
        rows = []
        for each in self.comparisons():
            for metric in self.metrics:
                pair = each.differences[metric.name]
                first, other = each.first.column(metric.name), each.other.column(metric.name)
                for row, a, b in zip(each.first.images, first, other, strict=True):
                    alone = paired([a], [b], higher_is_better=metric.higher_is_better)
                    outcome = "win" if alone.wins else "loss" if alone.losses else "tie"
                    rows.append((each, row.image, metric, alone.difference, outcome))
                counts = f"{pair.wins} wins, {pair.losses} losses, {pair.ties} ties"
                rows.append((each, _MEAN, metric, pair.difference, counts))
        lines = (
            (
                *self._head(),
                each.first.name,
                each.first.weights_sha256,
                each.other.name,
                each.other.weights_sha256,
                image,
                metric.name,
                repr(difference.value),
                *_bounds(difference if image == _MEAN else None),
                outcome,
                *_tail(metric),
            )
            for each, image, metric, difference, outcome in rows
        )
        write_csv(path, _COMPARISON_COLUMNS, lines)

    def to_markdown(self, path: Path, *, compare: bool = False) -> None:
        """Write `markdown` to `path`.

        Raises:
            UserError: the file cannot be written.
        """
        write_text(path, self.markdown(compare=compare))

    def markdown(self, *, compare: bool = False) -> str:
        """Tables of means with their intervals, where asked for the comparisons, and how everything was scored."""
        count = len(self.models[0].images)
        lines = [
            f"Protocol `{self.protocol.name}`: {self.protocol.description}. {count} images of `{self.hr_folder}`; "
            f"LR: {self.low_resolution}. ±: {INTERVAL}.",
            *(f"\nLeft out for all models: {each.why}" for each in self.left_out),
            "",
            *_table(
                ["", *(metric.heading for metric in self.metrics)],
                [
                    [model.name, *(with_interval(model.means()[metric.name], metric) for metric in self.metrics)]
                    for model in self.models
                ],
            ),
        ]
        for each in self.comparisons() if compare else ():
            lines += ["", f"`{each.other.name}` minus `{each.first.name}`, image by image:", ""]
            lines += _table(
                ["metric", "mean difference", "wins", "losses", "ties"],
                [
                    [
                        metric.heading,
                        with_interval(pair.difference, metric, signed=True),
                        *map(str, (pair.wins, pair.losses, pair.ties)),
                    ]
                    for metric in self.metrics
                    for pair in (each.differences[metric.name],)
                ],
            )
        lines += ["", *_table(["metric", "version", "weights, SHA-256"], [list(row) for row in self.metric_rows()])]
        lines += ["", *_table(MODEL_HEADINGS, [list(row) for row in self.model_rows()])]
        return "\n".join([*lines, "", f"Scored by gramgan {gramgan.__version__}.", ""])

    def metric_rows(self) -> list[tuple[str, str, str]]:
        """Name, version, and hash of the weights of each metric."""
        return [(metric.name, metric.version, metric.weights_sha256 or "none") for metric in self.metrics]

    def model_rows(self) -> list[tuple[str, ...]]:
        """What `MODEL_HEADINGS` says of each model."""
        return [
            (m.name, m.kind, m.precision or "–", "yes" if m.back_projected else "no", m.weights_sha256 or "none")
            for m in self.models
        ]

    def _head(self) -> tuple[str, str]:
        return self.protocol.name, self.low_resolution

    def _rows(self, model: ModelScores) -> Iterable[tuple[str, list[Mean]]]:
        for row in model.images:
            yield row.image, [mean_with_interval([row.scores[metric.name]]) for metric in self.metrics]
        means = model.means()
        yield _MEAN, [means[metric.name] for metric in self.metrics]


def with_interval(mean: Mean, metric: Metric, *, signed: bool = False) -> str:
    """A mean as people read it, `30.39 ± 1.20`; without the interval where there is none."""
    sign = "+" if signed else ""
    value = f"{mean.value:{sign}.{metric.decimals}f}"
    return value if math.isnan(mean.half_width) else f"{value} ± {mean.half_width:.{metric.decimals}f}"


def _tail(metric: Metric) -> tuple[str, str, str, str]:
    return metric.unit, metric.version, metric.weights_sha256, gramgan.__version__


def _bounds(mean: Mean | None) -> tuple[str, str]:
    return ("", "") if mean is None or math.isnan(mean.half_width) else (repr(mean.low), repr(mean.high))


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    cells = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in cells]


def _finite(scores: dict[str, float]) -> dict[str, float | str]:
    return {name: value if math.isfinite(value) else str(value) for name, value in scores.items()}
