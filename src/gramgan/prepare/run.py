"""One run of `gramgan prepare`: check a folder, report, cut."""

import hashlib
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from gramgan.collect.attribution import refuse_foreign_attribution, write_attribution
from gramgan.collect.holdout import choose_sides, group_of
from gramgan.collect.manifest import Entry, Side, known_licences, read_manifest, refuse_foreign_lists, write_manifest
from gramgan.errors import UserError
from gramgan.files import append_record, ensure_folder, ensure_own_folder, read_records, record_as, write_bytes
from gramgan.hardware.processor import threads
from gramgan.images import find_images
from gramgan.images.fingerprint import Lookalikes
from gramgan.locks import exclusive
from gramgan.names import leads_out
from gramgan.prepare.checks import (
    VERSION,
    Check,
    check_file,
    files_of,
    mark_duplicates,
    mark_leaks,
    mark_poor,
    turned_marks,
)
from gramgan.prepare.cutting import Photograph, Spot, cut_sub_images, spots_of
from gramgan.prepare.report import CSV, HTML, write_page, write_table
from gramgan.prepare.shards import Shard, plan_shards, write_index, write_shard
from gramgan.progress import Progress, silent
from gramgan.scientific.record import carry_record

SIZE = 480
"""Pixels of a sub-image's side, with a step of half of it: what the field cuts DIV2K into."""

_STATE = ".prepare"


@dataclass(frozen=True)
class Wish:
    """What is wanted of a folder.

    `size`, `step`: of sub-images, in pixels. `shrink`: cut the photographs shrunk so many times, each of these.
    `shard`: so many sub-images in each WebDataset shard, None for files. `cut`: False for no more than the report.
    `max_blur`, `max_blockiness`: what is worse is not used (None: noted at most). `licence`: of photographs that no
    manifest lists. `allow_huge`: accept more than `MAX_PIXELS` pixels.
    """

    size: int = SIZE
    step: int = SIZE // 2
    shrink: tuple[int, ...] = (1,)
    shard: int | None = None
    cut: bool = True
    max_blur: float | None = None
    max_blockiness: float | None = None
    licence: str = "not stated"
    allow_huge: bool = False


@dataclass(frozen=True)
class Prepared:
    """What a run did: what it found of each file, how many sub-images there are, where the report is."""

    checks: list[Check]
    sub_images: int
    shards: int
    report: Path

    @property
    def usable(self) -> int:
        """Photographs without a problem."""
        return sum(not check.problem for check in self.checks)


def prepare(
    folder: Path,
    output: Path,
    wish: Wish,
    *,
    benchmarks: Sequence[Path] = (),
    workers: int | None = None,
    on_check: Progress = silent,
    on_cut: Progress = silent,
) -> Prepared:
    """Check every file of `folder`, write a report to `output`, and cut the usable photographs there.

    What a killed run has done is not done again. Files of `output` that an earlier run with other photographs or
    another size has cut are deleted; nothing else is. `folder` is only read.

    Args:
        folder: photographs, with or without a manifest of `gramgan collect`.
        output: where report, sub-images and their manifest, or shards, are to be.
        wish: what is wanted.
        benchmarks: folders of images that will be judged by; what looks like one of them is not used.
        workers: files that are worked on at the same time; by default one for each processor.
        on_check: told how many files have been checked, benchmarks included.
        on_cut: told how many sub-images have been cut.

    Raises:
        UserError: a folder is missing or empty, `output` is the folder or in it, is not writable, or holds lists of
            another program; a benchmark cannot be read; no photograph is usable (the report is written even so).
    """
    here, there = folder.resolve(), output.resolve()
    if there == here or there.is_relative_to(here):
        raise UserError(f"{output}: the output lies in the folder that is prepared; choose another output folder")
    files = files_of(folder)
    truths = [(root, path) for root in benchmarks for path in find_images(root)]
    ensure_folder(output)
    refuse_foreign_lists(output)
    refuse_foreign_attribution(output)
    state = ensure_own_folder(output / _STATE)
    workers = workers or threads()
    with exclusive(state / "lock"), ThreadPoolExecutor(workers, "gramgan-prepare") as pool:
        try:
            return _prepare(folder, output, wish, files, truths, _Work(pool, state, on_check, on_cut))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@dataclass
class _Work:
    pool: ThreadPoolExecutor
    state: Path
    on_check: Progress
    on_cut: Progress


