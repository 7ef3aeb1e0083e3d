"""Training runs: started as processes of their own, watched by what they write, stopped as by Ctrl-C."""

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from gramgan import own_process
from gramgan.config import Config, load_config
from gramgan.errors import UserError
from gramgan.files import ensure_folder
from gramgan.reports.listing import find_runs
from gramgan.reports.recorded import Recorded, distinct_names, trouble_in_words
from gramgan.reports.wording import SCORE_FORMATS, SCORE_TITLES, duration
from gramgan.training.folder import is_run, settings_path

CONSOLE = "console.log"
"""What a run that was started here would have said on its terminal."""
_NAME = re.compile(r"[\w][\w .+-]{0,80}")
_SHOWN = 8  # validation images
_LINES = 5


class Runs:
    """The runs in some folders. They are processes of their own: neither a closed page nor a closed studio ends one."""

    def __init__(self, folder: Path) -> None:
        """Give the folder that new runs go to and old ones are looked for in."""
        self.folder = folder
        self._started: dict[Path, subprocess.Popen[bytes]] = {}

    def start(self, name: str, config: Config, overrides: Sequence[str]) -> Path:
        """Start a training with a preset and changes to it, in a new folder.

        Args:
            name: of the run's folder.
            config: what preset and changes come to, checked already.
            overrides: the changes, `KEY=VALUE`.

        Raises:
            UserError: the name is no folder's name or taken, or the photographs are not there.
        """
        if not _NAME.fullmatch(name):
            raise UserError(f"{name!r}: is no name for a run; use letters, digits, spaces, dots and dashes")
        folder = self.folder / name
        if is_run(folder) or (folder in self._started and self._started[folder].poll() is None):
            raise UserError(f"{folder}: holds a training run already; resume it, or choose another name")
        if not config.data.photos.is_dir():
            raise UserError(f"{config.data.photos}: no such folder; choose the folder with the photographs")
        sets = [part for override in overrides for part in ("--set", override)]
        self._launch(folder, ["--preset", config.preset, "--output", str(folder), *sets])
        return folder

    def resume(self, folder: Path) -> None:
        """Go on with a run.

        Raises:
            UserError: it is no run, or is running.
        """
        load_config(file=settings_path(folder))
        if self.is_running(folder):
            raise UserError(f"{folder}: is running already")
        self._launch(folder, ["--resume", str(folder)])

    def stop(self, folder: Path) -> None:
        """Do what Ctrl-C does: the step ends, a checkpoint is saved.

        Raises:
            UserError: it does not run, or cannot be stopped from here.
        """
        number = self._process(folder)
        if number is None:
            raise UserError(f"{folder}: is not running")
        if os.name == "nt":
            raise UserError(f"{folder}: can be stopped only where it was started on this system; press Ctrl-C there")
        os.kill(number, signal.SIGINT)

    def is_running(self, folder: Path) -> bool:
        """Whether a process trains in the folder, whoever has started it."""
        return self._process(folder) is not None

    def all(self) -> list[dict[str, Any]]:
        """Every run in few words, the one that wrote last first; those that are only starting come before."""
        found = find_runs(self.folder) if self.folder.is_dir() else None
        listed = [
            {
                "run": str(run.folder),
                "name": str(run.folder.relative_to(self.folder)),
                "preset": run.preset,
                "iteration": run.iteration,
                "total": run.total,
                "finished": run.finished,
                "warnings": run.warnings,
                "scores": _scores(run.scores),
                "running": self.is_running(run.folder),
                "error": self._error(run.folder),
            }
            for run in (found.runs if found else ())
        ]
        known = {one["run"] for one in listed}
        for folder, process in self._started.items():
            if str(folder) not in known:
                listed.insert(0, self._unborn(folder, running=process.poll() is None))
        return listed

    def details(self, folder: Path) -> dict[str, Any]:
        """Everything that the page shows of a run. Raises `UserError` if it is damaged."""
        if not is_run(folder):
            return self._unborn(folder, running=self.is_running(folder))
        recorded = Recorded.read(folder)
        last = recorded.steps[-1] if recorded.steps else {}
        left = recorded.config.stages.total - recorded.iteration
        speed = last.get("iterations_per_second") or 0
        best = recorded.best
        return {
            "run": str(folder),
            "name": recorded.name,
            "preset": recorded.config.preset,
            "photos": str(recorded.config.data.photos),
            "running": self.is_running(folder),
            "finished": recorded.finished,
            "iteration": recorded.iteration,
            "total": recorded.config.stages.total,
            "stage": str(last.get("stage", "starting")).replace("_", " "),
            "left": duration(left / speed) if speed and left else "",
            "speed": f"{speed:.3g} iterations a second" if speed else "",
            "losses": {name.replace("_", " "): f"{value:.4g}" for name, value in last.get("losses", {}).items()},
            "database": {name.replace("_", " "): f"{value:.3g}" for name, value in last.get("database", {}).items()},
            "scores": _scores(best["scores"]) if best else {},
            "warnings": [f"iteration {one['iteration']}: {trouble_in_words(one)}" for one in recorded.troubles],
            "samples": _samples(folder),
            "error": self._error(folder),
        }

    def sample(self, folder: Path, image: str, file: str) -> Path:
        """A validation picture of a run.

        Raises:
            UserError: there is none.
        """
        path = (folder / "samples" / image / file).resolve()
        if not path.is_relative_to((folder / "samples").resolve()) or path.suffix != ".png" or not path.is_file():
            raise UserError(f"{image}/{file}: there is no such sample")
        return path

    def curves(self, folders: Sequence[Path]) -> bytes:
        """The losses and statistics of one run, or of several in the same axes, as SVG.

        Raises:
            UserError: nothing was logged yet.
        """
        import matplotlib

        from gramgan.reports.plots import loss_curves

        runs = [Recorded.read(folder) for folder in folders if is_run(folder)]
        runs = [run for run in runs if run.steps]
        if not runs:
            raise UserError("no iteration was logged yet; the curves begin with the first one")
        names = distinct_names([run.folder for run in runs])
        others = {name: run.records for name, run in zip(names[1:], runs[1:], strict=True)}
        figure = loss_curves(runs[0].records, others, names[0])
        buffer = io.BytesIO()
        with matplotlib.rc_context({"svg.fonttype": "path"}):
            figure.savefig(buffer, format="svg", transparent=True)
        return buffer.getvalue()

    def _launch(self, folder: Path, arguments: list[str]) -> None:
        ensure_folder(folder)
        with (folder / CONSOLE).open("wb") as console:
            self._started[folder] = subprocess.Popen(
                [sys.executable, "-m", "gramgan", "train", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env=own_process.environment(),
                start_new_session=True,  # Ctrl-C for the studio is none for the run
            )

    def _process(self, folder: Path) -> int | None:
        """The process that trains in `folder`: the one started here, or who holds the run's lock."""
        started = self._started.get(folder)
        if started is not None and started.poll() is None:
            return started.pid
        lock = folder / ".lock"
        return _holder(lock) if lock.exists() else None

    def _error(self, folder: Path) -> str:
        """What a run that was started here said last, if it ended with an error."""
        started = self._started.get(folder)
        if started is None or started.poll() in (None, 0):
            return ""
        lines = _tail(folder / CONSOLE)
        errors = [line for line in lines if line.startswith("error: ")]
        if errors:
            return errors[-1].removeprefix("error: ")
        return "" if any(line.startswith("stopped") for line in lines) else " ".join(lines[-1:])

    def _unborn(self, folder: Path, *, running: bool) -> dict[str, Any]:
        """A run that has written no settings yet, or never came to it."""
        return {
            "run": str(folder),
            "name": folder.name,
            "preset": "",
            "iteration": 0,
            "total": 0,
            "written": 0,
            "finished": False,
            "warnings": [],
            "scores": {},
            "running": running,
            "error": self._error(folder),
            "stage": "starting",
            "losses": {},
            "database": {},
            "samples": [],
            "left": "",
            "speed": "",
            "photos": "",
        }


def _holder(lock: Path) -> int | None:
    """The process that has a lock file open; of a family of them the eldest."""
    path = str(lock.resolve())
    found: dict[int, int] = {}
    for process in psutil.process_iter(["pid", "ppid", "cmdline"]):
        words = process.info["cmdline"] or ()
        if not any("gramgan" in word or "python" in word for word in words):
            continue
        with contextlib.suppress(psutil.Error):
            if any(file.path == path for file in process.open_files()):
                found[process.info["pid"]] = process.info["ppid"]
    return next((number for number, parent in found.items() if parent not in found), None)


def _samples(folder: Path) -> list[dict[str, Any]]:
    """Validation images with their pictures in the order of time: bicubic and the start first, the truth last."""
    root = folder / "samples"
    if not root.is_dir():
        return []
    samples = []
    for place in sorted(root.iterdir())[:_SHOWN]:
        names = sorted(path.name for path in place.glob("*.png"))
        looks = [name for name in names if Path(name).stem.isdecimal()]
        first, last = (
            [name for name in order if name in names] for order in (("bicubic.png", "start.png"), ("truth.png",))
        )
        samples.append({"image": place.name, "files": [*first, *looks, *last]})
    return samples


def _scores(scores: dict[str, float]) -> dict[str, str]:
    return {
        SCORE_TITLES.get(name, name): format(value, SCORE_FORMATS.get(name, ".3g")) for name, value in scores.items()
    }


def _tail(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [line.strip() for line in lines if line.strip()][-_LINES:]
