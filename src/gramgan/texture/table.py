"""A texture database's Lance table: reading it, and changing it so that no crash or second process loses anything.

New data files are written into a folder of their own inside the table, `_adding/…`, checked, and moved among the
table's when they are complete; the commit of a new version follows at once, both under a lock. Whatever dies before
leaves the table as it was, and its folder, which nobody holds locked any more, is removed by the next writer.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gramgan.errors import UserError
from gramgan.files import ensure_folder, sha256, write_text
from gramgan.locks import claim, exclusive
from gramgan.texture.descriptors import dimension
from gramgan.texture.metadata import METADATA_KEY, Metadata

if TYPE_CHECKING:
    import pyarrow as pa
    from lance.fragment import FragmentMetadata

NUMBERS = {
    "patch_id": np.dtype(np.int64),
    "x": np.dtype(np.int32),
    "y": np.dtype(np.int32),
    "scale": np.dtype(np.float32),
    "count": np.dtype(np.int32),
    "warped": np.dtype(np.bool_),
}
"""Columns of one number for each patch."""

WORDS = ("domain", "source_id", "licence")
"""Columns of text."""

_LOCK = "_gramgan.lock"
_ADDING = "_adding"
_CHECKSUMS = "_checksums"
_BATCH = 65_536  # rows decoded at a time


def require_lance() -> Any:
    """The module `lance`.

    Raises:
        UserError: it is not installed.
    """
    try:
        import lance
    except ImportError:
        raise UserError(
            "texture databases (NAME.lance) need Lance, which is not installed; run: pip install pylance pyarrow, or "
            "use a snapshot (NAME.safetensors)"
        ) from None
    return lance


def schema_of(metadata: Metadata) -> "pa.Schema":
    """The table's columns, with the metadata."""
    import pyarrow as pa

    descriptor = metadata.descriptor
    columns: list[tuple[str, pa.DataType]] = [
        ("patch_id", pa.int64()),
        ("patch", pa.binary(descriptor.k**2 * 3)),
        ("gram", pa.list_(pa.float32(), dimension(descriptor.name))),
        ("domain", pa.string()),
        ("source_id", pa.string()),
        ("x", pa.int32()),
        ("y", pa.int32()),
        ("scale", pa.float32()),
        ("licence", pa.string()),
        ("count", pa.int32()),
        ("warped", pa.bool_()),
    ]
    return pa.schema(columns, metadata={METADATA_KEY: metadata.to_json()})


