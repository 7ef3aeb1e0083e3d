"""Enlarging as work for a team: whole pictures, where there are many, and the tiles of one, where it is large."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gramgan.errors import BusyError, UserError, in_one_line
from gramgan.images import MAX_PIXELS, Raster
from gramgan.progress import Progress, silent
from gramgan.team import HELD, Team, in_order
from gramgan.upscaling.api import Upscaling
from gramgan.upscaling.engine import Elsewhere, TileTask
from gramgan.upscaling.jobs import Job
from gramgan.upscaling.settings import Settings


@dataclass(frozen=True)
class Outcome:
    """What has become of a picture: done, unless it says why it `failed` or another process is `busy` with it."""

    failed: str = ""
    busy: bool = False


@dataclass(frozen=True)
class PictureWork:
    """The work on a picture, from file to file."""

    settings: Settings

    def open(self) -> Callable[[Job], Outcome]:
        """The weights are kept from one picture to the next."""
        upscaling = Upscaling(self.settings)
        return lambda job: done(upscaling, job)

    def lost(self, task: Job, why: str) -> Outcome:
        """A picture that no worker survives."""
        return Outcome(f"{task.source}: {why}")


@dataclass(frozen=True)
class TileWork:
    """The work on a tile of a picture, with weights by name or file."""

    settings: Settings
    spec: str | Path

    def open(self) -> Callable[[TileTask], tuple[np.ndarray, np.ndarray | None]]:
        """The weights are kept from one picture to the next."""
        return Upscaling(self.settings).engine(self.spec).tile

    def lost(self, task: TileTask, why: str) -> tuple[np.ndarray, np.ndarray | None]:
        """Without the tile there is no picture."""
        height, width = task.pixels.shape[1:]
        raise UserError(f"a tile of {width}x{height} pixels {why}; use a smaller --tile")


def by_tiles(team: Team, settings: Settings) -> Callable[[str | Path], Elsewhere]:
    """Of weights, who computes tiles with them: the workers of `team`. See `Upscaling`."""
    return lambda spec: lambda tasks: in_order(team, TileWork(settings, spec), tasks, ahead=HELD)


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
