"""`gramgan train`: from photographs to a generator."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gramgan.cli import completion
from gramgan.cli.console import overrides_of, say
from gramgan.errors import UserError

if TYPE_CHECKING:
    from gramgan.config import Config
    from gramgan.training.run import RunResult


def train(
    preset: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.presets,
            help="Named settings: paper (default), classic, finetune, lite, photo, quick, realphoto or reference.",
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A YAML file of settings; with --preset too, they change the preset's.")
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(help="Folder of photographs; short for --set data.photos=FOLDER.")
    ] = None,
    database: Annotated[
        Path | None, typer.Option(help="Texture database; short for --set texture.database=NAME.lance.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="One setting, KEY=VALUE, for example train.batch_size=8; may be repeated."),
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
        typer.Option(
            autocompletion=completion.run_folders,
            help="Continue the run in this folder; --set may change stages, schedule, devices and some more.",
        ),
    ] = None,
    show_settings: Annotated[
        bool, typer.Option("--show-settings", help="Print all settings as YAML and exit.")
    ] = False,
) -> None:
    """Train a generator with texture supervision.

    Three stages: L1 alone, the discriminator alone, then all losses. Ctrl-C saves a checkpoint and stops; --resume
    continues.
    """
    from gramgan.config import load_config

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
        chosen = load_config(preset, config, overrides)
    if show_settings:
        for line in chosen.to_yaml().splitlines():
            say(line)
        return

    folder = resume or output or Path("runs") / chosen.preset
    result = run_live(chosen, folder, resume=resume is not None)
    if not result.first:
        return  # another process tells; a code of failure from this one would have its starter end that one
    if not result.finished:
        say(f"stopped after {result.iteration} iterations; go on with: gramgan train --resume {folder}")
        raise typer.Exit(1)
    say(f"done: {result.best or folder}")


def run_live(config: "Config", folder: Path, *, resume: bool = False) -> "RunResult":
    """Train with a live view on the terminal; the run's report is written also after an interruption."""
    from gramgan.cli.live import LiveView
    from gramgan.reports.run import write_run_report
    from gramgan.training.run import train as run_training

    with LiveView(f"{folder} · {config.preset}") as view:
        result = run_training(config, folder, resume=resume, observer=view, loading=view.loading)
    if not result.first:
        return result
    if result.scores:
        say("best: " + ", ".join(f"{name} {value:.4g}" for name, value in result.scores.items()))
    say(f"report: {write_run_report(folder)}")
    return result


def _settings_of(run: Path) -> Path:
    from gramgan.training.folder import settings_path

    return settings_path(run)
