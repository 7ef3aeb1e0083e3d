"""The cutting of `prepare`: sub-images as files or in shards; what a killed run has cut is not cut again."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from gramgan.collect.manifest import ManifestEntry, Side, read_manifest, write_manifest
from gramgan.errors import in_one_line
from gramgan.files import record_as, remove_leftovers, write_bytes
from gramgan.names import leads_out
from gramgan.places import files_in
from gramgan.prepare.cutting import Photograph, Spot, cut_sub_images
from gramgan.prepare.journals import Journals
from gramgan.prepare.shards import Shard, plan_shards, write_index, write_shard
from gramgan.progress import Progress
from gramgan.team import Team

_CUT, _SHARDS = "cut.jsonl", "shards.jsonl"


@dataclass
class Preparation:
    """What a run takes along: what it reads, who works, its journals, and who is told how far it has come."""

    folder: Path
    team: Team
    journals: Journals
    on_check: Progress
    on_cut: Progress


def cut_files(
    photographs: Sequence[Photograph], spots: dict[str, list[Spot]], output: Path, course: Preparation
) -> tuple[int, list[str]]:
    """Returns the number of sub-images, and what failed, a line for each photograph."""
    done: dict[str, list[ManifestEntry]] = {
        str(record.get("plan")): _entries(record.get("entries")) for record in course.journals.read(_CUT)
    }
    total = sum(map(len, spots.values()))
    finished: dict[str, list[ManifestEntry]] = {}
    is_there = files_in(output)
    for photograph in photographs:
        entries = done.get(_plan(spots[photograph.entry.file]), [])
        if entries and all(is_there(entry.file) for entry in entries):
            # What the manifest says of the photograph may have changed since.
            finished[photograph.entry.file] = [_renewed(entry, photograph) for entry in entries]
    missing = [one for one in photographs if one.entry.file not in finished]
    count = sum(map(len, finished.values()))
    course.on_cut(count, total)
    tasks = ((one, spots[one.entry.file]) for one in missing)
    failures: list[str] = []
    for number, entries in course.team.arriving(_Cut(output), tasks, reads=course.folder, into=output):
        file = missing[number].entry.file
        if isinstance(entries, str):
            failures.append(entries)
            continue
        course.journals.add(_CUT, {"plan": _plan(spots[file]), "entries": [asdict(entry) for entry in entries]})
        finished[file] = entries
        count += len(entries)
        course.on_cut(count, total)

    manifest = [entry for photograph in photographs for entry in finished.get(photograph.entry.file, [])]
    wanted = {entry.file for entry in manifest}
    for entry in (
        [] if failures else [*(read_manifest(output) or []), *(entry for entries in done.values() for entry in entries)]
    ):
        if entry.file not in wanted:
            _remove(output, entry.file)
    remove_leftovers(output)  # of workers that were killed
    write_manifest(output, manifest)
    return count, failures


def cut_shards(spots: Sequence[Spot], samples: int, output: Path, course: Preparation) -> tuple[int, int, list[str]]:
    """Returns the numbers of sub-images and of shards, and what failed, a line for each shard."""
    records = course.journals.read(_SHARDS)
    done = {record["file"]: record for record in records if isinstance(record.get("file"), str)}
    sides: tuple[Side, ...] = ("train", "holdout")
    plans = {side: plan_shards(side, [s for s in spots if s.photograph.entry.split == side], samples) for side in sides}
    every = [shard for side in sides for shard in plans[side]]
    sizes: dict[str, int] = {}
    for shard in every:
        path, before = output / shard.file, done.get(shard.file)
        size = path.stat().st_size if path.is_file() else None
        if before and before.get("plan") == shard.plan and size is not None and size == before.get("size"):
            sizes[shard.file] = size
    missing = [shard for shard in every if shard.file not in sizes]
    count = len(spots) - sum(len(shard.spots) for shard in missing)
    course.on_cut(count, len(spots))
    failures: list[str] = []
    for number, size in course.team.arriving(_CutShard(output), missing, reads=course.folder, into=output):
        shard = missing[number]
        if isinstance(size, str):
            failures.append(size)
            continue
        course.journals.add(_SHARDS, {"file": shard.file, "plan": shard.plan, "size": size})
        sizes[shard.file] = size
        count += len(shard.spots)
        course.on_cut(count, len(spots))

    remove_leftovers(output)
    for file in done.keys() - {shard.file for shard in every}:
        _remove(output, file)
    for side in sides:
        if plans[side] and all(shard.file in sizes for shard in plans[side]):
            write_index(side, plans[side], [sizes[shard.file] for shard in plans[side]], output)
    return count, len(sizes), failures


def _entries(values: object) -> list[ManifestEntry]:
    """The sub-images that a journal's line names; none if it is damaged, so that they are cut again."""
    entries = [record_as(ManifestEntry, one) for one in values] if isinstance(values, list) else []
    return [] if None in entries else [entry for entry in entries if entry is not None]


def _remove(output: Path, file: str) -> None:
    """Delete a file that an earlier run has listed, if it lies in `output`: the list may be somebody else's."""
    path = output / file
    if not leads_out(file) and path.parent.resolve().is_relative_to(output.resolve()) and not path.is_dir():
        path.unlink(missing_ok=True)


def _plan(spots: Iterable[Spot]) -> str:
    return hashlib.sha256("\n".join(f"{spot.key} {spot.size}" for spot in spots).encode()).hexdigest()


def _renewed(entry: ManifestEntry, photograph: Photograph) -> ManifestEntry:
    """A sub-image's line of an earlier run with what the manifest says of the photograph now."""
    return replace(
        photograph.entry,
        file=entry.file,
        width=entry.width,
        height=entry.height,
        sha256=entry.sha256,
        pixels_sha256=entry.pixels_sha256,
        source=entry.source,
        fingerprint="",
    )


@dataclass(frozen=True)
class _Cut:
    """The work on a photograph and its spots: to write its sub-images."""

    output: Path

    def open(self) -> Callable[[tuple[Photograph, list[Spot]]], list[ManifestEntry] | str]:
        return self

    def __call__(self, task: tuple[Photograph, list[Spot]]) -> list[ManifestEntry] | str:
        entries = []
        try:
            for image in cut_sub_images(*task):
                write_bytes(self.output / f"{image.spot.key}.png", image.png)
                entries.append(image.entry())
        except Exception as error:  # noqa: BLE001 (one file that has gone since must not end the job)
            return in_one_line(error, task[0].path)
        return entries

    def lost(self, task: tuple[Photograph, list[Spot]], why: str) -> str:
        return f"{task[0].path}: {why}"


@dataclass(frozen=True)
class _CutShard:
    """The work on a shard: to write it; its size."""

    output: Path

    def open(self) -> Callable[[Shard], int | str]:
        return self

    def __call__(self, task: Shard) -> int | str:
        try:
            return write_shard(task, self.output)
        except Exception as error:  # noqa: BLE001 (as above)
            return in_one_line(error, self.output / task.file)

    def lost(self, task: Shard, why: str) -> str:
        return f"{self.output / task.file}: {why}"
