"""Locks between processes, on files: filelock's, for descriptors that are opened here."""

import contextlib
import errno
import functools
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import lock_descriptor

from gramgan.files import ensure_folder, open_own, write_error

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
_TRIES = 100  # to open the very file that was locked; some shares number a file anew each time it is looked at

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; wait while another process holds it.

    The system releases the lock when the process ends, however it ends. The (empty) file stays: deleting it would let a
    waiting process and a new one lock two different files. On a file system without locks nobody is kept out; the log
    says so.

    Raises:
        UserError: the folder of `path` cannot be created or written to, or `path` is a link or somebody else's.
    """
    ensure_folder(path.parent)
    try:
        handle = open_own(path)
    except OSError as error:
        raise write_error(path, error) from None
    try:
        _lock(handle, path, blocking=True)
        yield
    finally:
        os.close(handle)  # which gives the lock back


def claim(path: Path) -> int | None:
    """Open the file `path`, made if it is not there, and lock it against other processes.

    Unlike the lock file of `exclusive` it may be deleted by whoever holds it: a process that has waited for the lock of
    a file that is gone by then opens the new one. On a file system without locks everybody holds it; the log says so.

    Returns:
        A descriptor for reading and writing, whose closing gives the lock back; None while another holder has it.

    Raises:
        OSError: the file cannot be opened, or is a link or somebody else's.
    """
    for attempt in range(_TRIES):
        handle = open_own(path)
        if not _lock(handle, path, blocking=False):
            os.close(handle)
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), path.lstat()) or attempt == _TRIES - 1:
                return handle
        os.close(handle)  # its last holder has deleted it between our opening and our locking
    raise write_error(path, OSError(errno.ESTALE, "it vanishes again and again"))


def release(handle: int, path: Path) -> None:
    """Give back the lock of a file that `claim` has opened at `path`, and delete the file."""
    try:
        path.unlink(missing_ok=True)  # while it is still locked, so that nobody takes over what is about to go
    except OSError:  # an open file cannot be deleted on Windows and some shares
        os.close(handle)
        path.unlink(missing_ok=True)
    else:
        os.close(handle)


def _lock(handle: int, path: Path, *, blocking: bool) -> bool:
    try:
        return lock_descriptor(handle, blocking=blocking)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _say_no_locks(path.parent)
        return True


@functools.cache
def _say_no_locks(folder: Path) -> None:
    _log.info("%s: this file system has no locks; let one process at a time write here", folder)
