"""The user's cache: what is downloaded, converted or measured once. A damaged entry is made again.

Where the cache cannot be written to, the work goes on in a folder of this process, and one warning says so.
"""

import functools
import json
import logging
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import Any

from gramgan.errors import UserError
from gramgan.files import ensure_folder, write_bytes, write_text
from gramgan.places import cache_folder

_CHECK = 4  # bytes of a checksum
_log = logging.getLogger(__name__)


def working_cache() -> Path:
    """`cache_folder()`, or where nothing can be written there a temporary folder that goes with this process."""
    return _checked(cache_folder())


@functools.cache
def _checked(folder: Path) -> Path:
    try:
        with tempfile.NamedTemporaryFile(dir=ensure_folder(folder), prefix=".try-") as file:
            file.write(b"\0")
            file.flush()
        return folder
    except UserError as error:
        problem = str(error).partition(";")[0]
    except OSError as error:
        problem = f"{folder}: this folder cannot be written to ({error.strerror})"
    _log.warning(
        "%s; results are not kept for the next run, set GRAMGAN_CACHE to a folder that can be written", problem
    )
    return temporary_cache()


def temporary_cache() -> Path:
    """A folder that is deleted when this process ends."""
    return Path(_instead().name)


@functools.cache
def _instead() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="gramgan-")


def read_entry(path: Path) -> Any:
    """The JSON value at `path`; None where there is none, or none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        _log.info("%s: damaged (%s), and made again", path, error)
        return None


def keep_entry(path: Path, value: object) -> None:
    """Write `value` as JSON to `path`; if that fails, a warning says so and the work continues without it."""
    try:
        make_room(path)
        write_text(path, json.dumps(value, indent=2) + "\n")
    except UserError as error:
        _log.warning("what was measured is not kept, so the next run measures again: %s", error)


def read_bytes(path: Path) -> bytes | None:
    """What `keep_bytes` wrote to `path`; None where there is nothing, or it is damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data[:-_CHECK] if data[-_CHECK:] == _crc(data[:-_CHECK]) else None


def keep_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, with a checksum behind it.

    Raises:
        UserError: it cannot be written.
    """
    make_room(path)
    write_bytes(path, data + _crc(data))


def seal(path: Path, *others: Path) -> None:
    """Note the checksums of a finished entry that others read: the file `path`, and others in its folder.

    Raises:
        UserError: they cannot be written.
    """
    make_room(_seal(path))
    write_text(_seal(path), json.dumps({file.name: _crc(file.read_bytes()).hex() for file in (path, *others)}))


def is_whole(path: Path) -> bool:
    """Whether the entry at `path` is as it was when it was sealed."""
    if not path.exists():
        return False
    sums = read_entry(_seal(path))
    try:
        if isinstance(sums, dict) and path.name in sums:
            return all(_crc(path.with_name(name).read_bytes()).hex() == value for name, value in sums.items())
    except OSError as error:
        _log.info("%s: damaged (%s), and made again", path, error)
    return False


def make_room(path: Path) -> None:
    """Remove a folder in place of an entry's file, and files in place of its folders."""
    for place in (path, *path.parents):
        if place == path and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif place != path and place.is_file() and cache_folder() in place.parents:
            place.unlink()


def _seal(path: Path) -> Path:
    return path.with_name(path.name + ".sums")


def _crc(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(_CHECK, "big")  # against damage; whoever can write to the cache is the user
