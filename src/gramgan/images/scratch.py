"""The samples of an image that is being made, in a file beside the output, and the journal of what is in it."""

import errno
import json
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gramgan.errors import UserError
from gramgan.files import ensure_folder
from gramgan.images.info import Window
from gramgan.locks import claim

_NO_FALLOCATE = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)
_SYNC_SECONDS = 1.0
"""How much work a killed job may lose, at most, where writing to the disk is fast."""
_SYNC_SHARE = 10  # and where it is slow: a tenth of the time goes into waiting for the disk

Plan = dict[str, int]
"""What whoever fills the image must do alike when he continues: tile size, overlap."""


class Scratch:
    """Samples `[height, width, bands]`, row after row, in a file that is allocated at once.

    Written by system calls, not through a memory map: pages of a map count as memory of the process.
    """

    def __init__(self, file: BinaryIO, path: Path, shape: tuple[int, int, int], dtype: np.dtype) -> None:
        """Take over `file`, open for reading and writing at `path`; see `private` and `Resumable`."""
        self.path = path
        self._file = file
        self._shape = shape
        self._dtype = dtype

    @classmethod
    def private(cls, output: Path, shape: tuple[int, int, int], dtype: np.dtype) -> "Scratch":
        """A new one beside `output`, under a name that no other process has."""
        handle, name = tempfile.mkstemp(prefix=f".{output.stem}.", suffix=".scratch", dir=output.parent)
        return cls(os.fdopen(handle, "r+b", buffering=0), Path(name), shape, dtype)

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return int(np.prod(self._shape)) * self._dtype.itemsize

    def allocate(self) -> None:
        """Reserve the whole file, so that a full disk shows now.

        Raises:
            OSError: the disk has no room for it.
        """
        _allocate(self._file.fileno(), self.size)

    def write(self, window: Window, samples: np.ndarray) -> None:
        """Put `[height, width, bands]` where `window` is."""
        _, width, bands = self._shape
        samples = np.ascontiguousarray(samples, self._dtype)
        pixel = bands * self._dtype.itemsize
        parts = [samples] if window.width == width else list(samples)
        for row, part in enumerate(parts):
            self._file.seek(((window.y + row) * width + window.x) * pixel)
            rest = part.data.cast("B")
            while rest:
                rest = rest[self._file.write(rest) :]

    def sync(self) -> None:
        """Wait until what was written is on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file and delete it."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def keep(self) -> None:
        """Close the file and leave it where it is."""
        self._file.close()


class Resumable:
    """A `Scratch` with a fixed name and a journal of its finished windows, which a killed job leaves behind.

    For the output `NAME` they are `.NAME.part` and `.NAME.journal`. The journal has a JSON object in each line: first
    the key and the geometry that it belongs to, then the plan, the name of the half-encoded output, and the windows. A
    window is entered after its samples have reached the disk. It is locked, so that two processes never fill one file.
    """

    def __init__(self, output: Path, key: str, shape: tuple[int, int, int], dtype: np.dtype) -> None:
        """Take over what a killed job with the same key and geometry left, or begin anew.

        Raises:
            UserError: another process is writing this output, or the folder is not writable.
        """
        ensure_folder(output.parent)
        self._path = output.with_name(f".{output.name}.journal")
        part = output.with_name(f".{output.name}.part")
        self._header: dict[str, object] = {"gramgan-journal": 1, "key": key, "shape": list(shape), "dtype": dtype.str}
        self.finished: set[Window] = set()
        self.plan: Plan | None = None
        self._temporary: list[str] = []
        self._waiting: list[Window] = []
        self._synced, self._pause = time.monotonic(), _SYNC_SECONDS
        try:
            handle = claim(self._path)
            if handle is None:
                raise UserError(f"{output}: another process is writing this file; wait for it or choose another name")
            self._file = os.fdopen(handle, "r+b")
            file = os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b", 0)
            self.scratch = Scratch(file, part, shape, dtype)
            if not (part.stat().st_size == self.scratch.size and self._read()):
                self._begin()
        except OSError as error:
            raise UserError(f"{output}: cannot be written ({error.strerror or error}); choose another place") from None

    def restart(self, plan: Plan) -> None:
        """Forget all windows and note the plan that the next ones follow."""
        self._begin()
        self.plan = plan
        self._append([*({"temporary": name} for name in self._temporary), {"plan": plan}])

    def note_temporary(self, path: Path) -> None:
        """Have whoever takes this over delete `path`: the encoder's unfinished file."""
        self._temporary.append(path.name)
        self._append([{"temporary": path.name}])

    def add(self, window: Window) -> None:
        """Enter a window whose samples have been written; it gets into the journal within about a second."""
        self.finished.add(window)
        self._waiting.append(window)
        if time.monotonic() - self._synced >= self._pause:
            self.flush()

    def flush(self) -> None:
        """Wait until all samples, then all windows are on the disk."""
        if not self._waiting:
            return
        start = time.monotonic()
        self.scratch.sync()
        self._append({"window": [one.x, one.y, one.width, one.height]} for one in self._waiting)
        self._waiting.clear()
        self._synced = time.monotonic()
        self._pause = max(_SYNC_SECONDS, _SYNC_SHARE * (self._synced - start))

    def keep(self) -> None:
        """Leave both files to whoever continues."""
        self.flush()
        self.scratch.keep()
        self._file.close()

    def close(self) -> None:
        """Delete both files."""
        self.scratch.close()
        if os.name == "nt":  # an open file cannot be deleted there
            self._file.close()
            self._path.unlink(missing_ok=True)
        else:  # deleted while it is still locked, so that nobody takes over what is about to go
            self._path.unlink(missing_ok=True)
            self._file.close()

    def _read(self) -> bool:
        """Whether the journal is ours; takes in what it says. A line that was cut off, or that is damaged, ends it."""
        lines = self._file.read().split(b"\n")[:-1]
        if not lines or _entry(lines[0]) != self._header:
            return False
        whole = len(lines[0]) + 1
        for line in lines[1:]:
            if not self._take_in(_entry(line)):
                break
            whole += len(line) + 1
        self._file.seek(whole)
        self._file.truncate()
        return True

    def _take_in(self, entry: dict[str, object]) -> bool:
        match entry:
            case {"window": [int(x), int(y), int(width), int(height)]}:
                self.finished.add(Window(x, y, width, height))
            case {"plan": dict(plan)}:
                self.plan = plan
            case {"temporary": str(name)} if name == Path(name).name:
                self._path.with_name(name).unlink(missing_ok=True)
            case _:
                return False
        return True

    def _begin(self) -> None:
        self.finished, self.plan, self._waiting = set(), None, []
        self._file.seek(0)
        self._file.truncate()
        self._append([self._header])

    def _append(self, entries: Iterable[Mapping[str, object]]) -> None:
        self._file.write(b"".join(json.dumps(entry).encode() + b"\n" for entry in entries))
        self._file.flush()
        os.fsync(self._file.fileno())


def _entry(line: bytes) -> dict[str, object]:
    """A line of a journal; empty where it is none."""
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


def _allocate(handle: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(handle, 0, size)
        except OSError as error:
            if error.errno not in _NO_FALLOCATE:
                raise
    os.truncate(handle, size)
