"""Everything that the pages have in common."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from gramgan.errors import UserError
from gramgan.studio.enlarging import KIND, Enlarging, result_of
from gramgan.studio.jobs import Queue
from gramgan.studio.pictures import JobSpeed, Pictures
from gramgan.studio.places import Places
from gramgan.studio.pyramid import Pyramids
from gramgan.studio.runs import Runs
from gramgan.studio.uploads import MIB, Uploads

DEFAULT_UPLOAD = 1024
"""MiB that one uploaded file may have."""
_UPLOADS_IN_ALL = 16  # times that


@dataclass(frozen=True)
class Options:
    """What the command line says.

    `folders` may be read and written, `runs` as well: that is where trainings and databases go. `work` is a folder of
    this process, deleted at its end. `max_upload` is in MiB.
    """

    folders: tuple[Path, ...]
    runs: Path
    work: Path
    max_upload: int = DEFAULT_UPLOAD


class Studio:
    """The state behind all pages: it belongs to the process, so a page loaded again finds it."""

    def __init__(self, options: Options) -> None:
        """Begin with no pictures and no jobs.

        Raises:
            UserError: a folder is not there, or that of the runs cannot be made.
        """
        options.runs.mkdir(parents=True, exist_ok=True)
        work = options.work.resolve()
        self.uploads = Uploads(
            work / "uploads", most=options.max_upload * MIB, in_all=_UPLOADS_IN_ALL * options.max_upload * MIB
        )
        self.upload_folder = work / "uploads"
        self.places = Places([*options.folders, options.runs, self.upload_folder])
        self.queue = Queue()
        self.pictures = Pictures()
        self.pace = JobSpeed()
        self.enlarging = Enlarging(self.queue, self.pace, work / "results")
        self.pyramids = Pyramids(work / "shown", trusted=work / "results")
        self.runs = Runs(options.runs.resolve())
        self.pages = work / "pages"
        (work / "results").mkdir(exist_ok=True)
        self.pages.mkdir(exist_ok=True)

    def shown(self, reference: str) -> Path:
        """The file behind what a page calls a picture: `picture-3` or `job-7`.

        Raises:
            UserError: there is none.
        """
        kind, _, number = reference.partition("-")
        if kind == "picture":
            return self.pictures.get(number).path
        if kind == "job":
            return result_of(self.queue.get(number))
        raise UserError(f"{reference}: is neither a picture nor a result; load the page again")

    def plainly(self, message: str) -> str:
        """A message for the page: an uploaded file is called by its name alone."""
        return re.sub(re.escape(f"{self.upload_folder}{os.sep}") + r"[^/\\]+[/\\]", "", message)

    def forget(self, number: str) -> None:
        """Take an ended job off the page, and delete what it has left in the work folder. Raises `UserError`."""
        job = self.queue.remove(number)
        if job.kind == KIND:
            self.enlarging.forget(job)

    def close(self) -> None:
        """End what works; trainings go on."""
        self.queue.close()
