"""Writing files so that a crash, a full disk or a second reader never meets half of one."""

import contextlib
import errno
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gramgan.errors import UserError, WriteFailedError

_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.\w+")  # `atomic_path`'s, with mkstemp's eight characters


def ensure_folder(folder: Path) -> Path:
    """Create `folder` and its parents, and return it.

    Raises:
        UserError: it cannot be created or written to, or a file stands in its place.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{folder}: a file stands where a folder is needed; choose another output folder") from None
    except OSError as error:
        raise UserError(f"{folder}: cannot create this folder ({error.strerror}); choose another one") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{folder}: this folder is not writable; choose another one or change its permissions")
    return folder


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix); on success it is synced and renamed over `path`.

    If the block raises, the temporary file is removed and whatever stood at `path` before stays as it was.

    Raises:
        UserError: the folder is not writable or the disk is full.
    """
    ensure_folder(path.parent)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise write_error(path, error) from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _keep_umask(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically (see `atomic_path`)."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path` atomically (see `atomic_path`)."""
    write_bytes(path, text.encode("utf-8"))


def remove_leftovers(folder: Path) -> None:
    """Delete what writers that were killed have left in `folder`; nobody may be writing there now."""
    for path in folder.iterdir():
        if _TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """SHA-256 of the file at `path`, as 64 hexadecimal digits."""
    return digest(path, "sha256")


def digest(path: Path, algorithm: str) -> str:
    """Hash of the file at `path` by an algorithm of `hashlib`, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def append_record(path: Path, record: dict[str, Any]) -> None:
    """Append a line of JSON to a journal; it is on the disk when this returns."""
    try:
        with path.open("ab") as file:
            file.write(json.dumps(record).encode("ascii") + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise write_error(path, error) from None


def read_records(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal, none if there is no such file; what a killed process has left unfinished is cut off."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    return [json.loads(line) for line in whole.splitlines()]


def write_error(path: Path, error: OSError) -> WriteFailedError:
    """What to tell a user whose file at `path` could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WriteFailedError(
            f"{path}: the disk is full, nothing was written; free some space and run the command again"
        )
    return WriteFailedError(f"{path}: cannot be written ({error.strerror or error}); choose another place")


def _keep_umask(path: Path) -> None:
    # mkstemp makes files private; a finished result has the permissions that any new file would have.
    if os.name == "posix":
        mask = os.umask(0)
        os.umask(mask)
        path.chmod(0o666 & ~mask)


def _sync_folder(folder: Path) -> None:
    # The rename itself must reach the disk; only POSIX lets a folder be opened for that.
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
