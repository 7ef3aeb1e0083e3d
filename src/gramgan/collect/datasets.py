"""The data sets of the field that are published as archives: downloaded whole, checked by hash, and unpacked.

They are listed in `datasets.yaml`.
"""

import functools
import logging
import re
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from pydantic.dataclasses import dataclass

from gramgan.collect.collection import Collected
from gramgan.collect.found import FoundPhoto
from gramgan.collect.gather import MIN_PHOTO_SIZE
from gramgan.collect.journal import STATE
from gramgan.collect.manifest import Side, read_left_out, read_manifest
from gramgan.collect.net import SIZE_LIMIT, PhotoOffer, collect_candidates
from gramgan.errors import UserError
from gramgan.fetch import Digest, Manners, Transport, fetch
from gramgan.files import atomic_path, ensure_folder
from gramgan.progress import Progress, silent
from gramgan.tables import ROW, read_table

_log = logging.getLogger(__name__)

_BLOCK = 1 << 20


@dataclass(frozen=True, config=ROW)
class Archive:
    """One file of a data set: where it is, its hash, the greatest size in bytes, and which of its members are wanted.

    `members` is a pattern for their names, which has to fit entirely; `split` is the side of its photographs, None for
    the collection's own rule.
    """

    url: str
    digest: Digest
    size_limit: int
    members: str
    count: int
    split: Side | None = None

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True, config=ROW)
class Dataset:
    """A data set: what it is called, its page, its terms in a sentence, and its archives."""

    name: str
    title: str
    author: str
    licence: str
    page_url: str
    terms: str
    archives: tuple[Archive, ...]

    @property
    def count(self) -> int:
        """Photographs in it."""
        return sum(archive.count for archive in self.archives)


DATASETS = {dataset.name: dataset for dataset in read_table(Path(__file__).with_name("datasets.yaml"), Dataset)}


def fetch_archives(
    dataset: Dataset,
    output: Path,
    *,
    manners: Manners,
    transport: Transport | None = None,
    progress: Progress = silent,
) -> list[Archive]:
    """Download the archives whose photographs are missing in `output`; interrupted downloads continue.

    Raises:
        UserError: an archive cannot be had, or its hash is wrong.
    """
    known = {entry.source for entry in read_manifest(output) or []} | {one.file for one in read_left_out(output) or []}
    missing = [
        archive
        for archive in dataset.archives
        if sum(source.startswith(f"{archive.url}#") for source in known) < archive.count
    ]
    for archive in missing:
        fetch(
            archive.url,
            ensure_folder(_folder(output)) / archive.name,
            size_limit=archive.size_limit,
            digest=archive.digest,
            progress=progress,
            transport=transport,
            manners=manners,
        )
    return missing


def unpack_archives(
    dataset: Dataset,
    archives: Sequence[Archive],
    output: Path,
    *,
    min_size: int = MIN_PHOTO_SIZE,
    progress: Progress = silent,
) -> Collected:
    """Take the photographs out of downloaded archives into `output` and list them; then the archives are deleted.

    Photographs that are there already are passed over.

    Raises:
        UserError: an archive is damaged, the disk is full, or `output` holds lists of another program.
    """
    folder = _folder(output)
    with ExitStack() as stack:
        candidates = [
            candidate
            for archive in archives
            for candidate in _candidates(dataset, archive, _open(folder / archive.name, stack))
        ]
        result = collect_candidates(output, candidates, limit=len(candidates), min_size=min_size, progress=progress)
    for archive in archives:
        (folder / archive.name).unlink()
        _log.info("%s: unpacked and deleted", archive.name)
    return result


def _folder(output: Path) -> Path:
    return output / STATE / "archives"


class _Members:
    """The members of an open archive: their names and sizes, and what is in them; for several threads."""

    def __init__(self, archive: zipfile.ZipFile | tarfile.TarFile) -> None:
        self._archive = archive
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[tuple[str, int]]:
        if isinstance(self._archive, zipfile.ZipFile):
            return ((one.filename, one.file_size) for one in self._archive.infolist())
        return ((one.name, one.size) for one in self._archive if one.isfile())

    def unpack(self, name: str, path: Path) -> None:
        with self._lock, atomic_path(path) as temporary, self._open(name) as source, temporary.open("wb") as target:
            while block := source.read(_BLOCK):
                target.write(block)

    def _open(self, name: str) -> IO[bytes]:
        if isinstance(self._archive, zipfile.ZipFile):
            return self._archive.open(name)
        file = self._archive.extractfile(name)
        assert file is not None  # only files are listed
        return file


def _open(path: Path, stack: ExitStack) -> _Members:
    try:
        if path.suffix == ".zip":
            return _Members(stack.enter_context(zipfile.ZipFile(path)))
        return _Members(stack.enter_context(tarfile.open(path, "r:")))
    except (zipfile.BadZipFile, tarfile.TarError) as error:
        raise UserError(f"{path}: cannot be unpacked ({error}); delete it and run the command again") from None


def _candidates(dataset: Dataset, archive: Archive, members: _Members) -> Iterator[PhotoOffer]:
    for name, size in sorted(members):
        if re.fullmatch(archive.members, name):
            found = FoundPhoto(
                url=f"{archive.url}#{name}",
                title=f"{dataset.title} {Path(name).stem}",
                author=dataset.author,
                licence=dataset.licence,
                licence_url=dataset.page_url,
                page_url=dataset.page_url,
                refused=f"larger than the limit of {SIZE_LIMIT:,} bytes" if size > SIZE_LIMIT else "",
            )
            yield PhotoOffer(found, functools.partial(members.unpack, name), archive.split)
