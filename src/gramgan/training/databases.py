"""The texture databases of a run: which versions it trains with, and that these stay."""

import hashlib
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from gramgan.config.sections import DatabaseConfig, TextureConfig
from gramgan.errors import UserError
from gramgan.texture.candidates import DatabasePart, DatabaseSource
from gramgan.texture.database import TextureDatabase
from gramgan.texture.mixing import MixedSource, database_source
from gramgan.training.processes import Processes

_log = logging.getLogger(__name__)


def open_entry(entry: DatabaseConfig) -> TextureDatabase:
    """The database of an entry, at its version.

    Raises:
        UserError: it is missing, has no such version, or is another table than the one that the entry names.
    """
    version = None if entry.version == "newest" else entry.version
    try:
        database = TextureDatabase.open(entry.path, version)
    except UserError:
        if version is not None and entry.identity is not None and _was_rebuilt(entry):
            raise _rebuilt(entry) from None
        raise
    if entry.identity not in (None, database.identity):
        raise _rebuilt(entry)
    return database


def settled_entry(entry: DatabaseConfig, texture: TextureConfig) -> DatabaseConfig:
    """`entry` with the version and identity of the table as it is now.

    Raises:
        UserError: see `open_entry`; or the table holds other vectors than the run asks for.
    """
    database = open_entry(entry)
    database.require(texture.descriptor, texture.k)
    return entry.model_copy(update={"version": database.version, "identity": database.identity})


def targets_from(texture: TextureConfig, random: torch.Generator, processes: Processes) -> DatabaseSource | MixedSource:
    """The databases of settled settings as one source of targets.

    Raises:
        UserError: see `open_entry`; or a domain has no patches.
    """
    parts = [DatabasePart(open_entry(entry), entry.domain) for entry in texture.databases]
    source = database_source(
        parts,
        texture.weights,
        random,
        texture.search,
        processes.device,
        texture.recall,
        processes.share,
        processes.place,
    )
    pieces = source.sources if isinstance(source, MixedSource) else [source]
    for piece, entries in zip(pieces, _shares(texture), strict=True):
        _log.info("texture database %s: %s patches, %s search", entries, f"{len(piece):,}", piece.index.name)
    return source


def resumed_entries(new: Sequence[DatabaseConfig], old: Sequence[DatabaseConfig]) -> tuple[DatabaseConfig, ...]:
    """The databases that a resumed run is asked to use; those that it has keep their version unless one is given."""
    known = {(entry.path, entry.domain): entry for entry in old}
    found = []
    for entry in new:
        before = known.get((entry.path, entry.domain))
        if before is not None and entry.version in (None, before.version):
            entry = entry.model_copy(update={"version": before.version, "identity": before.identity})
        found.append(entry)
    return tuple(found)


def entries_in_words(entries: Iterable[DatabaseConfig]) -> str:
    """Entries for a line of the log."""
    return " + ".join(_described(entry) for entry in entries) or "none"


def tag_versions(folder: Path, entries: Iterable[DatabaseConfig], before: Iterable[DatabaseConfig] = ()) -> None:
    """Tag the versions that the run in `folder` trains with, so that clean-up leaves them; take old tags away.

    A table that cannot be written to, such as one shared by others, is trained with all the same; a warning says so.

    Args:
        folder: the run's folder, after which the tags are named.
        entries: settled ones.
        before: what the run used until now.
    """
    wanted = {(entry.path, tag_name(folder, entry)) for entry in entries}
    for entry in entries:
        try:
            database = open_entry(entry)
            database.tag(database.version, tag_name(folder, entry))
        except UserError as error:
            _log.warning("nothing keeps the version that is trained with from clean-up: %s", error)
    for entry in before:
        if isinstance(entry.version, int) and (entry.path, tag_name(folder, entry)) not in wanted:
            try:
                open_entry(entry).untag(tag_name(folder, entry))
            except UserError as error:
                _log.info("an old tag of this run stays: %s", error)


def tag_name(folder: Path, entry: DatabaseConfig) -> str:
    """`run-NAME-HASH-vVERSION`: the run's folder by name, and by a hash of its place, for others have that name too."""
    place = folder.resolve()
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", place.name)[:40]
    return f"run-{name}-{hashlib.sha256(str(place).encode()).hexdigest()[:8]}-v{entry.version}"


def _described(entry: DatabaseConfig) -> str:
    domain = f" ({entry.domain})" if entry.domain else ""
    version = f", version {entry.version}" if entry.version is not None else ""
    weight = f", weight {entry.weight:g}" if entry.weight is not None else ""
    return f"{entry.path}{domain}{version}{weight}"


def _shares(texture: TextureConfig) -> list[str]:
    """What to call the searched pieces: each database with its share of the patches, or all as one."""
    if texture.weights is None or len(texture.databases) == 1:
        return [entries_in_words(texture.databases)]
    total = sum(texture.weights)
    shares = [weight / total for weight in texture.weights]
    return [
        f"{_described(entry)} ({share:.0%} of patches)" for entry, share in zip(texture.databases, shares, strict=True)
    ]


def _was_rebuilt(entry: DatabaseConfig) -> bool:
    try:
        return TextureDatabase.open(entry.path).identity != entry.identity
    except UserError:
        return False


def _rebuilt(entry: DatabaseConfig) -> UserError:
    return UserError(
        f"{entry.path}: is another table than the one this run trains with, it was built again since; put the old one "
        "back, or go on with the new one by --set texture.databases=… with version: newest"
    )


def trained_on_databases(texture: TextureConfig) -> dict[str, dict[str, int]]:
    """What the card of a run's weights has to name: for each database the patches under each licence.

    Only the entry's own domain counts, where it has one.

    Raises:
        UserError: see `open_entry`.
    """
    found: dict[str, dict[str, int]] = {}
    for entry in texture.databases:
        codes, licences = open_entry(entry).words("licence", entry.domain)
        counts = np.bincount(codes, minlength=len(licences)).tolist()
        name = entry.path.name if entry.domain is None else f"{entry.path.name} ({entry.domain})"
        found[name] = {licence: count for licence, count in sorted(zip(licences, counts, strict=True)) if count}
    return found
