"""The page of an evaluation: tables of scores, comparisons image by image, and strips of the most textured squares."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gramgan import __version__
from gramgan.evaluation.crops import RULE, Strip
from gramgan.evaluation.protocols import Metric
from gramgan.evaluation.report import MODEL_HEADINGS, Comparison, EvaluationReport, ModelScores
from gramgan.evaluation.statistics import INTERVAL
from gramgan.few import evenly_spread
from gramgan.reports.page import Column, Page
from gramgan.reports.strips import Panel, comparison

_ZOOM = 2


def evaluation_page(report: EvaluationReport, *, compare: bool = False, pictures: int = 6) -> Page:
    """The page of `report`.

    Args:
        report: with strips, where pictures are wanted.
        compare: show every other model against the first, image by image.
        pictures: strips at most: evenly spread over the images, or, in a comparison, those with the largest
            differences both ways.
    """
    page = Page(f"Scores on {Path(report.hr_folder).resolve().name}")
    count = len(report.models[0].images)
    page.text(
        f"Protocol {report.protocol.name}: {report.protocol.description}. {count} images of {report.hr_folder}; LR: "
        f"{report.low_resolution}."
    )
    for each in report.left_out:
        page.text(f"Left out for all models: {each.why}")
    page.heading("Means over the images")
    _means(page, report)
    if compare:
        for each in report.comparisons():
            _comparison(page, report, each)
    shown, why = _shown(report, compare, pictures)
    if shown:
        page.heading("Pictures")
        page.image(strips_picture(report, shown), f"{why} Shown is {RULE}; every pixel is {_ZOOM}×{_ZOOM}.", zoom=True)
    page.heading("Image by image")
    for metric in report.metrics:
        page.heading(metric.heading, level=3)
        columns = [_column(metric, model.name) for model in report.models]
        values = zip(*(model.column(metric.name) for model in report.models), strict=True)
        page.table(
            ["image", *columns],
            [[row.image, *scores] for row, scores in zip(report.models[0].images, values, strict=True)],
        )
    page.heading("How these numbers were made")
    page.table(["metric", "version", "SHA-256 of its weights"], report.metric_rows())
    page.table(MODEL_HEADINGS, report.model_rows())
    page.text(f"Scored by gramgan {__version__}.")
    return page


def strips_picture(report: EvaluationReport, strips: Sequence[Strip]) -> np.ndarray:
    """LR, every model and the truth side by side, one row for each strip, with scores below; uint8 `[H, W, 3]`."""
    number = {row.image: i for i, row in enumerate(report.models[0].images)}
    rows = []
    for strip in strips:
        panels = [Panel(strip.low, "low resolution", str(Path(strip.image).with_suffix("")))]
        panels += [
            Panel(strip.results[model.name], model.name, _caption(report, model, number[strip.image]))
            for model in report.models
        ]
        rows.append([*panels, Panel(strip.truth, "truth")])
    return comparison(rows, zoom=_ZOOM)


def deciding_metric(report: EvaluationReport) -> Metric:
    """The perceptual metric that pictures are ordered by: ST-LPIPS where it was computed, else DSS."""
    by_name = {metric.name: metric for metric in report.metrics}
    return by_name.get("st_lpips", by_name["dss"])


def _means(page: Page, report: EvaluationReport) -> None:
    means = [model.means() for model in report.models]
    page.table(
        ["", *(_column(metric, metric.heading) for metric in report.metrics)],
        [
            [model.name, *(mean[metric.name].value for metric in report.metrics)]
            for model, mean in zip(report.models, means, strict=True)
        ],
        "↑ higher is better, ↓ lower is better; the best of each column is marked. ST-LPIPS and DSS go with what "
        "people see; LR PSNR says whether the result, shrunk again, is the input; colour drift, whether surfaces keep "
        "their colours.",
    )
    if len(report.models[0].images) > 1:
        page.table(
            ["±", *(Column(metric.heading, f".{metric.decimals}f") for metric in report.metrics)],
            [
                [model.name, *(mean[metric.name].half_width for metric in report.metrics)]
                for model, mean in zip(report.models, means, strict=True)
            ],
            f"Half of the {INTERVAL}. Most of it is that images differ, which is the same for all models: to tell two "
            "models apart, compare them image by image (--compare).",
        )


def _comparison(page: Page, report: EvaluationReport, each: Comparison) -> None:
    page.heading(f"{each.other.name} against {each.first.name}")
    rows = []
    for metric in report.metrics:
        pair = each.differences[metric.name]
        better = (pair.difference.value > 0) == metric.higher_is_better
        verdict = "not clear" if not pair.is_clear else each.other.name if better else each.first.name
        difference = f"{pair.difference.value:+.{metric.decimals}f}".replace("-", "−")
        half = "–" if math.isnan(pair.difference.half_width) else f"{pair.difference.half_width:.{metric.decimals}f}"
        rows.append([metric.heading, difference, half, pair.wins, pair.losses, pair.ties, verdict])
    page.table(
        ["metric", "mean difference", "±", "wins", "losses", "ties", "better"],
        rows,
        f"{each.other.name} minus {each.first.name}, image by image; wins are images where {each.other.name} is "
        f"better. ±: half of the {INTERVAL}. Better is who is so beyond that interval.",
    )


def _shown(report: EvaluationReport, compare: bool, limit: int) -> tuple[list[Strip], str]:
    strips = list(report.strips)
    if len(strips) <= limit or limit < 1:
        return strips[:limit] if limit > 0 else [], "All images."
    if not compare or len(report.models) < 2:
        return evenly_spread(strips, limit), f"{limit} of {len(strips)} images, evenly spread over their names."
    metric = deciding_metric(report)
    first, other = (model.column(metric.name) for model in report.models[:2])
    sign = 1 if metric.higher_is_better else -1
    order = sorted(range(len(strips)), key=lambda i: sign * (other[i] - first[i]), reverse=True)
    order = order[: limit - limit // 2] + order[len(order) - limit // 2 :]
    names = f"{report.models[1].name} gains and loses most against {report.models[0].name}"
    return [strips[i] for i in order], f"The images where {names} by {metric.title or metric.name}."


def _caption(report: EvaluationReport, model: ModelScores, number: int) -> str:
    metrics = dict.fromkeys((report.metrics[0], deciding_metric(report)))
    scores = model.images[number].scores
    return " · ".join(f"{scores[metric.name]:.{metric.decimals}f} {metric.unit}".strip() for metric in metrics)


def _column(metric: Metric, title: str) -> Column:
    return Column(title, f".{metric.decimals}f", "high" if metric.higher_is_better else "low")
