"""Filling a folder with photographs that are on this machine already."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gramgan.collect.collection import Collected, Collection
from gramgan.collect.examine import Examined, examine
from gramgan.collect.holdout import group_of
from gramgan.collect.manifest import TOLD, LeftOutFile, ManifestEntry, Side, known_licences, read_manifest
from gramgan.collect.samples import SAMPLES, SamplePhoto, locate
from gramgan.errors import UserError, in_one_line
from gramgan.files import atomic_path, sha256
from gramgan.images import find_images
from gramgan.names import fitting, in_utf8
from gramgan.progress import Progress, silent
from gramgan.team import Alone, Team, in_order

MIN_PHOTO_SIZE = 192
"""Smallest width and height in pixels: one crop of the quick and of the paper's preset."""


@dataclass(frozen=True)
class _Candidate:
    path: Path
    source: str
    group: str
    title: str
    licence: str
    licence_url: str = ""
    author: str = ""
    page_url: str = ""
    split: Side | None = None  # None: by the rule of `choose_sides`


def collect_samples(output: Path, *, min_size: int = MIN_PHOTO_SIZE, progress: Progress = silent) -> Collected:
    """Copy the photographs that scikit-image and scikit-learn carry into `output` and list them in its manifest.

    Nothing is downloaded. Files that are there already stay as they are; running it again changes nothing.

    Raises:
        UserError: one of the packages is missing, `output` is not writable or holds a foreign `manifest.csv`.
    """
    candidates = [
        _Candidate(locate(sample), sample.source, **{name: getattr(sample, name) for name in TOLD})
        for sample in SAMPLES
    ]
    return _gather(candidates, output, _Examine(min_size), progress, Alone())


def collect_folder(
    source: Path,
    output: Path,
    *,
    min_size: int = MIN_PHOTO_SIZE,
    licence: str = "not stated",
    allow_huge: bool = False,
    progress: Progress = silent,
    team: Team | None = None,
) -> Collected:
    """Copy a user's photographs, byte for byte, into `output` and list them in its manifest.

    Files that cannot be decoded to the last pixel, have the pixels of another one, or are smaller than `min_size` in
    either direction are left out and listed in `left-out.csv`. If `source` has a manifest of this program, its
    licences, authors, groups and sides are taken over, and licences out of another program's (see
    `manifest.known_licences`); other photographs get `licence`. Nothing of the user's is changed: a name that is taken
    in `output` gets a number. The `team` looks at the photographs (by default this process); they are taken in order.

    Raises:
        UserError: `source` is missing or holds no usable image, it is `output` or lies inside of it, `output` is not
            writable or holds a foreign `manifest.csv`.
    """
    here, there = source.resolve(), output.resolve()
    if here == there:
        raise UserError(f"{output}: source and output are the same folder; choose another output folder")
    if here.is_relative_to(there):
        raise UserError(f"{source}: the source lies inside of the output folder {output}; choose another output folder")
    paths = [path for path in find_images(source) if not path.resolve().is_relative_to(there)]
    if not paths:
        raise UserError(f"{source}: all images in this folder are in the output folder {output}; choose another one")
    known = {entry.file: entry for entry in read_manifest(source) or []}
    licences = {} if known else known_licences(source)
    candidates = [_of_user(path, path.relative_to(source), known, licences.get(path, licence)) for path in paths]
    return _gather(candidates, output, _Examine(min_size, allow_huge), progress, team or Alone())


def _told(photograph: SamplePhoto | ManifestEntry | _Candidate) -> dict[str, Any]:
    return {name: getattr(photograph, name) for name in TOLD}


def _of_user(path: Path, relative: Path, known: dict[str, ManifestEntry], licence: str) -> _Candidate:
    source = in_utf8(path.resolve().as_posix())
    entry = known.get(relative.as_posix())
    if entry is None:
        return _Candidate(path, source, in_utf8(group_of(relative)), in_utf8(relative.stem), licence)
    return _Candidate(path, source, **_told(entry))


