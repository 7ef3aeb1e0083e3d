"""The result of one pass, kept in a file until the next pass or the last resize has read it."""

import contextlib
import dataclasses
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np

from gramgan.images import Raster, RasterInfo, Window
from gramgan.images.formats.base import Opened
from gramgan.images.resize import resized, samples_of
from gramgan.images.scratch import Plan, Resumable, Scratch
from gramgan.images.vips import pyvips
from gramgan.locks import claim, release

_WHITE = 65535


class Intermediate:
    """A picture that is first written window by window, as a `RasterWriter` is, and then read; a context manager.

    Its samples have 16 bits, or 32 (float) for a float source. With a `resume_key` it outlives a killed process and is
    taken up again, as a `RasterWriter`'s scratch file is.
    """

    def __init__(
        self,
        output: Path,
        number: int,
        width: int,
        height: int,
        *,
        like: RasterInfo,
        resume_key: str | None,
    ) -> None:
        """Describe the picture; its file is made on entering the context.

        Args:
            output: the file that it is a step to; this one lies beside it, hidden.
            number: of the pass, from 1.
            width: in pixels.
            height: in pixels.
            like: the source; channels and depth are the same.
            resume_key: see `RasterWriter`.
        """
        self.width, self.height = width, height
        self._like = like
        self._dtype = np.dtype(np.float32 if like.bits == 32 else np.uint16)
        self._output = _name(output, number)
        self._key = resume_key
        self._written: set[Window] = set()
        self._plan: Plan | None = None

    def __enter__(self) -> "Intermediate":
        """Allocate the file.

        Raises:
            UserError: another process works on the same output, or the folder is not writable.
            OSError: the disk has no room for it.
        """
        shape = (self.height, self.width, self._like.channels)
        with contextlib.ExitStack() as stack:
            self._journal: Resumable | None = None
            if self._key is None:
                self._scratch = Scratch.private(self._output, shape, self._dtype)
                stack.callback(self._scratch.close)
            else:
                self._journal = Resumable(self._output, self._key, shape, self._dtype)
                stack.push(self._leave)
                self._scratch = self._journal.scratch
                self._written, self._plan = set(self._journal.finished), self._journal.plan
            self._scratch.allocate()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Delete the file, unless the process is being stopped and could continue later."""
        return self._stack.__exit__(kind, error, trace)

    @property
    def finished(self) -> frozenset[Window]:
        """See `RasterWriter.finished`."""
        return frozenset(self._written)

    def holds(self, window: Window) -> bool:
        """See `RasterWriter.holds`."""
        return window in self._written

    @property
    def plan(self) -> Plan | None:
        """See `RasterWriter.plan`."""
        return self._plan

    def follow(self, plan: Plan) -> None:
        """See `RasterWriter.follow`."""
        if plan != self._plan:
            self._plan = plan
            self._written.clear()
            if self._journal is not None:
                self._journal.restart(plan)

    def recall(self, windows: Iterable[Window]) -> None:
        """Take windows for written after all that `follow` has forgotten: their samples are still there."""
        for window in windows:
            self._written.add(window)
            if self._journal is not None:
                self._journal.add(window)

    def note_temporary(self, path: Path) -> None:
        """Have whoever takes this over from a killed process delete `path`, which lies in the same folder."""
        if self._journal is not None:
            self._journal.note_temporary(path)

    def write(self, window: Window, array: np.ndarray) -> None:
        """See `RasterWriter.write`: `[channels, height, width]` in [0, 1]."""
        samples = array.transpose(1, 2, 0)
        if self._dtype == np.uint16:
            samples = np.floor(np.clip(samples, 0, 1) * np.float32(_WHITE) + np.float32(0.5)).astype(np.uint16)
        self._scratch.write(window, samples)
        self._written.add(window)
        if self._journal is not None:
            self._journal.add(window)

    def read_as(self, width: int, height: int) -> Raster:
        """The finished picture, resized if it has another size (see `images.resize`), as a source of float samples."""
        colours: Literal[1, 3] = self._like.colour_channels
        has_alpha = self._like.has_alpha
        image = pyvips.Image.rawload(
            str(self._scratch.path),
            self.width,
            self.height,
            self._like.channels,
            format="ushort" if self._dtype == np.uint16 else "float",
        )
        if self._dtype == np.uint16:
            image = (image / _WHITE).cast("float")
        # Without a colour space libvips would not take the fourth channel for alpha.
        image = image.copy(interpretation="scrgb" if colours == 3 else "b-w")
        if (width, height) != (self.width, self.height):
            image = resized(image, width, height, has_alpha)
        info = dataclasses.replace(self._like, width=width, height=height, dtype="float32")

        def samples(window: Window) -> np.ndarray:
            return samples_of(image, window.x, window.y, window.width, window.height)

        return Raster(Opened(info, samples))

    def _leave(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        assert self._journal is not None
        if error is None or isinstance(error, Exception) or not self._written:
            self._journal.close()
        else:
            self._journal.keep()


def remove_leftovers(output: Path, first: int) -> None:
    """Delete the intermediates of `output` from pass `first` on, which a killed job with other settings left.

    Those that another process is working on stay.
    """
    number = first
    while (journal := _hidden(output, number, "journal")).exists():
        handle = claim(journal)
        if handle is not None:
            _hidden(output, number, "part").unlink(missing_ok=True)
            release(handle, journal)
        number += 1


def _name(output: Path, number: int) -> Path:
    return output.with_name(f"{output.name}.pass{number}")


def _hidden(output: Path, number: int, kind: str) -> Path:
    return output.with_name(f".{_name(output, number).name}.{kind}")
