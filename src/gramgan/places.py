"""Where things lie: a place is a local path, or a path in object storage that is used like one."""

import contextlib
import functools
import io
import os
import re
import stat
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Never

from gramgan import objects
from gramgan.arguments import expect
from gramgan.errors import UserError
from gramgan.names import fitting

_URL = re.compile(rf"({'|'.join(objects.SCHEMES)}):")
_SPOOL = 2 << 30  # bytes of copies that are kept beside the one that was asked for last
_SMALL = 64 << 20  # bytes of an object that is copied when it is opened: most are read more than once
_FOLDERS_CHANGE = 60  # seconds for which a folder in object storage, which tells no time, is taken to be as it was


def as_place(given: Path | str) -> Path:
    """`given` as a path: an `ObjectPath` where it begins with `s3://`, `gs://` or `az://`.

    Raises:
        UserError: it is neither a path nor text.
    """
    expect("path", given, Path | str)
    if isinstance(given, ObjectPath):
        return given
    path = Path(given)
    return ObjectPath(path) if path.parts and _URL.fullmatch(path.parts[0]) else path


def cache_folder() -> Path:
    """The user's cache folder for Gram-GAN; the environment variable `GRAMGAN_CACHE` moves it."""
    override = os.environ.get("GRAMGAN_CACHE")
    if override:
        return Path(override).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("gramgan", appauthor=False))


def workplace(path: Path) -> Path:
    """Where the unfinished parts of what will be at `path` are kept: beside it, for an object in the user's cache."""
    if not isinstance(path, ObjectPath):
        return path
    return cache_folder() / "unfinished" / sha256(str(path.parent).encode()).hexdigest()[:16] / path.name


def files_in(folder: Path) -> Callable[[str], bool]:
    """What tells whether there is a file of some name below `folder`: in object storage from one listing, made now.

    Raises:
        UserError: the storage cannot be reached or refuses.
    """
    if not isinstance(folder, ObjectPath):
        return lambda name: (folder / name).is_file()
    there = {found.name for found in objects.listing(str(folder))[0]}
    return there.__contains__


def changed_at(folder: Path) -> int:
    """A number that is another one when the list of a folder's files has changed.

    Object storage does not tell; a minute later it counts as changed.

    Raises:
        OSError: there is no such folder.
    """
    return int(time.time()) // _FOLDERS_CHANGE if isinstance(folder, ObjectPath) else folder.stat().st_mtime_ns


