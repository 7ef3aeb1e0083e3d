"""Changing a texture database's Lance table so that no crash or second process loses anything.

New data files are written into a folder of their own inside the table, `_adding/…`, checked, and moved among the
table's when they are complete; the commit of a new version follows at once, both under a lock. Whatever dies before
leaves the table as it was, and its folder, which nobody holds locked any more, is removed by the next writer.

Of a table in object storage the new data files are made in the user's cache and uploaded before the commit. There are
no locks: that two processes make the same version, Lance itself prevents; let one at a time change such a table, or
both may add the same photograph. What dies before its commit leaves data files that no version knows; `versions.clean`
removes them.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gramgan.errors import UserError
from gramgan.files import ensure_folder, sha256, write_text
from gramgan.locks import claim, exclusive
from gramgan.objects import lance_options
from gramgan.places import ObjectPath, check_writable, workplace
from gramgan.texture.metadata import Metadata
from gramgan.texture.rows import Added
from gramgan.texture.table import LanceTable, lance_reason, require_lance, schema_of

if TYPE_CHECKING:
    import pyarrow as pa
    from lance.fragment import FragmentMetadata

_LOCK = "_gramgan.lock"
_ADDING = "_adding"
_CHECKSUMS = "_checksums"


class Staging:
    """A folder for data files that no version knows yet; gone when the `with` block ends.

    `root` is the folder of the table itself for a new one, which does not exist elsewhere.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fragments: list[FragmentMetadata] = []

    def write(self, path: Path, schema: "pa.Schema", batches: "Iterable[pa.RecordBatch]") -> int:
        """Write `batches` one after the other, as they come, and return the number of rows.

        Raises:
            UserError: the disk is full, or the folder cannot be written; `path` is the name that it speaks of.
        """
        require_lance()
        import pyarrow as pa
        from lance.fragment import write_fragments

        # What the source of batches raises would come out of Lance as an error of Lance's.
        failure: list[BaseException] = []
        rows = 0

        def watched() -> "Iterator[pa.RecordBatch]":
            nonlocal rows
            try:
                for batch in batches:
                    rows += len(batch)
                    yield batch
            except BaseException as error:
                failure.append(error)
                raise

        reader = pa.RecordBatchReader.from_batches(schema, watched())
        try:
            written = write_fragments(reader, str(self.folder), schema=schema, mode="create")
        except (OSError, ValueError) as error:
            if failure:
                raise failure[0] from None
            raise _write_error(path, error) from error
        self.fragments.extend(written)
        return rows

    def files(self) -> list[Path]:
        """The data files, made durable."""
        files = sorted((self.folder / "data").glob("*.lance"))
        for file in files:
            with file.open("rb+") as handle:
                os.fsync(handle.fileno())
        return files


@contextlib.contextmanager
def new_table(path: Path) -> Iterator[Staging]:
    """A table that appears at `path` when `create` is called, beside it until then.

    Raises:
        UserError: the folder of `path` cannot be written to.
    """
    ensure_folder(path.parent)
    with _claimed(path, ensure_folder(workplace(path).parent), f".{path.name}.*.unfinished") as folder:
        yield Staging(folder)


def create(path: Path, staging: Staging, metadata: Metadata) -> None:
    """Make the staged data version 1 of the table at `path`; an existing table is replaced.

    Raises:
        UserError: the disk is full, or the old table cannot be replaced.
    """
    lance = require_lance()
    operation = lance.LanceOperation.Overwrite(schema_of(metadata), staging.fragments)
    if isinstance(path, ObjectPath):
        _create_in_bucket(path, staging, operation)
        return
    try:
        _write_checksums(staging.files(), staging.folder)
        dataset = lance.LanceDataset.commit(str(staging.folder), operation)
    except (OSError, ValueError) as error:
        raise _write_error(path, error) from error
    del dataset  # Windows renames no folder with open files in it
    _sync_manifests(staging.folder)
    with contextlib.ExitStack() as stack:
        if path.exists():
            stack.enter_context(changing(path))  # nobody may commit to the table that goes
        _put_in_place(staging.folder, path)


