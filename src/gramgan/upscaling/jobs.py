"""Which files are read and where each result goes, settled before any work begins, and what of it is finished."""

import fnmatch
import glob
import hashlib
import itertools
import json
import os
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from gramgan.errors import UserError
from gramgan.files import append_record, ensure_folder, read_records, write_text
from gramgan.images import MULTI_PAGE_SUFFIXES, WRITABLE_SUFFIXES, Raster, find_images
from gramgan.images.folders import is_image
from gramgan.images.formats import IMAGE_SUFFIXES, writing_for
from gramgan.names import fitting, leads_out
from gramgan.places import ObjectPath, as_place
from gramgan.scientific.detect import DICOM_SUFFIXES, is_dicom

RESULT_SUFFIXES = {"png": ".png", "jpg": ".jpg", "webp": ".webp", "tiff": ".tif", "avif": ".avif", "gif": ".gif"}
"""Names of the formats that results can have, and their suffixes."""
NAME_FIELDS = ("stem", "suffix", "scale", "model", "source_suffix")
"""What a template for the results' names may have in braces; `source_suffix` is such as `.jpg`."""
JOURNAL_NAME = ".gramgan-upscale.jsonl"

Stamp = tuple[int, int]
"""Size in bytes and time of change in nanoseconds."""

_KEPT_SUFFIXES = (".png", ".tif", ".tiff")  # lossless; what comes in any other format goes out as PNG


@dataclass(frozen=True)
class Job:
    """One picture: read `source`, write `target`."""

    source: Path
    target: Path

    def written(self) -> Stamp | None:
        """Size and time of the result, None where there is none: it tells whether somebody has written it anew."""
        return _stamp(self.target)


@dataclass(frozen=True)
class NameTemplate:
    """The template of the results' names: `text` with `NAME_FIELDS` in braces; `scale` and `model` are given here."""

    text: str
    scale: str
    model: str

    def __post_init__(self) -> None:
        """Check the template.

        Raises:
            UserError: unknown fields, unpaired braces, or a name that leads out of the output folder.
        """
        try:
            parts = list(string.Formatter().parse(self.text))
        except ValueError as error:
            raise UserError(f"name {self.text!r}: {error}; write a brace that is part of the name twice") from None
        for _, field, form, conversion in parts:
            if field is not None and (field not in NAME_FIELDS or form or conversion):
                fields = ", ".join(f"{{{one}}}" for one in NAME_FIELDS)
                raise UserError(f"name {self.text!r}: {{{field}}} is unknown; use {fields}")
        if not any(field == "stem" for _, field, _, _ in parts):
            raise UserError(f"name {self.text!r}: all results would have one name; put {{stem}} into it")

    def __call__(self, stem: str, suffix: str, source_suffix: str) -> str:
        """The name, possibly with subfolders, of the result of a picture called `stem` + `source_suffix`.

        `suffix` is the result's.

        Raises:
            UserError: the name leads out of the output folder or has a suffix of another format.
        """
        model = self.model.replace("/", "_").replace("\\", "_")
        name = self.text.format(stem=stem, suffix=suffix, scale=self.scale, model=model, source_suffix=source_suffix)
        if leads_out(name, PurePosixPath, PureWindowsPath):
            raise UserError(f"name {self.text!r}: {name} leads out of the output folder; give a name inside of it")
        if Path(name).suffix.lower() != suffix.lower():
            raise UserError(f"name {self.text!r}: {name} does not end in {suffix}; end the name in {{suffix}}")
        return name


