"""Reading ahead and writing behind: two threads beside the one that computes, with few pieces waiting in between.

An exception in either thread comes out in the thread that computes, and Ctrl-C there ends all three.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from types import TracebackType
from typing import TypeVar

_Item = TypeVar("_Item")
Result = TypeVar("Result")


def ahead(function: Callable[[_Item], Result], items: Iterable[_Item], depth: int = 1) -> "closing[Generator[Result]]":
    """`map(function, items)` in another thread, as a context manager that yields the iterator and ends the thread.

    Args:
        function: called for one item after the other.
        items: what it is called with; drawn from in the caller's thread.
        depth: how many results are made before they are asked for.
    """
    return closing(_ahead(function, items, depth))


def _ahead(function: Callable[[_Item], Result], items: Iterable[_Item], depth: int) -> Generator[Result]:
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(1, "gramgan-read")
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class Behind:
    """Does calls in another thread, in their order; a context manager that waits for all of them.

    When the block raises, what has been submitted is still done: it is finished work that need not be lost. After a
    call that failed nothing more is done.
    """

    def __init__(self, depth: int = 0) -> None:
        """`depth` calls may wait while one is being done; `submit` blocks when there are more."""
        self._depth = depth
        self._waiting: deque[Future[None]] = deque()
        self._failed = False
        self._pool = ThreadPoolExecutor(1, "gramgan-write")

    def __enter__(self) -> "Behind":
        return self

    def submit(self, function: Callable[[], object]) -> None:
        """Have `function` called; raises what an earlier call raised."""
        while len(self._waiting) > self._depth:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._call, function))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while error is None and self._waiting:
                self._waiting.popleft().result()
        finally:
            self._pool.shutdown()

    def _call(self, function: Callable[[], object]) -> None:
        if self._failed:
            return
        self._failed = True
        function()
        self._failed = False
