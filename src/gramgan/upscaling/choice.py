"""Which backend runs given weights best on this machine: measured once for each weight file, then remembered.

Speed alone does not decide: a backend or precision whose result is too far from torch's in fp32 is not used.
"""

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from gramgan.errors import UserError
from gramgan.files import write_text
from gramgan.hardware.precision import PRECISIONS, Precision
from gramgan.hardware.processor import package_version, processor_key, threads
from gramgan.paths import cache_folder
from gramgan.upscaling.backends import Backend

BackendName = Literal["torch", "openvino", "onnxruntime"]
BACKEND_NAMES: tuple[BackendName, ...] = get_args(BackendName)

MAX_RMS = 0.005
"""Largest root mean square difference from torch in fp32, of values in [0, 1].

It costs a result that is 26 dB from the truth 0.04 dB. With the known weights bf16 leaves 0.0018 and 0.0031 on the
probe's picture, and 0.0007 to 0.0053 on photographs; wrong pixels are far above.
"""
MAX_ERROR = 0.25
"""Largest difference of any single value: bf16 moves a few pixels at synthesised edges by 0.1."""

_SIDE = 64
_ROUNDS, _MORE_ROUNDS = 2, 10  # at least and at most: of a small network, which takes milliseconds, more are made
_HOPELESS = 4.0  # a first run this many times slower than the fastest one settles the matter
_LONG_ENOUGH = 3.0  # seconds of rounds, where there were enough of them
_BUDGET = 6.0  # seconds after which no further round is begun
_MOMENT = 1.0  # seconds: a first run as short as that settles nothing, it may have been disturbed, or have compiled
_PACKAGES = ("torch", "openvino", "onnxruntime")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """A backend and a precision; how many times faster than the reference they were, and their differences from it.

    The reference is torch in fp32, or for networks that torch cannot read the first candidate, in fp32. Both
    differences are NaN where nothing was right and the first candidate was taken all the same.
    """

    backend: BackendName
    precision: Precision
    speedup: float
    rms: float
    max_error: float


class Candidate(NamedTuple):
    """What may be chosen."""

    backend: BackendName
    precision: Precision


def choose(
    key: str,
    candidates: Callable[[], tuple[Candidate, list[Candidate]]],
    make: Callable[[BackendName, Precision], Backend],
) -> Choice:
    """The fastest candidate that is right, from the cache or measured (some seconds).

    Args:
        key: of the weights, and of what was asked for.
        candidates: gives the reference, and what to choose from; the first of these if nothing is right.
        make: gives the backend to measure.
    """
    path = cache_folder() / "probe" / f"backend-{_cache_key(key)}.json"
    stored = _read(path)
    if stored is not None:
        return stored
    choice = _measure(*candidates(), make)
    try:
        write_text(path, json.dumps(asdict(choice), indent=2) + "\n")
    except UserError as error:
        _log.warning("the choice of a backend is not kept, so the next run measures again: %s", error)
    return choice


def probe_picture(side: int = _SIDE) -> np.ndarray:
    """float32 `[3, side, side]` in [0, 1]: shades, edges, fine lines and a little noise, the same everywhere."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / 96
    waves = 0.5 + 0.25 * np.sin(40 * x * x + 9 * y) + 0.15 * np.sin(70 * y * y - 20 * x)
    disc = ((x - 0.4) ** 2 + (y - 0.3) ** 2 < 0.04) * 0.35
    lines = ((x + y) * 12 % 1 < 0.15) * (y > 0.4) * 0.4
    noise = np.random.default_rng(0).normal(0, 0.01, (3, side, side))
    planes = np.stack([waves + disc - lines, waves - disc, 0.9 - 0.6 * waves + 0.5 * disc - lines])
    return np.clip(planes + noise, 0, 1).astype(np.float32)


def _measure(
    reference: Candidate, candidates: list[Candidate], make: Callable[[BackendName, Precision], Backend]
) -> Choice:
    if len(candidates) > 1:
        _log.info("measuring which of %s suits these weights on this machine, once", _names(candidates))
    tile = probe_picture()[None]
    trusted = make(*reference)
    truth, first = _timed(trusted, tile)
    backends: dict[Candidate, Backend] = {reference: trusted}
    seconds: dict[Candidate, float] = {reference: first}
    differences: dict[Candidate, tuple[float, float]] = {reference: (0.0, 0.0)}
    for candidate in candidates:
        if candidate == reference:
            continue
        backend = make(*candidate)
        result, first = _timed(backend, tile)
        rms, largest = difference(result, truth)
        if rms <= MAX_RMS and largest <= MAX_ERROR:
            backends[candidate], seconds[candidate], differences[candidate] = backend, first, (rms, largest)
        else:
            _log.info("%s: not used, differs by %.4f rms and %.4f at most", backend.name, rms, largest)
    enough = max(_HOPELESS * min(seconds.values()), _MOMENT)
    hopeful = [candidate for candidate in backends if candidate == reference or seconds[candidate] <= enough]
    begun = time.perf_counter()
    for number in range(_MORE_ROUNDS):  # interleaved, so that another process's load meets all alike
        spent = time.perf_counter() - begun
        if (number and spent > _BUDGET) or (number >= _ROUNDS and spent > _LONG_ENOUGH):
            break
        for candidate in hopeful:
            again = _timed(backends[candidate], tile)[1]
            # The first run compiles, too.
            seconds[candidate] = again if number == 0 else min(again, seconds[candidate])
    for candidate, took in seconds.items():
        _log.debug("%s %s: %.0f ms, rms difference %.5f", *candidate, 1000 * took, differences[candidate][0])
    right = [candidate for candidate in candidates if candidate in seconds]
    best = min(right, key=lambda candidate: seconds[candidate], default=candidates[0])
    rms, largest = differences.get(best, (math.nan, math.nan))
    return Choice(*best, seconds[reference] / seconds.get(best, math.inf), rms, largest)


def difference(result: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """(root mean square, largest) difference of two results, clipped to [0, 1] as pictures are."""
    delta = np.clip(result, 0, 1).astype(np.float64) - np.clip(reference, 0, 1)
    return float(np.sqrt(np.square(delta).mean())), float(np.abs(delta).max())


def _timed(backend: Backend, tile: np.ndarray) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    result = backend.run(tile)
    return result, time.perf_counter() - start


def _names(candidates: list[Candidate]) -> str:
    return ", ".join(f"{backend} {precision}" for backend, precision in candidates)


def _cache_key(key: str) -> str:
    versions = [f"{name} {package_version(name)}" for name in _PACKAGES]
    parts = (key, processor_key(), str(threads()), *versions)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def _read(path: Path) -> Choice | None:
    try:
        choice = Choice(**json.loads(path.read_text(encoding="utf-8")))
        if choice.backend not in BACKEND_NAMES or choice.precision not in PRECISIONS:
            raise ValueError(f"unknown {choice.backend!r} or {choice.precision!r}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        _log.info("%s: unreadable choice of a backend (%s); measuring again", path, error)
        return None
    return choice
