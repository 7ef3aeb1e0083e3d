"""Files that come from the browser: stored under their own names, each in bounds."""

import itertools
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from gramgan.errors import UserError

MIB = 2**20
_NAME_BYTES = 200
_SPARE = 512 * MIB  # of the disk, that stays free


class Uploads:
    """A folder for each batch of files that were dropped together."""

    def __init__(self, folder: Path, *, most: int, in_all: int) -> None:
        """Store below `folder`, at most `most` bytes a file and `in_all` bytes together."""
        self._folder, self._most, self._in_all = folder, most, in_all
        self._stored = 0
        self._numbers = itertools.count(1)
        folder.mkdir(parents=True, exist_ok=True)

    def batch(self) -> Path:
        """A new folder for files that belong together."""
        folder = self._folder / f"{next(self._numbers)} at {time.strftime('%H.%M')}"
        folder.mkdir()
        return folder

    def find(self, batch: str) -> Path:
        """A batch's folder by its name.

        Raises:
            UserError: there is none.
        """
        folder = self._folder / batch
        if Path(batch).name != batch or not folder.is_dir():
            raise UserError(f"upload {batch!r}: there is no such batch; load the page again")
        return folder

    async def store(self, batch: str, name: str, size: int | None, parts: AsyncIterator[bytes]) -> Path:
        """Write a file into a batch.

        Args:
            batch: the batch's name.
            name: what the file is called on the user's side; only its last part counts.
            size: of the file as announced, None if it is not.
            parts: its bytes.

        Raises:
            UserError: it is too large, has no usable name, or the disk is full.
        """
        folder = self.find(batch)
        self._check(name, size or 0)
        path = _free(folder / _plain(name))
        written = 0
        try:
            with path.open("wb") as file:
                async for part in parts:
                    written += len(part)
                    self._check(name, written)
                    await run_in_threadpool(file.write, part)
        except BaseException:
            path.unlink(missing_ok=True)  # also where the browser went away
            raise
        self._stored += written
        return path

    def forget(self, path: Path) -> None:
        """Delete an uploaded file; one that lies elsewhere stays."""
        if path.is_relative_to(self._folder) and path.is_file():
            self._stored -= path.stat().st_size
            path.unlink()

    def _check(self, name: str, size: int) -> None:
        if size > self._most:
            raise UserError(
                f"{name}: is larger than {self._most // MIB:,} MiB; start with --folder and choose it there, or with a "
                "larger --max-upload"
            )
        if self._stored + size > self._in_all:
            raise UserError(f"{name}: more than {self._in_all // MIB:,} MiB were uploaded; remove some pictures first")
        if size and shutil.disk_usage(self._folder).free < size + _SPARE:
            raise UserError(f"{name}: the disk is nearly full; free some space, or set TMPDIR to another one")


def _plain(name: str) -> str:
    """The last part of a name, without what no file name may have."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    plain = "".join(character for character in last if character.isprintable()).strip().lstrip(".")
    if not plain:
        raise UserError(f"{name!r}: has no name that a file could have; rename it")
    stem, dot, suffix = plain.rpartition(".")
    if len(plain.encode()) > _NAME_BYTES:
        room = _NAME_BYTES - len(f"{dot}{suffix}".encode())
        plain = (stem or suffix).encode()[: max(room, 1)].decode(errors="ignore") + (f"{dot}{suffix}" if stem else "")
    return plain


def _free(path: Path) -> Path:
    for number in itertools.count(2):
        if not path.exists():
            return path
        path = path.with_name(f"{path.stem.removesuffix(f' ({number - 1})')} ({number}){path.suffix}")
    raise AssertionError
