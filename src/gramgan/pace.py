"""How fast requests to one host may follow one another: what keeps a download of many files polite."""

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping


class StoppedError(Exception):
    """The work that a thread was waiting for has been called off."""


class Pace:
    """Lets threads take turns: a few requests to a host at a time, and a while between two of them.

    One `Pace` is shared by all threads that fetch together. A host that asks for a break (`hold`) gets it from all.
    """

    def __init__(
        self,
        interval: float = 0.0,
        *,
        by_host: Mapping[str, float] | None = None,
        at_once: int = 2,
    ) -> None:
        """Say how fast.

        Args:
            interval: seconds at least between the beginnings of two requests to one host.
            by_host: the same for some hosts.
            at_once: requests to one host that may be under way together.
        """
        self._interval = interval
        self._by_host = dict(by_host or {})
        self._at_once = at_once
        self._lock = threading.Lock()
        self._places: dict[str, threading.Semaphore] = {}
        self._free_at: dict[str, float] = {}
        self._stopped = threading.Event()

    @contextlib.contextmanager
    def turn(self, host: str) -> Iterator[None]:
        """Wait for a turn at `host` and hold it.

        Raises:
            StoppedError: `stop` was called.
        """
        with self._lock:
            place = self._places.setdefault(host, threading.Semaphore(self._at_once))
        with place:
            while delay := self._claim(host):
                self.wait(delay)
            yield

    def hold(self, host: str, seconds: float) -> None:
        """Let no request to `host` begin for `seconds`."""
        with self._lock:
            self._free_at[host] = max(self._free_at.get(host, 0.0), time.monotonic() + seconds)

    def wait(self, seconds: float) -> None:
        """Sleep.

        Raises:
            StoppedError: `stop` was called, before or meanwhile.
        """
        if self._stopped.wait(max(seconds, 0.0)):
            raise StoppedError

    def stop(self) -> None:
        """Whoever waits, now or later, gets a `StoppedError`."""
        self._stopped.set()

    def _claim(self, host: str) -> float:
        """Take the next moment at `host` if it has come, and return 0; otherwise how many seconds it is away."""
        if self._stopped.is_set():
            raise StoppedError
        with self._lock:
            now = time.monotonic()
            free_at = self._free_at.get(host, now)
            if free_at > now:
                return free_at - now
            self._free_at[host] = now + self._by_host.get(host, self._interval)
            return 0.0
