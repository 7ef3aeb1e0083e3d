"""The layers of a scientific file's result while they are made: a hidden file, and a sink for each group of layers."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from gramgan.images import Raster, RasterInfo, Window
from gramgan.images.scratch import Plan
from gramgan.upscaling.intermediate import Intermediate, remove_leftovers


class Layers:
    """Planes of one size, float or 16-bit in [0, 1], below one another in an `Intermediate`; a context manager.

    With a `resume_key` they outlive a killed process and are taken up again.
    """

    def __init__(self, target: Path, width: int, height: int, count: int, like: RasterInfo, key: str | None) -> None:
        """Describe the planes; the file is made on entering the context.

        Args:
            target: what they become; the hidden file lies beside it.
            width: of a plane, in pixels.
            height: of a plane, in pixels.
            count: of planes.
            like: a picture of one channel whose depth they get.
            key: see `RasterWriter`.
        """
        self.width, self.height, self.count = width, height, count
        self._target = target
        self._store = Intermediate(target, 1, width, height * count, like=like, resume_key=key)
        self._finished: Counter[int] = Counter()

    def __enter__(self) -> "Layers":
        """Allocate the file. Raises what `Intermediate` raises."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._store)
            remove_leftovers(self._target, 2)
            for window in self._store.finished:
                self._finished[window.y // self.height] += window.width * window.height
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> bool | None:
        """Delete the file, unless the process is being stopped and could continue later."""
        return self._stack.__exit__(*error)  # pyright: ignore[reportArgumentType]

    def sink(self, planes: Sequence[int]) -> "LayerSink":
        """Where the channels of a picture go that are these planes."""
        return LayerSink(self, self._target.with_name(f"{self._target.name}.layer{planes[0] + 1}"), planes)

    def complete(self, planes: Iterable[int]) -> bool:
        """Whether nothing of these planes is missing."""
        return all(self._finished[plane] == self.width * self.height for plane in planes)

    def read(self, plane: int, window: Window) -> np.ndarray:
        """A part of a finished plane: float32 `[height, width]` in [0, 1]."""
        return self._whole.read(self._below(plane, window))[0]

    @cached_property
    def _whole(self) -> Raster:
        return self._store.read_as(self.width, self.height * self.count)

    def note_temporary(self, path: Path) -> None:
        """See `Intermediate.note_temporary`."""
        self._store.note_temporary(path)

    @property
    def plan(self) -> Plan | None:
        """The plan of the planes that are not complete."""
        return self._store.plan

    def follow(self, plan: Plan) -> None:
        """See `RasterWriter.follow`; of planes that are complete nothing is forgotten."""
        if plan == self._store.plan:
            return
        kept = [window for window in self._store.finished if self.complete([window.y // self.height])]
        self._store.follow(plan)
        self._store.recall(kept)
        self._finished = Counter({plane: area for plane, area in self._finished.items() if self.complete([plane])})

    def holds(self, plane: int, window: Window) -> bool:
        """Whether this very window of a plane has been written."""
        return self._store.holds(self._below(plane, window))

    def write(self, plane: int, window: Window, array: np.ndarray) -> None:
        """Put `[height, width]` in [0, 1] where `window` is; nothing if it is there, from a job that was killed."""
        place = self._below(plane, window)
        if not self._store.holds(place):
            self._store.write(place, array[None])
            self._finished[plane] += window.width * window.height

    def _below(self, plane: int, window: Window) -> Window:
        return Window(window.x, plane * self.height + window.y, window.width, window.height)


class LayerSink:
    """Takes a picture of one or three channels, each of which is a plane of `Layers`."""

    def __init__(self, layers: Layers, path: Path, planes: Sequence[int]) -> None:
        """Use `Layers.sink`."""
        self.path = path
        self.width, self.height = layers.width, layers.height
        self._layers, self._planes = layers, planes

    @property
    def plan(self) -> Plan | None:
        """See `RasterWriter.plan`."""
        return self._layers.plan

    def follow(self, plan: Plan) -> None:
        """See `RasterWriter.follow`."""
        self._layers.follow(plan)

    def holds(self, window: Window) -> bool:
        """See `RasterWriter.holds`."""
        return all(self._layers.holds(plane, window) for plane in self._planes)

    def write(self, window: Window, array: np.ndarray) -> None:
        """See `RasterWriter.write`: `[channels, height, width]` in [0, 1]."""
        for plane, values in zip(self._planes, array, strict=True):
            self._layers.write(plane, window, values)
