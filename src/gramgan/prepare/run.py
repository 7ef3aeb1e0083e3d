"""One run of `gramgan prepare`: check a folder, report, cut."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from gramgan.collect.attribution import refuse_foreign_attribution, write_attribution
from gramgan.collect.holdout import choose_sides, group_of
from gramgan.collect.manifest import ManifestEntry, known_licences, read_manifest, refuse_foreign_lists
from gramgan.errors import UserError
from gramgan.files import ensure_folder, record_as
from gramgan.hardware.processor import threads
from gramgan.images import find_images
from gramgan.images.fingerprint import Lookalikes
from gramgan.locks import exclusive
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
from gramgan.prepare.cutting import Photograph, spots_of
from gramgan.prepare.journals import Journals
from gramgan.prepare.report import CSV, HTML, write_page, write_table
from gramgan.prepare.sub_images import Preparation, cut_files, cut_shards
from gramgan.progress import Progress, silent
from gramgan.scientific.record import carry_record
from gramgan.team import Team, Threads, in_order

SIZE = 480
"""Pixels of a sub-image's side, with a step of half of it: what the field cuts DIV2K into."""

_CHECKS = "checks.jsonl"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wish:
    """What `prepare` shall do with a folder.

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
    """What a run did: what it found of each file, how many sub-images there are, where the report is.

    `failures` has a line for each photograph or shard that could not be cut, which the log has too.
    """

    checks: list[Check]
    sub_images: int
    shards: int
    report: Path
    failures: tuple[str, ...] = ()

    @property
    def usable(self) -> int:
        """Photographs without a problem."""
        return sum(not check.problem for check in self.checks)


def prepare_folder(
    folder: Path,
    output: Path,
    wish: Wish,
    *,
    benchmarks: Sequence[Path] = (),
    team: Team | None = None,
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
        team: who works on the files; by default threads, one for each processor.
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
    journals = Journals(output)
    with exclusive(journals.folder / "lock"):
        course = Preparation(folder, team or Threads(threads()), journals, on_check, on_cut)
        try:
            return _prepare(output, wish, files, truths, course)
        finally:
            journals.save()


def _prepare(
    output: Path, wish: Wish, files: list[Path], truths: list[tuple[Path, Path]], course: Preparation
) -> Prepared:
    folder = course.folder
    total = len(files) + len(truths)
    known = Lookalikes()
    marks = in_order(course.team, _Marks(), [path for _, path in truths], reads=truths[0][0] if truths else None)
    for done, ((root, path), turned) in enumerate(zip(truths, marks, strict=True), start=1):
        known.add(f"{root.name}/{path.relative_to(root).as_posix()}", turned)
        course.on_check(done, total)
    checks = _check_all(files, wish, course, len(truths))
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
    cut, shards, failures = 0, 0, []
    if wish.cut:
        write_attribution(output, [each.entry for each in photographs])
        carry_record(folder, output)
        if wish.shard is None:
            cut, failures = cut_files(photographs, spots, output, course)
        else:
            every = [spot for each in spots.values() for spot in each]
            cut, shards, failures = cut_shards(every, wish.shard, output, course)
    for failure in failures:
        _log.warning("failed: %s", failure)
    return Prepared(checks, cut, shards, output / HTML, tuple(failures))


def _check_all(files: list[Path], wish: Wish, course: Preparation, before: int) -> list[Check]:
    """Check all files; those that an earlier run has checked and that are as they were are not looked at again."""
    folder, records = course.folder, course.journals.read(_CHECKS)
    known = {str(record.get("key")): record_as(Check, record.get("check")) for record in records}

    def key_of(path: Path) -> str:
        try:
            status = path.stat()
        except OSError:  # it is gone by now, as its check will say
            return ""
        file = path.relative_to(folder).as_posix()
        return f"{VERSION} {file} {status.st_size} {status.st_mtime_ns} {wish.size} {wish.allow_huge}"

    keys = {path: key_of(path) for path in files}
    look = _Look(folder, wish)
    found = {path: known.get(keys[path]) for path in files}
    unknown = [path for path in files if found[path] is None]
    done = before + len(files) - len(unknown)
    course.on_check(done, before + len(files))

    def note(path: Path, check: Check) -> None:
        if keys[path] and keys[path] == key_of(path):
            course.journals.add(_CHECKS, {"key": keys[path], "check": asdict(check)})

    for number, check in course.team.arriving(look, unknown, reads=folder):
        found[unknown[number]] = check
        if not check.is_damaged:
            note(unknown[number], check)
        done += 1
        course.on_check(done, before + len(files))
    checks = [check for check in found.values() if check is not None]
    for position, (path, check) in enumerate(zip(files, checks, strict=True)):
        if check.is_damaged and keys[path] not in known:
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


def _unlisted(check: Check, licence: str) -> ManifestEntry:
    path = Path(check.file)
    return ManifestEntry(
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


@dataclass(frozen=True)
class _Marks:
    """The work on a benchmark's image: by what its likes are found."""

    def open(self) -> Callable[[Path], list[str]]:
        return turned_marks

    def lost(self, task: Path, why: str) -> list[str]:
        raise UserError(f"{task}: {why}")


@dataclass(frozen=True)
class _Look:
    """The work on a file of `folder`: to check it."""

    folder: Path
    wish: Wish

    def open(self) -> Callable[[Path], Check]:
        return self

    def __call__(self, path: Path) -> Check:
        return check_file(path, self._name(path), self.wish.size, allow_huge=self.wish.allow_huge)

    def lost(self, task: Path, why: str) -> Check:
        return Check(self._name(task), problem=f"unreadable: {why}")

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()
