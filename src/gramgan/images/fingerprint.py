"""A fingerprint of what a picture shows, alike for copies in another size, format or quality.

The signs of the 16×16 lowest frequencies (DCT-II) of a thumbnail of 64×64 brightness values, without the mean: the
"pHash" of Zauner (Implementation and Benchmarking of Perceptual Image Hash Functions, 2010) with 255 bits instead of
63, so that the many pictures of skies, seas and meadows in a collection can be told apart.
"""

from collections.abc import Iterable

import numpy as np

from gramgan.images.strips import luma

LOOKALIKE_DISTANCE = 40
"""Fingerprints that differ in at most so many of 255 bits are of one picture; figures: docs/how-to/collecting.md."""

_GRID = 64
_SIDE = 16
_BYTES = _SIDE * _SIDE // 8
_FLAT = 1.5 / 255  # standard deviation of brightness below which the signs are those of noise


class Thumbnail:
    """The mean brightness in 64×64 cells, gathered strip by strip; the whole image is never held."""

    def __init__(self, width: int, height: int) -> None:
        """For an image of this many pixels."""
        self._width, self._height = width, height
        self._columns = np.arange(_GRID) * width // _GRID
        self._sums = np.zeros((_GRID, _GRID))

    def add(self, top: int, brightness: np.ndarray) -> None:
        """Take in the rows from `top` on: `[h, W]` in [0, 1]."""
        if not self.is_usable:
            return
        rows = np.add.reduceat(brightness, self._columns, axis=1, dtype=np.float64)
        cells = (np.arange(top, top + len(brightness)) * _GRID + _GRID - 1) // self._height
        np.add.at(self._sums, np.minimum(cells, _GRID - 1), rows)

    @property
    def is_usable(self) -> bool:
        """Whether the image has a pixel for every cell."""
        return min(self._width, self._height) >= _GRID

    def values(self) -> np.ndarray | None:
        """The 64×64 means, once all rows have been added; None for an image with fewer pixels than that."""
        if not self.is_usable:
            return None
        cells = (np.arange(self._height) * _GRID + _GRID - 1) // self._height
        down = np.bincount(np.minimum(cells, _GRID - 1), minlength=_GRID)
        across = np.diff(np.append(self._columns, self._width))
        return self._sums / (down[:, None] * across[None, :])


def thumbnail(rgb: np.ndarray) -> np.ndarray | None:
    """The thumbnail of a picture in memory, `[3, H, W]` in [0, 1] (see `Thumbnail.values`)."""
    cells = Thumbnail(rgb.shape[2], rgb.shape[1])
    cells.add(0, luma(rgb))
    return cells.values()


def fingerprint(cells: np.ndarray | None) -> str:
    """The fingerprint of a thumbnail, 64 hexadecimal digits; empty if there is none or nothing can be seen in it."""
    if cells is None or cells.std() < _FLAT:
        return ""
    frequencies = _BASIS @ cells @ _BASIS.T
    bits = frequencies > 0
    bits[0, 0] = False
    return np.packbits(bits).tobytes().hex()


def turned(cells: np.ndarray | None) -> list[str]:
    """The fingerprints of the eight turned and mirrored copies of a picture, its own first; of its thumbnail."""
    if cells is None:
        return []
    quarters = [np.rot90(cells, turns) for turns in range(4)]
    return [mark for each in quarters for mark in (fingerprint(each), fingerprint(each[:, ::-1])) if mark]


class Lookalikes:
    """Finds the picture that looks most like a given one, among those that were added."""

    def __init__(self) -> None:
        """Start with none."""
        self._names: list[str] = []
        self._bits = np.zeros((256, 8 * _BYTES), np.float32)

    def add(self, name: str, marks: Iterable[str]) -> None:
        """Remember a picture by one or several fingerprints; empty ones are passed over."""
        for mark in marks:
            if mark:
                if len(self._names) == len(self._bits):
                    self._bits = np.concatenate((self._bits, np.zeros_like(self._bits)))
                self._bits[len(self._names)] = _signs(mark)
                self._names.append(name)

    def nearest(self, mark: str) -> tuple[str, int] | None:
        """Name of the most similar picture, and how many bits differ; None beyond `LOOKALIKE_DISTANCE`."""
        if not mark or not self._names:
            return None
        agreement = self._bits[: len(self._names)] @ _signs(mark)
        best = int(agreement.argmax())
        distance = round((8 * _BYTES - float(agreement[best])) / 2)
        return (self._names[best], distance) if distance <= LOOKALIKE_DISTANCE else None


def _signs(mark: str) -> np.ndarray:
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(mark), np.uint8))
    return bits.astype(np.float32) * 2 - 1


_BASIS = np.cos(np.pi / _GRID * np.outer(np.arange(_SIDE), np.arange(_GRID) + 0.5))
"""The first rows of the DCT-II matrix, `[16, 64]`; their scale does not matter for signs."""
