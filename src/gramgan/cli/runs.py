"""`gramgan runs`: the training runs in a folder, newest first."""

from pathlib import Path
from typing import Annotated

import typer

from gramgan.cli.console import plain, say, wide_console

_LISTED = 5  # runs that cannot be read


def runs(
    folder: Annotated[Path, typer.Argument(help="Folder to search for runs, with all its subfolders.")] = Path("runs"),
) -> None:
    """List training runs: preset, progress, best score, warnings, time of the last record."""
    from datetime import datetime

    from rich.table import Table

    from gramgan.reports.listing import find_runs
    from gramgan.reports.wording import SCORE_FORMATS, SCORE_TITLES

    found = find_runs(folder)
    if not found.runs and not found.damaged:
        say(f"{folder}: holds no training run; `gramgan train` makes one")
        return
    metrics = list(dict.fromkeys(metric for run in found.runs for metric in run.scores))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", overflow="fold")
    table.add_column("preset", no_wrap=True)
    table.add_column("iterations", justify="right", no_wrap=True)
    table.add_column("last record", no_wrap=True)
    for metric in metrics:
        table.add_column(SCORE_TITLES.get(metric, metric), justify="right", no_wrap=True)
    table.add_column("warnings", justify="right", no_wrap=True)
    for run in found.runs:
        at = datetime.fromtimestamp(run.written).strftime("%Y-%m-%d %H:%M") if run.written else "–"
        scores = (format(run.scores[m], SCORE_FORMATS.get(m, ".3g")) if m in run.scores else "–" for m in metrics)
        iterations = f"{run.total:,}" if run.finished else f"{run.iteration:,} of {run.total:,}"
        table.add_row(plain(str(run.folder)), plain(run.preset), iterations, at, *scores, str(run.warnings or "–"))
    if found.runs:
        wide_console().print(table)
    for problem in found.damaged[:_LISTED]:
        say(f"not shown: {problem}")
    if len(found.damaged) > _LISTED:
        say(f"and {len(found.damaged) - _LISTED} more runs that cannot be read")
