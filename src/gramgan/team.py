"""Many like tasks, and who does them: this process, its threads, or the processes of a cluster (`gramgan.cluster`).

What is done is a `Work`, which goes to other processes by pickling. Its tasks can be repeated without harm, and its
results do not depend on who does them, or in what order they arrive.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

_T = TypeVar("_T")
_R = TypeVar("_R")
T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

HELD = 2
"""Tasks that are given to each at a time: one in work, and the next one, so that nobody waits for us."""
_AHEAD = 4  # results for each that may wait for an earlier one


class Work(Protocol[T_contra, R_co]):
    """What is done to each of many tasks."""

    def open(self) -> Callable[[T_contra], R_co]:
        """What does it; called once in each process, so it may load weights."""
        ...

    def lost(self, task: T_contra, why: str) -> R_co:
        """The result of a task that has ended every process which tried it; `why` is part of a sentence."""
        ...


@runtime_checkable
class Team(Protocol):
    """Who does the tasks."""

    @property
    def size(self) -> int:
        """How many tasks are worked on at the same time."""
        ...

    def arriving(
        self,
        work: Work[_T, _R],
        tasks: Iterable[_T],
        *,
        ahead: int | None = None,
        reads: Path | None = None,
        into: Path | None = None,
    ) -> Iterator[tuple[int, _R]]:
        """Do all tasks.

        Args:
            work: what is done.
            tasks: taken from the iterable as they are needed.
            ahead: how far a task may be ahead of the oldest one that has no result yet; None for any distance.
            reads: a file or folder that the tasks read, of many the first; a machine that does not see it does none.
            into: the folder that the tasks write to, likewise.

        Yields:
            (number of the task from 0, its result), as they arrive.
        """
        ...


def in_order(
    team: Team, work: Work[_T, _R], tasks: Iterable[_T], ahead: int = _AHEAD, reads: Path | None = None
) -> Iterator[_R]:
    """The results in the order of the tasks; those that come too early are kept, at most `ahead` for each worker."""
    early: dict[int, _R] = {}
    due = 0
    for number, result in team.arriving(work, tasks, ahead=ahead * team.size, reads=reads):
        early[number] = result
        while due in early:
            yield early.pop(due)
            due += 1


class Alone:
    """This process, one task after the other."""

    size = 1

    def arriving(
        self,
        work: Work[_T, _R],
        tasks: Iterable[_T],
        *,
        ahead: int | None = None,
        reads: Path | None = None,
        into: Path | None = None,
    ) -> Iterator[tuple[int, _R]]:
        """Do all tasks in their order, each when its result is asked for."""
        function = work.open()
        for number, task in enumerate(tasks):
            yield number, function(task)


class Threads:
    """So many threads of this process."""

    def __init__(self, size: int) -> None:
        self.size = size

    def arriving(
        self,
        work: Work[_T, _R],
        tasks: Iterable[_T],
        *,
        ahead: int | None = None,
        reads: Path | None = None,
        into: Path | None = None,
    ) -> Iterator[tuple[int, _R]]:
        """Do all tasks, as many at a time as there are threads."""
        function, pending, begun = work.open(), iter(tasks), 0
        running: dict[Future[_R], int] = {}
        with ThreadPoolExecutor(self.size, thread_name_prefix="gramgan") as pool:
            try:
                while True:
                    room = HELD * self.size - len(running)
                    for task in islice(pending, may_begin(begun, running.values(), room, ahead)):
                        running[pool.submit(function, task)] = begun
                        begun += 1
                    if not running:
                        return
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        yield running.pop(future), future.result()
            finally:
                for future in running:
                    future.cancel()


def may_begin(begun: int, running: Iterable[int], room: int, ahead: int | None) -> int:
    """How many more tasks may begin after the first `begun`.

    Args:
        begun: how many have.
        running: the numbers of those that have no result yet.
        room: how many more can be worked on.
        ahead: see `Team.arriving`.
    """
    most = room if ahead is None else min(room, ahead - (begun - min(running, default=begun)))
    return max(0, most)
