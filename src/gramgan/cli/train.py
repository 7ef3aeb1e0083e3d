"""`gramgan train`: from photographs to a generator."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gramgan.cli.console import overrides_of, say

if TYPE_CHECKING:
    from gramgan.config import Config, Stage
    from gramgan.training.run import RunResult


def train(
    preset: Annotated[
        str | None, typer.Option(help="Named settings: quick, paper, classic, … (default: paper).")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file of settings instead of a preset.")] = None,
    photos: Annotated[
        Path | None, typer.Option(help="Folder of photographs; short for --set data.photos=FOLDER.")
    ] = None,
    database: Annotated[
        Path | None, typer.Option(help="Texture database; short for --set texture.database=NAME.lance.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="One setting, KEY=VALUE, for example train.batch_size=8. Repeatable."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The run's folder (default: runs/PRESET).")
    ] = None,
    devices: Annotated[
        int | None, typer.Option(help="Devices of this machine to train on; short for --set train.devices=N.")
    ] = None,
    num_nodes: Annotated[
        int | None, typer.Option(help="Machines to train on; short for --set train.num_nodes=N.")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="A run's folder to go on with; --set may change stages, schedule, devices and some more."),
    ] = None,
    show_settings: Annotated[
        bool, typer.Option("--show-settings", help="Print all settings as YAML and exit.")
    ] = False,
) -> None:
    """Train a generator with texture supervision.

    Three stages: L1 alone, the discriminator alone, then all five losses. Ctrl-C saves a checkpoint and stops;
    --resume goes on.
    """
    from gramgan.config import load_config
    from gramgan.errors import UserError

    given = {
        "data.photos": photos,
        "texture.database": database,
        "train.devices": devices,
        "train.num_nodes": num_nodes,
    }
    overrides = overrides_of(given) + list(settings or [])
    if resume is not None:
        if preset or config or output:
            raise UserError(
                "--resume: a resumed run keeps its own settings and folder; leave --preset, --config and --output out"
            )
        chosen = load_config(file=_settings_of(resume), overrides=overrides)
    else:
        if preset and config:
            raise UserError("--preset and --config: give one of them, not both")
        chosen = load_config(preset, config, overrides)
    if show_settings:
        say(chosen.to_yaml().rstrip())
        return

    folder = resume or output or Path("runs") / chosen.preset
    result = run_live(chosen, folder, resume=resume is not None)
    if not result.first:  # another process tells
        raise typer.Exit(0 if result.finished else 1)
    if not result.finished:
        say(f"stopped after {result.iteration} iterations; go on with: gramgan train --resume {folder}")
        raise typer.Exit(1)
    say(f"done: {result.best or folder}")


def run_live(config: "Config", folder: Path, *, resume: bool = False) -> "RunResult":
    """Train with a live view on the terminal; the run's report is written also after an interruption."""
    from gramgan.reports.run import write_run_report
    from gramgan.training.run import train as run_training

    with LiveView() as view:
        result = run_training(config, folder, resume=resume, observer=view, loading=view.loading)
    if not result.first:
        return result
    if result.scores:
        say("best: " + ", ".join(f"{name} {value:.4g}" for name, value in result.scores.items()))
    say(f"report: {write_run_report(folder)}")
    return result


def _settings_of(run: Path) -> Path:
    from gramgan.training.run import settings_path

    return settings_path(run)


class LiveView:
    """An `Observer` on the terminal: progress bars, and a line of text for every record."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._loading = self._bar.add_task("loading photographs", total=None, visible=False)
        self._training = self._bar.add_task("training", total=None, start=False)
        self._left = 0

    def __enter__(self) -> "LiveView":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def loading(self, done: int, total: int) -> None:
        """A `Progress` for reading the photographs."""
        self._bar.update(self._loading, completed=done, total=total, visible=done < total)

    def iteration(self, done: int, total: int, stage: "Stage") -> None:
        """See `Observer`."""
        self._bar.start_task(self._training)  # the clock starts with the first iteration
        self._left = total - done
        self._bar.update(self._training, completed=done, total=total, description=stage.replace("_", " "))

    def record(self, record: dict[str, Any]) -> None:
        """See `Observer`."""
        line = describe(record)
        if record["event"] == "step" and record["iterations_per_second"] > 0:
            left = timedelta(seconds=round(self._left / record["iterations_per_second"]))
            line += f"  {left} left"
        self._console.print(line)


def describe(record: dict[str, Any]) -> str:
    """One line of text for one record of a run's log."""
    at = f"{record['iteration']:>7}"
    if record["event"] == "skip":
        return f"{at}  skipped: {', '.join(record['broken'])} not finite on {', '.join(record['images'])}"
    if record["event"] == "rollback":
        return f"{at}  back from {record['from']}, learning rates times {record['rate_scale']:g}: {record['because']}"
    if record["event"] == "warning":
        return f"{at}  warning: {record['message']}"
    if record["event"] == "validation":
        scores = "  ".join(f"{name} {value:.4f}" for name, value in record["scores"].items())
        return f"{at}  {record['of']}: {scores}" + ("  (best)" if record.get("best") else "")
    losses = "  ".join(f"{name} {value:.4g}" for name, value in record["losses"].items())
    parts = [f"{record['stage'].replace('_', ' ')}: {losses}", f"rate {record['learning_rate']:.2g}"]
    parts += [f"{name.replace('_', ' ')} {value:.3g}" for name, value in record.get("database", {}).items()]
    parts += [
        f"{name.replace('_', ' ')} {record[name]:.0%}" for name in ("mask_share", "ranked_right") if name in record
    ]
    return f"{at}  " + "  ".join(parts) + f"  {record['iterations_per_second']:.2f} it/s"
