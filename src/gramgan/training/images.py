"""Which images a run trains on and which it is judged by, and how they are read."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from gramgan.collect import known_licences, read_manifest, split
from gramgan.config import Config
from gramgan.data.choice import SourceKind, Way, choose, kind_of
from gramgan.data.items import Item, items_of
from gramgan.data.pairs import check_pairs, pair_items
from gramgan.data.shards import shard_items, split_shards
from gramgan.errors import UserError
from gramgan.few import evenly_spread
from gramgan.images import find_images
from gramgan.images.pairing import Pair, pair_low
from gramgan.images.strips import look_through
from gramgan.progress import Progress, silent

_LOOKED_AT, _NAMED = 64, 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Images:
    """The images of a run; those of `validation` with their LR image, where the run trains on pairs.

    `further` are more sets to validate on, by name."""

    training: list[Item]
    validation: list[Item]
    further: dict[str, list[Item]] = field(default_factory=dict)


def settled_way(config: Config, device: str, processes: int = 1) -> Way:
    """The way that `data.source: auto` means on this machine, also said in the log; any other value as it is.

    Raises:
        UserError: see `images_of`.
    """
    if config.data.source != "auto":
        return config.data.source
    kind = _kind(config)
    if kind == "shards":  # the first one stands for all: to index them takes longer than to decide
        shards, _ = split_shards(config.data.photos)
        total = sum(path.stat().st_size for path in shards)
        items = shard_items(shards[:1]) * max(1, round(total / max(shards[0].stat().st_size, 1)))
    elif kind == "pairs":
        items = pair_items(_pairs(config)[0])
    else:
        items = items_of(photographs(config)[0])
    choice = choose(items, kind, device, processes)
    _log.info("data.source: %s (%s)", choice.way, choice.why)
    return choice.way


def images_of(config: Config, progress: Progress = silent, *, own_crops: bool = False) -> Images:
    """The images that the settings name, and all sets to validate on (see `_images_of`).

    With `own_crops`, photographs are only those to validate on, where a folder of them is named.

    Raises:
        UserError: there are none, or pairs do not fit together.
    """
    sets = config.data.validation
    images = Images([], _own_validation(config)) if own_crops and sets is not None else _images_of(config, progress)
    if isinstance(sets, dict):
        images = replace(images, further={name: _own_validation(config, name) for name in list(sets)[1:]})
    _say_odd([*images.training, *images.validation])
    return images


def _say_odd(items: Sequence[Item]) -> None:
    """Look at some images, as the files of a folder mostly come from one hand: notes of their readers, and 12 bits."""
    found: dict[str, str] = {}
    looked_at = evenly_spread(items, _LOOKED_AT)
    for place in (place for item in looked_at for place in (item.high, item.low) if place is not None):
        try:
            raster = place.open(sequential=True)
            notes = [*raster.info.notes, *filter(None, [look_through(raster)])]
        except UserError:
            continue  # whoever reads it for the training says so
        if notes:
            found[str(place)] = "; ".join(notes)
    for name, notes in list(found.items())[:_NAMED]:
        _log.warning("%s: %s", name, notes)
    if len(found) > _NAMED:
        _log.warning("and %d more of the %d images looked at", len(found) - _NAMED, len(looked_at))


def _images_of(config: Config, progress: Progress) -> Images:
    """The images that the settings name, split as their manifest, the names of shards or the common rule say.

    With a validation folder of their own, all photographs of a folder without a manifest are trained on.

    Raises:
        UserError: there are none, or pairs do not fit together.
    """
    data = config.data
    kind = _kind(config)
    if kind == "shards":
        shards, held_out = split_shards(data.photos)
        if data.validation is None and not held_out:
            raise UserError(
                f"{data.photos}: holds no shard named holdout-… to validate on; set data.validation to a folder of HR "
                "images"
            )
        training = shard_items(shards, progress)
        return Images(training, _own_validation(config) if data.validation else shard_items(held_out))
    licences = known_licences(data.photos)
    if kind == "folder":
        paths, held_out = photographs(config)
        return Images(items_of(paths, licences), items_of(held_out))
    pairs, held_out = _pairs(config)
    images = Images(pair_items(pairs, licences), _own_validation(config) if data.validation else pair_items(held_out))
    check_pairs([*images.training, *images.validation], config.generator.scale, progress)
    return images


def photographs(config: Config) -> tuple[list[Path], list[Path]]:
    """(training, validation) photographs of a folder (see `images_of`).

    Raises:
        UserError: there are none.
    """
    folder = config.data.photos
    training, held_out = split(folder)
    if config.data.validation is not None:
        if read_manifest(folder) is None:
            training = sorted(training + held_out)
        return training, find_images(_folder(config))
    if not held_out:
        _log.warning(
            "%s: a single photograph; it is validated on as well, so the scores say nothing about others", folder
        )
        return training, training
    return training, held_out


def _folder(config: Config, name: str | None = None) -> Path:
    """The folder of a set of `data.validation`; None: of the first."""
    sets = config.data.validation
    assert sets is not None
    if isinstance(sets, Path):
        return sets
    if not sets:
        raise UserError("data.validation: names no folder; give one, or leave it out")
    return next(iter(sets.values())) if name is None else sets[name]


def _own_validation(config: Config, name: str | None = None) -> list[Item]:
    """The images of a set of `data.validation`; LR images among them are used where the run trains on pairs."""
    folder = _folder(config, name)
    if config.data.low is None:
        return items_of(find_images(folder))
    return pair_items(pair_low(folder, None, config.data.low_name, config.generator.scale))


def _pairs(config: Config) -> tuple[list[Pair], list[Pair]]:
    """(training, held-out) pairs of `data.photos` and `data.low`, split as the photographs are."""
    data = config.data
    assert data.low is not None
    found = pair_low(data.photos, data.low, data.low_name, config.generator.scale)
    pairs = {pair.hr: pair for pair in found}
    training, held_out = photographs(config)
    return [pairs[path] for path in training if path in pairs], [pairs[path] for path in held_out if path in pairs]


def _kind(config: Config) -> SourceKind:
    named = config.data.source
    return kind_of(config.data.photos, config.data.low) if named in ("auto", "resident") else cast(SourceKind, named)