def plan_jobs(
    inputs: Sequence[Path | str], output: Path | str, form: str | None = None, name: NameTemplate | None = None
) -> list[Job]:
    """Decide the name of every result.

    `output` is a file if there is one input file and `output` is not a folder and has a suffix; otherwise it is a
    folder, which is made if needed. In a folder a result keeps its source's stem and its place in the tree of an
    input folder, or of the part of a pattern that has no wildcards; it is a PNG, or a TIFF or animation if its source
    is one, unless `form` says otherwise. Where that gives several results one name, that of the result's own suffix
    keeps it, and the others get their sources' (`a.png` and `a_jpg.png`). Images that lie in `output` are never sources
    of a folder or pattern, so a job can be run twice.

    Args:
        inputs: image files, folders (read with all their subfolders) and patterns such as `photos/**/*.jpg`.
        output: a file or a folder.
        form: a key of `RESULT_SUFFIXES`.
        name: how results in a folder are called; None for their sources' stems.

    Returns:
        One job for each picture, in the order of the inputs; a picture that is given twice is done once.

    Raises:
        UserError: an input is missing, a folder has no images, two results would have one name, a result would
            replace an input, or `output` is not writable.
    """
    given, output = [as_place(one) for one in inputs], as_place(output)
    if form is not None and form not in RESULT_SUFFIXES:
        raise UserError(f"format {form!r}: unknown; use {', '.join(RESULT_SUFFIXES)}")
    if len(given) == 1 and _is_one_file(given[0]) and output.suffix and not output.is_dir():
        if name is not None:
            raise UserError(f"name {name.text!r}: {output} is the name of the result already; give a folder instead")
        jobs = [_single(given[0], output, form)]
    else:
        if output.suffix.lower() in {*WRITABLE_SUFFIXES, *DICOM_SUFFIXES} and not output.is_dir():
            raise UserError(f"{output}: the name of one file, and there can be several results; give a folder")
        jobs = _named(_sources(given, output), output, form, name)
    _check_names(jobs)
    ensure_folder(output if jobs[0].target != output else output.parent)
    return jobs


def written(jobs: Sequence[Job], folder: Path | None) -> dict[Job, Stamp | None]:
    """`Job.written` of all jobs whose results are in `folder`, by one listing where that is in object storage."""
    if not isinstance(folder, ObjectPath):
        return {job: job.written() for job in jobs}
    there = {str(path): _stamp(path) for path in folder.files_below()}
    return {job: there.get(str(job.target)) for job in jobs}


class FolderJournal:
    """A file in the output folder with one JSON line for each finished result.

    A line holds the settings' key, the paths, sizes and times of source and result; a result counts as finished only
    while all of them are still the same. The journal is deleted when everything is done.

    Nothing can be appended to an object, so in object storage the journal is a folder of empty objects, whose names are
    the hashes of the lines: a listing tells what is in it.
    """

    def __init__(self, folder: Path, key: str) -> None:
        """Read what an earlier job left.

        Args:
            folder: the output folder.
            key: a text that says all settings that decide the results' pixels.

        Raises:
            UserError: what stands at the journal's name is a link, or somebody else's.
        """
        self._path = folder / JOURNAL_NAME
        self._folder = folder
        self._key = key
        if isinstance(self._path, ObjectPath):
            self._path = self._path.with_suffix("") / _hash(key)
            self._known = {path.name for path in self._path.iterdir()}
        else:
            self._known = {_line(entry) for entry in read_records(self._path)}

    def holds(self, job: Job, result: Stamp | None) -> bool:
        """Whether the result of `job`, which is `written` so, was finished with these settings from this very source.

        Raises:
            UserError: object storage cannot be reached or refuses.
        """
        entry = self._entry(job, result)
        return entry is not None and self._name(entry) in self._known

    def add(self, job: Job) -> None:
        """Enter the finished result of `job`.

        Raises:
            UserError: the disk is full.
        """
        entry = self._entry(job, job.written())
        if entry is not None and self._name(entry) not in self._known:
            self._known.add(self._name(entry))
            if isinstance(self._path, ObjectPath):
                (self._path / self._name(entry)).mark()
            else:
                append_record(self._path, entry)

    def finish(self) -> None:
        """Everything is done: forget the results with this key, and the file if there are no others."""
        if isinstance(self._path, ObjectPath):
            others = any(path != self._path for path in self._path.parent.iterdir())
            (self._path if others else self._path.parent).delete_below()
            return
        others = [entry for entry in read_records(self._path) if entry.get("key") != self._key]
        if others:
            write_text(self._path, "".join(_line(entry) + "\n" for entry in others))
        else:
            self._path.unlink(missing_ok=True)

    def _name(self, entry: dict[str, object]) -> str:
        return _hash(_line(entry)) if isinstance(self._path, ObjectPath) else _line(entry)

    def _entry(self, job: Job, result: Stamp | None) -> dict[str, object] | None:
        source = _stamp(job.source)
        if source is None or result is None:
            return None
        return {
            "key": self._key,
            "source": str(job.source.resolve()),
            "source_stamp": source,
            "result": str(job.target.relative_to(self._folder)),
            "result_stamp": result,
        }


