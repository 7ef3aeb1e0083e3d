"""`gramgan report`: a page about one training run, or about several side by side."""

from pathlib import Path
from typing import Annotated

import typer

from gramgan.cli.console import say


def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Folder of a training run; two or more are compared.", metavar="RUN")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The page to write (default: RUN/report.html; several runs: runs.html)."),
    ] = None,
) -> None:
    """Write a self-contained HTML page: scores, curves, samples, settings, data licences, hardware, speed.

    A run that is not finished is shown as far as it has come.
    """
    if len(runs) == 1:
        from gramgan.reports.run import write_run_report

        say(f"written: {write_run_report(runs[0], output)}")
        return
    from gramgan.reports.side_by_side import write_side_by_side

    output = output or Path("runs.html")
    write_side_by_side(runs, output)
    say(f"written: {output}")
