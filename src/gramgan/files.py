"""Writing files so that a crash, a full disk or a second reader never meets half of one."""

import contextlib
import csv
import errno
import hashlib
import io
import json
import logging
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from gramgan.errors import ForeignFileError, UserError, WriteFailedError
from gramgan.names import cell, in_utf8, stand_in
from gramgan.places import ObjectPath, check_writable, workplace

_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.\w+")  # `atomic_path`'s, with mkstemp's eight characters
_SUFFIX = re.compile(r"\.\w{1,16}", re.ASCII)  # that its names may end in
_LARGEST_JOURNAL = 256 << 20  # bytes; a line of 300 for each of 900,000 pictures

# What network shares, FUSE and exFAT answer to calls that they do not know.
_NOT_THERE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)

# Never through a link, and without waiting for the other end of a pipe.
_OWN = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_LINK = "here is a symbolic link, and it is not followed"
_NOT_OWN = "what is here is no plain file of this user with one name"

_log = logging.getLogger(__name__)

_T = TypeVar("_T")


def ensure_folder(folder: Path) -> Path:
    """Create `folder` and its parents, and return it.

    Raises:
        UserError: it cannot be created or written to, or a file stands in its place.
    """
    if isinstance(folder, ObjectPath):
        check_writable(folder)
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{folder}: a file stands where a folder is needed; choose another output folder") from None
    except OSError as error:
        raise UserError(f"{folder}: cannot create this folder ({error.strerror}); choose another one") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{folder}: this folder is not writable; choose another one or change its permissions")
    return folder


def ensure_own_folder(folder: Path) -> Path:
    """The same for a hidden folder of the program's own, in a folder that may have come from somebody else.

    Raises:
        UserError: it cannot be created or written to, or is a link or somebody else's.
    """
    if isinstance(folder, ObjectPath):
        raise UserError(f"{folder.parent}: this has to be a local folder; choose one, and copy it when it is finished")
    if folder.is_symlink():
        raise write_error(folder, _foreign(folder, _LINK))
    ensure_folder(folder)
    if not _is_ours(folder.lstat(), folder.parent):
        raise write_error(folder, _foreign(folder, _NOT_OWN))
    return folder


def open_own(path: Path, flags: int = os.O_RDWR | os.O_CREAT) -> int:
    """Open a file of the program's own, at a name that somebody else may know, and return its descriptor.

    No link is followed, and it must be a plain file of this user, with one name.

    Args:
        path: the file.
        flags: of `os.open`.

    Raises:
        OSError: it cannot be opened; `ForeignFileError`: it is something else.
    """
    if isinstance(path, ObjectPath):
        raise UserError(f"{path}: this has to lie in a local folder; choose one, and copy it when it is finished")
    if not hasattr(os, "O_NOFOLLOW") and path.is_symlink():
        raise _foreign(path, _LINK)
    try:
        handle = os.open(path, flags | _OWN, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise _foreign(path, _LINK) from None
        if error.errno == errno.ENXIO:  # a pipe or a socket
            raise _foreign(path, _NOT_OWN) from None
        raise
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or not _is_ours(status, path.parent):
            raise _foreign(path, _NOT_OWN)
    except BaseException:
        os.close(handle)
        raise
    return handle


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix, if it is a usual one); at the end it is renamed over `path`.

    The temporary path is in UTF-8 and short, whatever `path` is called. It is synced before it is renamed.

    If the block raises, the temporary file is removed and whatever stood at `path` before stays as it was. A path in
    object storage has its temporary file in the user's cache (`workplace`), and is uploaded from there.

    Raises:
        UserError: the folder is not writable or the disk is full.
    """
    folder = ensure_folder(workplace(path).parent)
    try:
        suffix = path.suffix if _SUFFIX.fullmatch(path.suffix) else ".tmp"
        handle, name = tempfile.mkstemp(prefix=f".{stand_in(path.stem)}.", suffix=suffix, dir=folder)
    except OSError as error:
        raise write_error(path, error) from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        if isinstance(path, ObjectPath):
            path.put(temporary)
            return
        _keep_umask(temporary)
        with temporary.open("rb+") as file:
            sync(file.fileno())
        _rename(temporary, path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(folder)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically (see `atomic_path`)."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path` atomically (see `atomic_path`); bytes of names that are no UTF-8 are escaped."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_csv(path: Path, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a table atomically; texts that a spreadsheet would run as formulas are marked (see `names.cell`)."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([cell(in_utf8(one)) if isinstance(one, str) else one for one in row] for row in rows)
    write_text(path, text.getvalue())


def is_temporary(name: str) -> bool:
    """Whether `atomic_path` may have made a file of this name."""
    return _TEMPORARY.fullmatch(name) is not None


def remove_leftovers(folder: Path) -> None:
    """Delete what writers that were killed have left in `folder`; nobody may be writing there now."""
    for path in folder.iterdir():
        if is_temporary(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def sync(handle: int) -> None:
    """Wait until a file, or a folder's list, is on the disk, where the file system can say so."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise


