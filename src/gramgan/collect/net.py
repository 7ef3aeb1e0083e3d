"""Filling a folder with photographs from the net: searched for, listed by address, or out of a data set's archive.

Downloads run side by side; what becomes of each is decided one after the other, in the order in which they were found,
so that a run that was killed and taken up again ends with the same files and lists as one that was not.
"""

import contextlib
import hashlib
import itertools
import logging
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from gramgan.collect.collection import Collected, Collection, usable
from gramgan.collect.examine import Examined, examine
from gramgan.collect.found import FoundPhoto, original_of
from gramgan.collect.gather import MIN_PHOTO_SIZE
from gramgan.collect.journal import Journal, search_service
from gramgan.collect.manifest import TOLD, LeftOutFile, ManifestEntry, Side
from gramgan.collect.services import SERVICES
from gramgan.collect.services.base import Query, Service, asker
from gramgan.errors import UserError, WriteFailedError
from gramgan.fetch import USER_AGENT, Digest, Manners, Transport, UnreachableError, fetch
from gramgan.images.fingerprint import Lookalikes
from gramgan.images.formats import recognise
from gramgan.locks import exclusive
from gramgan.pace import Pace
from gramgan.progress import Progress, silent

_log = logging.getLogger(__name__)

SIZE_LIMIT = 256 << 20
"""Bytes of one photograph's file."""

LIMIT = 100
"""Photographs that a run brings unless it is told otherwise."""

WORKERS = 4
"""Downloads at the same time, two of them at most from one host."""

_INTERVAL = 0.5  # seconds between two requests to a host that serves files
_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WebP": ".webp", "TIFF": ".tif", "AVIF": ".avif"}
_NAME = 20  # hexadecimal digits of the SHA-256 that a file is named by
_SHRUNK = 0.9  # of the announced pixels: fewer are a rendition
_TOO_SMALL = re.compile(r"too small: (\d+)x(\d+),")
_UNSETTLED = ("unreachable:", "licence:", "format:")  # may be otherwise the next time


@dataclass(frozen=True)
class PhotoOffer:
    """A photograph that may be taken: its known data, and `bring(path)`, which writes its file there.

    `split`: the side it belongs to by its own rules.
    """

    found: FoundPhoto
    bring: Callable[[Path], None]
    split: Side | None = None


def polite(contact: str = "") -> Manners:
    """Manners for many downloads: one `Pace` for all, slower for the services' own interfaces.

    `contact` goes into the User-Agent, as Wikimedia's policy asks: a mail address or a page of whoever runs this.

    Raises:
        UserError: `contact` cannot stand in a header.
    """
    if not (contact.isascii() and contact.isprintable()):
        raise UserError("--contact: a mail address or the address of a page, in ASCII")
    pace = Pace(_INTERVAL, by_host={service.host: service.interval for service in SERVICES.values()})
    who = f"{contact}; " if contact else ""
    return Manners(
        attempts=4, pace=pace, agent=f"{USER_AGENT} ({who}collects photographs to train super-resolution on)"
    )


def collect_found(
    output: Path,
    searches: Sequence[tuple[Service, Query]] = (),
    listed: Sequence[FoundPhoto] = (),
    *,
    manners: Manners,
    limit: int = LIMIT,
    min_size: int = MIN_PHOTO_SIZE,
    size_limit: int = SIZE_LIMIT,
    workers: int = WORKERS,
    transport: Transport | None = None,
    progress: Progress = silent,
) -> Collected:
    """Download photographs that services find, and those that are listed by address, into `output`.

    Several searches take turns. A run ends when `limit` of what it found is in the folder, and takes up what a killed
    one has left. Each file is decoded to the last pixel before it is kept, and named by its content. Near-duplicates
    (`gramgan.images.fingerprint`), renditions, licences that are not accepted, small pictures and whatever is no
    photograph are left out and listed in `left-out.csv`.

    Raises:
        UserError: no service can be reached, nothing at all was collected, `output` is not writable, or it holds lists
            of another program.
    """

    def brought(found: FoundPhoto) -> PhotoOffer:
        def bring(path: Path) -> None:
            digest = Digest("sha1", found.sha1) if re.fullmatch(r"[0-9a-f]{40}", found.sha1) else None
            fetch(
                found.url,
                path,
                size_limit=size_limit,
                digest=digest,
                progress=lambda done, total: manners.pace.wait(0),  # a place to stop at
                transport=transport,
                manners=manners,
                check=_refuse_other_kinds,
            )

        return PhotoOffer(found, bring)

    with _Run(output, min_size, manners.pace.stop) as run:
        streams = [
            _Search(service, search_service(service, query, asker(service, transport, manners), run.journal.folder))
            for service, query in searches
        ]
        everything = itertools.chain(listed, _in_turns(streams))
        run.take((brought(found) for found in _originals(everything, run)), limit, workers, progress)
        failures = [stream.failure for stream in streams if stream.failure is not None]
        if failures and not run.collection.entries:
            raise failures[0]
        return run.write()


