"""What a training shows while it runs: a panel on a terminal, plain lines in a log file."""

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

from gramgan.cli.console import plain
from gramgan.training.folder import Record

if TYPE_CHECKING:
    from rich.console import RenderableType

    from gramgan.config.sections import Stage


_REFRESHES = 2  # a second: often enough to look alive, and no load beside a training
_WIDE = 120  # columns of a terminal that has room for everything
_TREND, _NARROW_TREND = 16, 8  # records a trend is drawn from
_KEPT_WARNINGS = 3
_BARS = "▁▂▃▄▅▆▇█"
_IN_LINES = (
    "target_ratio",
    "data_wait",
    "database_share",
    "unique_share",
    "mask_share",
    "ranked_right",
)  # a line has little room
_SHARES = (*_IN_LINES[1:], "accuracy_real", "accuracy_fake")
_FIXED = ("event", "iteration", "stage", "losses", "learning_rate", "database", "iterations_per_second", "scores")


class LiveView:
    """An `Observer` on standard error.

    On a terminal a panel stays at the bottom: progress, losses with their trend, rates and statistics, scores, the last
    warnings; validations and the package's messages scroll by above it. Elsewhere every record is one line of text.
    """

    def __init__(self, title: str = "training", console: Console | None = None) -> None:
        self._title = title
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._board = _Board(title, self._console)
        self._live = Live(
            console=self._console,
            get_renderable=self._board.panel,
            refresh_per_second=_REFRESHES,
            transient=False,
            redirect_stdout=False,
            vertical_overflow="crop",
        )
        self._handler = _Messages(self._console, self._board)
        self._handlers_before: list[logging.Handler] = []

    def __enter__(self) -> "LiveView":
        if self._console.is_terminal:
            # The package's messages go through the view, or they would be written into the panel.
            logger = logging.getLogger("gramgan")
            self._handlers_before, logger.handlers[:] = logger.handlers[:], [self._handler]
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()
            logging.getLogger("gramgan").handlers[:] = self._handlers_before

    def loading(self, done: int, total: int) -> None:
        """A `Progress` for reading the photographs."""
        self._board.loading(done, total)

    def iteration(self, done: int, total: int, stage: "Stage") -> None:
        """`done` of `total` iterations are behind."""
        self._board.iteration(done, total, stage)

    def record(self, record: Record) -> None:
        """A record was written to the log."""
        self._board.record(record)
        if record["event"] not in ("step", "validation"):
            return  # the loop logs what happens beside them
        if not self._console.is_terminal:
            self._console.print(plain(f"{time.strftime('%H:%M:%S')} {describe(record)}{self._board.left(record)}"))
        elif record["event"] == "validation":
            self._console.print(plain(describe(record)), style="green" if record.get("best") else None)


def describe(record: Record) -> str:
    """One line of text for a step's or a validation's record in a run's log."""
    at = f"{record['iteration']:>7}"
    if record["event"] == "validation":
        scores = "  ".join(f"{name} {value:.4f}" for name, value in record["scores"].items())
        return f"{at}  {record['of']}: {scores}" + ("  (best)" if record.get("best") else "")
    losses = "  ".join(f"{name} {value:.4g}" for name, value in record["losses"].items())
    parts = [f"{_words(record['stage'])}: {losses}", f"rate {record['learning_rate']:.2g}"]
    parts += [f"{_words(name)} {_shown(name, value)}" for name, value in _statistics(record) if name in _IN_LINES]
    return f"{at}  " + "  ".join(parts) + f"  {record['iterations_per_second']:.2f} it/s"


