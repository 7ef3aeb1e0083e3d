"""Where an image is made: its samples in a hidden file beside the result, and a journal of what is in them already."""

import contextlib
import dataclasses
import errno
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np

from gramgan.errors import BusyError
from gramgan.files import ensure_folder, is_temporary, open_own, parse_json, sync, write_error
from gramgan.images.formats.base import Opened
from gramgan.images.info import RasterInfo, Window
from gramgan.images.raster import Raster
from gramgan.images.resize import resized, samples_of
from gramgan.images.vips import name_for, pyvips
from gramgan.locks import claim, release
from gramgan.names import hidden_beside, stand_in
from gramgan.places import workplace

_VIPS_FORMATS = {"uint8": "uchar", "uint16": "ushort", "float32": "float"}
_NO_FALLOCATE = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)
_ROWS = 64  # what is made on the way to samples is several times as large as they are
_SYNC_SECONDS = 1.0
"""How much work a killed job may lose, at most, where writing to the disk is fast."""
_SYNC_SHARE = 10  # and where it is slow: a tenth of the time goes into waiting for the disk

WindowPlan = dict[str, int]
"""What whoever fills the image must do alike when he continues: tile size, overlap."""


class Canvas:
    """An image that is being made, window by window; a context manager that deletes it in the end.

    Its samples lie row after row in a hidden file beside `target` (of an object: in the user's cache, see `workplace`),
    allocated at once, so that a full disk shows at the start. They are written by system calls, not through a memory
    map: pages of a map count as memory of the process.

    With a `key` the work of a killed job is taken up again. The samples are `.NAME.part` for the target `NAME` (a long
    name is shortened, see `names.stand_in`), and `.NAME.journal` says which windows are in them: a JSON object in each
    line, first the key and the geometry that it belongs to, then the plan, the names of other unfinished files, and the
    windows, each after its samples have reached the disk. Both files stay if the process is killed or the block is left
    by Ctrl-C, and are deleted when the block is left in any other way. The journal is locked, so that two processes
    never fill one image. Somebody else may have put links there: they are not followed (`files.open_own`).
    """

    def __init__(
        self, target: Path, shape: tuple[int, int, int], dtype: np.dtype, key: str | None = None, *, step: int = 0
    ) -> None:
        """Describe the image; its file is made on entering the context.

        Args:
            target: the file that it becomes, or is a step to.
            shape: height and width in pixels, and bands.
            dtype: of the samples: uint8, uint16, or float32.
            key: a text that says all that decides the pixels; None for a file of this process alone.
            step: tells canvases with one target apart: 0 for the result itself, from 1 for what leads to it.
        """
        self.target = target
        self.height, self.width, self.bands = shape
        self.dtype = np.dtype(dtype)
        self.size = int(np.prod(shape)) * self.dtype.itemsize
        self._key = key
        self._part, self._journal_path = _hidden(target, step, "part"), _hidden(target, step, "journal")
        self._header: dict[str, object] = {
            "gramgan-journal": 1,
            "key": key,
            "shape": list(shape),
            "dtype": self.dtype.str,
        }
        self._windows: set[Window] = set()
        self._plan: WindowPlan | None = None
        self._temporary: list[str] = []
        self._waiting: list[Window] = []
        self._synced, self._pause = time.monotonic(), _SYNC_SECONDS

    def __enter__(self) -> "Canvas":
        """Make the file, or take over what a killed job with the same key and geometry left.

        Raises:
            UserError: the folder is not writable, the disk has no room for the image, another process is at it, or a
                link or a file of somebody else stands in the way.
        """
        ensure_folder(self.target.parent)
        ensure_folder(self._part.parent)
        try:
            with contextlib.ExitStack() as stack:
                self._open(stack)
                _allocate(self._file.fileno(), self.size)
                self._deleted = stack.pop_all()
        except OSError as error:
            raise write_error(self.target, error) from None
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Delete the files, unless the process is being stopped and could continue later."""
        if self._key is None or error is None or isinstance(error, Exception) or not self._windows:
            self._deleted.close()
        else:
            self._flush()
            self._file.close()
            self._journal.close()
            os.close(self._lock)

    @property
    def path(self) -> Path:
        """The file of samples."""
        return self._part

    @property
    def finished(self) -> frozenset[Window]:
        """The windows that are in the image: those of this job and of the killed one that it continues."""
        return frozenset(self._windows)

    def holds(self, window: Window) -> bool:
        """Whether this very window is in the image already."""
        return window in self._windows

    @property
    def plan(self) -> WindowPlan | None:
        """What `follow` was told last, perhaps by the job that this one continues; None if it was not."""
        return self._plan

    def follow(self, plan: WindowPlan, keep: Callable[[Window], bool] = lambda _: False) -> None:
        """Set the plan that cuts the image into windows; windows of another plan are forgotten.

        They could neither be found again by `holds` nor told from those that are still to come. Those that are to be
        kept all the same, since they fill a part of the image for which there will be no others, `keep` tells.
        """
        if plan == self._plan:
            return
        kept = set(filter(keep, self._windows))
        if self._key is not None:
            self._flush()
            self._begin()
            temporary = ({"temporary": name} for name in self._temporary)
            self._append([*temporary, {"plan": plan}, *map(_window_entry, kept)])
        self._windows, self._plan = kept, plan

    def note_temporary(self, path: Path) -> None:
        """Have whoever takes this over from a killed process delete `path`, which lies in the same folder."""
        if self._key is not None:
            self._temporary.append(path.name)
            self._append([{"temporary": path.name}])

    def write(self, window: Window, array: np.ndarray) -> None:
        """Put pixels into the image; in the journal they are within about a second.

        Args:
            window: where; windows must not overlap, and none may be written twice.
            array: `[bands, height, width]` in [0, 1]. Clamped and rounded half up for 8 and 16 bits; kept as it is for
                float.

        Raises:
            ValueError: the array does not fit the window or holds NaN or infinity, or the window leaves the image or is
                in it already.
            UserError: the disk is full.
        """
        if array.shape != (self.bands, window.height, window.width):
            raise ValueError(
                f"window needs an array of shape {(self.bands, window.height, window.width)}, got {array.shape}"
            )
        right, bottom = window.x + window.width, window.y + window.height
        if window.x < 0 or window.y < 0 or right > self.width or bottom > self.height:
            raise ValueError(f"{window} does not lie inside of the image of {self.width}x{self.height}")
        if window in self._windows:
            raise ValueError(f"{window} is in the image already")
        if not np.isfinite(array).all():
            raise ValueError(f"{window} holds NaN or infinity")
        try:
            for top in range(0, window.height, _ROWS):
                samples = _samples(array[:, top : top + _ROWS], self.dtype)
                self._put(window.x, window.y + top, np.ascontiguousarray(samples.transpose(1, 2, 0)))
            self._windows.add(window)
            if self._key is not None:
                self._waiting.append(window)
                if time.monotonic() - self._synced >= self._pause:
                    self._flush()
        except OSError as error:
            raise write_error(self.target, error) from error

    def finish(self) -> None:
        """Make sure that nothing of the image is missing.

        Raises:
            ValueError: some pixels were never written.
        """
        missing = self.width * self.height - sum(window.width * window.height for window in self._windows)
        if missing > 0:
            raise ValueError(f"{self.target}: {missing} pixels were never written")

    def image(self, access: str = "random") -> pyvips.Image:
        """The samples as they are, for libvips; `sequential` reads them once, from top to bottom."""
        return pyvips.Image.rawload(
            name_for(self._part),
            self.width,
            self.height,
            self.bands,
            format=_VIPS_FORMATS[self.dtype.name],
            access=access,
        )

    def read_as(self, like: RasterInfo) -> Raster:
        """The finished image as a picture like another: float samples in [0, 1], resized if `like` has another size.

        Raises:
            ValueError: some pixels were never written.
        """
        self.finish()
        image = self.image()
        if self.dtype.kind == "u":
            image = (image / np.iinfo(self.dtype).max).cast("float")
        # Without a colour space libvips would not take the fourth channel for alpha.
        image = image.copy(interpretation="scrgb" if like.colour_channels == 3 else "b-w")
        if (like.width, like.height) != (self.width, self.height):
            image = resized(image, like.width, like.height, like.has_alpha)

        def samples(window: Window) -> np.ndarray:
            return samples_of(image, window.x, window.y, window.width, window.height)

        return Raster(Opened(dataclasses.replace(like, dtype="float32"), samples))

    def _open(self, stack: contextlib.ExitStack) -> None:
        """Open the files; closing `stack` deletes them."""
        if self._key is None:
            prefix = f".{stand_in(self.target.stem)}."
            handle, name = tempfile.mkstemp(prefix=prefix, suffix=".scratch", dir=self._part.parent)
            self._part = Path(name)
        else:
            self._lock = claim_for(self.target, self._journal_path)
            stack.callback(release, self._lock, self._journal_path)
            # Closed before the lock: at its end it would touch whatever has that number by then.
            self._journal = stack.enter_context(os.fdopen(self._lock, "r+b", closefd=False))
            handle = open_own(self._part)
        stack.callback(self._part.unlink, missing_ok=True)
        self._file = stack.enter_context(os.fdopen(handle, "r+b", buffering=0))
        if self._key is not None and not (self._part.stat().st_size == self.size and self._read_journal()):
            self._begin()

    def _put(self, x: int, y: int, samples: np.ndarray) -> None:
        """Write `[height, width, bands]` of the canvas's type at a place."""
        pixel = self.bands * self.dtype.itemsize
        parts = [samples] if samples.shape[1] == self.width else list(samples)
        for row, part in enumerate(parts):
            self._file.seek(((y + row) * self.width + x) * pixel)
            rest = part.data.cast("B")
            while rest:
                rest = rest[self._file.write(rest) :]

    def _sync(self) -> None:
        """Wait until all samples are on the disk."""
        sync(self._file.fileno())

    def _flush(self) -> None:
        """Wait until all samples, then all windows are on the disk."""
        if not self._waiting:
            return
        start = time.monotonic()
        self._sync()
        self._append(map(_window_entry, self._waiting))
        self._waiting.clear()
        self._synced = time.monotonic()
        self._pause = max(_SYNC_SECONDS, _SYNC_SHARE * (self._synced - start))

    def _read_journal(self) -> bool:
        """Whether the journal is ours; takes in what it says. A line that was cut off, or that is damaged, ends it."""
        lines = self._journal.read().split(b"\n")[:-1]
        if not lines or _entry(lines[0]) != self._header:
            return False
        whole = len(lines[0]) + 1
        for line in lines[1:]:
            if not self._take_in(_entry(line)):
                break
            whole += len(line) + 1
        self._journal.seek(whole)
        self._journal.truncate()
        return True

    def _take_in(self, entry: dict[str, object]) -> bool:
        match entry:
            case {"window": [int(x), int(y), int(width), int(height)]}:
                self._windows.add(Window(x, y, width, height))
            case {"plan": dict(plan)} if all(type(number) is int for number in plan.values()):
                self._plan = plan
            case {"temporary": str(name)} if name == Path(name).name and is_temporary(name):
                self._journal_path.with_name(name).unlink(missing_ok=True)
            case _:
                return False
        return True

    def _begin(self) -> None:
        self._windows, self._plan = set(), None
        self._journal.seek(0)
        self._journal.truncate()
        self._append([self._header])

    def _append(self, entries: Iterable[Mapping[str, object]]) -> None:
        self._journal.write(b"".join(json.dumps(entry).encode() + b"\n" for entry in entries))
        self._journal.flush()
        sync(self._journal.fileno())


