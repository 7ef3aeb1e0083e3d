"""Figures of the pages: curves of a run, from the records of its `log.jsonl`, and how a run used a texture database."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from gramgan.reports.page import FIGURE_INK
from gramgan.reports.wording import SCORE_TITLES, higher_is_better
from gramgan.training.folder import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Okabe and Ito's colours ("Color Universal Design", 2008), which colour-blind readers can tell apart; without their
# black and yellow, and with a lighter blue, so that all stand out on light and on dark pages.
PALETTE = ("#2A86C8", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")

_LOSSES = {
    "texture": "texture, L_PT",
    "disc_perceptual": "discriminator perceptual, L_DP",
    "perceptual": "perceptual, L_P",
    "adversarial": "adversarial, L_G",
    "pixel": "pixel, L_C",
    "consistency": "consistency with LR",
    "teacher": "L1 to the teacher",
    "autoencoded": "auto-encoded, AESOP",
    "artifact": "artifacts, LDL",
    "dists": "DISTS",
    "lpips": "LPIPS",
    "sliced": "sliced Wasserstein",
    "frequency": "frequency distribution, FDL",
    "total": "total of the generator",
    "discriminator": "discriminator",
}
_COLUMNS = 3
_PANEL_INCHES = (3.4, 2.2)
_LEGEND_INCHES = 0.45
_STAGE_LINE: dict[str, Any] = {"color": FIGURE_INK, "linewidth": 1.0, "linestyle": ":", "alpha": 0.7}
# From so many points on, a curve is smoothed; a loss whose values lie further apart than this has a logarithmic axis.
_SMOOTHING_FROM = 100
_LOG_RANGE = 30


def loss_curves(
    records: Sequence[Record], others: Mapping[str, Sequence[Record]] | None = None, name: str = "this run"
) -> "Figure":
    """Every loss, learning rate, database statistics, mask share and speed of a run, over its iterations.

    `records`: the lines of `log.jsonl`; those whose `event` is `step` are drawn. Values that are missing or not finite
    leave gaps. `others`: more runs to draw for comparison, by name. Where there are many points they stay visible,
    pale, behind their running mean. Dotted lines show where stages begin, if that is the same in all runs.

    Raises:
        ValueError: no `step` record in `records`.
    """
    runs = {run: _points(lines, "step") for run, lines in {name: records, **(others or {})}.items()}
    if not runs[name]:
        raise ValueError("no record of an iteration in this log")
    quantities = [q for q in _quantities(runs) if any(q.series(points) for points in runs.values())]
    colours = [_colour(i) for i in range(len(runs))]
    begins = [_stages_begin(points) for points in runs.values() if points]
    places = [[(point.stage, point.x) for point in each] for each in begins]
    stages = begins[0] if all(other == places[0] for other in places) else []

    def draw(axes: "Axes", index: int) -> None:
        quantity = quantities[index]
        for colour, points in zip(colours, runs.values(), strict=True):
            series = quantity.series(points)
            if series:
                _draw_series(axes, series, colour)
        values = [y for points in runs.values() for _, y in quantity.series(points) if math.isfinite(y)]
        if quantity.is_loss and min(values) > 0 and max(values) / min(values) > _LOG_RANGE:
            axes.set_yscale("log")
        for start in stages:
            axes.axvline(start.x, **_STAGE_LINE)

    legend = [_Key(run, colour) for run, colour in zip(runs, colours, strict=True)] if len(runs) > 1 else []
    legend += [_Key(f"{start.stage.replace('_', ' ')} begins", **_STAGE_LINE) for start in stages]
    return _small_multiples([quantity.title for quantity in quantities], draw, legend, _last(runs))


def score_curves(
    records: Sequence[Record],
    others: Mapping[str, Sequence[Record]] | None = None,
    name: str = "this run",
    baselines: Mapping[str, Mapping[str, float]] | None = None,
) -> "Figure":
    """Validation scores of a run over its iterations; the best value of each run is ringed.

    `records`: the lines of `log.jsonl`; those whose `event` is `validation` are drawn. `others`: more runs, by name.
    `baselines`: scores that do not change, by name (bicubic, the starting weights), drawn as dashed lines.

    Raises:
        ValueError: no `validation` record in `records`.
    """
    runs = {run: _points(lines, "validation") for run, lines in {name: records, **(others or {})}.items()}
    if not runs[name]:
        raise ValueError("no validation in this log")
    metrics = list(dict.fromkeys(metric for points in runs.values() for p in points for metric in p.record["scores"]))
    run_keys = [_Key(run, _colour(i)) for i, run in enumerate(runs)]
    baseline_keys = [_Key(label, _colour(i), linestyle="--") for i, label in enumerate(baselines or {}, len(runs))]

    def draw(axes: "Axes", index: int) -> None:
        metric = metrics[index]
        best_of = max if higher_is_better(metric) else min
        for key, points in zip(run_keys, runs.values(), strict=True):
            series = [(p.x, _number(p.record["scores"].get(metric))) for p in points]
            axes.plot(*_columns(series), color=key.color, marker="o", markersize=3.5, linewidth=1.6)
            finite = [point for point in series if math.isfinite(point[1])]
            if finite:
                best = best_of(finite, key=lambda point: point[1])
                axes.plot(*best, marker="o", markersize=10, mfc="none", mec=key.color, clip_on=False)
        for key, scores in zip(baseline_keys, (baselines or {}).values(), strict=True):
            if metric in scores:
                axes.axhline(scores[metric], color=key.color, linewidth=1.6, linestyle=key.linestyle)

    def title(metric: str) -> str:
        direction = "higher" if higher_is_better(metric) else "lower"
        return f"{SCORE_TITLES.get(metric, metric)} ({direction} is better)"

    legend = [*run_keys, *baseline_keys]
    return _small_multiples([title(m) for m in metrics], draw, legend if len(legend) > 1 else [], _last(runs))


def density(shares: Sequence[tuple[str, np.ndarray, np.ndarray]], bins: tuple[int, int]) -> "Figure":
    """Maps of how many there are in each part of the plane, on one logarithmic scale each."""
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6 * len(shares), 3.9), layout="constrained")
    for index, (title, positions, weights) in enumerate(shares):
        axes = figure.add_subplot(1, len(shares), index + 1)
        counts, _, _ = np.histogram2d(
            positions[:, 0], positions[:, 1], bins=bins, range=((0, 1), (0, 1)), weights=weights
        )
        share = np.ma.masked_equal(counts.T / weights.sum(), 0)
        image = axes.imshow(
            share, origin="lower", aspect="auto", norm=LogNorm(), cmap="viridis", interpolation="nearest"
        )
        bar = figure.colorbar(image, ax=axes)
        bar.ax.tick_params(which="both", labelsize=8, colors=FIGURE_INK)
        axes.set_title(f"share of the {title}", fontsize=9.5, color=FIGURE_INK, loc="left")
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set(color=FIGURE_INK, alpha=0.3)
    return figure


def spread(counts: np.ndarray) -> "Figure":
    """The share of targets that the most used patches account for."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(5.6, 3.2), layout="constrained")
    axes = figure.add_subplot()
    cumulative = np.concatenate(([0], np.cumsum(counts))) / counts.sum()
    # Not more points than can be seen: a curve of millions would be a large page.
    points = np.unique(np.linspace(0, len(counts), 201).round().astype(int))
    axes.plot(points / len(counts), cumulative[points], color=PALETTE[0], linewidth=1.8)
    axes.plot([0, 1], [0, 1], color=FIGURE_INK, linewidth=1, linestyle=":", alpha=0.7)
    axes.set_xlabel("most used patches, share of those chosen", fontsize=8.5, color=FIGURE_INK)
    axes.set_ylabel("share of targets", fontsize=8.5, color=FIGURE_INK)
    axes.tick_params(labelsize=8, colors=FIGURE_INK)
    axes.grid(color=FIGURE_INK, alpha=0.15, linewidth=0.6)
    for formatter in (axes.xaxis, axes.yaxis):
        formatter.set_major_formatter(PercentFormatter(1.0))
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set(color=FIGURE_INK, alpha=0.5)
    return figure