def collect_candidates(
    output: Path,
    candidates: Iterable[PhotoOffer],
    *,
    limit: int,
    min_size: int = MIN_PHOTO_SIZE,
    progress: Progress = silent,
) -> Collected:
    """The same for photographs that are brought in another way, such as out of an archive.

    Raises:
        UserError: see `collect_found`.
    """
    with _Run(output, min_size, lambda: None) as run:
        run.take(candidates, limit, 2, progress)
        return run.write()


class _Run:
    """One run over one folder: a context manager that holds the folder against a second run."""

    def __init__(self, output: Path, min_size: int, stop: Callable[[], None]) -> None:
        self._output = output
        self._min_size = min_size
        self._stop = stop
        self._left_out: dict[str, LeftOutFile] = {}
        self._considered: dict[str, None] = {}
        self._new = 0

    def __enter__(self) -> "_Run":
        with contextlib.ExitStack() as stack:
            self.journal = Journal(usable(self._output))
            stack.enter_context(exclusive(self.journal.folder / "lock"))
            self.collection = Collection(self._output)
            self._resume()
            self._lookalikes: Lookalikes = self.collection.lookalikes()
            self._by_source = {entry.source: entry for entry in self.collection.entries}
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _resume(self) -> None:
        """Take over what a killed run has decided. Its photographs are new: no side has been chosen for them yet."""
        entries, left_out = self.journal.read()
        there = {entry.source for entry in self.collection.entries}
        for entry in entries:
            if entry.source not in there and (self.collection.folder / entry.file).is_file():
                self.collection.entries.append(entry)
                self._new += 1
        self._left_out = {one.file: one for one in [*self.collection.left_out, *left_out]}

    def leave_out(self, url: str, reason: str) -> None:
        self._considered[url] = None
        self._left_out[url] = LeftOutFile(url, reason)

    def take(self, candidates: Iterable[PhotoOffer], limit: int, workers: int, progress: Progress) -> None:
        """Get and judge candidates until there are `limit`. Ctrl-C writes the lists of those that are there by then."""
        taken = 0
        waiting: deque[tuple[PhotoOffer, Future[Examined] | None]] = deque()
        source = iter(candidates)
        progress(0, limit)
        pool = ThreadPoolExecutor(workers, "gramgan-collect")
        try:
            while taken < limit:
                while len(waiting) < min(2 * workers, limit - taken):
                    candidate = next(source, None)
                    if candidate is None:
                        break
                    self._considered[candidate.found.url] = None
                    there = self._by_source.get(candidate.found.url)
                    if there is not None:
                        self._pin(candidate, there)  # a killed run has not written its side
                        waiting.append((candidate, None))
                    elif not self._is_settled(candidate.found):
                        waiting.append((candidate, pool.submit(self._bring, candidate)))
                if not waiting:
                    break
                candidate, future = waiting.popleft()
                taken += future is None or self._decide(candidate, future)
                progress(taken, limit)
        except KeyboardInterrupt:
            self._stop()
            if self.collection.entries:
                self.write(is_complete=False)
            raise
        except BaseException:
            self._stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def write(self, *, is_complete: bool = True) -> Collected:
        """Write the lists. Downloads that were begun are kept if they may still be wanted."""
        left_out = [one for url, one in self._left_out.items() if url in self._considered]
        earlier = [one for url, one in self._left_out.items() if url not in self._considered]
        known = self._left_out | self._considered
        collected = self.collection.write([*left_out, *earlier], known, self._new)
        to_continue = any(one.reason.startswith("unreachable:") for one in left_out)
        self.journal.finish(keep_downloads=to_continue or not is_complete)
        return replace(collected, left_out=left_out)

    def _is_settled(self, found: FoundPhoto) -> bool:
        """Whether it was left out for good, or has to be now by what is known of it; then there is no request."""
        if found.refused:
            self.leave_out(found.url, found.refused)
            return True
        if found.width and found.height and min(found.width, found.height) < self._min_size:
            self.leave_out(found.url, f"too small: {found.width}x{found.height}, less than {self._min_size} pixels")
            return True
        before = self._left_out.get(found.url)
        if before is None or before.reason.startswith(_UNSETTLED):
            return False
        small = _TOO_SMALL.match(before.reason)
        return small is None or min(int(small[1]), int(small[2])) < self._min_size

    def _incoming(self, found: FoundPhoto) -> Path:
        return self.journal.incoming / hashlib.sha256(found.url.encode()).hexdigest()[:32]

    def _bring(self, candidate: PhotoOffer) -> Examined:
        path = self._incoming(candidate.found)
        candidate.bring(path)
        return examine(path, min_size=self._min_size)

    def _decide(self, candidate: PhotoOffer, future: "Future[Examined]") -> bool:
        """Keep what came or leave it out; whether it was kept."""
        found, path = candidate.found, self._incoming(candidate.found)
        try:
            seen = future.result()
            reason = self._objection(found, seen)
        except UnreachableError as error:
            # Not noted: it may be there the next time. What came of it stays, to be continued.
            self.leave_out(found.url, f"unreachable: {_short(error, found, path)}")
            return False
        except WriteFailedError:
            raise
        except UserError as error:
            kind = "unreadable" if path.exists() else "refused"
            reason = f"{kind}: {_short(error, found, path)}"
            seen = None
        if reason or seen is None:
            self.leave_out(found.url, reason)
            self.journal.add(self._left_out[found.url])
            path.unlink(missing_ok=True)
            return False
        self._keep(candidate, seen, path)
        return True

    def _objection(self, found: FoundPhoto, seen: Examined) -> str:
        size = f"{seen.width}x{seen.height}"
        if min(seen.width, seen.height) < self._min_size:
            return f"too small: {size}, less than {self._min_size} pixels"
        if seen.width * seen.height < _SHRUNK * found.width * found.height:
            return f"rendition: {size} came where {found.width}x{found.height} was announced"
        if seen.format not in _SUFFIXES or seen.pages > 1:
            return f"unwanted: {seen.format} with {seen.pages} images" if seen.pages > 1 else f"unwanted: {seen.format}"
        twin = self.collection.twin(seen.pixels_sha256)
        if twin is not None:
            return f"duplicate: the same pixels as {twin.file}"
        near = self._lookalikes.nearest(seen.fingerprint)
        return f"duplicate: looks like {near[0]} ({near[1]} of 255 bits differ)" if near else ""

    def _keep(self, candidate: PhotoOffer, seen: Examined, path: Path) -> None:
        found = candidate.found
        name = seen.sha256[:_NAME] + _SUFFIXES[seen.format]
        entry = ManifestEntry(
            file=name,
            width=seen.width,
            height=seen.height,
            sha256=seen.sha256,
            pixels_sha256=seen.pixels_sha256,
            source=found.url,
            fingerprint=seen.fingerprint,
            group=Path(name).stem,
            split="train",  # until all groups are known
            **{name: getattr(found, name) for name in TOLD if name not in ("group", "split")},
        )
        self.journal.add(entry)
        path.replace(self.collection.folder / name)
        self.collection.entries.append(entry)
        self._lookalikes.add(name, [seen.fingerprint])
        self._by_source[found.url] = entry
        self._left_out.pop(found.url, None)
        self._new += 1
        self._pin(candidate, entry)

    def _pin(self, candidate: PhotoOffer, entry: ManifestEntry) -> None:
        if candidate.split is not None:
            self.collection.pin(entry.group, candidate.split)


