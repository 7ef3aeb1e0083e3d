"""Chooses the fastest backend for given weights on this machine, from the speed of the work itself.

Speed alone does not decide: a backend or precision whose result is too far from torch's in fp32 is not used. The rest
is decided on the tiles of jobs: whoever may be best takes turns, the fastest goes on, and the others get a turn again
when the fastest has become slower, or when so much work was done that a turn costs next to nothing.
"""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, NamedTuple, get_args

import numpy as np

from gramgan.cache import keep_entry, read_entry, working_cache
from gramgan.hardware.precision import PRECISIONS, Precision
from gramgan.hardware.processor import processor_key, threads
from gramgan.installed import package_version

BackendName = Literal["torch", "openvino", "onnxruntime"]
BACKEND_NAMES: tuple[BackendName, ...] = get_args(BackendName)

CUT = 64
"""Side of the part of a picture on which all are compared with the reference."""
MAX_RMS = 0.005
"""Largest root mean square difference from torch in fp32, of values in [0, 1].

It costs a result that is 26 dB from the truth 0.04 dB. With the known weights bf16 leaves 0.0018 and 0.0031 on the
probe's picture, and 0.0007 to 0.0053 on photographs; wrong pixels are far above.
"""
MAX_OF_DETAIL = 0.05
"""Or that much of the detail which the network synthesised: on noise everything differs more, and matters less.

Detail is what is left of a result when each 4x4 pixels have their mean taken off.
"""
_MAX_ERROR = 0.25
"""Largest difference of any single value: bf16 moves a few pixels at synthesised edges by 0.1."""

_HOPELESS = 1.5  # so many times slower than the fastest on a small cut: gets no turn on tiles of that size
_GROWTH = 0.25  # more on larger tiles, for each doubling of their pixels: there the order may be another
_DOMINATED = 1.3  # fp32 gets none beside a lower precision of the same backend that is so many times as fast
_LOOKS = 0.03  # share of the time that may go into turns of those that are not the fastest
_KEPT_AFTER = 1.0  # seconds of work after which the record is written even if nothing new was measured
_ONCE = 2  # who took up to so many times as long as the fastest when it was first opened may have been converted then
_KEPT = 3  # newest measurements, of which the least counts: a disturbance makes slower, never faster
_PACKAGES = ("torch", "openvino", "onnxruntime")

_log = logging.getLogger(__name__)


class Candidate(NamedTuple):
    """What may be chosen."""

    backend: BackendName
    precision: Precision

    def __str__(self) -> str:
        """Such as `openvino bf16`."""
        return f"{self.backend} {self.precision}"


@dataclass(frozen=True)
class Tried:
    """A candidate on a small cut: differences from the reference (see `difference`), that one's detail, and seconds."""

    rms: float
    largest: float
    detail: float
    seconds: float

    @property
    def right(self) -> bool:
        """Whether its results can be used; NaN cannot."""
        return self.rms <= max(MAX_RMS, MAX_OF_DETAIL * self.detail) and self.largest <= _MAX_ERROR


@dataclass
class _Pace:
    """A candidate on tiles of one size: seconds a pixel, and the seconds of work since it was last measured.

    `first` are those of a process's first tile, opening and compiling included, `then` those of the others; `openings`
    counts all processes.
    """

    first: list[float] = field(default_factory=list)
    then: list[float] = field(default_factory=list)
    waited: float = 0.0
    openings: int = 0

    def next(self, *, opened: bool, shared: int) -> float:
        """What the next pixel is expected to cost; the opening is shared by as many tiles as were done."""
        then = min(self.then, default=min(self.first, default=0.0))
        return then if opened else then + max(0.0, min(self.first, default=then) - then) / max(shared, 1)


