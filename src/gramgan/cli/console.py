"""What every command shares on the terminal: progress bars, result lines, log messages."""

import contextlib
import io
import json
import logging
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gramgan.errors import ReportedError, UserError
from gramgan.names import shown
from gramgan.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console


def run_application(application: typer.Typer, arguments: list[str], name: str) -> int:
    """Run one command line of `application`, which calls itself `name`.

    Returns:
        0 if all went well, 1 if some of several inputs failed or a run was stopped, 2 for input that the user can put
        right.
    """
    from gramgan import own_process
    from gramgan.hardware.allocator import keep_memory

    own_process.set_up()
    keep_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name need not be in what the terminal, or a pipe, is written in
            stream.reconfigure(errors="backslashreplace")
    try:
        application(arguments, prog_name=name)
    except ReportedError:
        return 2
    except UserError as error:
        complain(f"error: {error}")
        return 2
    except SystemExit as end:  # how typer ends: 0, the command's own code, or 2 for wrong usage
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def overrides_of(values: dict[str, object]) -> list[str]:
    """Settings as `KEY=VALUE` overrides, those that are None left out; quoted, so that a folder `2024` stays text."""
    return [
        f"{key}={json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)}"
        for key, value in values.items()
        if value is not None
    ]


def say(text: str) -> None:
    """Print one line of result to standard output; what cannot be printed is escaped."""
    print(shown(text), flush=True)


def complain(text: str) -> None:
    """Print one line about an error to standard error; what cannot be printed is escaped."""
    print(shown(text), file=sys.stderr)


def plain(text: str) -> str:
    """`text` for a table or line that rich draws: no markup, and what cannot be printed is escaped."""
    from rich.markup import escape

    return escape(shown(text))


class _OneLine(logging.Formatter):
    """The message alone, as `shown`; a traceback follows as it is."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        return shown(record.message)


def wide_console() -> "Console":
    """As wide as the terminal; a pipe has no width, and gets lines that are not folded at 80 columns."""
    from rich.console import Console

    return Console(width=shutil.get_terminal_size().columns if sys.stdout.isatty() else 250, highlight=False)


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
        task = bar.add_task(plain(description), total=None)

        def update(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield update


def show_log(verbose: bool = False) -> None:
    """Send the package's log messages to standard error, one plain line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine())
    logger = logging.getLogger("gramgan")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False
