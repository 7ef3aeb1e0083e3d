"""`gramgan demo`: the main job, end to end."""

from pathlib import Path
from typing import Annotated

import typer

from gramgan.cli.console import progress_bar, say


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for everything that the demo makes.")] = Path(
        "runs/demo"
    ),
    photos: Annotated[
        Path, typer.Option(help="Folder of the sample photographs; they are collected into it if it has none.")
    ] = Path("downloaded_images"),
) -> None:
    """Upscale a sample photograph, train a generator for 75 steps, write a report: some minutes on two cores."""
    from gramgan.cli.live import LiveView
    from gramgan.demo import Screen, run_demo

    result = run_demo(output, photos, Screen(say, progress_bar, LiveView))
    say("")
    for label, scores in result.scores.items():
        say(f"{label:>12}: " + "  ".join(f"{name} {value:.4g}" for name, value in scores.items()))
    say(f"took {sum(result.seconds.values()):.0f} s")
    say(f"picture: {result.picture}")
    say(f"report:  {result.report}")