def _prepare(
    folder: Path, output: Path, wish: Wish, files: list[Path], truths: list[tuple[Path, Path]], work: _Work
) -> Prepared:
    total = len(files) + len(truths)
    known = Lookalikes()
    marks = work.pool.map(lambda truth: turned_marks(truth[1]), truths)
    for done, ((root, path), turned) in enumerate(zip(truths, marks, strict=True), start=1):
        known.add(f"{root.name}/{path.relative_to(root).as_posix()}", turned)
        work.on_check(done, total)
    checks = _check_all(folder, files, wish, work, len(truths))
    checks = mark_poor(mark_duplicates(mark_leaks(checks, known)), wish.max_blur, wish.max_blockiness)
    photographs = _photographs(folder, checks, wish.licence)
    factors = sorted(set(wish.shrink))
    spots = {
        each.entry.file: [spot for factor in factors for spot in spots_of(each, wish.size, wish.step, factor)]
        for each in (photographs if wish.cut else [])
    }
    counts = {file: len(each) for file, each in spots.items()}
    write_table(output / CSV, checks, counts)
    write_page(output / HTML, folder, checks, counts)
    if not photographs:
        raise UserError(f"{folder}: none of its {len(checks)} files can be used; see {output / HTML}")
    if photographs and wish.cut and not any(counts.values()):
        raise UserError(
            f"{folder}: shrunk {factors[0]} times no photograph has {wish.size}x{wish.size} pixels; choose a smaller "
            "--size or --shrink"
        )
    shards = 0
    if wish.cut:
        write_attribution(output, [each.entry for each in photographs])
        carry_record(folder, output)
        if wish.shard is None:
            _cut_files(photographs, spots, output, work)
        else:
            shards = _cut_shards([spot for each in spots.values() for spot in each], wish.shard, output, work)
    return Prepared(checks, sum(counts.values()), shards, output / HTML)


def _check_all(folder: Path, files: list[Path], wish: Wish, work: _Work, before: int) -> list[Check]:
    """Check all files; those that an earlier run has checked and that are as they were are not looked at again."""
    journal = work.state / "checks.jsonl"
    known = {str(record.get("key")): record_as(Check, record.get("check")) for record in read_records(journal)}
    lock = threading.Lock()

    def key_of(path: Path) -> str:
        status = path.stat()
        file = path.relative_to(folder).as_posix()
        return f"{VERSION} {file} {status.st_size} {status.st_mtime_ns} {wish.size} {wish.allow_huge}"

    def look(path: Path) -> Check:
        return check_file(path, path.relative_to(folder).as_posix(), wish.size, allow_huge=wish.allow_huge)

    def note(path: Path, check: Check) -> None:
        with lock:
            append_record(journal, {"key": key_of(path), "check": asdict(check)})

    def one(path: Path) -> Check:
        before = known.get(key_of(path))
        if before is not None:
            return before
        check = look(path)
        if not check.is_damaged:
            note(path, check)
        return check

    checks = []
    for done, check in enumerate(work.pool.map(one, files), start=before + 1):
        checks.append(check)
        work.on_check(done, before + len(files))
    for position, (path, check) in enumerate(zip(files, checks, strict=True)):
        if check.is_damaged and key_of(path) not in known:
            # libvips has one place for what it says of errors: only where nobody else fails is it of this file.
            checks[position] = look(path)
            note(path, checks[position])
    return checks


def _photographs(folder: Path, checks: Iterable[Check], licence: str) -> list[Photograph]:
    """The usable files with what the folder's manifest says of them; sides are chosen for those it does not list.

    Of another program's manifest the licences are taken.
    """
    listed = {entry.file: entry for entry in read_manifest(folder) or []}
    known = known_licences(folder)
    entries = [
        listed.get(check.file) or _unlisted(check, known.get(folder / check.file, licence))
        for check in checks
        if not check.problem
    ]
    sides = choose_sides((entry.group for entry in entries), {entry.group: entry.split for entry in listed.values()})
    sizes = {check.file: check for check in checks}
    return [
        Photograph(
            folder / entry.file,
            # What was checked counts, should the file have changed since it was listed.
            replace(
                entry,
                width=sizes[entry.file].width,
                height=sizes[entry.file].height,
                sha256=sizes[entry.file].sha256,
                split=sides[entry.group],
            ),
        )
        for entry in entries
    ]