def _create_in_bucket(path: ObjectPath, staging: Staging, operation: Any) -> None:
    _upload(staging, path)
    try:
        dataset = require_lance().LanceDataset.commit(str(path), operation, storage_options=lance_options(str(path)))
        if dataset.version > 1:  # one that stood there: nothing of it stays
            for name in dataset.tags.list():
                dataset.tags.delete(name)
            dataset.cleanup_old_versions(older_than=timedelta(0), delete_unverified=True)
            remove_old_checksums(path)
    except (OSError, ValueError) as error:
        raise _write_error(path, error) from error


def _upload(staging: Staging, path: ObjectPath) -> None:
    """Put the staged data files and their checksums among those of the table at `path`; all or none."""
    placed: list[Path] = []
    try:
        for file in staging.files():
            placed += [path / "data" / file.name, _checksum_path(path, file.name)]
            write_text(placed[-1], sha256(file) + "\n")
            (path / "data" / file.name).put(file)
    except BaseException:
        for place in placed:
            with contextlib.suppress(UserError):
                place.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _addition(path: Path) -> Iterator[Staging]:
    """A place inside the table at `path` for rows that are to be added."""
    with _claimed(path, ensure_folder(workplace(path) / _ADDING), "*") as folder:
        yield Staging(folder)


@contextlib.contextmanager
def changing(path: Path) -> Iterator[None]:
    """Hold the table's lock: between reading its newest version and the commit no other process commits.

    Raises:
        UserError: the table cannot be written to.
    """
    if isinstance(path, ObjectPath):
        check_writable(path)
        yield
        return
    try:
        with exclusive(path / _LOCK):
            yield
    except PermissionError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); change its permissions") from None


def newest_of(before: LanceTable) -> LanceTable:
    """The newest version of the table that `before` is a version of; the lock must be held.

    Raises:
        UserError: another table has taken its place.
    """
    now = LanceTable.open(before.path)
    if now.metadata.identity != before.metadata.identity:
        raise UserError(f"{before.path}: the table was built anew meanwhile; run the command again")
    return now


def append_rows(newest: LanceTable, batches: "Iterable[pa.RecordBatch]", added: Added) -> None:
    """Add rows to the table whose newest version was `newest`.

    Raises:
        UserError: there are none, another process added the same ones, the table was replaced, or cannot be written.
    """
    path = newest.path
    with _addition(path) as staging:
        if not staging.write(path, schema_of(newest.metadata), batches):
            raise UserError(f"{path}: there was nothing new to add; the table is as it was")
        with changing(path):
            now = newest_of(newest)
            if now.version != newest.version and added.overlaps(now.numbers("patch_id")):
                raise UserError(f"{path}: another process added the same photographs meanwhile; run the command again")
            _append(now, staging)


def _append(table: LanceTable, staging: Staging) -> None:
    lance = require_lance()
    operation = lance.LanceOperation.Append(staging.fragments)
    if isinstance(table.path, ObjectPath):
        _upload(staging, table.path)
        with _changed(table.path):  # if it fails, nobody knows whether it is in: the files stay
            _commit(table, operation)
        return
    moved: list[Path] = []
    with _changed(table.path):
        try:
            files = staging.files()
            _write_checksums(files, table.path)
            for file in files:
                place = table.path / "data" / file.name
                moved.append(place)
                file.replace(place)
            _commit(table, operation)
        except (OSError, ValueError):
            for place in moved:
                place.unlink(missing_ok=True)
                _checksum_path(table.path, place.name).unlink(missing_ok=True)
            raise


def _commit(table: LanceTable, operation: Any) -> None:
    url = str(table.path)
    require_lance().LanceDataset.commit(url, operation, read_version=table.version, storage_options=lance_options(url))


def delete_rows(table: LanceTable, condition: str) -> None:
    """Commit a version without the rows that fulfil `condition`; the lock must be held.

    Raises:
        UserError: the disk is full, or the table cannot be written.
    """
    with _changed(table.path):
        table.dataset.delete(condition)


