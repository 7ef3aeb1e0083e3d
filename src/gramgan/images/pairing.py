"""Which low-resolution image, or which result, belongs to which truth: by file name, and never by guess."""

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from string import Formatter

from gramgan.errors import UserError
from gramgan.images.folders import find_images


@cache
def _token(scale: int) -> re.Pattern[str]:
    """What the field's sets put into names.

    HR: a_HR, a_HQ, a_GT, a_x1 (DRealSR); LR: a_LR, a_LR4 (RealSR), a_LRBI (RCAN), a_LQ, ax4, 0801x4m (DIV2K's mild,
    difficult and wild ones). A token stands between separators; the scale, `x4`, may also follow the name directly, as
    in 0801x4.png and babyx4.png. Of ×1 nothing is said so: DRealSR's a_x1 is HR.
    """
    before, behind = (f"{scale}x", rf"x{scale}(?:[mdw]\d?)?") if scale > 1 else ("(?!)", "(?!)")
    low = "lq|lr(?:bi|bd|dn|(?P<factor>[2-9]))?"
    words = rf"(?<![a-z0-9])(?:(?P<high>hr|hq|gt|x1)|(?P<low>{low})|(?P<made>sr)|{before})"
    return re.compile(rf"(?:{words}|(?P<scaled>{behind}))(?![a-z0-9])", re.IGNORECASE)


_SEPARATORS = re.compile(r"[\s_.\-()\[\]]+")
_NAMED = 5  # files that an error message lists


@dataclass(frozen=True)
class Pair:
    """One truth with its partner: the LR image, or the finished result; None if the LR image has to be made."""

    name: str
    hr: Path
    other: Path | None


def pair_key(stem: str, scale: int = 4) -> str:
    """A file's stem in lower case without what says that it is HR, LR or SR, and the separators around that."""
    return _SEPARATORS.sub("_", _token(scale).sub("_", stem)).strip("_").lower()


def truths(hr_folder: Path) -> list[Path]:
    """The HR images of a folder: all of them, or, where others are their LR images by name, without those.

    Raises:
        UserError: no such folder, or no images in it.
    """
    return _split(find_images(hr_folder), 4)[0]


def pair_low(hr_folder: Path, lr_folder: Path | None, lr_name: str | None = None, scale: int = 4) -> list[Pair]:
    """Pair each HR image with its LR image.

    With `lr_folder` None the LR images are those of the same folder whose names say LR; where there are none, `other`
    is None and the LR image is to be made from the HR one.

    Args:
        hr_folder: the HR images.
        lr_folder: the LR images.
        lr_name: what the LR image of `{stem}` is called, without its suffix, where the names do not say it.
        scale: how many times smaller the LR images are, as their names may say.

    Raises:
        UserError: a folder is missing or empty, an image has no partner or several, or the template cannot be used.
    """
    if lr_name is not None:
        return _pair_named(hr_folder, lr_folder or hr_folder, lr_name)
    if lr_folder is not None and lr_folder.resolve() != hr_folder.resolve():
        return pair_with(hr_folder, lr_folder, "LR", scale)
    hr, lr = _split(find_images(hr_folder), scale)
    if not lr:
        if lr_folder is not None:
            raise UserError(f"{lr_folder}: no file name here says LR; give the folder of the LR images with --lr")
        return [Pair(_name(path, hr_folder), path, None) for path in hr]
    return _pair(hr_folder, hr, hr_folder, lr, "LR", scale)


def pair_with(hr_folder: Path, folder: Path, kind: str, scale: int = 4) -> list[Pair]:
    """Pair each HR image with the image of the same name in `folder`; `kind` says in messages what those are.

    Raises:
        UserError: a folder is missing or empty, or an image has no partner or several.
    """
    every, others = find_images(hr_folder), find_images(folder)
    if _by_name(hr_folder, every, str).keys() == _by_name(folder, others, str).keys():
        return _pair(hr_folder, every, folder, others, kind, scale)
    if kind == "LR":
        others = _split(others, scale)[1] or _of_scale(others, scale)
    return _pair(hr_folder, _split(every, scale)[0], folder, others, kind, scale)


