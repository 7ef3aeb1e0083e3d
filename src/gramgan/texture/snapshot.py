"""A texture database as one safetensors file, for machines without Lance: read-only, and of one version.

Numeric columns are stored as they are, text as codes into lists that stand in the file's metadata. Columns are read
from the file when they are asked for.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gramgan.errors import UserError
from gramgan.files import atomic_path, parse_json
from gramgan.texture.metadata import TEXTURE_KEY, Metadata
from gramgan.texture.table import WORDS

SUFFIX = ".safetensors"
_NUMBERS = ("patch_id", "gram", "x", "y", "scale", "count", "warped")

_VERSION_KEY = "gramgan.texture.version"
_WORDS_KEY = "gramgan.texture.words"


class TableLike(Protocol):
    """What a snapshot is made of, and what it offers: a Lance table, or another snapshot."""

    path: Path
    metadata: Metadata

    @property
    def version(self) -> int:
        """The number of the version that is read."""
        ...

    def __len__(self) -> int: ...

    def numbers(self, column: str, domain: str | None = None) -> np.ndarray:
        """A numeric column, `gram` (`[N, D]`) or `patch` (`[N, k*k*3]`), all rows or those of one domain."""
        ...

    def words(self, column: str, domain: str | None = None) -> tuple[np.ndarray, list[str]]:
        """A text column as codes `[N]`, and the texts that they stand for."""
        ...

    def counts(self, columns: Sequence[str]) -> dict[str, dict[Any, int]]:
        """How often each value occurs in some columns, the most frequent first."""
        ...

    def rows(self, patch_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Whole rows by patch id; ids that are not in the table are left out."""
        ...


class Snapshot:
    """A snapshot at `path`."""

    def __init__(self, path: Path, version: int, metadata: Metadata, words: dict[str, list[str]]) -> None:
        self.path = path
        self.version = version
        self.metadata = metadata
        self._words = words

    @classmethod
    def open(cls, path: Path, version: int | str | None = None) -> "Snapshot":
        """Open the file.

        Raises:
            UserError: it is missing, no snapshot of a texture database, or one of another version than asked for.
        """
        from safetensors import SafetensorError, safe_open

        if not path.is_file():
            raise UserError(f"{path}: there is no such file; make one: gramgan db snapshot NAME.lance -o {path}")
        try:
            with safe_open(path, framework="np") as file:
                stored = file.metadata() or {}
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path}: a damaged safetensors file ({error}); make the snapshot again") from None
        if not {TEXTURE_KEY, _VERSION_KEY, _WORDS_KEY} <= stored.keys():
            raise UserError(f"{path}: no snapshot of a texture database; make one: gramgan db snapshot NAME.lance")
        metadata = Metadata.from_json(path, stored[TEXTURE_KEY])
        try:
            number, words = int(stored[_VERSION_KEY]), parse_json(stored[_WORDS_KEY])
        except ValueError as error:
            raise UserError(f"{path}: a damaged snapshot ({error}); make it again") from None
        if version is not None and version != number:
            raise UserError(
                f"{path}: a snapshot of version {number}, not of version {version}; give {number} or none, or take "
                "another snapshot"
            )
        return cls(path, number, metadata, words)

    def __len__(self) -> int:
        with self._file() as file:
            return int(file.get_slice("patch_id").get_shape()[0])

    def numbers(self, column: str, domain: str | None = None) -> np.ndarray:
        """A numeric column, `gram` (`[N, D]` float32) or `patch` (`[N, k*k*3]` uint8), all rows or one domain's.

        Raises:
            UserError: `patch` of a snapshot that was made without patches.
        """
        with self._file() as file:
            if column not in file.keys():  # noqa: SIM118 (a file, not a dictionary)
                raise UserError(f"{self.path}: holds no column {column}; make the snapshot again, with its patches")
            result = file.get_tensor(column)
        return result if domain is None else result[self._of_domain(domain)]

    def words(self, column: str, domain: str | None = None) -> tuple[np.ndarray, list[str]]:
        """A text column as codes `[N]`, and the texts that they stand for."""
        return self.numbers(column, domain), self._words[column]

    def counts(self, columns: Sequence[str]) -> dict[str, dict[Any, int]]:
        """How often each value occurs in some columns, the most frequent first."""
        found: dict[str, dict[Any, int]] = {}
        for column in columns:
            if column in WORDS:
                codes, names = self.words(column)
                numbers = np.bincount(codes, minlength=len(names)).tolist()
                pairs = [pair for pair in zip(names, numbers, strict=True) if pair[1]]
            else:
                different, numbers = np.unique(self.numbers(column), return_counts=True)
                pairs = list(zip(different.tolist(), numbers.tolist(), strict=True))
            found[column] = dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))
        return found

    def rows(self, patch_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Whole rows by patch id; ids that are not in the snapshot are left out.

        Raises:
            UserError: the snapshot was made without patches.
        """
        ids = self.numbers("patch_id")
        row = np.flatnonzero(np.isin(ids, np.asarray(patch_ids, np.int64)))
        columns: dict[str, list[Any]] = {column: self.numbers(column)[row].tolist() for column in _NUMBERS}
        for column in WORDS:
            codes, names = self.words(column)
            columns[column] = [names[code] for code in codes[row]]
        columns["patch"] = [patch.tobytes() for patch in self.numbers("patch")[row]]
        return {ids[r]: {name: column[i] for name, column in columns.items()} for i, r in enumerate(row.tolist())}

    def _of_domain(self, domain: str) -> np.ndarray:
        codes, names = self.words("domain")
        return codes == (names.index(domain) if domain in names else -1)

    def _file(self) -> Any:
        from safetensors import safe_open

        return safe_open(self.path, framework="np")


def write_snapshot(table: TableLike, path: Path, *, patches: bool = True) -> None:
    """Write all columns of `table` into one file at `path`; without `patches`, all but the pixels.

    Raises:
        UserError: `path` does not end in `.safetensors`, or cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    if path.suffix != SUFFIX:
        raise UserError(f"{path}: a snapshot's name ends in {SUFFIX}; use {path.with_suffix(SUFFIX)}")
    columns = {column: table.numbers(column) for column in _NUMBERS}
    if patches:
        columns["patch"] = table.numbers("patch")
    lists: dict[str, list[str]] = {}
    for column in WORDS:
        codes, lists[column] = table.words(column)
        columns[column] = codes.astype(np.min_scalar_type(max(0, len(lists[column]) - 1)))
    stored = {
        TEXTURE_KEY: table.metadata.to_json(),
        _VERSION_KEY: str(table.version),
        _WORDS_KEY: json.dumps(lists, ensure_ascii=False),
    }
    tensors = {name: np.ascontiguousarray(column) for name, column in columns.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, stored)
        except SafetensorError as error:  # hides the number of the system's error
            raise UserError(f"{path}: cannot be written ({error}); free some space or choose another place") from None
