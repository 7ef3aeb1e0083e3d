"""Which low-resolution image, or which result, belongs to which truth: by file name, and never by guess."""

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gramgan.errors import UserError
from gramgan.images.folders import find_images

# A token stands between separators; `x4` may also follow the name directly, as in 0801x4.png and babyx4.png.
_TOKEN = re.compile(r"(?<![a-z0-9])(hr|lr|sr|4x)(?![a-z0-9])|x4(?![a-z0-9])", re.IGNORECASE)
_SEPARATORS = re.compile(r"[\s_.\-()\[\]]+")
_NAMED = 5  # files that an error message lists


@dataclass(frozen=True)
class Pair:
    """One truth with its partner: the LR image, or the finished result; None where the LR image is to be made."""

    name: str
    hr: Path
    other: Path | None


def pair_key(stem: str) -> str:
    """A file's stem in lower case without the tokens HR, LR, SR, x4 and 4x and the separators around them."""
    return _SEPARATORS.sub("_", _TOKEN.sub("_", stem)).strip("_").lower()


def truths(hr_folder: Path) -> list[Path]:
    """The HR images of a folder: all of them, or, where some names say HR and others LR, those that do not say LR.

    Raises:
        UserError: no such folder, or no images in it.
    """
    return _split(find_images(hr_folder))[0]


def pair_low(hr_folder: Path, lr_folder: Path | None) -> list[Pair]:
    """Pair each HR image with its LR image.

    With `lr_folder` None the LR images are those of the same folder whose names say LR; where there are none, `other`
    is None and the LR image is to be made from the HR one.

    Raises:
        UserError: a folder is missing or empty, or an image has no partner or several.
    """
    if lr_folder is not None and lr_folder.resolve() != hr_folder.resolve():
        return pair_with(hr_folder, lr_folder, "LR")
    hr, lr = _split(find_images(hr_folder))
    if not lr:
        if lr_folder is not None:
            raise UserError(f"{lr_folder}: no file name here says LR; give the folder of the LR images with --lr")
        return [Pair(_name(path, hr_folder), path, None) for path in hr]
    return _pair(hr_folder, hr, hr_folder, lr, "LR")


def pair_with(hr_folder: Path, folder: Path, kind: str) -> list[Pair]:
    """Pair each HR image with the image of the same name in `folder`; `kind` says in messages what those are.

    Raises:
        UserError: a folder is missing or empty, or an image has no partner or several.
    """
    others = find_images(folder)
    if kind == "LR":
        others = _split(others)[1] or others
    return _pair(hr_folder, truths(hr_folder), folder, others, kind)


def _split(paths: list[Path]) -> tuple[list[Path], list[Path]]:
    says_lr = [path for path in paths if _says(path, "lr")]
    says_hr = [path for path in paths if _says(path, "hr")]
    if not says_lr or not says_hr:
        return paths, []
    return [path for path in paths if path not in says_lr], says_lr


def _says(path: Path, token: str) -> bool:
    return any(match.group().lower() == token for match in _TOKEN.finditer(path.stem))


def _pair(hr_folder: Path, hr: list[Path], folder: Path, others: list[Path], kind: str) -> list[Pair]:
    exact_hr, exact_others = _by_name(hr_folder, hr, str), _by_name(folder, others, str)
    if exact_hr.keys() == exact_others.keys():
        truth_by_key, other_by_key = exact_hr, exact_others
    else:
        truth_by_key, other_by_key = _by_name(hr_folder, hr, pair_key), _by_name(folder, others, pair_key)
    for found, place in ((truth_by_key, hr_folder), (other_by_key, folder)):
        for paths in found.values():
            if len(paths) > 1:
                raise UserError(f"{place}: {_list(paths)} have the same name when paired; remove or rename all but one")
    missing = [truth_by_key[key][0] for key in truth_by_key if key not in other_by_key]
    if missing:
        raise UserError(f"{folder}: no {kind} image for {_list(missing)}; add {'it' if len(missing) == 1 else 'them'}")
    extra = [other_by_key[key][0] for key in other_by_key if key not in truth_by_key]
    if extra:
        raise UserError(
            f"{hr_folder}: no HR image for the {kind} image{'s' if len(extra) > 1 else ''} {_list(extra)}; "
            f"add {'it' if len(extra) == 1 else 'them'} or remove the {kind} image{'s' if len(extra) > 1 else ''}"
        )
    return [Pair(_name(paths[0], hr_folder), paths[0], other_by_key[key][0]) for key, paths in truth_by_key.items()]


def _by_name(folder: Path, paths: list[Path], key: Callable[[str], str]) -> dict[tuple[str, str], list[Path]]:
    found: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in paths:
        found[(path.parent.relative_to(folder).as_posix(), key(path.stem))].append(path)
    return found


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _list(paths: list[Path]) -> str:
    names = ", ".join(path.name for path in paths[:_NAMED])
    return names if len(paths) <= _NAMED else f"{names} and {len(paths) - _NAMED} more"
