"""Which bands of a file the network sees together, as red, green and blue, and which by themselves."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gramgan.errors import UserError

_NEAREST = ":nearest"


@dataclass(frozen=True)
class BandChoice:
    """Bands, from 1: three that are red, green and blue, or one by itself.

    `nearest` are classes, which are repeated and not drawn. `str()` is as the user writes it.
    """

    bands: tuple[int, ...]
    nearest: bool = False

    def __str__(self) -> str:
        return ",".join(map(str, self.bands)) + (_NEAREST if self.nearest else "")


def parse_bands(texts: Sequence[str]) -> tuple[BandChoice, ...]:
    """What `--bands` says, one text for each time it is given: `3,2,1`, `4` or `5:nearest`.

    Raises:
        UserError: not band numbers, neither one nor three of them, or a band that is named twice.
    """
    choices = [_parse(text) for text in texts]
    named = [band for choice in choices for band in choice.bands]
    for band in named:
        if named.count(band) > 1:
            raise UserError(f"bands: band {band} is named twice; every band has one place in the result")
    return tuple(choices)


def _parse(text: str) -> BandChoice:
    numbers, nearest = text.strip(), False
    if numbers.endswith(_NEAREST):
        numbers, nearest = numbers.removesuffix(_NEAREST), True
    if not re.fullmatch(r"[1-9]\d{0,5}(,[1-9]\d{0,5})*", numbers):
        raise UserError(
            f"bands {text!r}: not numbers of bands; write 3,2,1 for red, green and blue, 4 for one by itself or "
            f"5{_NEAREST} for classes"
        )
    bands = tuple(int(number) for number in numbers.split(","))
    if not nearest and len(bands) not in (1, 3):
        raise UserError(
            f"bands {text!r}: the network takes one band or three (red, green, blue), not {len(bands)}; "
            "give --bands once for each"
        )
    return BandChoice(bands, nearest)


def arrange(
    choices: Sequence[BandChoice], natural: Sequence[BandChoice], count: int, name: str
) -> tuple[BandChoice, ...]:
    """Every one of `count` bands in a group: as `choices` say, those they leave out each by itself.

    Args:
        choices: what was asked for; where it is nothing, `natural` holds.
        natural: what the file says of itself.
        count: bands of the file.
        name: of the file, for messages.

    Raises:
        UserError: there is no such band.
    """
    groups = list(choices or natural)
    for choice in groups:
        for band in choice.bands:
            if band > count:
                raise UserError(f"{name}: there is no band {band}, it has {count}; choose others with --bands")
    named = {band for choice in groups for band in choice.bands}
    classes = {band for choice in natural if choice.nearest for band in choice.bands}
    rest = (BandChoice((band,), band in classes) for band in range(1, count + 1) if band not in named)
    return (*groups, *rest)
