"""Which results of a job with many pictures are finished, so that a crashed one goes on where it was."""

import json
import os
from pathlib import Path

from gramgan.files import write_text
from gramgan.upscaling.jobs import Job

JOURNAL_NAME = ".gramgan-upscale.jsonl"


class FolderJournal:
    """A file in the output folder with one JSON line for each finished result.

    A line holds the settings' key, the paths, sizes and times of source and result; a result counts as finished only
    while all of them are still the same. The journal is deleted when everything is done.
    """

    def __init__(self, folder: Path, key: str) -> None:
        """Read what an earlier job left.

        Args:
            folder: the output folder.
            key: a text that says all settings that decide the results' pixels.
        """
        self._path = folder / JOURNAL_NAME
        self._folder = folder
        self._key = key
        self._lines = self._read()
        self._known = set(self._lines)

    def holds(self, job: Job) -> bool:
        """Whether the result of `job` is there, finished with these settings from this very source."""
        return self._line(job) in self._known

    def add(self, job: Job) -> None:
        """Enter the finished result of `job`."""
        line = self._line(job)
        if line is None or line in self._known:
            return
        self._known.add(line)
        with self._path.open("a", encoding="utf-8") as file:
            file.write("\n" + line + "\n")  # what stands before may have been cut off
            file.flush()
            os.fsync(file.fileno())

    def finish(self) -> None:
        """Everything is done: forget the results with this key, and the file if there are no others."""
        others = [line for line in self._read() if json.loads(line)["key"] != self._key]
        if others:
            write_text(self._path, "".join(line + "\n" for line in others))
        else:
            self._path.unlink(missing_ok=True)

    def _read(self) -> list[str]:
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []
        return [line for line in lines if _is_entry(line)]

    def _line(self, job: Job) -> str | None:
        source, result = _stamp(job.source), _stamp(job.target)
        if source is None or result is None:
            return None
        entry = {
            "key": self._key,
            "source": str(job.source.resolve()),
            "source_stamp": source,
            "result": os.path.relpath(job.target, self._folder),
            "result_stamp": result,
        }
        return json.dumps(entry, sort_keys=True)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _is_entry(line: str) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return False  # the last line of a job that was killed while it wrote
    return isinstance(entry, dict) and "key" in entry
