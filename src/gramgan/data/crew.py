"""Worker processes that decode crops ahead of a training, and hand them over in order whatever becomes of a worker.

Processes and not threads, although libvips decodes without Python's lock: measured on two cores, both come to the
decoder's own speed, but threads take a quarter of the speed of a training that is busy in Python (as on a GPU) against
a tenth; and a process may crash on a file, be killed for memory or hang in a read, and is replaced. torch's DataLoader
ends the training when one of its workers is killed.

Every crop is a function of its number (`gramgan.data.order`), so nothing that happens here changes a later one:

- a worker that dies is replaced and its crop asked for again; a file that ends two workers is given up;
- a file that cannot be used is given up; another one is drawn for this crop by its number and the attempt;
- a worker for which the training has waited `patience` seconds is named in the log; after `limit` seconds (a disk
  that hangs) its file is given up and the worker replaced. This alone is not reproducible: nor is the disk.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import gramgan
from gramgan import own_process
from gramgan.data.items import Item
from gramgan.data.order import Draw, Order
from gramgan.data.troubles import Troubles
from gramgan.data.worker import CROP, FAILED, HEADER, KINDS, request
from gramgan.errors import UserError

PATIENCE, LIMIT = 30.0, 300.0
ATTEMPTS = 1000
"""Images that are tried for one crop before the training ends with an error."""

_IN_FLIGHT = 2  # crops that a worker knows of: it goes on with the second while the first is taken out of the pipe
_DEATHS = 2  # of workers over one file
_START = 60.0  # seconds that a worker may take to start, whatever `limit` says of files: the machine may be busy
_STILLBORN = 3  # workers in a row that end before they are ready: the fault is not in a file
_PIPE_BYTES = 2**20  # room for several crops; 64 KiB is less than one


@dataclass
class _Job:
    """One crop to be decoded; `crop` holds HR and LR samples once it is."""

    number: int
    attempt: int = 0
    deaths: int = 0
    crop: bytearray | None = None


@dataclass(eq=False)
class _Member:
    """A worker process; `flight` are the jobs that it was given, the first of them is being worked on.

    `silent` are the seconds for which the training has waited since its last sign. Not the clock's: a training may
    be busy, or be stopped and continued, while replies lie there.
    """

    process: subprocess.Popen[bytes]
    flight: deque[_Job] = field(default_factory=deque)
    silent: float = 0.0
    ready: bool = False
    warned: bool = False
    retired: bool = False


class Crew:
    """Decodes the crops of `numbers` in that order, `ahead` of them at most before they are taken."""

    def __init__(
        self,
        items: list[Item],
        order: Order,
        numbers: Iterator[int],
        *,
        side: int,
        augment: bool,
        scale: int,
        workers: int,
        ahead: int,
        troubles: Troubles,
        patience: float = PATIENCE,
        limit: float = LIMIT,
    ) -> None:
        """Start `workers` processes and let them begin."""
        self._items, self._order, self._numbers = items, order, numbers
        self._side, self._augment, self._scale, self._ahead = side, augment, scale, ahead
        self._troubles, self._patience, self._limit = troubles, patience, limit
        self._changed = threading.Condition()  # guards everything below
        self._ordered: deque[_Job] = deque()  # all that were not taken yet
        self._pending: deque[_Job] = deque()  # those of them that no worker has
        self._members: list[_Member] = []
        self._failure: Exception | None = None
        self._stillborn = 0
        self._closed = False
        with self._changed:
            self._refill()
            for _ in range(workers):
                self._hire()

    def take(self) -> _Job:
        """The next crop; waits for it.

        Raises:
            UserError: no image out of many could be used.
            RuntimeError: the workers do not start.
        """
        started, turn = time.perf_counter(), min(self._patience, self._limit) / 4
        with self._changed:
            job = self._ordered.popleft()
            while job.crop is None:
                if self._failure is not None:
                    raise self._failure
                before = time.monotonic()
                self._changed.wait(turn)
                self._look_after_slow(min(time.monotonic() - before, turn))
            self._refill()
        self._troubles.taken(time.perf_counter() - started, replaced=job.attempt > 0)
        return job

    def close(self) -> None:
        """End the workers."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            members = list(self._members)
        for member in members:
            member.process.kill()  # they only read
        for member in members:
            with contextlib.suppress(subprocess.TimeoutExpired):  # one that hangs in a read ends with that read
                member.process.wait(timeout=1)

    def processes(self) -> list[int]:
        """Process numbers of the workers."""
        with self._changed:
            return [member.process.pid for member in self._members]

    def _refill(self) -> None:
        while len(self._ordered) < self._ahead:
            job = _Job(next(self._numbers))
            self._ordered.append(job)
            self._pending.append(job)
        self._changed.notify_all()

    def _hire(self) -> None:
        member = _Member(_start())
        self._members.append(member)
        threading.Thread(target=self._serve, args=(member,), name="gramgan-data", daemon=True).start()

    def _serve(self, member: _Member) -> None:
        """Run a worker, in a thread of its own."""
        try:
            self._converse(member)
        except Exception as error:  # noqa: BLE001 (it is raised in the thread that waits for the crops)
            with self._changed:
                self._failure = self._failure or error
                self._changed.notify_all()

    def _converse(self, member: _Member) -> None:
        """Give a worker jobs and take its replies, until it ends."""
        requests, replies = member.process.stdin, member.process.stdout
        assert requests is not None
        assert replies is not None
        try:
            _receive(replies)
            with self._changed:
                member.ready, self._stillborn = True, 0
            while (given := self._give(member)) is not None:
                for job in given:
                    requests.write(request(self._item(job), self._draw(job), self._side, self._augment, self._scale))
                requests.flush()
                kind, content = _receive(replies)
                with self._changed:
                    if member.retired:
                        return
                    self._settle(member.flight.popleft(), kind, content)
                    member.silent, member.warned = 0.0, False
        except (EOFError, OSError):
            with self._changed:
                if not (self._closed or member.retired):
                    self._bury(member)

    def _give(self, member: _Member) -> list[_Job] | None:
        """Jobs that the worker gets now; waits if it has nothing to do. None when it is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or member.retired or member.flight or self._pending)
            if self._closed or member.retired:
                return None
            if not member.flight:
                member.silent = 0.0
            given = []
            while self._pending and len(member.flight) < _IN_FLIGHT:
                given.append(self._pending.popleft())
                member.flight.append(given[-1])
            return given

    def _settle(self, job: _Job, kind: bytes, content: bytearray) -> None:
        if kind == CROP:
            job.crop = content
            self._changed.notify_all()
            return
        message = content.decode("utf-8", "surrogateescape")
        if kind == FAILED:
            message = "cannot be decoded: " + message.strip().splitlines()[-1]
        high = self._item(job).high
        named = replace(high, path=high.path.absolute())  # as the worker knows it
        self._give_up(job, message.removeprefix(f"{named}: "))
        self._pending.appendleft(job)
        self._changed.notify_all()

    def _give_up(self, job: _Job, reason: str) -> None:
        """Draw another image for this crop."""
        self._troubles.add(str(self._item(job).high), reason, then="another image takes its place")
        job.attempt += 1
        job.deaths = 0
        if job.attempt == ATTEMPTS and self._failure is None:
            self._failure = UserError(
                f"data.photos: {ATTEMPTS} images drawn one after another cannot be trained on, the last because "
                f"{reason}; the log names others; give photographs of at least {self._side}x{self._side} pixels"
            )

    def _bury(self, member: _Member) -> None:
        """A worker has ended by itself: name it and go on with a new one."""
        end = _end_of(member.process)
        if not member.ready:
            self._stillborn += 1
            if self._stillborn >= _STILLBORN:
                self._failure = RuntimeError(f"the data workers do not start: {end}; what they say stands above")
                self._changed.notify_all()
                return
        what = end
        if member.flight:
            job = member.flight[0]
            what += f" while it was reading {self._item(job).high}"
            job.deaths += 1
            if job.deaths >= _DEATHS:
                self._give_up(job, f"{_DEATHS} workers ended while they read it")
        self._troubles.add(f"data worker {member.process.pid}", what, then="a new one goes on")
        self._replace(member)

    def _replace(self, member: _Member) -> None:
        member.retired = True
        self._members.remove(member)
        self._pending.extendleft(reversed(member.flight))
        self._hire()
        self._changed.notify_all()

    def _look_after_slow(self, waited: float) -> None:
        for member in list(self._members):
            if member.ready and not member.flight:
                continue
            member.silent += waited
            name = str(self._item(member.flight[0]).high) if member.flight else f"data worker {member.process.pid}"
            if member.silent > (self._limit if member.ready else max(self._limit, _START)):
                member.process.kill()
                if member.flight:
                    self._give_up(member.flight[0], f"no answer for {member.silent:.0f} s")
                else:
                    self._troubles.add(name, f"does not start within {member.silent:.0f} s", then="a new one goes on")
                self._replace(member)
            elif member.silent > self._patience and not member.warned:
                member.warned = True
                self._troubles.add(name, f"no answer for {member.silent:.0f} s (a slow disk?)", then="waiting")

    def _draw(self, job: _Job) -> Draw:
        return self._order.draw(job.number, job.attempt)

    def _item(self, job: _Job) -> Item:
        return self._items[self._draw(job).item]


def _start() -> subprocess.Popen[bytes]:
    environment = own_process.environment() | {
        "VIPS_CONCURRENCY": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    package = str(Path(gramgan.__file__).resolve().parents[1])  # also where a program has put it on its own path
    environment["PYTHONPATH"] = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    # Ctrl-C and a batch system's SIGTERM reach the whole group; the training must be able to finish its step.
    process = subprocess.Popen(
        [sys.executable, "-m", "gramgan.data.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        creationflags=subprocess.CREATE_NEW_PROCESS_GROUP if sys.platform == "win32" else 0,
        start_new_session=sys.platform != "win32",
    )
    if sys.platform == "linux":
        import fcntl

        assert process.stdout is not None
        with contextlib.suppress(OSError):  # beyond a user's quota of pipes it stays as it is, and works
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return process


def _receive(replies: IO[bytes]) -> tuple[bytes, bytearray]:
    """Kind and content of a reply. Raises `EOFError`: the worker has ended."""
    kind, length = HEADER.unpack(_read(replies, HEADER.size))
    if kind not in KINDS:  # something else writes there: no conversation is possible
        raise EOFError
    return kind, _read(replies, length)


def _read(pipe: IO[bytes], length: int) -> bytearray:
    content = bytearray(length)
    if pipe.readinto(content) < length:  # type: ignore[attr-defined]
        raise EOFError
    return content


def _end_of(process: subprocess.Popen[bytes]) -> str:
    try:
        code = process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        return "closed its output"
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
