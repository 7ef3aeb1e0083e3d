"""A `Team` of the processes of a Ray cluster.

Each node has as many workers as it has processors or GPUs: actors of Ray that open the work once, which is when weights
are loaded, and then do one task after the other. A worker that dies is replaced, on another node if its own is gone,
and its tasks are given to others; nodes that join are used. Tasks are handed out as results are taken, two to each
worker, so the object store holds no more than what is under way.

Ray's own pools (`ray.util.ActorPool`, Ray Data) end a job when an actor cannot be placed again, or give results of
whole blocks; here each result counts as soon as it arrives, since journals are written by it.
"""

import contextlib
import glob
import importlib
import logging
import os
import platform
import queue
import shutil
import socket
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from logging.handlers import QueueHandler
from pathlib import Path
from typing import Any, TypeVar

import psutil

from gramgan import __version__, own_process
from gramgan.errors import UserError
from gramgan.files import ensure_folder, write_error
from gramgan.hardware.allocator import keep_memory
from gramgan.places import ObjectPath, cache_folder
from gramgan.team import HELD, Work, may_begin

_T = TypeVar("_T")
_R = TypeVar("_R")

_TRIES = 3  # workers that a task may end, and that may fail to begin on a node
_LOOK = 1.0  # seconds from one look at the cluster's nodes to the next
_SHORT = 2.0  # seconds: for longer tasks nobody is given a second one, which another might begin at once
_PATIENCE = 20.0  # seconds without a worker, after which it is said
_TIMEOUT = 5.0  # seconds for the first word with an address
_EARLY = 8  # workers that begin before their work is known: their start takes longer than ours
_ROOM = 16 << 20  # bytes that a node needs for copies of objects and unfinished results

