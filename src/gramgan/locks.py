"""Locks between processes, on files: filelock's, for descriptors that are opened here."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import lock_descriptor

from gramgan.files import ensure_folder, write_error

_POLL_SECONDS = 0.1
# Never through a link: a folder that came from somebody else may hold one that leads to a file of the user's.
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; wait while another process holds it.

    The system releases the lock when the process ends, however it ends. The (empty) file stays: deleting it would let a
    waiting process and a new one lock two different files.

    Raises:
        UserError: the folder of `path` cannot be created or written to, or `path` is a link.
    """
    ensure_folder(path.parent)
    try:
        handle = os.open(path, _FLAGS, 0o666)
    except OSError as error:
        raise write_error(path, error) from None
    try:
        lock_descriptor(handle, poll_interval=_POLL_SECONDS)
        yield
    finally:
        os.close(handle)  # which gives the lock back


def claim(path: Path) -> int | None:
    """Open the file `path`, made if it is not there, and lock it against other processes.

    Unlike the lock file of `exclusive` it may be deleted by whoever holds it: a process that has waited for the lock of
    a file that is gone by then opens the new one.

    Returns:
        A descriptor for reading and writing, whose closing gives the lock back; None while another holder has it.

    Raises:
        OSError: the file cannot be opened, or is a link.
    """
    while True:
        handle = os.open(path, _FLAGS, 0o666)
        if not lock_descriptor(handle, blocking=False):
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
