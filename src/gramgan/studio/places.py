"""Which files the page may read and write: what was uploaded, and what lies in folders given at the start."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gramgan.errors import UserError

_LISTED = 2000  # entries of one folder


@dataclass(frozen=True)
class FolderListing:
    """What a folder holds, without what is hidden; `parent` is None where no folder above it may be seen.

    `more` counts entries that are too many to be shown.
    """

    folder: Path
    parent: Path | None
    entries: list[Path]
    more: int = 0


class Places:
    """The folders that were given at the start. Every path is resolved first, so that no link leads out of them."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """Give the folders.

        Raises:
            UserError: one of them is not there.
        """
        self.folders = []
        for folder in folders:
            if not folder.is_dir():
                raise UserError(f"--folder {folder}: no such folder; check the name")
            self.folders.append(folder.resolve())

    def resolve(self, text: str) -> Path:
        """The path that `text` means, there or not.

        Raises:
            UserError: it lies outside of the folders.
        """
        try:
            path = Path(text).expanduser().resolve()
        except (OSError, RuntimeError, ValueError):
            raise UserError(f"{text!r}: is no path; check it") from None
        if not self.holds(path):
            raise UserError(
                f"{text}: lies outside of the folders that this page may use; start it with --folder to add one"
            )
        return path

    def holds(self, path: Path) -> bool:
        """Whether a path that was found lies inside, links followed."""
        try:
            real = path.resolve()
        except (OSError, RuntimeError):
            return False
        return any(real.is_relative_to(folder) for folder in self.folders)

    def file(self, text: str) -> Path:
        """A file that is there.

        Raises:
            UserError: it is not, or lies outside of the folders.
        """
        path = self.resolve(text)
        if not path.is_file():
            raise UserError(f"{text}: no such file; check the name")
        return path

    def folder(self, text: str) -> Path:
        """A folder that is there.

        Raises:
            UserError: it is not, or lies outside of the folders.
        """
        path = self.resolve(text)
        if not path.is_dir():
            raise UserError(f"{text}: no such folder; check the name")
        return path

    def listing(self, text: str) -> FolderListing:
        """What a folder holds. Raises what `folder` raises, and `UserError` if it cannot be read."""
        folder = self.folder(text)
        try:
            entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        except OSError as error:
            raise UserError(f"{folder}: cannot be read ({error.strerror}); check its permissions") from None
        parent = None if folder in self.folders else folder.parent
        shown = [path for path in entries[:_LISTED] if self.holds(path)]
        return FolderListing(folder, parent, shown, max(0, len(entries) - _LISTED))

    def find(self, suffixes: Sequence[str], depth: int = 3) -> list[Path]:
        """Files and folders whose names end in one of `suffixes`, at most so many levels down; none inside another."""
        found: list[Path] = []
        level = list(self.folders)
        for _ in range(depth):
            below = []
            for folder in level:
                try:
                    names = sorted(folder.iterdir())
                except OSError:
                    continue
                for path in names:
                    if path.name.startswith(".") or not self.holds(path):
                        continue
                    if path.suffix in suffixes:
                        found.append(path)
                    elif path.is_dir():
                        below.append(path)
            level = below
        return list(dict.fromkeys(found))
