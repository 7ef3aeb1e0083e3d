"""Pairs of LR and HR images out of two folders: by name, LR exactly a whole number of times smaller than HR."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from gramgan.data.cutting import check_pair
from gramgan.data.items import ImagePlace, Item
from gramgan.errors import UserError
from gramgan.hardware.processor import threads
from gramgan.images.pairing import Pair
from gramgan.progress import Progress, silent

_NAMED = 3  # pairs that a message names


def pair_items(pairs: Iterable[Pair], licences: Mapping[Path, str] | None = None) -> list[Item]:
    """Pairs that were found by name (see `gramgan.images.pairing`) as items; `licences` are by HR file."""
    known = licences or {}
    return [
        Item(
            pair.name,
            ImagePlace(pair.hr),
            None if pair.other is None else ImagePlace(pair.other),
            known.get(pair.hr, Item.licence),
        )
        for pair in pairs
    ]


def check_pairs(items: Sequence[Item], scale: int, progress: Progress = silent) -> None:
    """Read the headers of all files and make sure that every HR image is `scale` times as large as its LR image.

    Raises:
        UserError: an image cannot be opened, or sizes do not fit.
    """
    problems = []
    with ThreadPoolExecutor(threads()) as pool:
        for number, problem in enumerate(pool.map(partial(_problem, scale), items), start=1):
            if problem:
                problems.append(problem)
            progress(number, len(items))
    if problems:
        more = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        raise UserError(f"{'; '.join(problems[:_NAMED])}{more}; correct the pairs or take them out")


def _problem(scale: int, item: Item) -> str:
    try:
        high = item.high.open(sequential=True)
        if item.low is not None:
            check_pair(item, high.info, item.low.open(sequential=True).info, scale)
    except UserError as error:
        return str(error)
    return ""
