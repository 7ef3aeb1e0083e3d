"""Filling a folder with photographs, and keeping its manifest."""

import hashlib
import logging
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gramgan.collect.holdout import choose_sides, group_of
from gramgan.collect.manifest import (
    LEFT_OUT,
    Entry,
    LeftOut,
    Side,
    read_left_out,
    read_manifest,
    refuse_foreign_lists,
    write_left_out,
    write_manifest,
)
from gramgan.collect.samples import SAMPLES, locate
from gramgan.errors import UserError
from gramgan.files import atomic_path, ensure_folder, sha256
from gramgan.images import Raster, Window, find_images
from gramgan.progress import Progress, silent

_log = logging.getLogger(__name__)

MIN_SIZE = 192
"""Smallest width and height in pixels: one crop of the quick and of the paper's preset."""

_STRIP = 256  # rows decoded at a time while hashing


@dataclass(frozen=True)
class Collected:
    """What a run did: all `entries` of the folder's manifest, how many of them are `new`, what was left out."""

    folder: Path
    entries: list[Entry]
    new: int
    left_out: list[LeftOut]


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


def collect_samples(output: Path, *, min_size: int = MIN_SIZE, progress: Progress = silent) -> Collected:
    """Copy the photographs that scikit-image and scikit-learn carry into `output` and list them in its manifest.

    Nothing is downloaded. Files that are there already stay as they are; running it again changes nothing.

    Raises:
        UserError: one of the packages is missing, `output` is not writable or holds a foreign `manifest.csv`.
    """
    candidates = [
        _Candidate(
            path=locate(sample),
            source=sample.source,
            group=sample.group,
            title=sample.title,
            licence=sample.licence,
            licence_url=sample.licence_url,
            author=sample.author,
            page_url=sample.page_url,
            split=sample.split,
        )
        for sample in SAMPLES
    ]
    return _gather(candidates, output, min_size, False, progress)


def collect_folder(
    source: Path,
    output: Path,
    *,
    min_size: int = MIN_SIZE,
    licence: str = "not stated",
    allow_huge: bool = False,
    progress: Progress = silent,
) -> Collected:
    """Copy a user's photographs, byte for byte, into `output` and list them in its manifest.

    Files that cannot be decoded to the last pixel, have the pixels of another one, or are smaller than `min_size` in
    either direction are left out and listed in `left-out.csv`. If `source` has a manifest of this program, its
    licences, authors, groups and sides are taken over; other photographs get `licence`. Nothing of the user's is
    changed: a name that is taken in `output` gets a number.

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
    candidates = [_of_user(path, path.relative_to(source), known, licence) for path in paths]
    return _gather(candidates, output, min_size, allow_huge, progress)


def _of_user(path: Path, relative: Path, known: dict[str, Entry], licence: str) -> _Candidate:
    source = path.resolve().as_posix()
    entry = known.get(relative.as_posix())
    if entry is None:
        return _Candidate(path, source, group_of(relative), relative.stem, licence)
    return _Candidate(
        path=path,
        source=source,
        group=entry.group,
        title=entry.title,
        licence=entry.licence,
        licence_url=entry.licence_url,
        author=entry.author,
        page_url=entry.page_url,
        split=entry.split,
    )


def _gather(
    candidates: list[_Candidate], output: Path, min_size: int, allow_huge: bool, progress: Progress
) -> Collected:
    ensure_folder(output)
    refuse_foreign_lists(output)
    listed = read_manifest(output) or []
    pinned: dict[str, Side] = {entry.group: entry.split for entry in listed}
    entries = _intact(output, listed)
    left_out: list[LeftOut] = []
    new = 0
    progress(0, len(candidates))
    for done, candidate in enumerate(candidates, start=1):
        outcome = _take(candidate, output, entries, min_size, allow_huge)
        if isinstance(outcome, LeftOut):
            left_out.append(outcome)
        elif outcome is not None:
            entries.append(outcome)
            new += 1
            if candidate.split is not None:
                pinned.setdefault(outcome.group, candidate.split)
        progress(done, len(candidates))
    sides = choose_sides((entry.group for entry in entries), pinned)
    entries = [replace(entry, split=sides[entry.group]) for entry in entries]
    considered = {candidate.source for candidate in candidates}
    earlier = [one for one in read_left_out(output) or [] if one.file not in considered]
    write_left_out(output, [*earlier, *left_out])
    if not entries:
        raise UserError(
            f"{output}: nothing was collected, all {len(left_out)} images were left out "
            f"(the first is {left_out[0].reason}); see {output / LEFT_OUT}"
        )
    write_manifest(output, entries)
    return Collected(output, sorted(entries, key=lambda entry: entry.file), new, left_out)


def _intact(output: Path, listed: list[Entry]) -> list[Entry]:
    entries = []
    for entry in listed:
        path = output / entry.file
        if path.is_file() and sha256(path) == entry.sha256:
            entries.append(entry)
        else:
            what = "has been changed" if path.is_file() else "is gone"
            _log.warning("%s: %s since it was collected; it is not in the manifest any more", path, what)
    return entries


def _take(
    candidate: _Candidate, output: Path, entries: list[Entry], min_size: int, allow_huge: bool
) -> Entry | LeftOut | None:
    """Copy one photograph: its new entry, or why it was left out, or None if it is there already."""
    path, source = candidate.path, candidate.source
    if not path.is_file():
        return LeftOut(source, "missing: the installed version of the package has no such file")
    if any(entry.source == source and entry.sha256 == sha256(path) for entry in entries):
        return None
    try:
        raster = Raster.open(path, allow_huge=allow_huge)
        info = raster.info
        if min(info.width, info.height) < min_size:
            return LeftOut(source, f"too small: {info.width}x{info.height}, less than {min_size} pixels")
        pixels = _hash_pixels(raster)
    except UserError as error:
        return LeftOut(source, f"unreadable: {str(error).removeprefix(f'{path}: ')}")
    twin = next((entry for entry in entries if entry.pixels_sha256 == pixels), None)
    if twin is not None:
        return None if twin.source == source else LeftOut(source, f"duplicate: the same pixels as {twin.file}")
    name = _copy(path, output)
    return Entry(
        file=name,
        width=info.width,
        height=info.height,
        sha256=sha256(output / name),
        pixels_sha256=pixels,
        source=source,
        licence=candidate.licence,
        licence_url=candidate.licence_url,
        author=candidate.author,
        title=candidate.title,
        page_url=candidate.page_url,
        group=candidate.group,
        split="train",  # until all groups are known
    )


def _hash_pixels(raster: Raster) -> str:
    """SHA-256 of the upright float32 RGB pixels: the same for a picture in two lossless formats or two bit depths."""
    info = raster.info
    digest = hashlib.sha256(f"{info.width}x{info.height}".encode())
    for top in range(0, info.height, _STRIP):
        strip = raster.read(Window(0, top, info.width, min(_STRIP, info.height - top)))
        if info.colour_channels == 1:
            strip = np.concatenate([strip[:1]] * 3 + [strip[1:]])
        digest.update(np.ascontiguousarray(strip.transpose(1, 2, 0)).tobytes())
    return digest.hexdigest()


def _copy(path: Path, output: Path) -> str:
    """Copy `path` into `output` under a name that is free, or already taken by the same bytes; the name."""
    number = 1
    target = output / path.name
    while target.exists():
        if target.is_file() and sha256(target) == sha256(path):  # of an earlier run that was interrupted
            return target.name
        number += 1
        target = output / f"{path.stem}-{number}{path.suffix}"
    with atomic_path(target) as temporary:
        shutil.copyfile(path, temporary)
    return target.name
