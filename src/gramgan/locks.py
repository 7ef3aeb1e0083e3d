"""A lock between processes, for files that two of them might fetch or build at the same time."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from gramgan.files import ensure_folder

_POLL_SECONDS = 0.1


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; wait while another process holds it.

    The system releases the lock when the process ends, however it ends. The (empty) file stays: deleting it would let a
    waiting process and a new one lock two different files.

    Raises:
        UserError: the folder of `path` cannot be created or written to.
    """
    ensure_folder(path.parent)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        while not _try_lock(handle):
            time.sleep(_POLL_SECONDS)
        try:
            yield
        finally:
            _unlock(handle)
    finally:
        os.close(handle)


def claim(path: Path) -> int | None:
    """Open the file `path`, made if it is not there, and lock it against other processes.

    Unlike the lock file of `exclusive` it may be deleted by whoever holds it: a process that has waited for the lock of
    a file that is gone by then opens the new one.

    Returns:
        A descriptor for reading and writing, whose closing gives the lock back; None while another holder has it.

    Raises:
        OSError: the file cannot be opened.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        if not _try_lock(handle):
            os.close(handle)
            return None
        try:
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except FileNotFoundError:
            pass
        os.close(handle)  # its last holder has deleted it between our opening and our locking


def release(handle: int, path: Path) -> None:
    """Give back the lock of a file that `claim` has opened at `path`, and delete the file."""
    if os.name == "nt":  # an open file cannot be deleted there
        os.close(handle)
        path.unlink(missing_ok=True)
    else:  # deleted while it is still locked, so that nobody takes over what is about to go
        path.unlink(missing_ok=True)
        os.close(handle)


if sys.platform == "win32":
    import msvcrt

    def _try_lock(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(handle: int) -> None:
        os.lseek(handle, 0, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)
