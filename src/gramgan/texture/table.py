"""A texture database's Lance table, read: columns as arrays, rows, counts."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gramgan.errors import UserError
from gramgan.objects import lance_options, masked
from gramgan.texture.descriptors import dimension
from gramgan.texture.metadata import TEXTURE_KEY, Metadata

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
    return pa.schema(columns, metadata={TEXTURE_KEY: metadata.to_json()})


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
            dataset = lance.dataset(str(path), storage_options=lance_options(str(path)))
            metadata = _metadata(path, dataset)
            if version is not None and version != dataset.version:
                dataset = dataset.checkout_version(_existing(path, dataset, version))
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path}: a damaged Lance table ({lance_reason(error)}); build it again: gramgan db build"
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
                    f"({lance_reason(error)}); go on without it: gramgan db verify {self.path} --drop-damaged"
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


def lance_reason(error: BaseException) -> str:
    """The first line of an error of Lance's, without the places in its source."""
    line = str(error).splitlines()[0] if str(error) else type(error).__name__
    return masked(line.partition(", /")[0].removeprefix("External error: "))


def _metadata(path: Path, dataset: Any) -> Metadata:
    raw = (dataset.schema.metadata or {}).get(TEXTURE_KEY.encode())
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
