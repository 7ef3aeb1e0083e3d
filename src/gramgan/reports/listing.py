"""Which training runs a folder holds, and how far they are."""

import os
from dataclasses import dataclass
from pathlib import Path

from gramgan.errors import UserError
from gramgan.places import ObjectPath
from gramgan.reports.recorded import Recorded
from gramgan.training.folder import is_run


@dataclass(frozen=True)
class Listed:
    """A run in few words: `scores` of its best validation, else of its last; `written` is a time, 0 if it has no log.

    `warnings` counts what the collapse watch and the guard have reported.
    """

    folder: Path
    preset: str
    iteration: int
    total: int
    finished: bool
    scores: dict[str, float]
    warnings: int
    written: float


@dataclass(frozen=True)
class FoundRun:
    """Runs, the one that wrote last first, and for each that cannot be read why."""

    runs: list[Listed]
    damaged: list[str]


def find_runs(folder: Path) -> FoundRun:
    """Look for runs in `folder` (which may be one itself) and below; inside of a run no other is looked for.

    Raises:
        UserError: there is no such folder, or it is in object storage.
    """
    if isinstance(folder, ObjectPath):
        raise UserError(f"{folder}: runs are looked for in local folders; copy this one to a disk first")
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; give the one that runs are in, such as runs")
    runs, damaged = [], []
    for place, below, _ in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        if not is_run(Path(place)):
            continue
        below.clear()
        try:
            runs.append(_listed(Recorded.read(Path(place))))
        except UserError as error:
            damaged.append(str(error))
    return FoundRun(sorted(runs, key=lambda run: -run.written), damaged)


def _listed(recorded: Recorded) -> Listed:
    log = recorded.folder / "log.jsonl"
    shown = recorded.best or next(iter(recorded.validations()[-1:]), None)
    return Listed(
        folder=recorded.folder,
        preset=recorded.config.preset,
        iteration=recorded.iteration,
        total=recorded.config.stages.total,
        finished=recorded.finished,
        scores=shown["scores"] if shown is not None else {},
        warnings=len(recorded.troubles),
        written=log.stat().st_mtime if log.exists() else 0.0,
    )