class Choice:
    """What is known of the candidates for given weights, and which of them is next. Not for several threads at once.

    Args:
        key: of the weights, and of what was asked for.
        candidates: what may be chosen; the first of them if none is right.
    """

    def __init__(self, key: str, candidates: Iterable[Candidate]) -> None:
        self._path = working_cache() / "probe" / f"turns-{_cache_key(key)}.json"
        self._all = list(candidates)
        self._tried: dict[Candidate, Tried] = {}
        self._paces: dict[int, dict[Candidate, _Pace]] = {}
        self._read()
        self._opened: set[tuple[int, Candidate]] = set()  # of this process
        self._done: dict[int, int] = {}  # tiles of this process, by size
        self._unwritten = 0.0  # seconds of work since the record was written

    @property
    def tried(self) -> bool:
        """Whether all candidates have been compared with the reference."""
        return bool(self._tried)

    def contenders(self, pixels: int = 2**20) -> list[Candidate]:
        """The backends that compute correctly and were fast enough on a part to get whole tiles of so many pixels."""
        right = self._right()
        if not right:
            return self._all[:1]
        enough = (_HOPELESS + _GROWTH * max(0, _size(pixels) - _size(CUT * CUT))) * min(right.values())

        def dominated(one: Candidate) -> bool:
            return one.precision == "fp32" and any(
                other.backend == one.backend and _DOMINATED * seconds <= right[one] for other, seconds in right.items()
            )

        return [one for one in self._all if one in right and right[one] <= enough and not dominated(one)]

    def compare(self, found: Mapping[Candidate, Tried]) -> None:
        """Keep how all candidates did on a cut of a real tile."""
        self._tried = dict(found)
        for one, tried in found.items():
            _log.debug("%s: %.0f ms, rms difference %.5f", one, 1000 * tried.seconds, tried.rms)
            if not tried.right:
                _log.info("%s: not used, differs by %.4f rms and %.4f at most", one, tried.rms, tried.largest)
        self._write()

    def best(self) -> Candidate:
        """The fastest so far, on tiles of the largest size that has been measured."""
        size = max(self._paces, default=0)
        paces = self._paces.get(size, {})
        known = [one for one in self.contenders() if one in paces and (paces[one].first or paces[one].then)]
        if known:
            return min(known, key=lambda one: self._expected(size, one))
        return min(self.contenders(), key=lambda one: self._tried[one].seconds if one in self._tried else 0.0)

    def next(self, pixels: int) -> Candidate:
        """The backend for the next tile, of so many pixels."""
        contenders, size = self.contenders(pixels), _size(pixels)
        if len(self._right()) < 2:
            return contenders[0]
        paces = self._paces.setdefault(size, {})
        for one in contenders:
            paces.setdefault(one, _Pace())
        done = self._done.get(size, 0)
        for one in sorted(contenders, key=lambda one: (not self._is_open(size, one), self._tried[one].seconds)):
            pace = paces[one]
            if not pace.first and not pace.then:
                return one
            # In a short job nobody is opened for the sake of a second measurement.
            if done and not pace.then and (self._is_open(size, one) or done > len(contenders)):
                return one
        best = min(contenders, key=lambda one: self._expected(size, one))
        others = [one for one in contenders if one != best]
        for one in others:
            doubtful = one.backend != "torch" and paces[one].openings == 1 and not paces[one].then
            if doubtful and not done and paces[one].first[0] <= _ONCE * self._expected(size, best):
                return one
        # The comparison on a cut may have been disturbed: who was slow in it is doubted in the end, if he needs no more
        # memory than the tiles were planned for.
        precisions = {one.precision for one in contenders}
        slow = [one for one in self._right() if one not in contenders and one.precision in precisions]
        for one in [*others, *slow]:
            pace = paces.setdefault(one, _Pace())
            known = pace.next(opened=self._is_open(size, one), shared=1)
            costs = (known or self._tried[one].seconds / CUT**2) - self._expected(size, best)
            if costs * pixels <= _LOOKS * pace.waited:
                return one
        return best

    def took(self, candidate: Candidate, pixels: int, seconds: float) -> None:
        """Keep what a tile has cost."""
        size = _size(pixels)
        first = not self._is_open(size, candidate)
        paces = self._paces.setdefault(size, {})
        pace = paces.setdefault(candidate, _Pace())
        measured = pace.first if first else pace.then
        new = first or not measured or pace.waited > 0
        if pace.waited > 0:  # since the last time others had their turns, and the machine may be another
            measured.clear()
            if first:
                pace.then.clear()
        pace.openings += first
        measured.append(seconds / pixels)
        del measured[:-_KEPT]
        if candidate not in self.contenders(pixels):  # a whole tile says more than the cut did
            tried = self._tried[candidate]
            self._tried[candidate] = replace(tried, seconds=min(tried.seconds, measured[-1] * CUT**2))
        for one, other in paces.items():
            other.waited = 0.0 if one == candidate else other.waited + seconds
        self._opened.add((size, candidate))
        self._done[size] = self._done.get(size, 0) + 1
        self._unwritten += seconds
        if new or self._unwritten >= _KEPT_AFTER:
            self._write()

    def _right(self) -> dict[Candidate, float]:
        """Seconds on the cut of all whose results can be used."""
        return {one: found.seconds for one, found in self._tried.items() if found.right}

    def _is_open(self, size: int, candidate: Candidate) -> bool:
        return (size, candidate) in self._opened

    def _expected(self, size: int, one: Candidate) -> float:
        return self._paces[size][one].next(opened=self._is_open(size, one), shared=self._done.get(size, 0))

    def _read(self) -> None:
        values = read_entry(self._path)
        if values is None:
            return
        try:
            tried = {_candidate(name): Tried(**_numbers(found)) for name, found in values["tried"].items()}
            paces = {
                int(size): {_candidate(name): _pace(**one) for name, one in each.items()}
                for size, each in values["paces"].items()
            }
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            _log.info("%s: unreadable record of the backends' speed (%s); measuring again", self._path, error)
            return
        self._tried, self._paces = tried, paces

    def _write(self) -> None:
        self._unwritten = 0.0
        values = {
            "tried": {str(one): asdict(found) for one, found in self._tried.items()},
            "paces": {
                size: {str(one): asdict(pace) for one, pace in paces.items()} for size, paces in self._paces.items()
            },
        }
        keep_entry(self._path, values)


