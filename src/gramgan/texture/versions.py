"""The versions of a texture database: which there are, the tags that keep them, and clean-up."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gramgan.errors import UserError
from gramgan.texture.commits import changing, remove_abandoned, remove_old_checksums
from gramgan.texture.table import LanceTable, lance_reason, versions_of

_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # what Lance takes, and no name of a folder above
_NEVER = timedelta(days=36_500)  # no version is older

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Version:
    """One version of a table: its number, when it was made (UTC), its patches, and the tags that keep it."""

    number: int
    time: datetime
    patches: int
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Cleaned:
    """What a clean-up removed: versions, and bytes."""

    versions: int
    bytes: int


def versions_of_table(path: Path) -> list[Version]:
    """All versions of the table at `path`, the oldest first.

    Raises:
        UserError: it is no texture database.
    """
    dataset = LanceTable.open(path).dataset
    tags: dict[int, list[str]] = {}
    for name, tag in sorted(dataset.tags.list().items()):
        tags.setdefault(int(tag["version"]), []).append(name)
    return [
        Version(number, time.replace(tzinfo=UTC), patches, tuple(tags.get(number, ())))
        for number, time, patches in versions_of(dataset)
    ]


def tag(path: Path, version: int, name: str) -> None:
    """Give `version` a tag, which keeps it from clean-up; a tag of that name is moved.

    Raises:
        UserError: there is no such version, the name cannot be one, or the table cannot be written to.
    """
    if not _TAG.fullmatch(name) or ".." in name:
        raise UserError(f"{path}: a tag '{name}' cannot be; use letters, digits, '.', '-' and '_'")
    with changing(path):
        tags = LanceTable.open(path, version).dataset.tags
        try:
            if name in tags.list():
                tags.update(name, version)
            else:
                tags.create(name, version)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path}: the tag '{name}' cannot be written ({lance_reason(error)}); free some space"
            ) from error


def untag(path: Path, name: str) -> None:
    """Take a tag away.

    Raises:
        UserError: there is no such tag, or the table cannot be written to.
    """
    with changing(path):
        tags = LanceTable.open(path).dataset.tags
        known = sorted(tags.list())
        if name not in known:
            raise UserError(f"{path}: has no tag '{name}', only {', '.join(known) or 'none'}; give one of those")
        try:
            tags.delete(name)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: the tag '{name}' cannot be removed ({lance_reason(error)})") from error


def clean(path: Path, *, keep: int = 1) -> Cleaned:
    """Remove old versions, data files that only they needed, and what interrupted additions left behind.

    The newest `keep` versions stay, and so do tagged versions.

    Raises:
        UserError: the table is none or cannot be written to.
    """
    if keep < 1:
        raise UserError(f"{path}: clean-up keeps the newest version at least; ask for 1 or more, not {keep}")
    with changing(path):
        abandoned = remove_abandoned(path)
        dataset = LanceTable.open(path).dataset
        old = [number for number, _, _ in versions_of(dataset)[:-keep]]
        tagged = {int(known["version"]) for known in dataset.tags.list().values()}
        removed = _remove(path, dataset, [number for number in old if number not in tagged])
        remove_old_checksums(path)
    if abandoned:
        _log.info("%s: removed what %d interrupted additions had left", path, abandoned)
    return removed


def _remove(path: Path, dataset: Any, numbers: Sequence[int]) -> Cleaned:
    which = {"versions": list(numbers)} if numbers else {"older_than": _NEVER}
    try:
        # Files that no version knows are left by a commit that was interrupted; the lock says that none is going on.
        stats = dataset.cleanup_old_versions(**which, delete_unverified=True, error_if_tagged_old_versions=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be cleaned ({lance_reason(error)}); change its permissions") from error
    return Cleaned(int(stats.old_versions), int(stats.bytes_removed))
