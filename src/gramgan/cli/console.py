"""What every command shares on the terminal: progress bars, result lines, log messages."""

import contextlib
import logging
import sys
from collections.abc import Iterator

from gramgan.progress import Progress


def say(text: str) -> None:
    """Print one line of result to standard output."""
    print(text, flush=True)


@contextlib.contextmanager
def progress_bar(description: str) -> Iterator[Progress]:
    """A progress bar with elapsed and remaining time on standard error; yields the callback that moves it.

    Where standard error is not a terminal the bar is one line at the end, so that log files stay readable.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(description, total=None)

        def update(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield update


def show_log(verbose: bool = False) -> None:
    """Send the package's log messages to standard error, one plain line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("gramgan")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False