@dataclass(frozen=True)
class _Point:
    """A record and its place on the common axis, counted over all stages."""

    x: int
    stage: str
    record: Record


@dataclass(frozen=True)
class _Quantity:
    title: str
    value: Callable[[Record], float]
    is_loss: bool = False

    def series(self, points: list[_Point]) -> list[tuple[int, float]]:
        """Values over the axis, NaN where there is none; empty if there is none at all."""
        series = [(point.x, self.value(point.record)) for point in points]
        return series if any(math.isfinite(y) for _, y in series) else []


@dataclass(frozen=True)
class _Key:
    """A line of the legend."""

    label: str
    color: str
    linestyle: str = "-"
    linewidth: float = 1.8
    alpha: float = 1.0


def _quantities(runs: Mapping[str, list[_Point]]) -> list[_Quantity]:
    losses = dict.fromkeys(_LOSSES)
    for points in runs.values():
        losses.update(dict.fromkeys(loss for p in points for loss in p.record.get("losses", {})))
    return [
        *(_loss(loss) for loss in losses),
        _Quantity("target distance / half gap", lambda record: _database(record, "target_ratio")),
        _Quantity("share of distinct patches chosen", lambda record: _database(record, "unique_share")),
        _Quantity("share of targets from the database", lambda record: _database(record, "database_share")),
        _Quantity("share of pixels the mask keeps", lambda record: _number(record.get("mask_share"))),
        _Quantity("share of pairs that D ranks right", lambda record: _number(record.get("ranked_right"))),
        _Quantity("share of real images that D knows", lambda record: _number(record.get("accuracy_real"))),
        _Quantity("share of generated images that D knows", lambda record: _number(record.get("accuracy_fake"))),
        _Quantity("gradient of the generator", lambda record: _number(record.get("gradient_generator"))),
        _Quantity("gradient of the discriminator", lambda record: _number(record.get("gradient_discriminator"))),
        _Quantity("colour drift, grey levels", lambda record: 255 * _number(record.get("colour_drift"))),
        _Quantity("learning rate", lambda record: _number(record.get("learning_rate"))),
        _Quantity("iterations per second", lambda record: _number(record.get("iterations_per_second"))),
    ]


