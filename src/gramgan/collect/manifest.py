"""The two lists beside collected photographs: `manifest.csv` says what each is, `left-out.csv` what was not taken."""

import contextlib
import csv
import io
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from gramgan.errors import UserError
from gramgan.files import write_csv
from gramgan.names import from_cell, leads_out

MANIFEST = "manifest.csv"
LEFT_OUT = "left-out.csv"

Side = Literal["train", "holdout"]


TOLD = ("licence", "licence_url", "author", "title", "page_url", "group", "split")
"""Fields of a `ManifestEntry` that say where a photograph is from and what it belongs to, whatever its pixels are."""


@dataclass(frozen=True)
class ManifestEntry:
    """One photograph of a collection, a line of `manifest.csv`.

    `file` is its name in the folder; `width` and `height` are in pixels, upright; `sha256` is of the file's bytes,
    `pixels_sha256` of the decoded pixels; `source` says where the file was taken from and `page_url` where it was first
    published. Both lists' texts are kept from spreadsheets, which would run what looks like a formula (`names.cell`).
    Photographs of one `group` show the same thing and are always on the same side of `split`. `fingerprint`
    (`gramgan.images.fingerprint`) is alike for pictures that look alike; empty where an older version wrote the line.
    """

    file: str
    width: int
    height: int
    sha256: str
    pixels_sha256: str
    source: str
    licence: str
    licence_url: str
    author: str
    title: str
    page_url: str
    group: str
    split: Side
    fingerprint: str = ""

    def __post_init__(self) -> None:
        """Refuse a name that leads out of the folder: what a list names is read, and deleted when it is replaced.

        Raises:
            ValueError: it does.
        """
        if leads_out(self.file) or not self.file:
            raise ValueError(f"file '{self.file}' leads out of the folder")


@dataclass(frozen=True)
class LeftOutFile:
    """One file that was not taken, a line of `left-out.csv`; `reason` is a few words."""

    file: str
    reason: str


def read_manifest(folder: Path) -> list[ManifestEntry] | None:
    """The photographs that `folder/manifest.csv` lists; None if there is no such file or another program wrote it.

    Raises:
        UserError: a line of it is damaged.
    """
    path = folder / MANIFEST
    rows = _read(path, [field.name for field in fields(ManifestEntry)], optional=1)
    return None if rows is None else [_entry(path, line, row) for line, row in enumerate(rows, start=2)]


def known_licences(folder: Path) -> dict[Path, str]:
    """The licence of each photograph of `folder` that a `manifest.csv` there names.

    The file may be another program's, if it has the columns `file` and `licence` (or `license`).

    Raises:
        UserError: it is damaged.
    """
    entries = read_manifest(folder)
    if entries is not None:
        return {folder / entry.file: entry.licence for entry in entries}
    reader = _reader(folder / MANIFEST)
    columns = reader.fieldnames or () if reader is not None else ()
    spelt = next((column for column in ("licence", "license") if column in columns), None)
    if reader is None or spelt is None or "file" not in columns:
        return {}
    rows = _rows(folder / MANIFEST, reader)
    return {folder / row["file"]: row[spelt] for row in rows if row["file"] and row[spelt]}


def read_left_out(folder: Path) -> list[LeftOutFile] | None:
    """What `folder/left-out.csv` lists; None if there is no such file or another program wrote it."""
    rows = _read(folder / LEFT_OUT, [field.name for field in fields(LeftOutFile)])
    return None if rows is None else [LeftOutFile(**row) for row in rows]


def write_manifest(folder: Path, entries: list[ManifestEntry]) -> None:
    """Write `folder/manifest.csv`, sorted by file name."""
    ordered = sorted(entries, key=lambda entry: entry.file)
    write_csv(folder / MANIFEST, [field.name for field in fields(ManifestEntry)], map(astuple, ordered))


def write_left_out(folder: Path, left_out: list[LeftOutFile]) -> None:
    """Write `folder/left-out.csv`, sorted by file name; only its header if nothing was left out."""
    ordered = sorted(left_out, key=lambda one: one.file)
    write_csv(folder / LEFT_OUT, [field.name for field in fields(LeftOutFile)], map(astuple, ordered))


def refuse_foreign_lists(folder: Path) -> None:
    """Make sure that writing the two lists overwrites no file of the user's.

    Raises:
        UserError: a file of the same name stands there which this module did not write.
    """
    for name, read in ((MANIFEST, read_manifest), (LEFT_OUT, read_left_out)):
        if (folder / name).exists() and read(folder) is None:
            raise UserError(f"{folder / name}: not written by gramgan collect; move it or choose another output folder")


def _read(path: Path, columns: list[str], optional: int = 0) -> list[dict[str, str]] | None:
    """The lines of a list with these columns; an older one may lack the last `optional` of them. None: not ours."""
    reader = _reader(path)
    if reader is None or reader.fieldnames not in (columns, columns[: len(columns) - optional]):
        return None
    return _rows(path, reader)


def _reader(path: Path) -> "csv.DictReader[str] | None":
    """A table whose heading has been read; None if there is no such file."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); restore it, or delete it and collect again") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    with _damage(path):
        _ = reader.fieldnames  # read when first asked for
    return reader


def _rows(path: Path, reader: "csv.DictReader[str]") -> list[dict[str, str]]:
    with _damage(path):
        rows = list(reader)
    for line, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            there = len(reader.fieldnames or ())
            raise UserError(f"{path}: line {line} has not {there} columns; correct it, or delete the file")
    return [{name: from_cell(text) for name, text in row.items()} for row in rows]


@contextlib.contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except csv.Error as error:
        raise UserError(f"{path}: damaged ({error}); restore it, or delete it and collect again") from None


def _entry(path: Path, line: int, row: dict[str, str]) -> ManifestEntry:
    numbers: dict[str, int] = {}
    for column in ("width", "height"):
        if not row[column].isdecimal():
            raise UserError(f"{path}: line {line}: {column} '{row[column]}' is not a number; correct it")
        numbers[column] = int(row[column])
    if row["split"] not in get_args(Side):
        raise UserError(f"{path}: line {line}: split '{row['split']}' is neither train nor holdout; correct it")
    try:
        return ManifestEntry(**{**row, **numbers})  # type: ignore[arg-type]
    except ValueError as error:
        raise UserError(f"{path}: line {line}: {error}; correct it") from None