def _is_one_file(given: Path) -> bool:
    return given.is_file() or not (given.exists() or _is_pattern(given))


def _single(source: Path, target: Path, form: str | None) -> Job:
    if not source.exists():
        raise _missing(source)
    if target.suffix.lower() in DICOM_SUFFIXES and _is_dicom(source) and form is None:
        return Job(source, target)
    asked = writing_for(target)[0]
    if form is not None and RESULT_SUFFIXES[form] not in asked.suffixes:
        raise UserError(
            f"{target}: its suffix says {asked.name} and the format asked for is {form}; change one of them"
        )
    return Job(source, target)


def _sources(inputs: list[Path], output: Path) -> list[tuple[Path, Path]]:
    """Every picture with its place below the output folder; none twice."""
    found: dict[Path, tuple[Path, Path]] = {}
    for given in inputs:
        if given.is_dir():
            below = [path for path in find_images(given, _is_dicom) if not _own_result(path, given, output)]
            if not below:
                raise UserError(f"{given}: all images in it are results in {output}; give a folder with other images")
            pairs = [(path, path.relative_to(given)) for path in below]
        elif given.exists():
            pairs = [(given, Path(given.name))]
        elif _is_pattern(given):
            root = _fixed_part(given)
            pairs = [(path, path.relative_to(root)) for path in _matches(given) if not _own_result(path, root, output)]
            if not pairs:
                raise UserError(f"{given}: no image matches this pattern; check it")
        else:
            raise _missing(given)
        for source, place in pairs:
            found.setdefault(source.resolve(), (source, place))
    return list(found.values())


def _is_pattern(given: Path) -> bool:
    return glob.has_magic(str(given))


def _fixed_part(pattern: Path) -> Path:
    parts = []
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return as_place(Path(*parts))


def _matches(pattern: Path) -> list[Path]:
    if isinstance(pattern, ObjectPath):
        below = _fixed_part(pattern)
        assert isinstance(below, ObjectPath)  # a bucket's name has no wildcards
        return [path for path in below.files_below() if _fits(path.parts, pattern.parts) and is_image(path)]
    found = sorted(glob.glob(str(pattern), recursive=True))  # noqa: PTH207 (it takes any pattern; Path.glob does not)
    paths = [Path(one) for one in found]
    return [path for path in paths if path.is_file() and (is_image(path) or _is_dicom(path))]