@dataclass(frozen=True)
class _Examine:
    """The work on a photograph: what it is, or why it cannot be used."""

    min_size: int
    allow_huge: bool = False

    def open(self) -> Callable[[Path], Examined | str]:
        return self

    def __call__(self, path: Path) -> Examined | str:
        try:
            return examine(path, min_size=self.min_size, allow_huge=self.allow_huge)
        except Exception as error:  # noqa: BLE001 (one odd file must not end the collection)
            return in_one_line(error, path).removeprefix(f"{path}: ")

    def lost(self, task: Path, why: str) -> str:
        return why


def _gather(candidates: list[_Candidate], output: Path, work: _Examine, progress: Progress, team: Team) -> Collected:
    collection = Collection(output)
    left_out: list[LeftOutFile] = []
    new = 0
    fresh = [one for one in candidates if one.path.is_file() and not _is_listed(one, collection)]
    sources = {one.source for one in fresh}
    seen = in_order(team, work, [one.path for one in fresh], reads=fresh[0].path.parent if fresh else None)
    progress(0, len(candidates))
    for done, candidate in enumerate(candidates, start=1):
        if candidate.source in sources:
            outcome = _take(candidate, next(seen), collection, work.min_size)
            if isinstance(outcome, LeftOutFile):
                left_out.append(outcome)
            elif outcome is not None:
                collection.entries.append(outcome)
                new += 1
                if candidate.split is not None:
                    collection.pin(outcome.group, candidate.split)
        elif not candidate.path.is_file():
            reason = "missing: the installed version of the package has no such file"
            left_out.append(LeftOutFile(candidate.source, reason))
        progress(done, len(candidates))
    return collection.write(left_out, dict.fromkeys(candidate.source for candidate in candidates), new)


def _is_listed(candidate: _Candidate, collection: Collection) -> bool:
    """Whether this very file is in the collection already."""
    return any(
        entry.source == candidate.source and entry.sha256 == sha256(candidate.path) for entry in collection.entries
    )


def _take(
    candidate: _Candidate, seen: Examined | str, collection: Collection, min_size: int
) -> ManifestEntry | LeftOutFile | None:
    """Copy one photograph: its new entry, or why it was left out, or None if it is there already."""
    path, source = candidate.path, candidate.source
    if isinstance(seen, str):
        return LeftOutFile(source, f"unreadable: {seen}")
    if min(seen.width, seen.height) < min_size:
        return LeftOutFile(source, f"too small: {seen.width}x{seen.height}, less than {min_size} pixels")
    twin = collection.twin(seen.pixels_sha256)
    if twin is not None:
        return None if twin.source == source else LeftOutFile(source, f"duplicate: the same pixels as {twin.file}")
    told: dict[str, Any] = {**_told(candidate), "split": "train"}  # until all groups are known
    return ManifestEntry(
        file=_copy(path, collection.folder),
        width=seen.width,
        height=seen.height,
        sha256=seen.sha256,
        pixels_sha256=seen.pixels_sha256,
        source=source,
        fingerprint=seen.fingerprint,
        **told,
    )


def _copy(path: Path, output: Path) -> str:
    """Copy `path` into `output` under a name that is free, or already taken by the same bytes; the name.

    Bytes of a name that are no UTF-8 could not stand in the manifest; they are replaced.
    """
    number = 1
    stem, suffix = (os.fsencode(part).decode("utf-8", "replace") for part in (path.stem, path.suffix))
    target = output / fitting(stem, suffix)
    while target.exists():
        if target.is_file() and sha256(target) == sha256(path):  # of an earlier run that was interrupted
            return target.name
        number += 1
        target = output / fitting(f"{stem}-{number}", suffix)
    with atomic_path(target) as temporary:
        shutil.copyfile(path, temporary)
    return target.name
