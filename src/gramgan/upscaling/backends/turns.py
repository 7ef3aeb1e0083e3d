"""Several backends as one: they take turns on the tiles of a job until it is clear who is best. Loads no framework."""

import logging
import time
from collections.abc import Callable

import numpy as np

from gramgan.hardware.allocator import usable_bytes
from gramgan.hardware.precision import Precision
from gramgan.upscaling.backends import Backend
from gramgan.upscaling.choice import CUT, BackendName, Candidate, Choice, Tried, detail, difference

_LONG_ENOUGH = 0.25  # seconds of runs, where there were enough of them: those of a small network take milliseconds
_RUNS, _MORE_RUNS = 2, 10
_NO_NEED = 0.7  # who takes a longer time than this share of the reference's leaves room for slow frameworks

_log = logging.getLogger(__name__)


class TurnsBackend:
    """A `Backend` (see there) that gives each tile to one of several, as `Choice` says.

    Nothing is opened before its turn. The first tile of weights that are new to this machine has a part of it computed
    by all, and compared with the reference's result. Which backend computes a tile depends on time, so two runs may
    differ by what their precisions do.

    Args:
        choice: who may be next.
        candidates: all that may be chosen.
        reference: whose results are right: torch in fp32, or for networks that torch cannot read the first candidate.
        make: opens a backend.
        bytes_per_pixel: of a candidate, see `Backend`.
        name: what was asked for, such as `auto cpu auto`, for messages and for telling what can be resumed.
        side: see `Backend`.
    """

    batch = 1

    def __init__(
        self,
        choice: Choice,
        candidates: list[Candidate],
        reference: Candidate,
        make: Callable[[BackendName, Precision], Backend],
        bytes_per_pixel: Callable[[Precision], int],
        name: str,
        *,
        side: int | None = None,
    ) -> None:
        self._choice, self._candidates, self._reference, self._make = choice, candidates, reference, make
        self._bytes_per_pixel = bytes_per_pixel
        self._backends: dict[Candidate, Backend] = {}
        self.name, self.side = name, side

    @property
    def bytes_per_pixel(self) -> int:
        """Bytes for each LR pixel: the most that any candidate needs that may have a turn."""
        may_run = self._choice.contenders() if self._choice.tried else self._candidates
        return max(self._bytes_per_pixel(one.precision) for one in may_run)

    def free_bytes(self) -> int:
        """Memory of the device that new tiles may use."""
        return usable_bytes()

    def run(self, tiles: np.ndarray) -> np.ndarray:
        """Enlarge tiles `[B, 3, h, w]` to `[B, 3, 4h, 4w]`."""
        if not self._choice.tried:
            results = self._compare(tiles)
            if results is not None:
                return results
        pixels = int(np.prod(tiles.shape[2:]))
        results = []
        for tile in tiles:
            candidate = self._choice.next(pixels)
            started = time.perf_counter()  # opening is part of what the turn costs
            results.append(self._open(candidate).run(tile[None])[0])
            seconds = time.perf_counter() - started
            self._choice.took(candidate, pixels, seconds)
            _log.debug("%s: %.2f s for %dx%d", candidate, seconds, *tiles.shape[:1:-1])
        return np.stack(results)

    def _compare(self, tiles: np.ndarray) -> np.ndarray | None:
        """All candidates on a part of the first tile; the result of the tiles if that part is all there is."""
        if len(self._candidates) > 1:
            _log.info("comparing %s on a part of the picture, once", ", ".join(map(str, self._candidates)))
        cut = _busiest(tiles[0])[None]
        truth, seconds = self._timed(self._reference, cut)
        results = {self._reference: truth}
        tried = {}
        if self._reference in self._candidates:
            tried[self._reference] = Tried(0.0, 0.0, detail(truth), seconds)
        for one in self._candidates:
            if one == self._reference:
                continue
            quickest = min((found.seconds for found in tried.values() if found.right), default=seconds)
            if one.backend == "onnxruntime" and quickest < _NO_NEED * seconds:
                continue  # it computes in fp32 alone: that is not worth the conversion here
            results[one], took = self._timed(one, cut)
            tried[one] = Tried(*difference(results[one], truth), detail(truth), took)
        self._choice.compare(tried)
        return results[self._choice.best()] if cut.shape == tiles.shape else None

    def _timed(self, candidate: Candidate, tile: np.ndarray) -> tuple[np.ndarray, float]:
        """The result, and the seconds of the quickest of some runs; the first one opens and compiles."""
        backend = self._open(candidate)
        begun = time.perf_counter()
        result, seconds = backend.run(tile), time.perf_counter() - begun
        for number in range(1, _MORE_RUNS):
            if number >= _RUNS and time.perf_counter() - begun > _LONG_ENOUGH:
                break
            started = time.perf_counter()
            backend.run(tile)
            seconds = min(seconds, time.perf_counter() - started)
        return result, seconds

    def _open(self, candidate: Candidate) -> Backend:
        if candidate not in self._backends:
            self._backends[candidate] = self._make(*candidate)
        return self._backends[candidate]


def _busiest(tile: np.ndarray) -> np.ndarray:
    """The part of a tile `[3, h, w]`, at most `CUT` a side, that varies most: where nothing is, nothing differs."""
    height, width = (min(CUT, side) for side in tile.shape[1:])
    places = [
        (top, left)
        for top in range(0, tile.shape[1] - height + 1, CUT)
        for left in range(0, tile.shape[2] - width + 1, CUT)
    ]
    parts = [tile[:, top : top + height, left : left + width] for top, left in places]
    return max(parts, key=lambda part: float(part.std()))