class ObjectPath(type(Path())):
    """A path in object storage: `str` is its URL, and what opens it by name gets a local copy (`os.fspath`).

    Parts and names work as those of any path, and reading does: `open` transfers only what is read, and a library that
    opens files itself reads a copy that is kept for a while. Nothing is written this way: `gramgan.files` uploads.
    """

    _known: os.stat_result | None = None

    def __str__(self) -> str:
        return f"{self.parts[0]}//{'/'.join(self.parts[1:])}" if self.parts else "."

    def __fspath__(self) -> str:
        """The local copy's name.

        Raises:
            FileNotFoundError: there is no such object.
            UserError: the storage cannot be reached or refuses, or there is no room for the copy.
        """
        return _spool().copy_of(str(self))

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Size and time, as they were when the object was listed, or are now."""
        del follow_symlinks
        if self._known is not None:
            return self._known
        found = objects.status(str(self))
        if found is not None:
            return _stat(str(self), found)
        if self.is_dir():
            return os.stat_result((stat.S_IFDIR | 0o777, 0, -1, 1, 0, 0, 0, 0, 0, 0))
        raise FileNotFoundError(2, "No such object", str(self))

    def lstat(self) -> os.stat_result:
        """The same: there are no links."""
        return self.stat()

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there is an object, or others below it."""
        return self.is_file(follow_symlinks=follow_symlinks) or self.is_dir()

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there is an object."""
        del follow_symlinks
        return self._known is not None or objects.status(str(self)) is not None

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there are objects below it."""
        del follow_symlinks
        return self._known is None and objects.is_prefix(str(self))

    def is_symlink(self) -> bool:
        """No."""
        return False

    def samefile(self, other_path: str | os.PathLike[str]) -> bool:
        """Whether the other one is the same URL."""
        return self == other_path

    def is_absolute(self) -> bool:
        """Yes."""
        return True

    def absolute(self) -> "ObjectPath":
        """The path itself, as `resolve` and `expanduser`."""
        return self

    def resolve(self, strict: bool = False) -> "ObjectPath":
        """The path itself."""
        del strict
        return self

    def expanduser(self) -> "ObjectPath":
        """The path itself."""
        return self

    def relative_to(self, *other: Any, **options: Any) -> Path:  # type: ignore[override]
        """The rest of the path, which is a path of no storage any more."""
        return Path(*super().relative_to(*other, **options).parts)

    def open(self, mode: str = "r", *_: Any, encoding: str | None = None, errors: str | None = None, **__: Any) -> Any:
        """For reading: a local copy, or of a large object only what is read."""
        if mode not in ("r", "rt", "rb"):
            self._refuse()
        size = self.stat().st_size
        if size <= _SMALL or _spool().has(str(self)):
            return Path(os.fspath(self)).open(
                mode, encoding=None if "b" in mode else encoding or "utf-8", errors=errors
            )
        file = objects.open_object(str(self), size)
        return file if "b" in mode else io.TextIOWrapper(file, encoding or "utf-8", errors)

    def iterdir(self) -> "Iterator[ObjectPath]":  # type: ignore[override]
        """What lies directly below."""
        files, folders = objects.listing(str(self), recursive=False)
        yield from (self._listed(one) for one in files if one.name)
        yield from (self / name for name in folders)

    def glob(self, pattern: str, **_: Any) -> "Iterator[ObjectPath]":  # type: ignore[override]
        """The objects directly below whose names match; patterns with folders are none of this program's."""
        return (path for path in self.iterdir() if path.match(pattern))

    def rglob(self, pattern: str, **_: Any) -> "Iterator[ObjectPath]":  # type: ignore[override]
        """All objects below whose names match."""
        files, _folders = objects.listing(str(self))
        return (path for path in map(self._listed, files) if path.match(pattern))

    def files_below(self) -> "list[ObjectPath]":
        """All objects below, sorted, hidden ones and those in hidden folders left out. Each knows its size and time.

        Raises:
            UserError: the storage cannot be reached, refuses, or has no such bucket.
        """
        files, _ = objects.listing(str(self))
        return [
            self._listed(one) for one in files if one.name and not any(p.startswith(".") for p in one.name.split("/"))
        ]

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object."""
        if not missing_ok and not self.is_file():
            raise FileNotFoundError(2, "No such object", str(self))
        objects.delete([str(self)])
        _spool().forget(str(self))

    def put(self, path: Path) -> None:
        """Make the local file `path` this object, at once when all of it is there.

        Raises:
            UserError: the storage cannot be reached, or refuses.
        """
        objects.upload(path, str(self))
        _spool().forget(str(self))

    def mark(self) -> None:
        """Make this an empty object. Raises what `put` raises."""
        objects.create_marker(str(self))

    def delete_below(self) -> None:
        """Delete all objects below.

        Raises:
            UserError: the storage cannot be reached, or refuses.
        """
        files, _ = objects.listing(str(self))
        objects.delete([str(self / one.name) for one in files])

    def mkdir(self, *_: Any, **__: Any) -> None:
        """Nothing: a folder is there when something is in it."""

    def _refuse(self, *_: Any, **__: Any) -> Never:
        raise UserError(f"{self}: this is not possible in object storage; choose a local place")

    touch = rename = replace = chmod = symlink_to = hardlink_to = rmdir = write_bytes = write_text = _refuse  # type: ignore[assignment]

    def _listed(self, found: objects.StoredObject) -> "ObjectPath":
        path = self / found.name
        path._known = _stat(str(path), found)
        return path


def check_writable(folder: ObjectPath) -> None:
    """Write a small object into a folder, and delete it.

    Raises:
        UserError: the storage cannot be reached, has no such bucket, or refuses.
    """
    if not _writable.isdisjoint(map(str, (folder, *folder.parents))):
        return
    probe = f"{folder}/.gramgan-probe-{os.urandom(4).hex()}"
    objects.create_marker(probe)
    with contextlib.suppress(UserError):  # there are storages that let nobody delete
        objects.delete([probe])
    _writable.add(str(folder))


_writable: set[str] = set()
"""Folders that this process has tried."""


def _stat(url: str, found: objects.StoredObject) -> os.stat_result:
    number = int.from_bytes(sha256(url.encode("utf-8", "surrogateescape")).digest()[:7], "big")
    values = (stat.S_IFREG | 0o444, number, -1, 1, 0, 0, found.size, *[found.changed] * 3)
    return os.stat_result(values, {"st_mtime_ns": found.changed * 10**9})


class _Spool:
    """Local copies of objects for libraries that open files by name; the oldest go when there are too many bytes."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="gramgan-spool-", ignore_cleanup_errors=True)
        self._lock = threading.Lock()
        self._copies: OrderedDict[str, _Copy] = OrderedDict()
        self._made = 0

    def has(self, url: str) -> bool:
        with self._lock:
            return url in self._copies

    def copy_of(self, url: str) -> str:
        with self._lock:
            if url not in self._copies:
                self._made += 1
                name = url.rpartition("/")[2]
                stem, dot, suffix = name.rpartition(".")
                name = fitting(stem, dot + suffix) if stem else fitting(name, "")
                self._copies[url] = _Copy(Path(self._folder.name) / str(self._made) / name)
            copy = self._copies[url]
            self._copies.move_to_end(url)
        with copy.lock:
            if copy.size is None:
                try:
                    copy.fetch(url)
                except BaseException:
                    self.forget(url)
                    raise
        self._trim(url)
        return str(copy.path)

    def forget(self, url: str) -> None:
        with self._lock:
            copy = self._copies.pop(url, None)
        if copy is not None:
            copy.remove()

    def _trim(self, keep: str) -> None:
        with self._lock:
            total = sum(copy.size or 0 for copy in self._copies.values())
            gone = []
            for url, copy in list(self._copies.items()):
                if total - (self._copies[keep].size or 0 if keep in self._copies else 0) <= _SPOOL:
                    break
                if url != keep and copy.size is not None:
                    gone.append(self._copies.pop(url))
                    total -= copy.size
        for copy in gone:
            copy.remove()


class _Copy:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.Lock()
        self.size: int | None = None

    def fetch(self, url: str) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            objects.download(url, self.path)
            self.size = self.path.stat().st_size
        except FileNotFoundError:
            self.remove()
            raise
        except OSError as error:
            self.remove()
            raise UserError(
                f"{url}: cannot be copied to {self.path.parent} ({error.strerror}); free some space"
            ) from None

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
            self.path.parent.rmdir()


@functools.cache
def _spool() -> _Spool:
    return _Spool()