def _fits(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether a path has the form of a pattern, of which `**` stands for any number of folders."""
    if not patterns or not parts:
        return not parts and all(one == "**" for one in patterns)
    if patterns[0] == "**":
        return _fits(parts, patterns[1:]) or _fits(parts[1:], patterns)
    return fnmatch.fnmatchcase(parts[0], patterns[0]) and _fits(parts[1:], patterns[1:])


def _own_result(path: Path, folder: Path, output: Path) -> bool:
    output = output.resolve()
    return output != folder.resolve() and path.resolve().is_relative_to(output)


def _named(sources: list[tuple[Path, Path]], output: Path, form: str | None, name: NameTemplate | None) -> list[Job]:
    """A job for each (picture, place below the output folder); those whose results would have one name get others."""
    targets = [output / _renamed(source, place, form, name) for source, place in sources]
    if not sources:
        return []
    blind = _ignores_case(targets[0].parent)
    wanted: dict[str, list[int]] = {}
    for number, target in enumerate(targets):
        wanted.setdefault(_spelt(target, blind), []).append(number)
    taken = set(wanted)
    for numbers in wanted.values():
        keeps = next((n for n in numbers if sources[n][1].suffix == targets[n].suffix), None)
        places = {_spelt(sources[n][1], blind) for n in numbers}
        if len(numbers) == 1 or len(places) < len(numbers):  # of pictures in two folders the user has to say
            continue
        for number in numbers:
            if number != keeps:
                source, place = sources[number]
                for stem in _other_stems(place):
                    targets[number] = output / _renamed(source, place, form, name, stem)
                    if _spelt(targets[number], blind) not in taken:
                        break
                taken.add(_spelt(targets[number], blind))
    return [Job(source, target) for (source, _), target in zip(sources, targets, strict=True)]


def _other_stems(place: Path) -> Iterable[str]:
    stem = f"{place.stem}_{place.suffix.removeprefix('.')}" if place.suffix else place.stem
    yield stem
    yield from (f"{stem}-{number}" for number in itertools.count(2))


def _spelt(target: Path, blind: bool) -> str:
    return str(target).casefold() if blind else str(target)


def _renamed(source: Path, place: Path, form: str | None, name: NameTemplate | None, stem: str | None = None) -> Path:
    """Where the result goes in the output folder; `stem` takes the place of the source's."""
    dicom = form is None and _is_dicom(source)
    suffix = place.suffix if form is None else RESULT_SUFFIXES[form]
    old_stem = place.stem
    if dicom and suffix.lower() not in DICOM_SUFFIXES:
        # Such files are often called after a UID, whose last number is no suffix.
        old_stem, suffix = place.name, DICOM_SUFFIXES[0]
    elif not dicom and form is None and suffix.lower() not in _KEPT_SUFFIXES and not _is_animation(source):
        suffix = ".png"
    stem = stem or old_stem
    if name is None:
        return place.parent / fitting(stem, suffix)
    called = Path(name(stem, suffix, place.suffix))
    return place.parent / called.with_name(fitting(called.stem, called.suffix))


def _is_dicom(source: Path) -> bool:
    if isinstance(source, ObjectPath) and source.suffix.lower() in IMAGE_SUFFIXES:
        return False  # a look into each of a million objects would take hours
    try:
        return is_dicom(source)
    except Exception:  # noqa: BLE001 (whatever it is, the job itself will say what is wrong with the file)
        return False


def _is_animation(source: Path) -> bool:
    """Whether a result of the same format keeps more than one image of `source`; no for what cannot be read."""
    if source.suffix.lower() not in MULTI_PAGE_SUFFIXES:
        return False
    try:
        return Raster.open(source, allow_huge=True).info.pages > 1
    except Exception:  # noqa: BLE001 (as above)
        return False


def _check_names(jobs: list[Job]) -> None:
    blind = _ignores_case(jobs[0].target.parent)
    sources = {_key(job.source, blind) for job in jobs}
    inodes = {identity for job in jobs if (identity := _identity(job.source)) is not None}
    taken: dict[str, Job] = {}
    for job in jobs:
        name = _key(job.target, blind)
        if name in sources or _identity(job.target) in inodes:
            raise UserError(f"{job.target}: this is an input; choose another name or folder for the output")
        if name in taken:
            raise UserError(
                f"{job.target}: both {taken[name].source} and {job.source} would be written here; "
                "rename one or upscale them into different folders"
            )
        taken[name] = job


def _key(path: Path, blind: bool) -> str:
    name = os.path.normcase(str(path.resolve()))
    return name.casefold() if blind else name


def _identity(path: Path) -> tuple[int, int] | None:
    """What hard links, symbolic links and other spellings of one file have in common; None where there is no file."""
    if isinstance(path, ObjectPath):  # has one spelling, and no links
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _ignores_case(folder: Path) -> bool:
    """Whether `A` and `a` are one name in `folder`, or in what exists of its parents."""
    if isinstance(folder, ObjectPath):
        return False
    for one in _upward(folder.resolve()):
        other = one.with_name(one.name.swapcase()) if one.name else one
        if one.exists() and other != one:
            return other.exists() and other.samefile(one)
    return False


def _upward(folder: Path) -> Iterable[Path]:
    yield folder
    yield from folder.parents


def _missing(path: Path) -> UserError:
    return UserError(f"{path}: no such file or folder; check the name")


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:32]


def _line(entry: dict[str, object]) -> str:
    return json.dumps(entry, sort_keys=True)