def _unlisted(check: Check, licence: str) -> Entry:
    path = Path(check.file)
    return Entry(
        file=check.file,
        width=check.width,
        height=check.height,
        sha256=check.sha256,
        pixels_sha256=check.pixels_sha256,
        source=check.file,
        licence=licence,
        licence_url="",
        author="",
        title=path.stem,
        page_url="",
        group=group_of(path),
        split="train",  # until all groups are known
    )


def _cut_files(photographs: Sequence[Photograph], spots: dict[str, list[Spot]], output: Path, work: _Work) -> None:
    journal = work.state / "cut.jsonl"
    done: dict[str, list[Entry]] = {
        str(record.get("plan")): _entries(record.get("entries")) for record in read_records(journal)
    }
    counter = _Counter(sum(map(len, spots.values())), work.on_cut)
    lock = threading.Lock()

    def one(photograph: Photograph) -> list[Entry]:
        plan = _plan(spots[photograph.entry.file])
        entries = done.get(plan, [])
        if entries and all((output / entry.file).is_file() for entry in entries):
            counter.add(len(entries))
            # What the manifest says of the photograph may have changed since.
            return [_renewed(entry, photograph) for entry in entries]
        entries = []
        for image in cut_sub_images(photograph, spots[photograph.entry.file]):
            write_bytes(output / f"{image.spot.key}.png", image.png)
            entries.append(image.entry())
            counter.add(1)
        with lock:
            append_record(journal, {"plan": plan, "entries": [asdict(entry) for entry in entries]})
        return entries

    manifest = [entry for entries in work.pool.map(one, photographs) for entry in entries]
    wanted = {entry.file for entry in manifest}
    for entry in [*(read_manifest(output) or []), *(entry for entries in done.values() for entry in entries)]:
        if entry.file not in wanted:
            _remove(output, entry.file)
    write_manifest(output, manifest)


def _cut_shards(spots: Sequence[Spot], samples: int, output: Path, work: _Work) -> int:
    journal = work.state / "shards.jsonl"
    done = {record["file"]: record for record in read_records(journal) if isinstance(record.get("file"), str)}
    counter = _Counter(len(spots), work.on_cut)
    lock = threading.Lock()
    sides: tuple[Side, ...] = ("train", "holdout")
    plans = {side: plan_shards(side, [s for s in spots if s.photograph.entry.split == side], samples) for side in sides}

    def one(shard: Shard) -> int:
        path, before = output / shard.file, done.get(shard.file)
        size = path.stat().st_size if path.is_file() else None
        if before and before.get("plan") == shard.plan and size is not None and size == before.get("size"):
            counter.add(len(shard.spots))
            return size
        size = write_shard(shard, output, lambda: counter.add(1))
        with lock:
            append_record(journal, {"file": shard.file, "plan": shard.plan, "size": size})
        return size

    every = [shard for side in sides for shard in plans[side]]
    sizes = dict(zip((shard.file for shard in every), work.pool.map(one, every), strict=True))
    for file in done.keys() - sizes.keys():
        _remove(output, file)
    for side in sides:
        if plans[side]:
            write_index(side, plans[side], [sizes[shard.file] for shard in plans[side]], output)
    return len(every)


def _entries(values: object) -> list[Entry]:
    """The sub-images that a journal's line names; none if it is damaged, so that they are cut again."""
    entries = [record_as(Entry, one) for one in values] if isinstance(values, list) else []
    return [] if None in entries else [entry for entry in entries if entry is not None]


def _remove(output: Path, file: str) -> None:
    """Delete a file that an earlier run has listed, if it lies in `output`: the list may be somebody else's."""
    path = output / file
    if not leads_out(file) and path.parent.resolve().is_relative_to(output.resolve()) and not path.is_dir():
        path.unlink(missing_ok=True)


def _plan(spots: Iterable[Spot]) -> str:
    return hashlib.sha256("\n".join(f"{spot.key} {spot.size}" for spot in spots).encode()).hexdigest()


def _renewed(entry: Entry, photograph: Photograph) -> Entry:
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


class _Counter:
    """Counts for several threads and tells one `Progress`."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._total, self._progress = total, progress
        self._done = 0
        self._lock = threading.Lock()
        progress(0, total)

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            self._progress(self._done, self._total)
