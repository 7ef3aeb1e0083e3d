"""The report of a training run: what it learned, how, from what, and how fast."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from gramgan.config import Config
from gramgan.errors import UserError
from gramgan.images import read_rgb8
from gramgan.places import as_place
from gramgan.reports.page import Column, Page, TableCell
from gramgan.reports.plots import loss_curves, score_curves
from gramgan.reports.recorded import Recorded, pace, trouble_in_words
from gramgan.reports.strips import Panel, comparison
from gramgan.reports.wording import SCORE_FORMATS, SCORE_TITLES, duration, flat, higher_is_better, shown_value
from gramgan.training.databases import entries_in_words, open_entry
from gramgan.training.folder import BEST_GENERATOR, USAGE, Record, read_usage
from gramgan.training.machines import read_machines
from gramgan.weights.card import Card

SAMPLE_SIDE = 104  # HR pixels: six of them, twice enlarged, fill the page's width
_SAMPLE_LOOKS = 3  # iterations shown between the start and the truth
_MOST_USED = 12
_PATCHES_A_ROW = 6

_RATIO = (
    "For each patch the search asks for texture between the generator's patch and the true one, as α and β say, and "
    "takes the nearest that exists. target distance is how far that lies from what was asked for; half gap is half the "
    "distance between the generator's patch and the true one. Near 0, fitting texture exists everywhere, and the loss "
    "pulls towards the truth as a plain Gram distance would. Above 1, what was found lies farther away than the "
    "truth itself, and may pull towards a wrong colour; a larger database or another descriptor helps."
)


class _Look(NamedTuple):
    """One validation: its row's name in the score table, iteration and scores."""

    name: str
    iteration: int | None
    scores: dict[str, float]


def write_run_report(run: Path, path: Path | None = None) -> Path:
    """Write a self-contained page about a training run, from the files in its folder so far.

    A run that is unfinished, or has no weights yet, gets a page as well; it says what is missing.

    Args:
        run: the run's folder, with its `config.yaml` and `log.jsonl`.
        path: the page to write; `report.html` in the run's folder where none is given.

    Returns:
        The page's path.

    Raises:
        UserError: the folder is no training run, its files are damaged, or it is not writable.
    """
    run = as_place(run)
    recorded = Recorded.read(run)
    config, records = recorded.config, recorded.records
    page = Page(f"Training run {recorded.name}")
    _summary(page, recorded)
    _troubles(page, recorded)
    _scores(page, recorded)
    _curves(page, recorded)
    _samples(page, run, records)
    _database(page, run, config, records)
    add_licences(page, recorded.card)
    _throughput(page, recorded)
    _settings(page, config)
    path = path or run / "report.html"
    page.save(path)
    return path


def _summary(page: Page, recorded: Recorded) -> None:
    run, config, card = recorded.folder, recorded.config, recorded.card
    generator, total, done = config.generator, config.stages.total, recorded.iteration
    start = f"the weights {generator.start}" if generator.start else "noise"
    if generator.from_nearest and not generator.start:
        start = "plain nearest-neighbour enlargement"
    stages = ", ".join(
        f"{name.replace('_', ' ')} {count:,}" for name, count in config.stages.model_dump().items() if count
    )
    page.text(
        f"A generator for {generator.scale}x super-resolution ({generator.describe()}), trained by Gram-GAN with "
        f"the preset {config.preset} on photographs from {config.data.photos}. It started from {start}. "
        f"Iterations: {total:,} ({stages}), each on {config.train.batch_size} crops of "
        f"{config.data.crop}x{config.data.crop} pixels."
    )
    if done < total:
        page.note(f"The run stands at iteration {done:,} of {total:,}. Go on with: gramgan train --resume {run}")
    if card is None:
        page.note("No weights were kept yet: that happens at the first validation of the last stage.")
    else:
        page.text(f"The best weights are {run / BEST_GENERATOR}.safetensors, and the same as .pth.", *card.notes)


def _troubles(page: Page, recorded: Recorded) -> None:
    """What the run was warned of: listed if there is anything, and else said in a line."""
    troubles = recorded.troubles
    if troubles:
        page.heading("Warnings")
        page.table(
            ["iteration", "stage", "what"],
            [
                [record["iteration"], record.get("stage", "").replace("_", " "), trouble_in_words(record)]
                for record in troubles
            ],
        )
    elif recorded.steps:
        page.text("No warning came up in this run.")


def _scores(page: Page, recorded: Recorded) -> None:
    page.heading("Scores")
    looks = _looks(recorded)
    if not looks:
        page.text("Nothing was validated yet.")
        return
    metrics = list(dict.fromkeys(metric for look in looks for metric in look.scores))
    page.table(
        ["", "iteration", *map(score_column, metrics)],
        [[look.name, look.iteration, *(look.scores.get(metric) for metric in metrics)] for look in looks],
        f"Means by the protocol {recorded.protocol}, of the averaged generator. ↑ higher is better, ↓ lower is better. "
        f"The best weights are those with the best {_deciding(recorded.config, metrics)} in the last stage. Scores by "
        "another protocol cannot be compared with these.",
    )