class _Board:
    """The panel's contents, renewed by whoever tells of the run and drawn by the terminal's own thread."""

    def __init__(self, title: str, console: Console) -> None:
        self._title = title
        self._console = console
        self._ascii_only = console.options.ascii_only
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            expand=True,
        )
        self._task = self._bar.add_task("starting", total=None)
        self._began = time.monotonic()
        self._pace: deque[tuple[float, int]] = deque(maxlen=50)
        self._total = 0
        self._stage = ""
        self._losses: dict[str, deque[float]] = {}
        self._last: Record = {}
        self._scores: dict[str, dict[str, float]] = {}
        self._warnings: deque[str] = deque(maxlen=_KEPT_WARNINGS)

    def loading(self, done: int, total: int) -> None:
        self._bar.update(self._task, description="loading photographs", completed=done, total=total)

    def iteration(self, done: int, total: int, stage: str) -> None:
        if stage != self._stage or (self._pace and done <= self._pace[-1][1]):  # another pace; or the run went back
            self._stage = stage
            self._pace.clear()
            self._losses = {}
        self._total = total
        self._pace.append((time.monotonic(), done))
        self._bar.update(self._task, description=_words(stage), completed=done, total=total)

    def record(self, record: Record) -> None:
        if record["event"] == "step":
            self._last = record
            for name, value in record["losses"].items():
                self._losses.setdefault(name, deque(maxlen=_TREND)).append(value)
        elif record["event"] == "validation":
            of = record["of"] if record["of"] != "generator" else "last"
            self._scores[of] = record["scores"]
            if record.get("best"):
                self._scores["best"] = record["scores"]

    def warn(self, message: str) -> None:
        self._warnings.append(f"{time.strftime('%H:%M:%S')} {message}")

    def left(self, record: Record) -> str:
        """How long it takes yet at the pace of a record, for the end of its line."""
        speed = record.get("iterations_per_second", 0)
        if record["event"] != "step" or not speed > 0 or not self._total:
            return ""
        return f"  {_duration((self._total - record['iteration']) / speed)} left"

    def panel(self) -> "RenderableType":
        parts: list[RenderableType] = [self._bar.get_renderable(), Text(self._times(), style="dim")]
        narrow = self._console.width < _WIDE
        tables = [table for table in (self._loss_table(narrow), self._figures(narrow), self._score_table()) if table]
        if tables:
            parts += [Text(), Columns(tables, padding=(0, 3))]
        parts += [
            Text(f"! {warning}", style="yellow", overflow="fold", no_wrap=False) for warning in (*self._warnings,)
        ]
        return Panel(Group(*parts), title=plain(self._title), title_align="left", border_style="dim", expand=True)

    def _times(self) -> str:
        words = [f"{_duration(time.monotonic() - self._began)} so far"]
        pace = tuple(self._pace)
        if len(pace) > 1 and pace[-1][0] > pace[0][0]:
            speed = (pace[-1][1] - pace[0][1]) / (pace[-1][0] - pace[0][0])
            words = [f"{speed:.3g} it/s", *words, f"{_duration((self._total - pace[-1][1]) / speed)} left at this pace"]
        return " · ".join(words)

    def _loss_table(self, narrow: bool) -> Table | None:
        if not self._losses:
            return None
        shares = self._last.get("shares", {})
        table = _table("loss", "now", *(("share",) if shares else ()))
        if not self._ascii_only:
            table.add_column("trend", no_wrap=True)
        for name, values in list(self._losses.items()):
            known = list(values)[-_NARROW_TREND if narrow else -_TREND :]
            share = f"{shares[name]:.0%}" if name in shares else ""
            trend = () if self._ascii_only else (_trend(known),)
            table.add_row(_words(name), f"{known[-1]:.4g}", *((share,) if shares else ()), *trend)
        return table

    def _figures(self, narrow: bool) -> Table | None:
        if not self._last:
            return None
        table = _table("", "now")
        table.add_row("learning rate", f"{self._last['learning_rate']:.2g}")
        for name, value in _statistics(self._last):
            if narrow and name not in _IN_LINES and name != "colour_drift":
                continue
            table.add_row(_words(name), _shown(name, value))
        return table

    def _score_table(self) -> Table | None:
        scores = dict(self._scores)
        columns = [of for of in ("bicubic", "start", "best", "last") if of in scores]
        if not columns:
            return None
        table = _table("validation", *columns)
        for metric in dict.fromkeys(metric for of in columns for metric in scores[of]):
            cells = (scores[of].get(metric) for of in columns)
            table.add_row(_words(metric), *("–" if value is None else f"{value:.4g}" for value in cells))
        return table


class _Messages(logging.Handler):
    """Prints the package's messages above the panel, and keeps the last warnings in it."""

    def __init__(self, console: Console, board: _Board) -> None:
        super().__init__()
        self._console = console
        self._board = board

    def emit(self, record: logging.LogRecord) -> None:
        """Show a log record above the live view."""
        message = record.getMessage()
        if record.levelno >= logging.WARNING:
            self._board.warn(message)
        self._console.print(plain(message), style="yellow" if record.levelno >= logging.WARNING else None)


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, no_wrap=True)
    for title in others:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _statistics(record: Record) -> Iterator[tuple[str, float]]:
    """(name, value) of all that a step's record says beside its losses, rate and speed."""
    yield from record.get("database", {}).items()
    if record.get("data"):
        yield "data_wait", record["data"]["wait_share"]
    for name, value in record.items():
        if name not in _FIXED and isinstance(value, int | float):
            yield name, value


def _shown(name: str, value: float) -> str:
    if name == "colour_drift":
        return f"{255 * value:.1f} of 255"
    return f"{value:.0%}" if name in _SHARES else f"{value:.3g}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _trend(values: Iterable[float]) -> str:
    known = list(values)
    low, high = min(known), max(known)
    if not high > low:
        return _BARS[0] * len(known)
    return "".join(_BARS[min(len(_BARS) - 1, int((value - low) / (high - low) * len(_BARS)))] for value in known)


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