class LanceTable:
    """One version of the Lance table at `path`, for reading."""

    def __init__(self, path: Path, dataset: Any, metadata: Metadata) -> None:
        self.path = path
        self.dataset = dataset
        self.metadata = metadata

    @classmethod
    def open(cls, path: Path, version: int | str | None = None) -> "LanceTable":
        """Open the newest version, or the one with this number or tag.

        Raises:
            UserError: missing, no texture database, damaged, or has no such version.
        """
        lance = require_lance()
        if not path.exists():
            raise UserError(f"{path}: there is no such texture database; build one: gramgan db build PHOTOS -o {path}")
        if not (path / "_versions").is_dir():  # Lance tries for seconds before it gives up
            raise UserError(f"{path}: not a Lance table; build one: gramgan db build PHOTOS -o NAME.lance")
        try:
            dataset = lance.dataset(str(path))
            metadata = _metadata(path, dataset)
            if version is not None and version != dataset.version:
                dataset = dataset.checkout_version(_existing(path, dataset, version))
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path}: a damaged Lance table ({reason(error)}); build it again: gramgan db build"
            ) from None
        return cls(path, dataset, metadata)

    @property
    def version(self) -> int:
        """The number of the version that is read."""
        return int(self.dataset.version)

    def __len__(self) -> int:
        return int(self.dataset.count_rows())

    def numbers(self, column: str, domain: str | None = None) -> np.ndarray:
        """A numeric column, `gram` (`[N, D]` float32, natural units) or `patch` (`[N, k*k*3]` uint8), all rows or
        those of one domain, in the table's order.

        Raises:
            UserError: a fragment is damaged.
        """
        size = len(self) if domain is None else int(self.dataset.count_rows(_equals("domain", domain)))
        descriptor = self.metadata.descriptor
        if column == "warped" and self.metadata.format == 1:
            return np.zeros(size, bool)
        shape, kind = {
            "gram": ((size, descriptor.dimension), np.dtype(np.float32)),
            "patch": ((size, descriptor.k**2 * 3), np.dtype(np.uint8)),
        }.get(column, ((size,), NUMBERS.get(column, np.dtype(np.int64))))
        result = np.empty(shape, kind)
        row = 0
        for batch in self.batches([column], domain):
            result[row : row + len(batch)] = values(batch.column(0))
            row += len(batch)
        return result

    def words(self, column: str, domain: str | None = None) -> tuple[np.ndarray, list[str]]:
        """A text column as codes `[N]` int32, and the texts that they stand for, in order of appearance.

        Raises:
            UserError: a fragment is damaged.
        """
        codes: dict[str, int] = {}
        parts = [np.zeros(0, np.int32)]
        for batch in self.batches([column], domain):
            coded = batch.column(0).dictionary_encode()
            numbers = np.array([codes.setdefault(text, len(codes)) for text in coded.dictionary.to_pylist()], np.int32)
            parts.append(numbers[coded.indices.to_numpy()])
        return np.concatenate(parts), list(codes)

    def batches(self, columns: Sequence[str], domain: str | None = None) -> "Iterator[pa.RecordBatch]":
        """All rows, or those of one domain, in the table's order.

        Raises:
            UserError: a fragment is damaged; names it.
        """
        condition = None if domain is None else _equals("domain", domain)
        for fragment in self.dataset.get_fragments():
            try:
                yield from fragment.to_batches(columns=list(columns), filter=condition, batch_size=_BATCH)
            except (OSError, ValueError) as error:  # Arrow's and Lance's own
                raise UserError(
                    f"{self.path}: fragment {fragment.fragment_id} ({_file_names(fragment.metadata)}) is damaged "
                    f"({reason(error)}); go on without it: gramgan db verify {self.path} --drop-damaged"
                ) from error

    def counts(self, columns: Sequence[str]) -> dict[str, dict[Any, int]]:
        """How often each value occurs in some columns, the most frequent first."""
        found: dict[str, dict[Any, int]] = {column: {} for column in columns}
        for batch in self.batches(columns):
            for column, counts in found.items():
                for entry in batch.column(column).value_counts().to_pylist():
                    counts[entry["values"]] = counts.get(entry["values"], 0) + entry["counts"]
        return {
            column: dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
            for column, counts in found.items()
        }

    def rows(self, patch_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Whole rows by patch id; ids that are not in the table are left out."""
        listing = ", ".join(str(patch_id) for patch_id in sorted(set(patch_ids)))
        found = self.dataset.to_table(filter=f"patch_id IN ({listing})").to_pylist()
        return {row["patch_id"]: row for row in found}


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
    _remove_abandoned(path.parent, f".{path.name}.*.unfinished")
    with _claimed(path, path.parent / f".{path.name}.{uuid.uuid4().hex[:12]}.unfinished") as folder:
        yield Staging(folder)


def create(path: Path, staging: Staging, metadata: Metadata) -> None:
    """Make what was staged version 1 of the table at `path`; a table that stands there is replaced.

    Raises:
        UserError: the disk is full, or the old table cannot be replaced.
    """
    lance = require_lance()
    try:
        _write_checksums(staging.files(), staging.folder)
        operation = lance.LanceOperation.Overwrite(schema_of(metadata), staging.fragments)
        dataset = lance.LanceDataset.commit(str(staging.folder), operation)
    except (OSError, ValueError) as error:
        raise _write_error(path, error) from error
    del dataset  # Windows renames no folder with open files in it
    _sync_manifests(staging.folder)
    with contextlib.ExitStack() as stack:
        if path.exists():
            stack.enter_context(changing(path))  # nobody may commit to the table that goes
        _put_in_place(staging.folder, path)


@contextlib.contextmanager
def addition(path: Path) -> Iterator[Staging]:
    """A place inside the table at `path` for rows that are to be added.

    Raises:
        UserError: the table cannot be written to.
    """
    parent = ensure_folder(path / _ADDING)
    _remove_abandoned(parent, "*")
    with _claimed(path, parent / uuid.uuid4().hex[:12]) as folder:
        yield Staging(folder)


@contextlib.contextmanager
def changing(path: Path) -> Iterator[None]:
    """Hold the table's lock: between reading its newest version and the commit no other process commits.

    Raises:
        UserError: the table cannot be written to.
    """
    try:
        with exclusive(path / _LOCK):
            yield
    except PermissionError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); change its permissions") from None


def append(table: LanceTable, staging: Staging) -> None:
    """Commit what was staged as a new version, after `table`, the newest one; the lock must be held.

    Raises:
        UserError: the disk is full, or the table cannot be written.
    """
    lance = require_lance()
    moved: list[Path] = []
    try:
        files = staging.files()
        _write_checksums(files, table.path)
        for file in files:
            place = table.path / "data" / file.name
            moved.append(place)
            file.replace(place)
        operation = lance.LanceOperation.Append(staging.fragments)
        lance.LanceDataset.commit(str(table.path), operation, read_version=table.version)
    except (OSError, ValueError) as error:
        for place in moved:
            place.unlink(missing_ok=True)
            _checksum_path(table.path, place.name).unlink(missing_ok=True)
        raise _write_error(table.path, error) from error
    _sync_manifests(table.path)


def delete(table: LanceTable, condition: str) -> None:
    """Commit a version without the rows that fulfil `condition`; the lock must be held.

    Raises:
        UserError: the disk is full, or the table cannot be written.
    """
    try:
        table.dataset.delete(condition)
    except (OSError, ValueError) as error:
        raise _write_error(table.path, error) from error
    _sync_manifests(table.path)


def drop_fragments(table: LanceTable, numbers: Sequence[int]) -> None:
    """Commit a version without some fragments, which need not be readable; the lock must be held.

    Raises:
        UserError: the disk is full, or the table cannot be written.
    """
    lance = require_lance()
    operation = lance.LanceOperation.Delete([], list(numbers), "damaged fragments")
    try:
        lance.LanceDataset.commit(str(table.path), operation, read_version=table.version)
    except (OSError, ValueError) as error:
        raise _write_error(table.path, error) from error
    _sync_manifests(table.path)


def remove_abandoned(path: Path) -> int:
    """Remove what interrupted additions left inside the table, and return how many there were."""
    return _remove_abandoned(path / _ADDING, "*")


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


def all_of(conditions: dict[str, Sequence[str]]) -> str:
    """An SQL condition that holds where every column has one of its values."""
    either = [
        "(" + " OR ".join(_equals(column, value) for value in wanted) + ")" for column, wanted in conditions.items()
    ]
    return " AND ".join(either)


def values(column: "pa.Array") -> np.ndarray:
    """A column of one batch as numpy: `[N]`, or `[N, width]` for vectors and patches."""
    import pyarrow as pa

    if pa.types.is_fixed_size_list(column.type):
        return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size)
    if pa.types.is_fixed_size_binary(column.type):
        width = column.type.byte_width
        start = column.offset * width
        return np.frombuffer(column.buffers()[1], np.uint8)[start : start + len(column) * width].reshape(-1, width)
    return column.to_numpy(zero_copy_only=False)


def versions_of(dataset: Any) -> list[tuple[int, datetime, int]]:
    """Number, time (UTC) and rows of each version, the oldest first."""
    return [
        (known["version"], known["timestamp"], int(known["metadata"].get("total_rows", 0)))
        for known in dataset.versions()
    ]


def reason(error: BaseException) -> str:
    """The first line of an error of Lance's, without the places in its source."""
    line = str(error).splitlines()[0] if str(error) else type(error).__name__
    return line.partition(", /")[0].removeprefix("External error: ")


def _metadata(path: Path, dataset: Any) -> Metadata:
    raw = (dataset.schema.metadata or {}).get(METADATA_KEY.encode())
    if raw is None:
        raise UserError(
            f"{path}: this Lance table is no texture database; build one: gramgan db build PHOTOS -o FILE.lance"
        )
    return Metadata.from_json(path, raw.decode())


def _existing(path: Path, dataset: Any, version: int | str) -> int:
    if isinstance(version, str):
        tags = dataset.tags.list()
        if version not in tags:
            names = ", ".join(sorted(tags)) or "none"
            raise UserError(f"{path}: has no version with the tag '{version}', its tags: {names}; give another one")
        return int(tags[version]["version"])
    if version not in {known["version"] for known in dataset.versions()}:
        raise UserError(
            f"{path}: has no version {version}, the newest is {dataset.version}; give another version or none"
        )
    return version


def _equals(column: str, value: str) -> str:
    quoted = value.replace("'", "''")
    return f"{column} = '{quoted}'"


def _file_names(fragment: "FragmentMetadata") -> str:
    return ", ".join(f"data/{file.path}" for file in fragment.files)


@contextlib.contextmanager
def _claimed(path: Path, folder: Path) -> Iterator[Path]:
    """A new folder, locked as long as this process uses it, and removed at the end if it still is there."""
    try:
        folder.mkdir()
        handle = claim(folder / _LOCK)
    except OSError as error:
        raise _write_error(path, error) from None
    assert handle is not None  # its name is new
    try:
        yield folder
    finally:
        os.close(handle)
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(parent: Path, pattern: str) -> int:
    """Remove folders of processes that died, and return how many there were."""
    removed = 0
    for folder in parent.glob(pattern):
        if not (folder / _LOCK).exists():  # being made at this moment, or not ours
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
    text = reason(error)
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
