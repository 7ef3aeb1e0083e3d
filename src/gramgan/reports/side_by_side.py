"""Several training runs on one page: what differs in their settings, and what came of it."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gramgan.errors import UserError
from gramgan.images import read_rgb8
from gramgan.places import as_place
from gramgan.reports.page import Page, TableCell
from gramgan.reports.plots import loss_curves, score_curves
from gramgan.reports.recorded import Recorded, distinct_names, pace, trouble_in_words
from gramgan.reports.run import SAMPLE_SIDE, add_licences, busiest, score_column
from gramgan.reports.strips import Panel, comparison
from gramgan.reports.wording import flat, shown_value
from gramgan.training.machines import read_machines

_MOST_SAMPLES = 6
_ABSENT = np.full((SAMPLE_SIDE, SAMPLE_SIDE, 3), 255, np.uint8)

_Runs = dict[str, Recorded]


def write_side_by_side(folders: Sequence[Path], path: Path) -> None:
    """Write a self-contained page that compares two runs or more to `path`.

    Raises:
        UserError: a folder is named twice or is no training run, its files are damaged, or `path` is not writable.
    """
    folders = [as_place(folder) for folder in folders]
    for number, folder in enumerate(folders):
        if folder.resolve() in [other.resolve() for other in folders[:number]]:
            raise UserError(f"{folder}: is named twice; name every run once")
    names = distinct_names(folders)
    runs = {name: Recorded.read(folder) for name, folder in zip(names, folders, strict=True)}
    page = Page(f"{len(runs)} training runs side by side")
    _overview(page, runs)
    _differences(page, runs)
    _scores(page, runs)
    _curves(page, runs)
    _samples(page, runs)
    _troubles(page, runs)
    _speed(page, runs)
    page.heading("Data and licences")
    for name, recorded in runs.items():
        add_licences(page, recorded.card, level=3, title=name)
    page.save(path)


def _overview(page: Page, runs: _Runs) -> None:
    rows: list[list[TableCell]] = []
    for name, recorded in runs.items():
        config, total = recorded.config, recorded.config.stages.total
        state = "finished" if recorded.finished else f"stands at {recorded.iteration:,}"
        rows.append([name, config.preset, state, total, recorded.start, str(config.data.photos)])
    page.table(["run", "preset", "state", "iterations", "started from", "photographs"], rows)


def _differences(page: Page, runs: _Runs) -> None:
    page.heading("Settings that differ")
    values = {name: dict(flat(recorded.config.model_dump(mode="json"))) for name, recorded in runs.items()}
    keys = dict.fromkeys(key for settings in values.values() for key in settings)
    rows = [[key, *(shown_value(settings.get(key)) for settings in values.values())] for key in keys]
    different = [row for row in rows if len(set(row[1:])) > 1]
    if not different:
        page.text("None: all runs have the same settings.")
        return
    page.table(
        ["setting", *runs], different, f"The other {len(rows) - len(different)} settings are the same in all runs."
    )


def _scores(page: Page, runs: _Runs) -> None:
    page.heading("Scores")
    validated = {name: recorded for name, recorded in runs.items() if recorded.protocol}
    if not validated:
        page.text("Nothing was validated yet.")
        return
    protocols = {recorded.protocol for recorded in validated.values()}
    rows: list[tuple[str, int | None, dict[str, float]]] = []
    for name, recorded in validated.items():
        bicubic = recorded.validations("bicubic")[-1:]
        if bicubic and ("bicubic", None, bicubic[0]["scores"]) not in rows:
            rows.append(("bicubic", None, bicubic[0]["scores"]))
        own = recorded.validations()
        for title, record in (("best", recorded.best), ("last", own[-1] if own else None)):
            if record is not None and (title == "best" or record is not recorded.best):
                rows.append((f"{name}, {title}", record["iteration"], record["scores"]))
    metrics = list(dict.fromkeys(metric for _, _, scores in rows for metric in scores))
    page.table(
        ["run", "iteration", *(score_column(metric, marked=len(protocols) == 1) for metric in metrics)],
        [[name, iteration, *(scores.get(metric) for metric in metrics)] for name, iteration, scores in rows],
        f"Means by the protocol {' / '.join(sorted(protocols))}. ↑ higher is better, ↓ lower is better.",
    )
    if len(protocols) > 1:
        page.note("The runs were validated in different ways: their scores cannot be compared with each other.")
    elif len({str(scores) for name, _, scores in rows if name == "bicubic"}) > 1:
        page.note(
            "Bicubic enlargement scores differently in these runs, so they were validated on different images: their "
            "scores cannot be compared with each other."
        )
    missing = [name for name in runs if name not in validated]
    if missing:
        page.text(f"Not validated: {', '.join(missing)}.")


def _curves(page: Page, runs: _Runs) -> None:
    stepping = {name: recorded.records for name, recorded in runs.items() if recorded.steps}
    if stepping:
        first = next(iter(stepping))
        page.heading("Losses and statistics")
        page.figure(
            loss_curves(stepping.pop(first), stepping, name=first),
            "Means since the point before. Totals are comparable where the weights of the losses are the same.",
        )
    validated = {
        name: [record for record in recorded.records if record.get("of") != "bicubic"]
        for name, recorded in runs.items()
        if recorded.validations()
    }
    if validated:
        first = next(iter(validated))
        whose = f"Of {first} alone: no other run has been validated yet. " if len(validated) == 1 else ""
        page.figure(
            score_curves(validated.pop(first), validated, name=first),
            f"{whose}A ring marks the best value of each run.",
        )


def _samples(page: Page, runs: _Runs) -> None:
    """Rows of validation images, a column for each run; the same crop in all of them."""
    truths: dict[tuple[str, bytes], list[str]] = {}
    for name, recorded in runs.items():
        for truth in sorted((recorded.folder / "samples").glob("*/truth.png")):
            truths.setdefault((truth.parent.name, truth.read_bytes()), []).append(name)
    # Images that most runs share come first: these compare.
    shown = sorted(truths.items(), key=lambda item: -len(item[1]))[:_MOST_SAMPLES]
    rows = [_row(image, sharing, runs) for (image, _), sharing in shown]
    if rows:
        page.heading("Samples")
        left = len(truths) - len(shown)
        page.image(
            comparison(rows),
            f"Validation images: the most detailed {SAMPLE_SIDE} pixels of each, twice enlarged; of each run the best "
            f"validation, or the last where there is none yet.{f' {left} more images are not shown.' if left else ''}",
        )


def _row(image: str, sharing: Sequence[str], runs: _Runs) -> list[Panel]:
    folders = {name: runs[name].folder / "samples" / image for name in sharing}
    any_folder = folders[sharing[0]]
    truth = read_rgb8(any_folder / "truth.png")
    y, x = busiest(truth)

    def crop(picture: np.ndarray) -> np.ndarray:
        return picture[:, y : y + SAMPLE_SIDE, x : x + SAMPLE_SIDE].transpose(1, 2, 0)

    panels = []
    bicubic = any_folder / "bicubic.png"
    if bicubic.exists():
        panels.append(Panel(crop(read_rgb8(bicubic)), "bicubic", image))
    for name, recorded in runs.items():
        path = _result(folders[name], recorded) if name in folders else None
        if path is None:
            panels.append(Panel(_ABSENT, name, "nothing yet" if name in folders else "another image"))
        else:
            panels.append(Panel(crop(read_rgb8(path)), name, f"iteration {int(path.stem):,}"))
    return [*panels, Panel(crop(truth), "truth", "")]


def _result(folder: Path, recorded: Recorded) -> Path | None:
    there = sorted((path for path in folder.glob("*.png") if path.stem.isdecimal()), key=lambda path: int(path.stem))
    best = recorded.best
    wanted = [path for path in there if best is not None and int(path.stem) == best["iteration"]]
    return (wanted or there or [None])[-1]


def _troubles(page: Page, runs: _Runs) -> None:
    rows = [
        [name, trouble["iteration"], trouble.get("stage", "").replace("_", " "), trouble_in_words(trouble)]
        for name, recorded in runs.items()
        for trouble in recorded.troubles
    ]
    if rows:
        page.heading("Warnings")
        page.table(["run", "iteration", "stage", "what"], rows)
    elif any(recorded.steps for recorded in runs.values()):
        page.text("No warning came up in these runs.")


def _speed(page: Page, runs: _Runs) -> None:
    page.heading("Speed")
    stages = list(dict.fromkeys(stage for recorded in runs.values() for stage, _, _ in pace(recorded.records)))
    rows: list[list[TableCell]] = []
    for name, recorded in runs.items():
        speeds = {stage: iterations / seconds for stage, iterations, seconds in pace(recorded.records)}
        machines = read_machines(recorded.folder)
        where = machines[-1]["device"] if machines else recorded.config.train.device
        train = recorded.config.train
        rows.append(
            [name, *(speeds.get(stage, math.nan) for stage in stages), train.batch_size, where, train.precision]
        )
    page.table(
        ["run", *(f"{stage.replace('_', ' ')}, it/s" for stage in stages), "batch", "device", "precision"],
        rows,
        "Iterations per second of training steps alone, without validating and saving.",
    )
