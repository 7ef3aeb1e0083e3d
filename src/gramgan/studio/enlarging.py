"""Enlarging the page's pictures: one job for each, and where its result goes."""

import shutil
import time
from pathlib import Path
from typing import Any

from gramgan.errors import UserError
from gramgan.files import atomic_path
from gramgan.progress import Progress
from gramgan.studio.jobs import CancelledError, Queue, StudioJob
from gramgan.studio.pictures import JobSpeed, Picture, picture_facts, work_of
from gramgan.studio.speed import measure_speed
from gramgan.upscaling.api import Upscaling
from gramgan.upscaling.jobs import NameTemplate, plan_jobs
from gramgan.upscaling.settings import Settings

KIND = "upscale"
MEASURE = "measure"
_OPEN = 2  # jobs' weights that are kept open, each for other settings


class Enlarging:
    """Puts pictures into the queue and keeps what comes out, until the page is told to forget it."""

    def __init__(self, queue: Queue, pace: JobSpeed, folder: Path) -> None:
        self._queue, self._pace, self._folder = queue, pace, folder
        self._open: dict[Settings, Upscaling] = {}
        self._measured: set[str] = set()

    def add(self, picture: Picture, settings: Settings, form: str | None, *, beside: bool) -> StudioJob:
        """Queue a picture for enlarging.

        Args:
            picture: what is enlarged.
            settings: how.
            form: a key of `upscaling.jobs.RESULT_SUFFIXES`; None for what the command line would choose.
            beside: write the result beside the picture, with the scale in its name; else it waits to be downloaded.

        Raises:
            UserError: a setting is out of range, or there is a file already where the result is to be.
        """
        upscaling = Upscaling(settings)
        target = _beside(picture, upscaling, form) if beside else None
        _check_free(target)
        if form is not None:  # a wrong one is told now, and not when the picture's turn comes
            plan_jobs([picture.path], self._folder, form)

        def work(job: StudioJob, progress: Progress) -> dict[str, Any]:
            folder = self._place(job)
            made = plan_jobs([picture.path], folder, form)[0].target
            began = time.monotonic()
            upscaling = self._upscaling(settings)
            upscaling.file(picture.path, made, progress)
            weights = str(upscaling.weights_for(picture_facts(picture).seen))
            self._pace.took(weights, work_of(picture, settings), time.monotonic() - began)
            if target is not None:
                _check_free(target)  # another job may have written it while this one waited
                with atomic_path(target) as temporary:
                    shutil.copyfile(made, temporary)
            return {
                "name": made.name,
                "path": str(made),
                "saved": "" if target is None else str(target),
                "weights": Path(weights).name,
                "bytes": made.stat().st_size,
            }

        title = picture.path.name
        about = {"picture": picture.id, "settings": _shown(settings), "beside": beside}
        return self._queue.add(KIND, title, work, clean=self.forget, **about)

    def measure(self, weights: str, settings: Settings) -> bool:
        """Measure the speed of some weights while there is no other work; returns whether that is planned."""
        if self._pace.of(weights, 1) is not None or weights in self._measured:
            return False
        if all(job.state not in ("waiting", "running") for job in self._queue.all()):

            def work(_: StudioJob, progress: Progress) -> dict[str, Any]:
                self._measured.add(weights)  # once, whatever comes of it, unless it is given up
                try:
                    seconds = measure_speed(weights, settings, progress)
                except CancelledError:
                    self._measured.discard(weights)
                    raise
                self._pace.took(weights, 1, seconds)
                return {}

            self._queue.add(MEASURE, f"Speed of {Path(weights).name}", work, idle=True)
        return True

    def forget(self, job: StudioJob) -> None:
        """Delete what a job has left here; a result beside its picture stays."""
        shutil.rmtree(self._place(job), ignore_errors=True)

    def _place(self, job: StudioJob) -> Path:
        return self._folder / job.id

    def _upscaling(self, settings: Settings) -> Upscaling:
        upscaling = self._open.pop(settings, None) or Upscaling(settings)
        self._open[settings] = upscaling
        for old in list(self._open)[:-_OPEN]:
            del self._open[old]
        return upscaling


def result_of(job: StudioJob) -> Path:
    """The file that a job has made.

    Raises:
        UserError: it has made none.
    """
    path = Path(job.result.get("path", ""))
    if job.kind != KIND or job.state != "done" or not path.is_file():
        raise UserError(f"{job.title}: there is no result to show")
    return path


def _check_free(target: Path | None) -> None:
    if target is not None and target.exists():
        raise UserError(f"{target}: is there already; rename or delete it, or choose to download the result")


def _beside(picture: Picture, upscaling: Upscaling, form: str | None) -> Path:
    if picture.uploaded:
        raise UserError(f"{picture.path.name}: was uploaded, so there is no place beside it; download the result")
    template = NameTemplate("{stem}_x{scale}{suffix}", str(upscaling.scale), "")
    return plan_jobs([picture.path], picture.path.parent, form, template)[0].target


def _shown(settings: Settings) -> dict[str, Any]:
    """The settings that differ from the defaults, as the page shows them."""
    default = Settings()
    named = {name: getattr(settings, name) for name in settings.__dataclass_fields__}
    return {name: str(value) for name, value in named.items() if value != getattr(default, name)}
