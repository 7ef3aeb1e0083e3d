"""Enlarging as work for a team: whole pictures, where there are many, and the tiles of one, where it is large."""

from collections.abc import Callable
from dataclasses import dataclass

from gramgan.errors import BusyError, in_one_line
from gramgan.images import MAX_PIXELS, Raster
from gramgan.progress import Progress, silent
from gramgan.upscaling.api import Upscaling
from gramgan.upscaling.jobs import Job
from gramgan.upscaling.settings import Settings


@dataclass(frozen=True)
class Outcome:
    """What has become of a picture: done, unless it says why it `failed` or another process is `busy` with it."""

    failed: str = ""
    busy: bool = False


@dataclass(frozen=True)
class Pictures:
    """The work on a picture, from file to file."""

    settings: Settings

    def open(self) -> Callable[[Job], Outcome]:
        """The weights are kept from one picture to the next."""
        upscaling = Upscaling(self.settings)
        return lambda job: done(upscaling, job)

    def lost(self, task: Job, why: str) -> Outcome:
        """A picture that no worker survives."""
        return Outcome(f"{task.source}: {why}")


def done(upscaling: Upscaling, job: Job, progress: Progress = silent) -> Outcome:
    """Enlarge one of many pictures; nothing that is wrong with it is raised."""
    try:
        upscaling.file(job.source, job.target, progress)
    except BusyError:
        return Outcome(busy=True)
    except Exception as error:  # noqa: BLE001 (one odd file must not end the job)
        return Outcome(in_one_line(error, job.source))
    return Outcome()


def is_large(job: Job) -> bool:
    """Whether a picture is one that is read with `allow_huge` alone; no for what cannot be read."""
    try:
        info = Raster.open(job.source, allow_huge=True).info
    except Exception:  # noqa: BLE001 (whoever enlarges it says what is wrong with it)
        return False
    return info.width * info.height > MAX_PIXELS