def score_column(metric: str, *, marked: bool = True) -> Column:
    """A table's column of one score; the best is marked unless the rows cannot be compared."""
    better, arrow = ("high", "↑") if higher_is_better(metric) else ("low", "↓")
    title = f"{SCORE_TITLES.get(metric, metric)} {arrow}"
    return Column(title, SCORE_FORMATS.get(metric, ".3g"), best=better if marked else None)


def _looks(recorded: Recorded) -> list[_Look]:
    looks = []
    for of, name, iteration in (("bicubic", "bicubic", None), ("start", f"start ({recorded.start})", 0)):
        looks += [_Look(name, iteration, record["scores"]) for record in recorded.validations(of)[-1:]]
    own, best = recorded.validations(), recorded.best
    if best is not None:
        looks.append(_Look("best and last" if best is own[-1] else "best", best["iteration"], best["scores"]))
    if own and best is not own[-1]:
        looks.append(_Look("last", own[-1]["iteration"], own[-1]["scores"]))
    return looks


def _deciding(config: Config, metrics: Sequence[str]) -> str:
    # As the training loop decides it: without the weights that a score needs, by the Gram distance.
    deciding = config.log.best_by if config.log.best_by in metrics else "gram_distance"
    return SCORE_TITLES.get(deciding, deciding).partition(",")[0]


def _curves(page: Page, recorded: Recorded) -> None:
    records, bicubic = recorded.records, recorded.validations("bicubic")
    if recorded.steps:
        page.heading("Losses")
        weighted = recorded.config.losses.weights.items()
        used = {name.replace("_", " "): weight for name, weight in weighted if weight}
        weights = ", ".join(f"{name} {weight:g}" for name, weight in used.items())
        page.figure(loss_curves(records), f"Means since the point before. Weights in the total: {weights}.")
    # Bicubic is a line across the plot, and no point of the generator's curve.
    curve = [record for record in records if record.get("of") != "bicubic"]
    if recorded.validations():
        page.heading("Scores over time")
        baselines = {"bicubic": bicubic[-1]["scores"]} if bicubic else {}
        page.figure(score_curves(curve, name="generator", baselines=baselines), "The ring marks the best value.")


def _samples(page: Page, run: Path, records: Sequence[Record]) -> None:
    rows = []
    folder = run / "samples"
    for image in sorted(path for path in folder.glob("*") if (path / "truth.png").exists()):
        truth = read_rgb8(image / "truth.png")
        y, x = busiest(truth)
        panels = []
        for file, title in [("bicubic", "bicubic"), ("start", "start"), *_shown(image, records), ("truth", "truth")]:
            path = image / f"{file}.png"
            if path.exists():
                crop = read_rgb8(path)[:, y : y + SAMPLE_SIDE, x : x + SAMPLE_SIDE]
                panels.append(Panel(crop.transpose(1, 2, 0), title, image.name if file == "truth" else ""))
        rows.append(panels)
    if rows:
        page.heading("Samples over time")
        page.image(
            comparison(rows),
            f"Validation images: the most detailed {SAMPLE_SIDE} pixels of each, twice enlarged. "
            f"All of them in full: {folder}.",
        )


def _shown(image: Path, records: Sequence[Record]) -> list[tuple[str, str]]:
    """(file, title) of some validations of one image: spread over the run, the best and the last among them."""
    there = sorted(int(path.stem) for path in image.glob("*.png") if path.stem.isdecimal())
    if not there:
        return []
    best = [record["iteration"] for record in records if record.get("best")][-1:]
    wanted = {there[-1], *(one for one in best if one in there)}
    for index in np.linspace(0, len(there) - 1, _SAMPLE_LOOKS).round().astype(int):
        if len(wanted) < _SAMPLE_LOOKS:
            wanted.add(there[index])
    return [(f"{one:07d}", f"{one:,}" + (" (best)" if [one] == best else "")) for one in sorted(wanted)]


