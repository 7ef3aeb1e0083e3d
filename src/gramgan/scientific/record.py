"""What windows of scientific files were made with, kept beside them and in the card of weights that learn from them."""

import json
from collections.abc import Sequence
from pathlib import Path

from gramgan.errors import UserError
from gramgan.files import parse_json, write_bytes, write_text
from gramgan.scientific.base import Reading

RECORD = "scientific.json"
"""Beside the windows: their bands and radiometry."""

CardSettings = dict[str, str | int | float | bool | None]

_REFLECTANCE = ("reflectance", "sentinel-2")


def write_record(folder: Path, reading: Reading) -> None:
    """Say beside the windows in `folder` how they were read."""
    record = {"bands": [str(choice) for choice in reading.bands], "radiometry": str(reading.radiometry)}
    write_text(folder / RECORD, json.dumps(record) + "\n")


def carry_record(source: Path, output: Path) -> None:
    """Take the record along to sub-images of `source` in `output`; one of other windows goes.

    Raises:
        UserError: a record is damaged.
    """
    if read_record(source):
        write_bytes(output / RECORD, (source / RECORD).read_bytes())
    elif read_record(output):
        (output / RECORD).unlink()


def read_record(folder: Path) -> dict[str, str]:
    """The card settings of weights that learn from `folder`: bands and radiometry; nothing for photographs.

    Raises:
        UserError: its record is damaged.
    """
    path = folder / RECORD
    if not path.is_file():
        return {}
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
        return {"bands": " ".join(record["bands"]), "radiometry": str(record["radiometry"])}
    except (ValueError, TypeError, LookupError, OSError) as error:
        raise UserError(f"{path}: damaged ({error}); prepare the folder again") from None


def fit_radiometry(asked: str | None, settings: CardSettings, name: str) -> str | None:
    """The radiometry for weights that learned with one: theirs where nothing is asked for.

    `reflectance` and `sentinel-2` are the same to a network: both give it reflectance from 0 to 1.

    Args:
        asked: what `--radiometry` says.
        settings: of the weights' card.
        name: of the weights, for messages.

    Raises:
        UserError: they learned with another one.
    """
    learned = settings.get("radiometry")
    if not isinstance(learned, str) or learned in ("", "auto"):
        return asked
    if asked is None:
        return learned
    if asked != learned and not {asked, learned} <= set(_REFLECTANCE):
        raise UserError(
            f"radiometry {asked}: {name} was trained with {learned}, and would see other brightness than it knows; "
            "leave --radiometry out, or use other weights"
        )
    return asked


def fit_bands(asked: Sequence[str], settings: CardSettings, name: str) -> Sequence[str]:
    """The bands for weights that learned with some: theirs where nothing is asked for.

    Raises:
        UserError: they learned from single bands alone and three are to be seen as colours, or the other way round.
    """
    learned = settings.get("bands")
    if not isinstance(learned, str) or not learned:
        return asked
    known = learned.split()
    if not asked:
        return known

    def kinds(texts: Sequence[str]) -> set[int]:
        return {len(text.split(",")) for text in texts if ":" not in text}

    if not kinds(asked) <= kinds(known):
        raise UserError(
            f"bands {' '.join(asked)}: {name} was trained with {learned}; group them in the same way, or use other "
            "weights"
        )
    return asked
