"""The journals of `gramgan prepare`: what of its work is done, for the same command later, from another machine too."""

import time
from pathlib import Path
from typing import Any

from gramgan.files import append_record, ensure_own_folder, read_records, write_bytes
from gramgan.places import ObjectPath, workplace

_FOLDER = ".prepare"
_PAUSE = 30.0  # seconds from one upload of a journal to the next
_SHARE = 0.05  # of our time that uploads may take


class Journals:
    """Files of JSON lines in a hidden folder of the output.

    Nothing can be appended to an object: for an output in object storage they are in the user's cache, and are uploaded
    now and then and by `save`. What a killed process had not uploaded is done again from another machine.
    """

    def __init__(self, output: Path) -> None:
        """Make the folder.

        Raises:
            UserError: it cannot be made or written to, or is somebody else's.
        """
        self.folder = ensure_own_folder(workplace(output) / _FOLDER)
        self._there = output / _FOLDER if isinstance(output, ObjectPath) else None
        self._due: dict[str, float] = {}

    def read(self, name: str) -> list[dict[str, Any]]:
        """The records of a journal, the oldest first.

        Raises:
            UserError: it cannot be read, or is somebody else's.
        """
        path = self.folder / name
        if self._there is not None:
            try:
                theirs = (self._there / name).read_bytes()
            except FileNotFoundError:
                theirs = b""
            ours = path.read_bytes() if path.exists() else b""
            if not ours.startswith(theirs):  # another machine has gone on since
                write_bytes(path, theirs)
        return read_records(path)

    def add(self, name: str, record: dict[str, Any]) -> None:
        """Enter something.

        Raises:
            UserError: the disk is full, or the storage cannot be reached or refuses.
        """
        append_record(self.folder / name, record)
        if self._there is not None and time.monotonic() > self._due.setdefault(name, time.monotonic() + _PAUSE):
            self._upload(name)

    def save(self) -> None:
        """Upload what has been added. Raises what `add` raises."""
        for name in list(self._due):
            self._upload(name)

    def _upload(self, name: str) -> None:
        assert isinstance(self._there, ObjectPath)
        start = time.monotonic()
        (self._there / name).put(self.folder / name)
        end = time.monotonic()
        self._due[name] = end + max(_PAUSE, (end - start) / _SHARE)