def _loss(name: str) -> _Quantity:
    return _Quantity(_LOSSES.get(name, name), lambda record: _number(record.get("losses", {}).get(name)), is_loss=True)


def _database(record: Record, key: str) -> float:
    return _number((record.get("database") or {}).get(key))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan


def _points(records: Sequence[Record], event: str) -> list[_Point]:
    """The records of one kind, placed on the axis; stages that each count from the start lie one after the other."""
    points: list[_Point] = []
    last = 0
    for stage, kept in _surviving(records).items():
        offset = last if int(kept[0]["iteration"]) <= last else 0
        points += [_Point(int(record["iteration"]) + offset, stage, record) for record in kept]
        last = points[-1].x
    return [point for point in points if point.record["event"] == event]


def _surviving(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Steps and validations by stage, as if the run had never been interrupted.

    A run resumed from a checkpoint goes back: whatever had been logged beyond that iteration was lost with the crash
    and is logged again, so it is left out here.
    """
    stages: dict[str, list[Record]] = {}
    stage = ""
    for record in records:
        if record.get("event") not in ("step", "validation"):
            continue
        stage = str(record.get("stage", stage))
        kept = stages.setdefault(stage, [])
        for later in list(stages)[list(stages).index(stage) + 1 :]:
            del stages[later]
        _forget_from(kept, record)
        kept.append(record)
    return stages


def _forget_from(kept: list[Record], record: Record) -> None:
    # A step and a validation of the same iteration belong together, whichever was logged first.
    start = len(kept)
    while start > 0 and kept[start - 1]["iteration"] >= record["iteration"]:
        start -= 1
    for i in range(start, len(kept)):
        if kept[i]["iteration"] > record["iteration"] or kept[i]["event"] == record["event"]:
            del kept[i:]
            return


def _stages_begin(points: list[_Point]) -> list[_Point]:
    """The first point of every stage but the first."""
    return [point for before, point in pairwise(points) if point.stage != before.stage]


def _last(runs: Mapping[str, list[_Point]]) -> int:
    return max(point.x for points in runs.values() for point in points)


def _columns(series: list[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [x for x, _ in series], [y for _, y in series]


def _colour(index: int) -> str:
    return PALETTE[index % len(PALETTE)]


def _draw_series(axes: "Axes", series: list[tuple[int, float]], colour: str) -> None:
    xs, ys = _columns(series)
    count = sum(math.isfinite(y) for y in ys)
    if count >= _SMOOTHING_FROM:
        axes.plot(xs, ys, color=colour, linewidth=0.7, alpha=0.35)
        axes.plot(xs, _running_mean(ys, len(ys) // 20), color=colour, linewidth=1.8)
    else:
        axes.plot(xs, ys, color=colour, linewidth=1.6, marker="o" if count < 8 else None, markersize=3.5)


def _running_mean(values: list[float], window: int) -> np.ndarray:
    """Mean of the finite values in a window around each; a gap stays a gap."""
    array = np.array(values)
    finite = np.isfinite(array)
    box = np.ones(window // 2 * 2 + 1)
    sums, counts = (np.convolve(part, box, "same") for part in (np.where(finite, array, 0.0), finite.astype(float)))
    return np.where(finite, sums / np.maximum(counts, 1), math.nan)


def _small_multiples(titles: list[str], draw: Callable[["Axes", int], None], legend: list[_Key], last: int) -> "Figure":
    """A grid of plots, each filled by `draw(axes, index)`, over iterations 0 to `last`."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    columns = 2 if len(titles) in (2, 4) else min(_COLUMNS, len(titles))
    rows = -(-len(titles) // columns)
    size = (_PANEL_INCHES[0] * columns, _PANEL_INCHES[1] * rows + (_LEGEND_INCHES if legend else 0))
    figure = Figure(figsize=size, layout="constrained")
    for index, title in enumerate(titles):
        axes = figure.add_subplot(rows, columns, index + 1)
        draw(axes, index)
        axes.set_xlim(0, max(last, 1) * 1.02)
        axes.set_title(title, fontsize=9.5, color=FIGURE_INK, loc="left")
        axes.tick_params(which="both", labelsize=8, colors=FIGURE_INK)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if axes.get_yscale() == "log":
            axes.yaxis.set_minor_formatter(NullFormatter())
        else:
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
        axes.grid(color=FIGURE_INK, alpha=0.15, linewidth=0.6)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set(color=FIGURE_INK, alpha=0.5)
        if index >= len(titles) - columns:
            axes.set_xlabel("iteration", fontsize=8.5, color=FIGURE_INK)
    if legend:
        handles = [Line2D([], [], **asdict(key)) for key in legend]
        place = {"loc": "outside upper left", "ncols": min(4, len(legend)), "frameon": False, "fontsize": 9}
        figure.legend(handles=handles, labelcolor=FIGURE_INK, **place)
    return figure