def drop_fragments(table: LanceTable, numbers: Sequence[int]) -> None:
    """Commit a version without some fragments, which need not be readable; the lock must be held.

    Raises:
        UserError: nothing would be left, the disk is full, or the table cannot be written.
    """
    present = {fragment.fragment_id for fragment in table.dataset.get_fragments()}
    if present <= set(numbers):
        raise UserError(f"{table.path}: no fragment would be left; build it again: gramgan db build")
    lance = require_lance()
    with _changed(table.path):
        _commit(table, lance.LanceOperation.Delete([], sorted(present & set(numbers)), "damaged fragments"))


@contextlib.contextmanager
def _changed(path: Path) -> Iterator[None]:
    """Around a commit: its errors in our words, and what it wrote on the disk when it is over."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise _write_error(path, error) from error
    _sync_manifests(path)


def remove_abandoned(path: Path) -> int:
    """Remove what interrupted additions left inside the table, and return how many there were."""
    return _remove_abandoned(workplace(path) / _ADDING, "*")


def remove_old_checksums(path: Path) -> None:
    """Remove the checksums of data files that are gone; the lock must be held."""
    for file in (path / _CHECKSUMS).glob("*.sha256"):
        if not (path / "data" / file.stem).exists():
            file.unlink(missing_ok=True)


def recorded_checksum(path: Path, name: str) -> str | None:
    """SHA-256 that the data file `name` had when it was written; None if the table knows none."""
    try:
        return _checksum_path(path, name).read_text(encoding="ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return None


@contextlib.contextmanager
def _claimed(path: Path, parent: Path, pattern: str) -> Iterator[Path]:
    """A new folder in `parent`, locked as long as this process uses it, and removed at the end if it still is there.

    `pattern` is its name, with an asterisk for what makes it unlike others; abandoned ones of that name are removed.
    """
    _remove_abandoned(parent, pattern)
    folder, handle = parent, None
    while handle is None:
        folder = parent / pattern.replace("*", uuid.uuid4().hex[:12])
        try:
            folder.mkdir()
            handle = claim(folder / _LOCK)
        except FileNotFoundError:
            ensure_folder(parent)  # else only `folder` is gone: not locked yet, it looked abandoned to another process
        except OSError as error:
            raise _write_error(path, error) from None
    try:
        yield folder
    finally:
        os.close(handle)
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(parent: Path, pattern: str) -> int:
    """Remove folders of processes that died, and return how many there were."""
    removed = 0
    for folder in parent.glob(pattern):
        if not (folder / _LOCK).exists():  # its process died, or is, between making it and locking it
            with contextlib.suppress(OSError):  # not empty, so not ours
                folder.rmdir()
                removed += 1
            continue
        try:
            handle = claim(folder / _LOCK)
        except OSError:  # gone meanwhile, or another user's
            continue
        if handle is not None:
            os.close(handle)
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed


def _checksum_path(path: Path, name: str) -> Path:
    return path / _CHECKSUMS / f"{name}.sha256"


def _write_checksums(files: Sequence[Path], path: Path) -> None:
    for file in files:
        write_text(_checksum_path(path, file.name), sha256(file) + "\n")


def _sync_manifests(path: Path) -> None:
    """Lance leaves it to the system when its small files reach the disk; a commit that was reported must be there."""
    if isinstance(path, ObjectPath):  # an object that was written is there
        return
    newest = max((path / "_versions").glob("*.manifest"), key=lambda file: file.stat().st_mtime_ns)
    with newest.open("rb+") as handle:
        os.fsync(handle.fileno())
    if os.name == "posix":
        for folder in (path / "_versions", path / "data"):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _write_error(path: Path, error: Exception) -> UserError:
    text = lance_reason(error)
    if "No space left on device" in str(error) or "quota" in str(error).lower() or "os error 28" in str(error):
        return UserError(f"{path}: the disk is full, the table is as it was; free some space and run the command again")
    return UserError(f"{path}: cannot be written ({text}); free some space or choose another place")


def _put_in_place(unfinished: Path, path: Path) -> None:
    old = unfinished.with_suffix(".replaced")
    try:
        if path.exists():
            path.replace(old)
        unfinished.replace(path)
    except OSError as error:
        if old.exists():
            old.replace(path)
        raise UserError(f"{path}: cannot be replaced ({error.strerror}); close what uses it and try again") from error
    shutil.rmtree(old, ignore_errors=True)
