"""Finding the images in a folder."""

import functools
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gramgan.errors import UserError
from gramgan.few import evenly_spread
from gramgan.images.formats import FORMATS, IMAGE_SUFFIXES, TIFF
from gramgan.images.formats.base import HEAD_BYTES
from gramgan.places import ObjectPath, as_place

_OWN_LISTS = ("manifest.csv", "left-out.csv", "ATTRIBUTION.md")  # which the program itself writes beside photographs
_NAMED = 3  # files that a line about what was passed over names

_log = logging.getLogger(__name__)


@dataclass
class Walk:
    """What a folder and those below it hold, hidden files and folders left out; each list is sorted.

    `odd` are pipes, links that lead nowhere and the like, `linked` folders that are links, and so were not entered,
    `unreadable` those that could not be.
    """

    files: list[Path] = field(default_factory=list)
    odd: list[Path] = field(default_factory=list)
    linked: list[Path] = field(default_factory=list)
    unreadable: list[Path] = field(default_factory=list)


def walk(folder: Path, what: str = "images") -> Walk:
    """All that is below `folder`, where `what` is looked for; log lines name what is no file and was not entered.

    Raises:
        UserError: there is no such folder, or it cannot be read.
    """
    if isinstance(folder, ObjectPath):
        if not folder.is_dir():
            raise UserError(f"{folder}: there are no objects below this name; give one with {what}")
        return Walk(files=list(folder.files_below()))
    if not folder.is_dir():
        wrong = "this is a file, not a folder" if folder.is_file() else "no such folder"
        raise UserError(f"{folder}: {wrong}; give a folder with {what}")
    found = Walk()
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as entries:
                named = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            if here == folder:
                raise UserError(f"{folder}: cannot be read ({error.strerror}); check its permissions") from None
            found.unreadable.append(here)
            continue
        for entry in named:
            path = here / entry.name
            if entry.is_dir(follow_symlinks=False):
                waiting.append(path)
            else:
                (found.linked if path.is_dir() else found.files if path.is_file() else found.odd).append(path)
    for each in (found.files, found.odd, found.linked, found.unreadable):
        each.sort()
    _say(folder, "passed over: no file (a pipe, or a link to nothing)", "name", found.odd, logging.WARNING)
    _say(folder, "could not be read", "folder", found.unreadable, logging.WARNING)
    _say(folder, "not entered: a link", "folder", found.linked, logging.WARNING)
    return found


def find_images(folder: Path | str, also: Callable[[Path], bool] = lambda _: False) -> list[Path]:
    """All images below `folder`, sorted: files with an image's suffix, and others that begin like an image.

    Hidden files and folders are passed over. A log line counts and names what else is there. A TIFF by another name is
    passed over, too: it may be a camera's raw file, whose first picture is a small preview.

    `also` says of any other file whether it is one all the same.

    Raises:
        UserError: there is no such folder, or no image in it.
    """
    folder = as_place(folder)
    found = walk(folder)
    images, others = [], []
    for path in found.files:
        (images if is_image(path) or also(path) else others).append(path)
    if not images:
        holds = f"it holds {len(others)} other file{'s' * (len(others) != 1)}" if others else "it is empty"
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise UserError(f"{folder}: no images in this folder ({holds}); give a folder with {kinds} files")
    passed = [path for path in others if path.name not in _OWN_LISTS]
    _say(folder, "passed over: no image that can be read", "file", passed, logging.INFO)
    return images


def is_image(path: Path) -> bool:
    """Whether a file is taken for an image (see `find_images`)."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return False
    return any(one.recognises(head) for one in FORMATS if one is not TIFF or not path.suffix)


def _say(folder: Path, what: str, kind: str, paths: Iterable[Path], level: int) -> None:
    names = [str(path.relative_to(folder)) for path in paths]
    if names:
        shown = ", ".join(evenly_spread(names, _NAMED)) + (", …" if len(names) > _NAMED else "")
        _say_once(level, f"{folder}: {len(names)} {kind}{'s' * (len(names) != 1)} {what} ({shown})")


@functools.lru_cache(maxsize=64)
def _say_once(level: int, line: str) -> None:
    # A command may look through a folder several times.
    _log.log(level, "%s", line)
