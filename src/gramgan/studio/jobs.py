"""Work that takes long: one job after the other, each with its progress, each to be cancelled."""

import itertools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from gramgan.errors import UserError
from gramgan.progress import Progress

State = Literal["waiting", "running", "done", "failed", "cancelled"]
_Work = Callable[[Progress], dict[str, Any]]

_log = logging.getLogger(__name__)


class CancelledError(Exception):
    """Raised inside a cancelled job, at its next report of progress."""


@dataclass
class StudioJob:
    """A piece of work and its progress.

    `about` is what the page knows of it before, `result` what its work returned; both go to the page as they are.
    """

    id: str
    kind: str
    title: str
    about: dict[str, Any]
    state: State = "waiting"
    done: int = 0
    total: int = 0
    error: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    began: float = 0.0
    ended: float = 0.0
    cancelling: bool = False
    idle: bool = False

    def told(self) -> dict[str, Any]:
        """What the page shows of it."""
        seconds = (self.ended or time.monotonic()) - self.began if self.began else 0.0
        names = ("id", "kind", "title", "about", "state", "done", "total", "error", "result")
        cancelling = self.cancelling and self.state == "running"
        return {name: getattr(self, name) for name in names} | {"seconds": round(seconds, 2), "cancelling": cancelling}


class Queue:
    """Jobs in the order in which they were asked for. One works at a time: each uses the whole machine.

    They belong to the process and not to a page: a page that is closed or loaded again finds them as they are.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, StudioJob] = {}
        self._waiting: list[tuple[StudioJob, _Work, Callable[[], None]]] = []
        self._numbers = itertools.count(1)
        self._change = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="gramgan-studio", daemon=True)
        self._thread.start()

    def add(
        self,
        kind: str,
        title: str,
        work: Callable[[StudioJob, Progress], dict[str, Any]],
        *,
        clean: Callable[[StudioJob], None] = lambda _: None,
        idle: bool = False,
        **about: Any,
    ) -> StudioJob:
        """Put work at the end of the queue.

        Args:
            kind: which page it belongs to.
            title: what the page calls it.
            work: does it, tells its progress, returns what the page is to know. Raises `UserError` for what the user
                can put right.
            idle: give it up as soon as there is anything else to do.
            clean: removes what the work has left, called when it was cancelled or has failed.
            about: what the page knows of it before.
        """
        with self._change:
            job = StudioJob(str(next(self._numbers)), kind, title, about, idle=idle)
            for other in list(self._jobs.values()):
                if other.idle and other.state in ("waiting", "running"):
                    self.cancel(other.id)
            self._jobs[job.id] = job
            self._waiting.append((job, lambda progress: work(job, progress), lambda: clean(job)))
            self._change.notify_all()
            return job

    def get(self, number: str) -> StudioJob:
        """A job by its number.

        Raises:
            UserError: there is none.
        """
        with self._change:
            if number not in self._jobs:
                raise UserError(f"job {number}: is not known any more; load the page again")
            return self._jobs[number]

    def all(self) -> list[StudioJob]:
        """Every job, in the order in which they were asked for."""
        with self._change:
            return list(self._jobs.values())

    def cancel(self, number: str) -> None:
        """Take a job out of the queue, or stop it where it next tells its progress."""
        job = self.get(number)
        with self._change:
            job.cancelling = True
            if job.state == "waiting":
                self._waiting = [entry for entry in self._waiting if entry[0] is not job]
                job.state = "cancelled"
                if job.idle:
                    del self._jobs[number]

    def remove(self, number: str) -> StudioJob:
        """Forget a job that has ended.

        Raises:
            UserError: it has not.
        """
        job = self.get(number)
        with self._change:
            if job.state in ("waiting", "running"):
                raise UserError(f"{job.title}: is not done yet; cancel it first")
            del self._jobs[number]
        return job

    def close(self, seconds: float = 20.0) -> None:
        """Cancel everything, and wait for the job that works now."""
        for job in self.all():
            if job.state in ("waiting", "running"):
                self.cancel(job.id)
        with self._change:
            self._closed = True
            self._change.notify_all()
        self._thread.join(seconds)

    def _work(self) -> None:
        while True:
            with self._change:
                while not self._waiting and not self._closed:
                    self._change.wait()
                if self._closed:
                    return
                job, work, clean = self._waiting.pop(0)
                job.state, job.began = "running", time.monotonic()
            ended = self._do(job, work)
            if ended != "done":
                clean()
            with self._change:
                job.ended = time.monotonic()
                job.state = ended
                if job.idle:  # nobody asked for it
                    self._jobs.pop(job.id, None)

    def _do(self, job: StudioJob, work: _Work) -> State:
        def progress(done: int, total: int) -> None:
            if job.cancelling:
                raise CancelledError(job.title)
            job.done, job.total = done, total

        try:
            job.result = work(progress)
        except CancelledError:
            return "cancelled"
        except UserError as error:
            job.error = str(error)
            return "failed"
        except Exception as error:  # noqa: BLE001 (a thread: it would end without a word, and the queue with it)
            _log.exception("%s: not done", job.title)
            job.error = (
                f"{job.title}: failed without a reason that you could mend ({type(error).__name__}); the "
                "terminal shows where"
            )
            return "failed"
        return "done"