def probe_picture(side: int = 64) -> np.ndarray:
    """float32 `[3, side, side]` in [0, 1]: shades, edges, fine lines and a little noise, the same everywhere."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / 96
    waves = 0.5 + 0.25 * np.sin(40 * x * x + 9 * y) + 0.15 * np.sin(70 * y * y - 20 * x)
    disc = ((x - 0.4) ** 2 + (y - 0.3) ** 2 < 0.04) * 0.35
    lines = ((x + y) * 12 % 1 < 0.15) * (y > 0.4) * 0.4
    noise = np.random.default_rng(0).normal(0, 0.01, (3, side, side))
    planes = np.stack([waves + disc - lines, waves - disc, 0.9 - 0.6 * waves + 0.5 * disc - lines])
    return np.clip(planes + noise, 0, 1).astype(np.float32)


def detail(result: np.ndarray) -> float:
    """How much of `[1, 3, 4h, 4w]` is finer than its low-resolution pixels, root mean square."""
    result = np.clip(result, 0, 1)
    blocks = result.reshape(3, result.shape[2] // 4, 4, result.shape[3] // 4, 4)
    return float(np.sqrt(np.square(blocks - blocks.mean((2, 4), keepdims=True)).mean()))


def difference(result: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """(root mean square, largest) difference of two results, clipped to [0, 1] as pictures are."""
    delta = np.clip(result, 0, 1).astype(np.float64) - np.clip(reference, 0, 1)
    return float(np.sqrt(np.square(delta).mean())), float(np.abs(delta).max())


def _size(pixels: int) -> int:
    """Tiles are of one size when their pixels are about the same power of two."""
    return round(np.log2(max(pixels, 1)))


def _pace(first: list[float], then: list[float], waited: float, openings: int) -> _Pace:
    return _Pace(_seconds(first), _seconds(then), _seconds([waited])[0], int(_seconds([openings])[0]))


def _numbers(found: dict[str, float]) -> dict[str, float]:
    return dict(zip(found, map(float, found.values()), strict=True))  # NaN is one: of results that are none


def _seconds(values: list[float]) -> list[float]:
    if not isinstance(values, list) or not all(isinstance(value, int | float) and value >= 0 for value in values):
        raise ValueError(f"no seconds: {values!r}")
    return [float(value) for value in values]


def _candidate(name: str) -> Candidate:
    backend, precision = name.split()
    if backend not in BACKEND_NAMES or precision not in PRECISIONS:
        raise ValueError(f"unknown {name!r}")
    return Candidate(backend, precision)


def _cache_key(key: str) -> str:
    versions = [f"{name} {package_version(name)}" for name in _PACKAGES]
    parts = (key, processor_key(), str(threads()), *versions)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]
