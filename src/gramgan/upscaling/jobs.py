"""Which files are read and where each result goes, settled and checked before any work begins."""

import os
from dataclasses import dataclass
from pathlib import Path

from gramgan.errors import UserError
from gramgan.files import ensure_folder
from gramgan.images import WRITABLE_SUFFIXES, find_images
from gramgan.images.formats import writing_for

FORMATS = {"png": ".png", "jpg": ".jpg", "webp": ".webp", "tiff": ".tif"}
"""Names of the formats that results can have, and their suffixes."""

_KEPT_SUFFIXES = (".png", ".tif", ".tiff")  # lossless; what comes in any other format goes out as PNG


@dataclass(frozen=True)
class Job:
    """One picture: read `source`, write `target`."""

    source: Path
    target: Path


def plan_jobs(inputs: list[Path], output: Path, form: str | None = None) -> list[Job]:
    """Decide the name of every result.

    `output` is a file if there is one input file and `output` is not a folder and has a suffix; otherwise it is a
    folder, which is made if needed. In a folder a result keeps its source's stem and its place in the tree of an
    input folder; it is a PNG, or a TIFF if its source is one, unless `form` says otherwise. Images that lie in
    `output` are never sources of a folder that is read, so a job can be run twice.

    Args:
        inputs: image files and folders (read with all their subfolders).
        output: a file or a folder.
        form: a key of `FORMATS`.

    Returns:
        One job for each picture, in the order of the inputs; a picture that is given twice is done once.

    Raises:
        UserError: an input is missing, a folder has no images, two results would have one name, a result would
            replace an input, or `output` is not writable.
    """
    if form is not None and form not in FORMATS:
        raise UserError(f"format {form!r}: unknown; use {', '.join(FORMATS)}")
    if len(inputs) == 1 and not inputs[0].is_dir() and output.suffix and not output.is_dir():
        jobs = [_single(inputs[0], output, form)]
    else:
        if output.suffix.lower() in WRITABLE_SUFFIXES and not output.is_dir():
            raise UserError(f"{output}: the name of one file, and there can be several results; give a folder")
        jobs = [Job(source, output / _renamed(place, form)) for source, place in _sources(inputs, output)]
    _check_names(jobs)
    ensure_folder(output if jobs[0].target != output else output.parent)
    return jobs


def _single(source: Path, target: Path, form: str | None) -> Job:
    if not source.exists():
        raise _missing(source)
    asked = writing_for(target)[0]
    if form is not None and FORMATS[form] not in asked.suffixes:
        raise UserError(
            f"{target}: its suffix says {asked.name} and the format asked for is {form}; change one of them"
        )
    return Job(source, target)


def _sources(inputs: list[Path], output: Path) -> list[tuple[Path, Path]]:
    """Every picture with its place below the output folder; none twice."""
    found: dict[Path, tuple[Path, Path]] = {}
    for given in inputs:
        if given.is_dir():
            below = [path for path in find_images(given) if not _own_result(path, given, output)]
            if not below:
                raise UserError(f"{given}: all images in it are results in {output}; give a folder with other images")
            pairs = [(path, path.relative_to(given)) for path in below]
        elif given.exists():
            pairs = [(given, Path(given.name))]
        else:
            raise _missing(given)
        for source, place in pairs:
            found.setdefault(source.resolve(), (source, place))
    return list(found.values())


def _own_result(path: Path, folder: Path, output: Path) -> bool:
    output = output.resolve()
    return output != folder.resolve() and path.resolve().is_relative_to(output)


def _renamed(place: Path, form: str | None) -> Path:
    if form is not None:
        return place.with_suffix(FORMATS[form])
    return place if place.suffix.lower() in _KEPT_SUFFIXES else place.with_suffix(".png")


def _check_names(jobs: list[Job]) -> None:
    sources = {os.path.normcase(job.source.resolve()) for job in jobs}
    taken: dict[str, Job] = {}
    for job in jobs:
        name = os.path.normcase(job.target.resolve())
        if name in sources:
            raise UserError(f"{job.target}: this is an input; choose another name or folder for the output")
        if name in taken:
            raise UserError(
                f"{job.target}: both {taken[name].source} and {job.source} would be written here; "
                "rename one or upscale them into different folders"
            )
        taken[name] = job


def _missing(path: Path) -> UserError:
    return UserError(f"{path}: no such file or folder; check the name")
