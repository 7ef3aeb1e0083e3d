"""A folder of photographs with its lists, while photographs are added to it."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gramgan.collect.attribution import refuse_foreign_attribution, write_attribution
from gramgan.collect.examine import examine
from gramgan.collect.holdout import choose_sides
from gramgan.collect.manifest import (
    LEFT_OUT,
    LeftOutFile,
    ManifestEntry,
    Side,
    read_left_out,
    read_manifest,
    refuse_foreign_lists,
    write_left_out,
    write_manifest,
)
from gramgan.errors import UserError
from gramgan.files import ensure_folder, sha256
from gramgan.images.fingerprint import Lookalikes

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Collected:
    """What a run did: all `entries` of the folder's manifest, how many of them are `new`, what was left out."""

    folder: Path
    entries: list[ManifestEntry]
    new: int
    left_out: list[LeftOutFile]


def usable(folder: Path) -> Path:
    """`folder`, made if it is not there.

    Raises:
        UserError: it is not writable, or lists stand in it which this program did not write.
    """
    ensure_folder(folder)
    refuse_foreign_lists(folder)
    refuse_foreign_attribution(folder)
    return folder


class Collection:
    """The photographs of a folder: those that its manifest lists and that are still what it says, and new ones.

    `write` brings the lists up to date; until then they are as they were.
    """

    def __init__(self, folder: Path) -> None:
        """Open `folder`, made if it is not there.

        Raises:
            UserError: it is not writable, or lists stand in it which this program did not write.
        """
        self.folder = usable(folder)
        listed = read_manifest(folder) or []
        self._pinned: dict[str, Side] = {entry.group: entry.split for entry in listed}
        self.entries = [entry for entry in listed if self._is_intact(entry)]
        self._earlier_left_out = read_left_out(folder) or []

    @property
    def left_out(self) -> list[LeftOutFile]:
        """What earlier runs left out."""
        return self._earlier_left_out

    def pin(self, group: str, side: Side) -> None:
        """Put a group on a side, unless an earlier run has put it on one."""
        self._pinned.setdefault(group, side)

    def twin(self, pixels_sha256: str) -> ManifestEntry | None:
        """The photograph with these very pixels."""
        return next((entry for entry in self.entries if entry.pixels_sha256 == pixels_sha256), None)

    def lookalikes(self) -> Lookalikes:
        """What finds a photograph's near-duplicates; those of older manifests are fingerprinted now."""
        found = Lookalikes()
        for position, entry in enumerate(self.entries):
            if not entry.fingerprint:
                mark = examine(self.folder / entry.file, allow_huge=True).fingerprint
                entry = self.entries[position] = replace(entry, fingerprint=mark)
            found.add(entry.file, [entry.fingerprint])
        return found

    def write(self, left_out: Iterable[LeftOutFile], considered: Mapping[str, object], new: int) -> Collected:
        """Choose the new photographs' sides and write all lists.

        Args:
            left_out: what this run left out.
            considered: sources that this run looked at; what an earlier run said of them is forgotten.
            new: how many entries are new.

        Raises:
            UserError: there is no photograph at all.
        """
        left_out = list(left_out)
        sides = choose_sides((entry.group for entry in self.entries), self._pinned)
        self.entries = [replace(entry, split=sides[entry.group]) for entry in self.entries]
        earlier = [one for one in self._earlier_left_out if one.file not in considered]
        write_left_out(self.folder, [*earlier, *left_out])
        if not self.entries and not left_out:
            raise UserError(f"{self.folder}: nothing was found; try other search words, or accept more licences")
        if not self.entries:
            raise UserError(
                f"{self.folder}: nothing was collected, all {len(left_out)} images were left out "
                f"(the first is {left_out[0].reason}); see {self.folder / LEFT_OUT}"
            )
        write_manifest(self.folder, self.entries)
        write_attribution(self.folder, self.entries)
        return Collected(self.folder, sorted(self.entries, key=lambda entry: entry.file), new, left_out)

    def _is_intact(self, entry: ManifestEntry) -> bool:
        path = self.folder / entry.file
        if path.is_file() and sha256(path) == entry.sha256:
            return True
        what = "has been changed" if path.is_file() else "is gone"
        _log.warning("%s: %s since it was collected; it is not in the manifest any more", path, what)
        return False
