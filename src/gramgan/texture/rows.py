"""Which rows of a table are meant, and rows of one table or snapshot on their way into another one, none twice."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gramgan.errors import UserError
from gramgan.texture.snapshot import TableLike
from gramgan.texture.sources import Source
from gramgan.texture.table import NUMBERS, WORDS, LanceTable, all_of, values

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)


class Added:
    """Patch ids that a table has, and those that are being added to it."""

    def __init__(self, known: np.ndarray) -> None:
        self.known = np.sort(known)
        self._new: list[np.ndarray] = []

    def any_known(self, patch_ids: np.ndarray) -> bool:
        """Whether the table has any of these."""
        return bool(_are_in(patch_ids, self.known).any())

    def note(self, patch_ids: np.ndarray) -> None:
        """These are being added."""
        self._new.append(patch_ids.copy())

    def overlaps(self, now: np.ndarray) -> bool:
        """Whether a newer version `now` has any of the ids that are being added."""
        return bool(_are_in(np.concatenate(self._new), np.sort(now)).any())


def _are_in(these: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    if not len(ascending):
        return np.zeros(len(these), bool)
    place = np.searchsorted(ascending, these).clip(max=len(ascending) - 1)
    return ascending[place] == these


def without_known(batches: "Iterable[pa.RecordBatch]", known: np.ndarray, path: Path) -> "Iterator[pa.RecordBatch]":
    """Rows whose patch id is not among the ascending `known`; says how many were left out."""
    import pyarrow as pa

    left_out = 0
    for batch in batches:
        twice = _are_in(values(batch.column("patch_id")), known)
        left_out += int(np.count_nonzero(twice))
        fresh = batch.filter(pa.array(~twice)) if twice.any() else batch
        if len(fresh):
            yield fresh
    if left_out:
        _log.info("%s: %d patches are there already and were not taken again", path, left_out)


def vector_blocks(storage: TableLike, domain: str | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Gram vectors (float32 `[n, D]`, natural units) and patch ids (int64 `[n]`), block by block."""
    if isinstance(storage, LanceTable):
        for batch in storage.batches(["gram", "patch_id"], domain):
            yield values(batch.column("gram")), values(batch.column("patch_id"))
    else:
        yield storage.numbers("gram", domain), storage.numbers("patch_id", domain)


def record_batches(storage: TableLike, schema: "pa.Schema") -> "Iterator[pa.RecordBatch]":
    """All rows of a table or snapshot in the columns of `schema`."""
    import pyarrow as pa

    if isinstance(storage, LanceTable):
        columns = [name for name in schema.names if name in storage.dataset.schema.names]
        for batch in storage.batches(columns):
            arrays = {name: batch.column(name) for name in columns}
            arrays.setdefault("warped", pa.array(np.zeros(len(batch), bool)))  # tables of format 1 have none
            yield pa.RecordBatch.from_arrays([arrays[name] for name in schema.names], schema=schema)
        return
    numbers = {name: storage.numbers(name) for name in (*NUMBERS, "patch", "gram")}
    words = {name: storage.words(name) for name in WORDS}
    step = 65_536
    for start in range(0, len(storage), step):
        part = slice(start, start + step)
        arrays = {name: pa.array(column[part]) for name, column in numbers.items() if column.ndim == 1}
        for name, (codes, texts) in words.items():
            arrays[name] = pa.DictionaryArray.from_arrays(pa.array(codes[part].astype(np.int32)), pa.array(texts)).cast(
                pa.string()
            )
        gram, patch = numbers["gram"][part], numbers["patch"][part]
        arrays["gram"] = pa.FixedSizeListArray.from_arrays(pa.array(gram.ravel()), gram.shape[1])
        arrays["patch"] = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(patch.shape[1]), len(patch), [None, pa.py_buffer(np.ascontiguousarray(patch))]
        )
        yield pa.RecordBatch.from_arrays([arrays[name] for name in schema.names], schema=schema)


def condition_of(
    table: LanceTable, *, domains: Sequence[str] = (), sources: Sequence[str] = (), licences: Sequence[str] = ()
) -> str:
    """An SQL condition for rows to remove: of any of the domains *and* any of the sources *and* licences.

    Raises:
        UserError: one of them is not there, no row is all of that, or every row is.
    """
    counts = table.counts(["domain", "source_id", "licence"])
    wanted = {
        "domain": _named(table.path, "domain", domains, counts["domain"]),
        "source_id": _sources_named(table.path, sources, counts["source_id"]),
        "licence": _named(table.path, "licence", licences, counts["licence"]),
    }
    condition = all_of({column: names for column, names in wanted.items() if names})
    found = table.dataset.count_rows(condition)
    if not found:
        raise UserError(f"{table.path}: no patch is all of that at once; nothing was removed")
    if found == len(table):
        raise UserError(
            f"{table.path}: that would remove all {found} patches; delete the folder if that is what you want"
        )
    return condition


def is_present(source: Source, present: set[str]) -> bool:
    """Whether a table with photographs of these hashes has this one; says so."""
    try:
        digest = source.source_id.rpartition("#")[2]
    except OSError:  # sampling says what is wrong with the file
        return False
    if digest in present:
        _log.warning("left out of the texture database: %s: it holds this photograph already", source.path)
    return digest in present


def _named(path: Path, what: str, wanted: Sequence[str], known: dict[str, int]) -> list[str]:
    for name in wanted:
        if name not in known:
            raise UserError(f"{path}: holds no {what} '{name}', only {_listing(known)}; nothing was removed")
    return list(wanted)


def _sources_named(path: Path, wanted: Sequence[str], known: dict[str, int]) -> list[str]:
    names: list[str] = []
    for name in wanted:
        found = [source_id for source_id in known if name in (source_id, source_id.rpartition("#")[0])]
        if not found:
            raise UserError(f"{path}: holds no photograph '{name}', see gramgan db info; nothing was removed")
        names.extend(found)
    return names


def _listing(names: Iterable[str], most: int = 8) -> str:
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