class _Search:
    """What a search finds; if it fails it ends, and says so."""

    def __init__(self, service: Service, found: Iterator[FoundPhoto]) -> None:
        self._service = service
        self._found = found
        self.failure: UserError | None = None

    def __iter__(self) -> Iterator[FoundPhoto]:
        try:
            yield from self._found
        except UserError as error:
            self.failure = error
            _log.warning("%s: the search ends here: %s", self._service.title, error)


def _in_turns(streams: Sequence[Iterable[FoundPhoto]]) -> Iterator[FoundPhoto]:
    """One of each in turn, until all are at their end."""
    running = deque(iter(stream) for stream in streams)
    while running:
        stream = running.popleft()
        one = next(stream, None)
        if one is not None:
            running.append(stream)
            yield one


def _originals(everything: Iterable[FoundPhoto], run: _Run) -> Iterator[FoundPhoto]:
    """Each with the address of its original file, and none twice."""
    seen: set[str] = set()
    for found in everything:
        if not (found.url and found.url.isprintable()):
            continue  # a record without a file
        url = original_of(found.url)
        if url is None:
            run.leave_out(found.url, "rendition: the address is of a smaller copy, and does not tell the original's")
        elif url not in seen:
            seen.add(url)
            yield replace(found, url=url)


def _refuse_other_kinds(head: bytes) -> None:
    if head.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        raise UserError("an HTML page came instead of an image")
    kind = recognise(Path("it"), head).name
    if kind not in _SUFFIXES:
        raise UserError(f"{kind} is no kind of photograph")


def _short(error: UserError, found: FoundPhoto, path: Path) -> str:
    """The error without the file's names, without what to do about it, and without libvips' account of a damaged file.

    libvips has one place for what it says of errors, so that it may be of another file that failed at the same time.
    """
    text = str(error)
    for name in (str(path), found.url, "it"):
        text = text.removeprefix(f"{name}: ")
    text = "".join(character if character.isprintable() else "?" for character in text.partition("; ")[0])
    return text.partition(" (")[0] if text.startswith("damaged ") else text
