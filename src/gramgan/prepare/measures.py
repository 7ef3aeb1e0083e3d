"""How sharp a photograph is and how visible its JPEG blocks are, without a reference; in one pass over strips."""

import numpy as np

_FILTER = 9  # pixels of the mean filter that a picture is blurred with again
_BLOCK = 8  # pixels of a JPEG block
_TAIL = _FILTER  # rows of the strip before that the next one needs


class Measures:
    """Gathers both measures of an image; rows are added strip by strip, from top to bottom."""

    def __init__(self) -> None:
        """Start with no rows."""
        self._changes = np.zeros((2, 2))  # across, down; of the picture, and how much of it blurring takes away
        self._steps = np.zeros((2, _BLOCK))
        self._counts = np.zeros((2, _BLOCK))
        self._tail: np.ndarray | None = None
        self._rows = 0

    def add(self, brightness: np.ndarray) -> None:
        """Take in the next rows: float32 `[h, W]` in [0, 1]."""
        if brightness.shape[1] > _FILTER:
            self._changes[0] += _changes(brightness.T)
            self._add_steps(0, brightness.T, 0)
        known = 0 if self._tail is None else len(self._tail)
        block = brightness if self._tail is None else np.concatenate((self._tail, brightness))
        if len(block) > _FILTER:
            self._changes[1] += _changes(block)
            skipped = max(0, known - 3)  # every pair of rows is looked at once
            self._add_steps(1, block[skipped:], self._rows - known + skipped)
        self._rows += len(brightness)
        self._tail = block[-_TAIL:]

    @property
    def blur(self) -> float | None:
        """0 (sharp) to 1 (blurred): how little a picture loses when it is blurred again, across or down.

        Crete, Dolmiere, Ladret and Nicolas, The blur effect (SPIE 6492, 2007). None if there is nothing to see.
        """
        blurs = [1 - float(lost / there) for there, lost in self._changes if there > 0]
        return max(blurs) if blurs else None

    @property
    def blockiness(self) -> float | None:
        """How much higher steps between pixels are on the edges of 8×8 blocks than elsewhere; 1 for no blocks.

        After Wang, Bovik and Evans (Blind measurement of blocking artifacts, ICIP 2000), in the space of pixels: a
        step counts as far as it is higher than its neighbours; the grid may begin anywhere. None if it is too small.
        """
        ratios = []
        for steps, counts in zip(self._steps, self._counts, strict=True):
            if counts.min() == 0:
                return None
            means = steps / counts
            middle = float(np.median(means))
            ratios.append(float(means.max()) / middle if middle > 0 else 1.0)
        return float(np.mean(ratios))

    def _add_steps(self, axis: int, lines: np.ndarray, first: int) -> None:
        """Sort steps between neighbouring lines by their place in a block; line 0 is number `first` of the image."""
        steps = np.abs(np.diff(lines, axis=0))
        if len(steps) < 3:
            return
        higher = np.maximum(steps[1:-1] - (steps[:-2] + steps[2:]) / 2, 0).mean(axis=1, dtype=np.float64)
        place = (np.arange(len(higher)) + first + 2) % _BLOCK
        weight = lines.shape[1]
        self._steps[axis] += np.bincount(place, higher * weight, _BLOCK)
        self._counts[axis] += np.bincount(place, minlength=_BLOCK) * weight


def _changes(lines: np.ndarray) -> np.ndarray:
    """Sum of the steps from line to line, and of the part that a mean filter across them takes away."""
    count = len(lines) - _FILTER + 1
    blurred = sum(lines[start : start + count] for start in range(_FILTER)) / np.float32(_FILTER)
    middle = lines[_FILTER // 2 : _FILTER // 2 + count]
    there = np.abs(np.diff(middle, axis=0))
    left = np.abs(np.diff(blurred, axis=0))
    return np.array([there.sum(dtype=np.float64), np.maximum(there - left, 0).sum(dtype=np.float64)])