def sha256(path: Path) -> str:
    """SHA-256 of the file at `path`, as 64 hexadecimal digits."""
    return digest(path, "sha256")


def digest(path: Path, algorithm: str) -> str:
    """Hash of the file at `path` by an algorithm of `hashlib`, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def parse_json(text: str | bytes) -> Any:
    """What a text in JSON says.

    Raises:
        ValueError: it is none, or so deeply nested that nobody means it.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def append_record(path: Path, record: dict[str, Any]) -> None:
    """Append a line of JSON to a journal. When this returns, the line is on the disk.

    Raises:
        UserError: the disk is full, or a link or a file of somebody else stands there.
    """
    try:
        with os.fdopen(open_own(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab") as file:
            file.write(json.dumps(record).encode("ascii") + b"\n")
            file.flush()
            sync(file.fileno())
    except OSError as error:
        raise write_error(path, error) from None


def read_records(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal, none if there is no such file; damaged ones, and half of one at the end, are passed over.

    The half is cut off, so that the next line begins at its own beginning.

    Raises:
        UserError: it cannot be read, is far too large for a journal, or is a link or somebody else's.
    """
    try:
        with os.fdopen(open_own(path, os.O_RDWR), "rb+") as file:
            size = os.fstat(file.fileno()).st_size
            if size > _LARGEST_JOURNAL:
                raise UserError(f"{path}: {size >> 20} MiB are too many for a journal; delete it")
            data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            if len(whole) < len(data):
                file.truncate(len(whole))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{path}: this journal cannot be read ({error.strerror}); delete it") from None
    records = [_record(line) for line in whole.splitlines() if line.strip()]
    kept = [record for record in records if record is not None]
    if len(kept) < len(records):
        _log.warning("%s: %d damaged lines are passed over", path, len(records) - len(kept))
    return kept


def record_as(kind: type[_T], values: object) -> _T | None:
    """The dataclass that was written to a journal as a dictionary; None if the line holds no such thing.

    A schema library would do, but refuses the texts in which Python keeps names that are no UTF-8.
    """
    hints = get_type_hints(kind)
    if not isinstance(values, dict) or not values.keys() <= hints.keys():
        return None
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    if not all(_fits(value, hints[name]) for name, value in given.items()):
        return None
    try:
        return kind(**given)
    except (TypeError, ValueError):  # one is missing, or refused by the class itself
        return None


def write_error(path: Path, error: OSError) -> WriteFailedError:
    """What to tell a user whose file at `path` could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WriteFailedError(
            f"{path}: the disk is full, nothing was written; free some space and run the command again"
        )
    if isinstance(error, ForeignFileError):
        return WriteFailedError(f"{error.filename}: cannot be written ({error.strerror}); delete it")
    return WriteFailedError(f"{path}: cannot be written ({error.strerror or error}); choose another place")


def _fits(value: object, hint: Any) -> bool:
    parts = get_args(hint)
    if get_origin(hint) is Literal:
        return value in parts
    if get_origin(hint) is UnionType:
        return any(_fits(value, part) for part in parts)
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_fits(one, parts[0]) for one in value)
    return type(value) is hint


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = parse_json(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _foreign(path: Path, what: str) -> ForeignFileError:
    return ForeignFileError(errno.EPERM, what, str(path))


def _is_ours(status: os.stat_result, folder: Path) -> bool:
    """Whether a file in `folder` belongs to this user, as far as the file system there tells users apart."""
    if not hasattr(os, "geteuid") or status.st_uid == os.geteuid():
        return True
    with tempfile.TemporaryFile(
        dir=folder
    ) as file:  # exFAT and shares have one owner for all files, whoever makes them
        return os.fstat(file.fileno()).st_uid == status.st_uid


def _keep_umask(path: Path) -> None:
    # mkstemp makes files private; a finished result has the permissions that any new file would have.
    if os.name == "posix":
        mask = os.umask(0)
        os.umask(mask)
        with contextlib.suppress(OSError):  # there are file systems without permissions: the result counts
            path.chmod(0o666 & ~mask)


def _rename(temporary: Path, path: Path) -> None:
    try:
        temporary.replace(path)
    except OSError as error:
        if error.errno not in (*_NOT_THERE, errno.EXDEV, errno.EEXIST) or path.is_dir():
            raise
        shutil.copyfile(temporary, path)  # a file system that cannot rename, or not over a file that is there


def _sync_folder(folder: Path) -> None:
    # The rename itself must reach the disk; only POSIX lets a folder be opened for that, if it may be read.
    if os.name == "posix":
        try:
            handle = os.open(folder, os.O_RDONLY)
        except PermissionError:
            return
        try:
            sync(handle)
        finally:
            os.close(handle)