_TOKEN = ".gramgan-ray-"

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def connect(address: str, device: str = "cpu", imports: Sequence[str] = ()) -> Iterator["RayTeam"]:
    """The workers of a Ray cluster, for as long as the block lasts.

    Args:
        address: `auto`, the cluster that runs on this machine or that `RAY_ADDRESS` names; `HOST:PORT` of its head; or
            `local`, which starts a cluster of this machine alone and stops it in the end.
        device: what the tasks compute on. `cpu`: each worker has one processor. `cuda`: each has one GPU. `auto`: GPUs
            if the cluster has any, so that all results come from one kind of device.
        imports: modules that the tasks need and that take time, for workers to import before their work is known.

    Raises:
        UserError: Ray is not installed, there is no cluster, or it has no such device.
    """
    try:
        import ray
    except ImportError:
        raise UserError("--ray: Ray is not installed; pip install 'gramgan[cluster]'") from None
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"device {device!r}: workers of --ray have one GPU each; use cuda, cpu or auto")
    _check_address(address)
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "configure_logging": False}
    if address == "local":
        quiet["include_dashboard"] = False
    try:
        ray.init(address, namespace="gramgan", **quiet)
    except ConnectionError:
        raise UserError(
            "--ray auto: no Ray cluster runs on this machine; start one with `ray start --head`, or give its address, "
            "or local for one of this command alone"
            if address == "auto"
            else _no_cluster(address)
        ) from None
    except (RuntimeError, ValueError) as error:  # of another version of Ray or Python, say
        raise UserError(f"--ray {address}: {next(iter(str(error).splitlines()), 'no cluster')}") from None
    try:
        team = RayTeam(ray, _on_gpus(ray, device))
        team.begin_early(imports)
        yield team
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Refuse an address where nobody answers; Ray itself would try for half a minute, and end the process."""
    if address in ("auto", "local"):
        return
    host, _, port = address.rpartition(":")
    if "//" in address or not host or not port.isdigit() or int(port) > 65535:
        raise UserError(f"--ray {address}: no address; give auto, local, or HOST:PORT of the cluster's head")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_TIMEOUT):
            pass
    except OSError:
        raise UserError(_no_cluster(address)) from None


def _no_cluster(address: str) -> str:
    return f"--ray {address}: no Ray cluster answers there; check the address, and that it can be reached from here"


def _on_gpus(ray: Any, device: str) -> bool:
    there = bool(ray.cluster_resources().get("GPU"))
    if device == "cuda" and not there:
        raise UserError("device 'cuda': no node of the cluster has a GPU; use cpu or auto")
    return device != "cpu" and there


class _UnfitError(UserError):
    """A node cannot go on."""


class _Worker:
    """What runs in a process of the cluster."""

    def import_early(self, names: Sequence[str]) -> None:
        """Import modules that the work will need; of one that is missing, the work will speak."""
        for name in names:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)

    def open(self, work: Work[_T, _R], order: "_Order") -> None:
        """Get ready for tasks.

        Raises:
            UserError: this node cannot take part.
        """
        if order.version != __version__:
            raise UserError(f"has gramgan {__version__}, not {order.version}; install that everywhere")
        try:
            os.chdir(order.folder)
        except OSError:
            raise UserError(f"has no folder {order.folder}, where the command runs; share it with all nodes") from None
        if order.reads is not None and not order.reads.exists():
            raise UserError(f"does not see {order.reads}, which is read; share it with all nodes")
        if order.token is not None and not order.token.exists():
            raise UserError(f"does not see {order.token.parent}, where results go; share it with all nodes")
        if order.into is not None:
            ensure_folder(order.into)  # which may be read-only here, or a bucket that this node has no rights to
        own_process.set_up(order.beside)
        keep_memory()
        self._records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        logger = logging.getLogger("gramgan")
        logger.handlers[:] = [QueueHandler(self._records)]
        logger.setLevel(order.level)
        logger.propagate = False
        self._room = order.room
        self._function = work.open()

    def do(self, task: Any) -> tuple[Any, list[logging.LogRecord], float]:
        """The result of a task, what was logged, and the seconds it took.

        Raises:
            _UnfitError: the disk is full; this node would fail at one task after the other, which others may do.
        """
        start = time.monotonic()
        _check_room(self._room)
        result = self._function(task)
        records = [self._records.get() for _ in range(self._records.qsize())]
        return result, records, time.monotonic() - start


def _check_room(least: int) -> None:
    """Refuse to work where there are fewer bytes for copies of objects and unfinished results."""
    try:
        places = (Path(tempfile.gettempdir()), cache_folder())
    except FileNotFoundError as error:  # all that it has tried are full
        raise _UnfitError(f"{error.strerror}; free some space") from None
    for place in places:
        free = shutil.disk_usage(next(one for one in (place, *place.parents) if one.exists())).free
        if free < least:
            raise _UnfitError(f"{place}: only {free >> 10} KiB are free; free some space")


@dataclass(frozen=True)
class _Order:
    """What a worker has to know besides the work."""

    version: str
    folder: str  # where relative paths begin
    reads: Path | None  # a folder that tasks read
    token: Path | None  # a file where results go
    into: Path | None  # the folder where they go
    room: int  # bytes, see `_check_room`
    level: int  # of the log
    beside: int  # workers on one node, which share its memory


@dataclass(eq=False)
class _Hand:
    """A worker, as we see it; `held` are the numbers of its tasks, of which the first is in work."""

    actor: Any
    node: str
    what: Any = None  # the work and the order that it has opened, if it is `ready`, or is about to, if there is any
    ready: bool = False
    held: deque[int] = field(default_factory=deque)
    seconds: float = 0.0  # that the last task took


class RayTeam:
    """The workers of a Ray cluster, as `connect` returns them."""

    def __init__(self, ray: Any, gpu: bool) -> None:
        self._ray, self._gpu = ray, gpu
        self._hands: list[_Hand] = []
        self._names: dict[str, str] = {}

    @property
    def size(self) -> int:
        """Workers that the cluster has room for now."""
        return max(sum(self._places().values()), 1)

    def arriving(
        self,
        work: Work[_T, _R],
        tasks: Iterable[_T],
        *,
        ahead: int | None = None,
        reads: Path | None = None,
        into: Path | None = None,
    ) -> Iterator[tuple[int, _R]]:
        """Do all tasks, as `Team` says. What a worker has logged is logged here when its result arrives.

        Raises:
            UserError: no node can take part.
        """
        with _token(into) as token:
            yield from _Job(self, work, reads, token, into).results(iter(tasks), ahead)

    def begin_early(self, imports: Sequence[str]) -> None:
        """Let workers begin, on each node one at most, that will be ready sooner than what they shall do is known."""
        for node in [node for node, count in self._places().items() if count][:_EARLY]:
            self._begin(node).actor.import_early.remote(imports)

    def _begin(self, node: str) -> _Hand:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        actor = self._ray.remote(_Worker).options(
            num_cpus=1,
            num_gpus=int(self._gpu),
            max_restarts=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        )
        hand = _Hand(actor.remote(), node)
        self._hands.append(hand)
        return hand

    def _places(self) -> dict[str, int]:
        """How many workers each living node has room for."""
        kind = "GPU" if self._gpu else "CPU"
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        self._names = {node["NodeID"]: node["NodeManagerHostname"] for node in nodes}
        return {node["NodeID"]: int(node["Resources"].get(kind, 0)) for node in nodes}


class _Job:
    """Some tasks on their way through the workers."""

    def __init__(
        self, team: RayTeam, work: Work[Any, Any], reads: Path | None, token: Path | None, into: Path | None
    ) -> None:
        self._team, self._ray, self._work = team, team._ray, work
        self._hands = team._hands
        beside = max(team._places().values(), default=1)
        level = logging.getLogger("gramgan").getEffectiveLevel()
        order = _Order(__version__, str(Path.cwd()), reads, token, into, _ROOM, level, beside)
        self._what = (work, order)
        self._put = tuple(map(self._ray.put, self._what))
        self._running: dict[Any, tuple[_Hand, int | None]] = {}  # None: opening the work
        self._tasks: dict[int, Any] = {}  # without a result
        self._waiting: deque[int] = deque()
        self._ended: Counter[int] = Counter()  # workers that a task has ended
        self._failed: Counter[str] = Counter()  # workers that did not begin, by node
        self._refused: dict[str, UserError] = {}
        for hand in self._hands:
            hand.held.clear()
            if not hand.ready or hand.what != self._what:  # weights that it has loaded, it has
                self._open(hand)

    def results(self, pending: Iterator[Any], ahead: int | None) -> Iterator[tuple[int, Any]]:
        looked, begun = -_LOOK, 0
        idle: float | None = time.monotonic()
        places: dict[str, int] = {}
        while True:
            if time.monotonic() - looked >= _LOOK:
                places, looked = self._team._places(), time.monotonic()
            room = HELD * max(sum(places.values()), 1) - len(self._tasks)
            for task in islice(pending, may_begin(begun, self._tasks, room, ahead)):
                self._tasks[begun] = task
                self._waiting.append(begun)
                begun += 1
            if not self._tasks:
                return
            self._staff(places)
            self._hand_out()
            if any(hand.ready for hand in self._hands):
                idle = None
            elif idle is not None and time.monotonic() - idle > _PATIENCE:
                _log.info("--ray: all processors of the cluster are taken; waiting for one")
                idle = None
            done, _ = self._ray.wait(list(self._running), timeout=_LOOK)
            for reference in done:
                yield from self._take(reference)

    def _staff(self, places: dict[str, int]) -> None:
        """Begin workers where there is room and something to do: on every node one, before any has two."""
        open_to = {node: count for node, count in places.items() if node not in self._refused}
        if not any(open_to.values()):
            raise next(iter(self._refused.values()), UserError("--ray: no node of the cluster has a processor to give"))
        there = Counter(hand.node for hand in self._hands)
        for index in range(max(open_to.values())):
            for node, count in open_to.items():
                if there[node] <= index < count and len(self._hands) < len(self._tasks):
                    self._open(self._team._begin(node))

    def _open(self, hand: _Hand) -> None:
        hand.ready, hand.what = False, self._what
        self._running[hand.actor.open.remote(*self._put)] = (hand, None)

    def _hand_out(self) -> None:
        for most in range(1, HELD + 1):
            for hand in self._hands:
                enough = most if hand.seconds < _SHORT else 1
                if self._waiting and hand.ready and len(hand.held) < enough:
                    number = self._waiting.popleft()
                    hand.held.append(number)
                    self._running[hand.actor.do.remote(self._tasks[number])] = (hand, number)

    def _take(self, reference: Any) -> Iterator[tuple[int, Any]]:
        """What has come of a call: a result, or a worker that is ready or gone."""
        hand, number = self._running.pop(reference)
        try:
            value = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            if not isinstance(error.cause, UserError if number is None else _UnfitError):
                raise error.cause from error
            if number is not None:
                self._waiting.appendleft(number)
            self._refuse(hand.node, error.cause)
        except self._ray.exceptions.RayError as error:
            yield from self._gone(hand, number, error)
        else:
            if number is None:
                hand.ready = True
                return
            result, records, hand.seconds = value
            hand.held.remove(number)
            for record in records:
                logging.getLogger(record.name).handle(record)
            del self._tasks[number]
            yield number, result

    def _gone(self, hand: _Hand, number: int | None, error: Exception) -> Iterator[tuple[int, Any]]:
        """A worker has died, or its node has; its tasks are others' now."""
        if hand in self._hands:
            self._hands.remove(hand)
            self._ray.kill(hand.actor)  # it may only be out of reach
            self._ended.update(list(hand.held)[:1])  # the one in work, whichever call is the first to tell
        if number is None:
            self._failed[hand.node] += 1
            if self._failed[hand.node] >= _TRIES:
                lines = str(error).splitlines() or [type(error).__name__]
                self._refuse(hand.node, UserError(f"no worker can begin ({lines[-1].strip()})"))
            return
        if self._ended[number] < _TRIES:
            _log.debug("a worker of %s is gone (%s)", hand.node, type(error).__name__)
            self._waiting.appendleft(number)
            return
        task = self._tasks.pop(number)
        yield number, self._work.lost(task, f"ended {_TRIES} worker processes, for lack of memory perhaps")

    def _refuse(self, node: str, error: UserError) -> None:
        """Do without a node."""
        name = f"--ray: node {self._team._names.get(node, node)}"
        if node not in self._refused:
            self._refused[node] = UserError(f"{name}: {error}")
            _log.warning("%s: %s", name, error)
        for hand in [one for one in self._hands if one.node == node]:
            self._hands.remove(hand)
            self._ray.kill(hand.actor)


@contextlib.contextmanager
def _token(folder: Path | None) -> Iterator[Path | None]:
    """A file in the folder where results go, by which workers tell whether they see it."""
    if folder is None or isinstance(folder, ObjectPath):  # object storage is the same for all
        yield None
        return
    folder, host = ensure_folder(folder).resolve(), platform.node()
    for old in folder.glob(f"{_TOKEN}*-{glob.escape(host)}"):  # of commands that were killed
        if not psutil.pid_exists(int(old.name.removeprefix(_TOKEN).partition("-")[0])):
            old.unlink(missing_ok=True)
    token = folder / f"{_TOKEN}{os.getpid()}-{host}"
    try:
        token.touch()
    except OSError as error:
        raise write_error(token, error) from None
    try:
        yield token
    finally:
        token.unlink(missing_ok=True)