def _pair_named(hr_folder: Path, lr_folder: Path, template: str) -> list[Pair]:
    try:
        fields = {(field, form or conversion or "") for _, field, form, conversion in Formatter().parse(template)}
    except ValueError as error:
        raise UserError(f"--lr-name {template!r}: {error}; write a brace that is part of the name twice") from None
    if {one for one in fields if one[0] is not None} != {("stem", "")} or template == "{stem}":
        raise UserError(f"--lr-name {template!r}: put {{stem}} into it, and more, such as {{stem}}x4")

    def wanted(stem: str) -> str:
        return template.format(stem=stem)

    hr, lr = find_images(hr_folder), find_images(lr_folder)
    if hr_folder.resolve() == lr_folder.resolve():
        low = _by_name(hr_folder, hr, wanted).keys()
        lr = [path for path in hr if (path.parent.relative_to(hr_folder).as_posix(), path.stem) in low]
        hr = [path for path in hr if path not in lr]
    return _paired(hr_folder, hr, lr_folder, lr, "LR", wanted, str)


def _split(paths: list[Path], scale: int) -> tuple[list[Path], list[Path]]:
    """(HR, LR) images of one folder; the second is empty where the names do not tell.

    They do where some say HR and others LR, or where all that say LR, or x4, belong to one that does not.
    """
    said = {path: _said(path, scale) for path in paths}
    low = [path for path in paths if "low" in said[path]]
    if not (low and any("high" in one for one in said.values())):
        low = [path for path in paths if "low" in said[path] or said[path] == {"scaled"}]
        keys = {(path.parent, pair_key(path.stem, scale)) for path in set(paths) - set(low)}
        if not all((path.parent, pair_key(path.stem, scale)) in keys for path in low):
            low = []
    return ([path for path in paths if path not in set(low)], _of_scale(low, scale)) if low else (paths, [])


def _of_scale(paths: list[Path], scale: int) -> list[Path]:
    """LR images without those of other factors, such as RealSR's LR2 and LR3 beside LR4."""
    factors = {path: {match["factor"] for match in _token(scale).finditer(path.stem)} - {None} for path in paths}
    return [path for path in paths if not factors[path] or str(scale) in factors[path]] or paths


def _said(path: Path, scale: int) -> set[str]:
    """What a file's name says of it, of "high", "low", "made" and "scaled"."""
    found = {name for match in _token(scale).finditer(path.stem) for name, text in match.groupdict().items() if text}
    return found - {"factor"}


def _bare_key(stem: str, scale: int) -> str:
    """`pair_key` without the factor of img_001_SRF_4_LR, of Urban100 and others."""
    factor = re.compile(rf"(?<![a-z0-9])srf_?{scale}(?![a-z0-9])", re.IGNORECASE)
    return pair_key(factor.sub("_", stem), scale)


def _pair(hr_folder: Path, hr: list[Path], folder: Path, others: list[Path], kind: str, scale: int) -> list[Pair]:
    by_words = partial(pair_key, scale=scale)
    for key in (str, by_words, partial(_bare_key, scale=scale)):
        if _by_name(hr_folder, hr, key).keys() == _by_name(folder, others, key).keys():
            return _paired(hr_folder, hr, folder, others, kind, key, key)
    return _paired(hr_folder, hr, folder, others, kind, by_words, by_words)


def _paired(
    hr_folder: Path,
    hr: list[Path],
    folder: Path,
    others: list[Path],
    kind: str,
    hr_key: Callable[[str], str],
    other_key: Callable[[str], str],
) -> list[Pair]:
    truth_by_key, other_by_key = _by_name(hr_folder, hr, hr_key), _by_name(folder, others, other_key)
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