def claim_for(target: Path, path: Path) -> int:
    """Lock the file `path`, beside `target`, against other processes, and open it (see `locks.claim`).

    Raises:
        BusyError: another process has it, and so is writing `target`.
        UserError: it cannot be opened, or is a link or somebody else's.
    """
    try:
        handle = claim(path)
    except OSError as error:
        raise write_error(target, error) from None
    if handle is None:
        raise BusyError(f"{target}: another process is writing this file; wait for it or choose another name")
    return handle


def remove_steps(target: Path, first: int) -> None:
    """Delete the canvases of `target` from step `first` on, which a killed job with other settings left.

    Those that another process is working on stay.
    """
    while (journal := _hidden(target, first, "journal")).exists():
        handle = claim(journal)
        if handle is not None:
            _hidden(target, first, "part").unlink(missing_ok=True)
            release(handle, journal)
        first += 1


def _hidden(target: Path, step: int, kind: str) -> Path:
    return hidden_beside(workplace(target), f"pass{step}.{kind}" if step else kind)


def _samples(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values in [0, 1] as a type stores them."""
    if dtype.kind == "f":
        return array.astype(dtype, copy=False)
    white = np.float32(np.iinfo(dtype).max)
    return np.floor(np.clip(array, 0, 1) * white + np.float32(0.5)).astype(dtype)


def _window_entry(window: Window) -> dict[str, object]:
    return {"window": [window.x, window.y, window.width, window.height]}


def _entry(line: bytes) -> dict[str, object]:
    """A line of a journal; empty where it is none."""
    try:
        entry = parse_json(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


def _allocate(handle: int, size: int) -> None:
    """Reserve the whole file, so that a full disk shows now."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(handle, 0, size)
        except OSError as error:
            if error.errno not in _NO_FALLOCATE:
                raise
    os.truncate(handle, size)