def busiest(image: np.ndarray) -> tuple[int, int]:
    """Upper left corner (y, x) of the square with the greatest local contrast: mean difference of neighbours."""
    grey = image.astype(np.float32).mean(axis=0)
    height, width = grey.shape
    detail = np.abs(np.diff(grey, axis=0))[:, :-1] + np.abs(np.diff(grey, axis=1))[:-1]
    tops, lefts = (range(0, max(1, side - SAMPLE_SIDE + 1), SAMPLE_SIDE // 4) for side in (height, width))
    corners = [(top, left) for top in tops for left in lefts]
    return max(corners, key=lambda at: float(detail[at[0] : at[0] + SAMPLE_SIDE, at[1] : at[1] + SAMPLE_SIDE].mean()))


def _database(page: Page, run: Path, config: Config, records: Sequence[Record]) -> None:
    page.heading("Where the target texture came from")
    texture = config.texture
    if not (config.stages.adversarial and config.losses.texture):
        page.text("This run has no patch texture loss.")
        return
    databases = entries_in_words(texture.databases)
    sources = {
        "local": "patches of the same photograph's crop, of its smaller copies and of slightly warped ones",
        "database": f"the texture database {databases}",
        "both": f"the nearer of two: the texture database {databases}, and patches of the same crop",
    }
    page.text(
        f"Targets of the patch texture loss: {sources[texture.candidates]}. Descriptor {texture.descriptor}, "
        f"patches of {texture.k}x{texture.k} pixels; α = {texture.alpha:g} draws towards the truth, "
        f"β = {texture.beta:g} towards the generator's own result."
    )
    page.text(_RATIO)
    means = _statistics(records)
    if means:
        page.table(["", Column("first"), Column("last"), Column("mean")], means)
    if config.uses_database:
        _patches(page, run, config)


def _statistics(records: Sequence[Record]) -> list[list[TableCell]]:
    titles = {
        "target_ratio": "target distance / half gap",
        "database_share": "share of targets from the database",
        "unique_share": "different patches among the targets, share",
    }
    found = [record["database"] for record in records if record["event"] == "step" and record.get("database")]
    rows: list[list[TableCell]] = []
    for key, title in titles.items():
        values = [float(statistics[key]) for statistics in found if key in statistics]
        if values:
            rows.append([title, values[0], values[-1], sum(values) / len(values)])
    return rows


def _patches(page: Page, run: Path, config: Config) -> None:
    """The databases' own figures, and the patches that were chosen most often."""
    usage = read_usage(run) if (run / USAGE).exists() else []
    if usage:
        page.text(f"{len(usage):,} different patches were targets so far.")
    rows: dict[int, dict[str, Any]] = {}
    most = usage[:_MOST_USED]
    complete = True
    for entry in config.texture.databases:
        try:
            database = open_entry(entry)
            info = database.info()
        except UserError as error:
            page.note(f"Without its texture database this page shows no patches of it. {error}")
            complete = False
            continue
        page.text(f"{entry.path} holds {info.patches:,} patches of {len(info.by_source)} photographs.")
        page.table(
            ["licence of patches", "patches", Column("share", ".1%")],
            [[licence, count, count / info.patches] for licence, count in info.by_licence.items()],
        )
        wanted = [patch_id for patch_id, _ in most if patch_id not in rows]
        present = np.isin(wanted, database.patch_ids()) if wanted else []
        held = [patch_id for patch_id, there in zip(wanted, present, strict=True) if there]
        try:
            rows |= zip(held, database.rows(held), strict=True)
        except UserError as error:  # a snapshot without patches
            page.note(str(error))
            complete = False
    missing = [patch_id for patch_id, _ in most if patch_id not in rows]
    if missing and complete:
        page.note(f"The texture database no longer holds patch {missing[0]}, so it is another one than the run used.")
    shown = [(rows[patch_id], count) for patch_id, count in most if patch_id in rows]
    if not shown:
        return
    total = sum(count for _, count in usage)
    panels = [
        Panel(row["patch"], f"{count / total:.2%}", f"{count:,} times, {row['source_id'].partition('#')[0]}")
        for row, count in shown
    ]
    grid = [panels[i : i + _PATCHES_A_ROW] for i in range(0, len(panels), _PATCHES_A_ROW)]
    page.heading("Most used patches", level=3)
    page.image(
        comparison(grid, zoom=192 // config.texture.k),
        "Share of the targets that came from a database, and the photograph of each.",
    )


def add_licences(page: Page, card: Card | None, level: Literal[2, 3] = 2, title: str = "Data and licences") -> None:
    """A section on what the weights were made from."""
    page.heading(title, level)
    if card is None:
        page.text("They are written into the weights, which this run has not kept yet.")
        return
    started = f" They started from {card.started_from}, whose data are listed too." if card.started_from else ""
    page.text(f"Licence of the weights: {card.licence}.{started}")
    page.table(
        ["trained on", "images", "licence", "source"],
        [[data.name, data.count, data.licence, data.source or None] for data in card.trained_on],
    )


def _throughput(page: Page, recorded: Recorded) -> None:
    page.heading("Speed")
    train = recorded.config.train
    rows: list[list[TableCell]] = []
    for stage, iterations, seconds in pace(recorded.records):
        speed = iterations / seconds
        rows.append([stage.replace("_", " "), iterations, speed, speed * train.batch_size, duration(seconds)])
    if rows:
        columns = ["stage", "iterations", "iterations / s", "crops / s", "time"]
        page.table(columns, rows, "Training steps alone, without validating and saving.")
    machines = read_machines(recorded.folder)
    titles = [title for title in (machines[0] if machines else {}) if title != "from"]
    page.table(
        ["machine", *(f"from iteration {note['from']:,} on" if len(machines) > 1 else "" for note in machines)]
        if machines
        else ["machine", ""],
        [
            *([title, *(note.get(title) for note in machines)] for title in titles),
            ["precision", *[f"{train.precision}, {train.memory_format.replace('_', ' ')}"] * max(1, len(machines))],
        ],
        "The machine that the run was made on." if machines else "The run has no note of its machine.",
    )


def _settings(page: Page, config: Config) -> None:
    page.heading("Settings")
    rows = [[key, shown_value(value)] for key, value in flat(config.model_dump(mode="json"))]
    page.table(["setting", "value"], rows, "As resolved on this machine when the run began.")
