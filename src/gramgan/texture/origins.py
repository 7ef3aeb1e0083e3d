"""The photographs that a database's patches were taken from: found again, and what surrounds a patch in them."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gramgan.collect import read_manifest
from gramgan.errors import in_one_line
from gramgan.files import sha256
from gramgan.images import find_images, read_rgb8
from gramgan.names import in_utf8
from gramgan.ops.resize import matlab_bicubic_down
from gramgan.progress import Progress, silent

_MARGIN = 8  # pixels around a context that anti-aliasing may look at

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Context:
    """A patch's surroundings in the copy of the photograph that it was cut from.

    `picture` is uint8 `[H, W, 3]`; `x`, `y` is the patch's upper left corner in it.
    """

    picture: np.ndarray
    x: int
    y: int


class Photographs:
    """Looks photographs up by the `source_id` of a database: file name and beginning of the SHA-256.

    A file of the right name with other bytes is another photograph; it is logged and not used.
    """

    def __init__(self, folders: Iterable[Path] = ()) -> None:
        """Look in `folders`, their subfolders included.

        Raises:
            UserError: one of them is no folder or holds no images.
        """
        self._files: dict[str, list[Path]] = {}
        self._authors: dict[Path, str] = {}
        self._found: dict[str, Path | None] = {}
        for folder in folders:
            for path in find_images(folder):
                self._files.setdefault(in_utf8(path.name), []).append(path)
            self._authors |= {folder / entry.file: entry.author for entry in read_manifest(folder) or []}

    def path(self, source_id: str) -> Path | None:
        """The photograph's file, if it is there and unchanged."""
        if source_id not in self._found:
            self._found[source_id] = self._look_up(source_id)
        return self._found[source_id]

    def has_name(self, source_id: str) -> bool:
        """Whether a file of the photograph's name is there; quick, since its content is not looked at."""
        return source_id.rpartition("#")[0] in self._files

    def author(self, source_id: str) -> str:
        """Who made the photograph, where the manifest beside it says so; otherwise empty."""
        path = self.path(source_id)
        return self._authors.get(path, "") if path else ""

    def read(self, source_id: str) -> np.ndarray | None:
        """The photograph, uint8 RGB `[3, H, W]`, if it is there, unchanged and readable."""
        path = self.path(source_id)
        if path is None:
            return None
        try:
            return read_rgb8(path)
        except Exception as error:  # noqa: BLE001 (one odd file must not end the page)
            _log.warning("shown without its surroundings: %s", in_one_line(error, path))
            self._found[source_id] = None
            return None

    def contexts(
        self, rows: Sequence[Mapping[str, Any]], side: int, progress: Progress = silent
    ) -> list[Context | None]:
        """What surrounds each of a database's `rows`, at most `side` pixels square; None where no photograph is found.

        `progress` is told the number of photographs read.
        """
        by_source: dict[str, list[int]] = {}
        for index, row in enumerate(rows):
            by_source.setdefault(row["source_id"], []).append(index)
        contexts: list[Context | None] = [None] * len(rows)
        for number, (source_id, indices) in enumerate(by_source.items(), start=1):
            photograph = self.read(source_id)
            if photograph is not None:
                for index in indices:
                    row = rows[index]
                    contexts[index] = cut_context(
                        photograph, row["x"], row["y"], row["patch"].shape[0], row["scale"], side
                    )
            progress(number, len(by_source))
        return contexts

    def _look_up(self, source_id: str) -> Path | None:
        name, _, digest = source_id.rpartition("#")
        candidates = self._files.get(name, [])
        for path in candidates:
            if sha256(path).startswith(digest):
                return path
        if candidates:
            _log.warning("%s: another file than the database was built from; not shown", candidates[0])
        return None


def cut_context(photograph: np.ndarray, x: int, y: int, k: int, scale: float, side: int) -> Context:
    """The surroundings of the patch of k×k pixels at (x, y) of the photograph's copy at `scale` (1, ½, ¼).

    Args:
        photograph: uint8 RGB `[3, H, W]`.
        x: in pixels of the copy, as the database has it.
        y: likewise.
        k: patch side in pixels.
        scale: 1 / a whole number.
        side: of the square to cut; moved inwards at the borders, smaller where the copy is.
    """
    factor = max(1, round(1 / scale))
    height, width = (length // factor for length in photograph.shape[1:])
    left, right = _span(x, k, side, width)
    top, bottom = _span(y, k, side, height)
    if factor == 1:
        picture = photograph[:, top:bottom, left:right]
    else:
        # Only the surroundings are shrunk, on the copy's own grid, so that they are the copy's pixels.
        first_x, first_y = max(0, left - _MARGIN), max(0, top - _MARGIN)
        last_x, last_y = min(width, right + _MARGIN), min(height, bottom + _MARGIN)
        part = photograph[:, first_y * factor : last_y * factor, first_x * factor : last_x * factor]
        small = matlab_bicubic_down(torch.from_numpy(part.copy()).unsqueeze(0).float() / 255, factor)
        copy = small[0].mul(255).round().to(torch.uint8).numpy()
        picture = copy[:, top - first_y : bottom - first_y, left - first_x : right - first_x]
    return Context(np.ascontiguousarray(picture.transpose(1, 2, 0)), x - left, y - top)


def _span(start: int, k: int, side: int, length: int) -> tuple[int, int]:
    """`side` positions of `length` around `start` .. `start + k`, or all if there are fewer."""
    first = min(max(0, start + k // 2 - side // 2), max(0, length - side))
    return first, min(length, first + side)
