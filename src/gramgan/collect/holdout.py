"""Which photographs are trained on and which are kept for judging."""

import hashlib
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath

from gramgan.collect.manifest import MANIFEST, Side, read_manifest
from gramgan.errors import UserError
from gramgan.images import find_images
from gramgan.places import as_place

_log = logging.getLogger(__name__)

_SHARE = 0.2
_STEREO_HALF = re.compile(r"^(.+)[-_ ](?:left|right|l|r)$", re.IGNORECASE)


def group_of(file: PurePath) -> str:
    """The group of a photograph by its name: the same picture in two formats, or the two halves of a stereo pair.

    `trip/view_left.jpg`, `trip/view_right.png` and `trip/view.tif` are all of the group `trip/view`.
    """
    half = _STEREO_HALF.match(file.stem)
    return file.with_name(half[1] if half else file.stem).as_posix()


def choose_sides(groups: Iterable[str], pinned: Mapping[str, Side]) -> dict[str, Side]:
    """Put every group on a side: one in five, at least one of two, is held out, in the order of the names' SHA-256.

    `pinned` groups stay where they are, so that a photograph that was once trained on is never judged by later.
    """
    names = sorted(set(groups), key=lambda name: hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest())
    wanted = max(1, int(len(names) * _SHARE + 0.5)) if len(names) > 1 else 0
    sides: dict[str, Side] = {name: pinned[name] for name in names if name in pinned}
    missing = wanted - sum(side == "holdout" for side in sides.values())
    for name in names:
        if name not in sides:
            sides[name] = "holdout" if missing > 0 else "train"
            missing -= 1
    return sides


def split(folder: Path | str) -> tuple[list[Path], list[Path]]:
    """The photographs of a folder as (train, holdout), each sorted.

    A folder that `gramgan collect` filled is split as its manifest says; any other is split by the same rule
    (`choose_sides`). Listed files that have gone are passed over with a warning.

    Raises:
        UserError: there is no such folder, no image in it, or its manifest is damaged.
    """
    folder = as_place(folder)
    entries = read_manifest(folder)
    sides: dict[Path, Side]
    if entries is None:
        groups = {path: group_of(path.relative_to(folder)) for path in find_images(folder)}
        chosen = choose_sides(groups.values(), {})
        sides = {path: chosen[group] for path, group in groups.items()}
    else:
        sides = {folder / entry.file: entry.split for entry in entries}
        gone = [path for path in sides if not path.is_file()]
        if gone:
            _log.warning("%s: %d listed photographs are gone, such as %s", folder / MANIFEST, len(gone), gone[0].name)
        sides = {path: side for path, side in sides.items() if path.is_file()}
        if not sides:
            raise UserError(
                f"{folder / MANIFEST}: none of the photographs it lists is there; run gramgan collect again"
            )
    paths = sorted(sides)
    return [path for path in paths if sides[path] == "train"], [path for path in paths if sides[path] == "holdout"]
