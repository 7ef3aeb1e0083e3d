"""The files that a collecting run keeps while it lasts, so that it can continue after it was killed.

All of it is in the hidden folder `.collect` beside the photographs: `journal.jsonl` with a line for each decision,
`incoming/` with downloads, and `found-….jsonl` with the pages that a search has brought, which are asked for again only
after a day.
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from gramgan.collect.found import FoundPhoto
from gramgan.collect.manifest import LeftOutFile, ManifestEntry
from gramgan.collect.services.base import Ask, Cursor, Query, ResultPage, Service
from gramgan.files import append_record, ensure_folder, ensure_own_folder, read_records, record_as

_log = logging.getLogger(__name__)

STATE = ".collect"
"""Name of the folder."""

_SEARCH_LASTS = 24 * 3600.0  # seconds


class Journal:
    """The decisions of a run that has not written its lists yet."""

    def __init__(self, collection: Path) -> None:
        """Of the collection in this folder."""
        self.folder = ensure_own_folder(ensure_folder(collection) / STATE)
        self.incoming = ensure_own_folder(self.folder / "incoming")
        self._path = self.folder / "journal.jsonl"

    def read(self) -> tuple[list[ManifestEntry], list[LeftOutFile]]:
        """What a killed run has decided; a line that it did not finish, or that is damaged, is passed over."""
        entries: dict[str, ManifestEntry] = {}
        left_out: dict[str, LeftOutFile] = {}
        for line in read_records(self._path):
            if entry := record_as(ManifestEntry, line.get("entry")):
                entries[entry.source] = entry
            elif one := record_as(LeftOutFile, line.get("left_out")):
                left_out[one.file] = one
            else:
                _log.warning("%s: a damaged line is passed over", self._path)
        return list(entries.values()), list(left_out.values())

    def add(self, decision: ManifestEntry | LeftOutFile) -> None:
        """Note a decision; it is on the disk when this returns."""
        append_record(self._path, {"entry" if isinstance(decision, ManifestEntry) else "left_out": asdict(decision)})

    def finish(self, *, keep_downloads: bool) -> None:
        """Forget everything but the searches, and perhaps the downloads: the lists have been written."""
        self._path.unlink(missing_ok=True)
        if not keep_downloads:
            shutil.rmtree(self.incoming)


def search_service(service: Service, query: Query, ask: Ask, folder: Path) -> Iterator[FoundPhoto]:
    """All that a service finds, page by page as it is wanted; pages of the last day come from `folder`.

    Raises:
        UserError: a page could not be had.
    """
    key = json.dumps([service.name, query.words, query.accept, query.min_size])
    path = folder / f"found-{service.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.jsonl"
    if path.exists() and time.time() - path.stat().st_mtime > _SEARCH_LASTS:
        path.unlink()
    after: Cursor | None = {}
    pages = [_page(record) for record in read_records(path)]
    if None in pages:
        _log.warning("%s: damaged; the search is made again", path)
        path.unlink()
        pages = []
    for page in filter(None, pages):
        yield from page.found
        after = page.after
    while after is not None:
        page = service.page(query, after, ask)
        append_record(path, {"found": [asdict(one) for one in page.found], "after": page.after})
        yield from page.found
        after = page.after


def _page(record: dict[str, object]) -> ResultPage | None:
    """A page of a search that is kept; None if it is damaged."""
    listed, after = record.get("found"), record.get("after", "")
    found = [record_as(FoundPhoto, one) for one in listed] if isinstance(listed, list) else [None]
    if None in found:
        return None
    if after is not None and not (isinstance(after, dict) and all(isinstance(one, str) for one in after.values())):
        return None
    return ResultPage([one for one in found if one is not None], after)
