"""The one downloader: https only, checked by hash, resumable, limited in size and time, never into a private network.

Resuming across runs by hash or version, a look at the first bytes before the rest is taken, and turns at a host are
in no HTTP library; the redirects are followed here because each needs the checks and the turn of the first address.
"""

import contextlib
import http.client
import io
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Literal
from urllib.parse import urljoin

from gramgan import __version__
from gramgan.errors import UserError
from gramgan.files import atomic_path, write_error
from gramgan.files import digest as digest_of
from gramgan.locks import exclusive
from gramgan.pace import Pace
from gramgan.progress import Progress, silent
from gramgan.transport import Answer, HttpsTransport, Target, Transport, is_public, parse

USER_AGENT = f"gramgan/{__version__}"

_BLOCK = 1 << 20
_HEAD = 512  # bytes that a file's kind is judged by
_REDIRECTS = 5
_LONGEST_WAIT = 300.0  # seconds that a server may ask for; beyond that the user had better come back later
_PATIENCE = 30.0  # seconds after which a body must come faster than `_SLOWEST`
_SLOWEST = 1024  # bytes/s


class UnreachableError(UserError):
    """The server could not be reached or was too busy: trying again later may help."""


class _CannotReachError(Exception):
    """Something between here and the server failed; trying again may help.

    `wait`: seconds that the server asks to wait before that.
    """

    def __init__(self, host: str, reason: str | Exception, wait: float | None = None) -> None:
        super().__init__(reason if isinstance(reason, str) else _one_line(reason))
        self.host = host
        self.wait = wait


CheckHead = Callable[[bytes], None]
"""Looks at a file's first bytes and raises `UserError` if it is not of the wanted kind."""


@dataclass(frozen=True)
class Digest:
    """A file's published hash: algorithm of `hashlib`, and at least 8 hexadecimal digits in lower case."""

    algorithm: Literal["md5", "sha1", "sha256"]
    hexadecimal: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{8,64}", self.hexadecimal):
            raise ValueError(
                f"{self.algorithm} must be 8 to 64 hexadecimal digits in lower case, not {self.hexadecimal!r}"
            )

    @property
    def name(self) -> str:
        """As it is written in a sentence."""
        return {"md5": "MD5", "sha1": "SHA-1", "sha256": "SHA-256"}[self.algorithm]

    def fits(self, path: Path) -> bool:
        """Whether it is the hash of this file."""
        return digest_of(path, self.algorithm).startswith(self.hexadecimal)


@dataclass(frozen=True)
class Manners:
    """How a client behaves.

    `pause`: seconds before the second attempt after a failure, doubled each time; a longer time that the server asks
    for is kept. `attempts`: so many failures in a row, without a byte in between, are the end. `pace`: when requests
    may begin; shared by those who fetch at the same time. `agent`: who is asking.
    """

    pause: float = 1.0
    attempts: int = 3
    pace: Pace = field(default_factory=Pace)
    agent: str = USER_AGENT


def fetch(
    url: str,
    path: Path,
    *,
    size_limit: int,
    sha256: str | None = None,
    digest: Digest | None = None,
    progress: Progress = silent,
    transport: Transport | None = None,
    manners: Manners | None = None,
    check: CheckHead | None = None,
) -> Path:
    """Download `url` to `path` and return `path`; nothing is sent if the right file is there already.

    The file appears under its name only when it is complete and its hash, where one is given, is right. What an
    interrupted download left in `NAME.part` is continued with a range request, and started again where the server does
    not answer that request exactly. Without a hash it is continued only if the server says that the file is still the
    same (`NAME.version` keeps what it said). Several processes may ask for the same file: one downloads, the others
    wait.

    Args:
        url: an https address. Every host on the way, also after a redirect, must resolve to public addresses.
        path: where the file is to be.
        size_limit: bytes; a larger file is refused.
        sha256: the file's SHA-256 in hexadecimal, or its first 8 digits or more where only those were published.
        digest: a hash of another kind, where that is what was published.
        progress: called with (bytes so far, bytes in all; 0 while that is not known).
        transport: how to reach the server; by default `HttpsTransport()`.
        manners: patience and politeness; by default those of `Manners()`.
        check: called with the first bytes of the file (at least 512, or all); it raises `UserError` to refuse it.

    Raises:
        UnreachableError: the host cannot be reached, or is too busy.
        UserError: the address is refused, the server's answer is an error, the file is larger than `size_limit`, its
            hash is wrong, or it cannot be written.
        StoppedError: the manners' pace was stopped.
    """
    if sha256 is not None:
        digest = Digest("sha256", sha256)
    part, version = (path.with_name(path.name + suffix) for suffix in (".part", ".version"))
    transfer = _Transfer(url, size_limit, transport or HttpsTransport(), manners or Manners(), progress, check)

    def download() -> None:
        with open(part, "r+b", opener=_open_no_link) as file:
            if digest is None:
                transfer.version = version.read_text("utf-8") if version.exists() else ""
                if not transfer.version:  # nobody could tell whether it belongs to what would follow
                    file.truncate(0)
                transfer.on_version = lambda text: version.write_text(text, encoding="utf-8")
            transfer.run(file, f"download {url} on another machine and put it at {path}")

    def is_right(file: Path) -> bool:
        return file.is_file() and (digest is None or digest.fits(file))

    with exclusive(path.with_name(f".{path.name}.lock")):
        if is_right(path):
            return path
        fresh = not part.exists()
        try:
            if digest is None or not is_right(part):
                download()
            if not is_right(part) and not fresh:  # it may have belonged to an older file of that name
                part.unlink()
                download()
            if digest is not None and not is_right(part):
                part.unlink()
                raise UserError(
                    f"{url}: the file that came is not the expected one (its {digest.name} does not begin with "
                    f"{digest.hexadecimal}); try again later, and if it stays so, report it"
                )
        except OSError as error:
            raise write_error(part, error) from None
        with atomic_path(path) as temporary:
            part.replace(temporary)
        version.unlink(missing_ok=True)
    return path


def read(url: str, *, size_limit: int, transport: Transport | None = None, manners: Manners | None = None) -> bytes:
    """The body of a short answer, such as a service's JSON; the checks are those of `fetch`.

    Raises:
        UnreachableError: the host cannot be reached, or is too busy.
        UserError: the address is refused, the server's answer is an error, or it is longer than `size_limit`.
        StoppedError: the manners' pace was stopped.
    """
    body = io.BytesIO()
    _Transfer(url, size_limit, transport or HttpsTransport(), manners or Manners()).run(body, "try again later")
    return body.getvalue()


@dataclass
class _Transfer:
    """The body of one address, brought into an open file in as many attempts as it takes.

    `version` is what tells whether a file has changed (an ETag or a date); None if its hash is known, which is better.
    OSErrors are those of the file; the network's become `_CannotReachError`.
    """

    url: str
    size_limit: int
    transport: Transport
    manners: Manners
    progress: Progress = silent
    check: CheckHead | None = None
    version: str | None = None
    on_version: Callable[[str], object] | None = None

    def run(self, file: IO[bytes], otherwise: str) -> None:
        """Bring the body into `file`; `otherwise` says what the user can do if that fails."""
        failures = 0
        while True:
            before = file.seek(0, os.SEEK_END)
            try:
                self._once(file)
                return
            except _CannotReachError as error:
                failures = 1 if file.tell() > before else failures + 1
                asked = error.wait or 0.0
                if failures >= self.manners.attempts or asked > _LONGEST_WAIT:
                    raise UnreachableError(f"cannot reach {error.host} ({error}); {otherwise}") from None
                self.manners.pace.hold(error.host, asked)
            self.manners.pace.wait(max(asked, self.manners.pause * 2 ** (failures - 1)))

    def _once(self, file: IO[bytes]) -> None:
        start = file.tell()
        wanted = {"User-Agent": self.manners.agent, "Accept-Encoding": "identity"}
        if start:
            wanted["Range"] = f"bytes={start}-"
            if self.version:
                wanted["If-Range"] = self.version
        with self._open(wanted) as (host, answer):
            total = self._position(answer, host, file, start)
            if total > self.size_limit:
                self._refuse(file)
            if self.on_version is not None and file.tell() == 0:
                self.version = _version_of(answer)
                self.on_version(self.version)
            self._copy(answer, host, file, total)

    @contextlib.contextmanager
    def _open(self, headers: Mapping[str, str]) -> Iterator[tuple[str, Answer]]:
        """Follow redirects to an answer 200, 206 or 416, and yield its host too.

        Every hop is checked, and waits for its turn, like the first.
        """
        url = self.url
        for _ in range(_REDIRECTS + 1):
            target = parse(url)
            with self.manners.pace.turn(target.host), contextlib.closing(self._connect(target, headers)) as answer:
                status = answer.status
                if status in (301, 302, 303, 307, 308):
                    url = _redirected(url, answer.headers.get("location", ""))
                    continue
                if status >= 500 or status == http.HTTPStatus.TOO_MANY_REQUESTS:
                    wait = retry_after(answer.headers)
                    raise _CannotReachError(target.host, f"the server answered {_status(status)}", wait)
                if status not in (200, 206, 416):
                    raise UserError(f"{url}: the server answered {_status(status)}; check the address")
                yield target.host, answer
                return
        raise UserError(f"{url}: redirected more than {_REDIRECTS} times; the address is not usable")

    def _connect(self, target: Target, headers: Mapping[str, str]) -> Answer:
        """The answer of the first address that takes the connection; all must be public."""
        failure: str | Exception = "the name has no address"
        try:
            addresses = self.transport.resolve(target.host, target.port)
        except (OSError, UnicodeError) as error:
            raise _CannotReachError(target.host, error) from None
        for address in addresses:
            if not is_public(address):
                raise UserError(
                    f"{target.url}: leads to {address}, which is not a public address; it was not requested"
                )
        for address in addresses:
            try:
                return self.transport.get(target, address, headers)
            except (OSError, http.client.HTTPException) as error:
                failure = error
        raise _CannotReachError(target.host, failure)

    def _position(self, answer: Answer, host: str, file: IO[bytes], start: int) -> int:
        """Set the part to where the body belongs; return the whole file's size, 0 where the server does not say."""
        if answer.status == http.HTTPStatus.PARTIAL_CONTENT:
            said = answer.headers.get("content-range", "").strip()
            found = re.fullmatch(r"bytes ([0-9]+)-([0-9]+)/([0-9]+|\*)", said)
            if found and _number(found[1]) == start > 0:
                return _number(found[2]) + 1 if found[3] == "*" else _number(found[3])
        file.truncate(0)
        file.seek(0)
        if answer.status == http.HTTPStatus.OK:
            return _number(answer.headers.get("content-length", "").strip())
        # 416 or a range that nobody asked for: what is there does not fit to what the server has.
        raise _CannotReachError(host, "the server did not continue the download correctly")

    def _copy(self, answer: Answer, host: str, file: IO[bytes], total: int) -> None:
        done = start = file.tell()
        head = b"" if done == 0 and self.check is not None else None  # collected until there is enough to judge
        began = time.monotonic()
        while block := _part_of(answer, host):
            if head is not None:
                head += block
                if len(head) >= _HEAD:
                    self._judge(head, file)
                    head = None
            done += len(block)
            if done > self.size_limit:
                self._refuse(file)
            file.write(block)
            self.progress(done, total)
            elapsed = time.monotonic() - began
            if elapsed > _PATIENCE and done - start < _SLOWEST * elapsed:
                raise _CannotReachError(host, f"slower than {_SLOWEST / 1024:.0f} KiB/s")
        file.flush()
        if done < total:
            raise _CannotReachError(host, "the connection was cut")
        if head:
            self._judge(head, file)

    def _judge(self, head: bytes, file: IO[bytes]) -> None:
        assert self.check is not None
        try:
            self.check(head)
        except UserError:
            file.truncate(0)
            raise

    def _refuse(self, file: IO[bytes]) -> None:
        file.truncate(0)
        raise UserError(f"{self.url}: larger than the limit of {self.size_limit:,} bytes; it was not downloaded")


def _part_of(answer: Answer, host: str) -> bytes:
    try:
        return answer.read(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _CannotReachError(host, error) from None


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _number(digits: str) -> int:
    """A number of bytes, 0 if it is none; one longer than any file's is not worked out."""
    if not re.fullmatch("[0-9]+", digits):
        return 0
    return int(digits) if len(digits) <= 18 else 10**18


def _version_of(answer: Answer) -> str:
    """What a later request can ask the server to compare with: a strong ETag, or a date; empty if there is neither."""
    tag = answer.headers.get("etag", "")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("last-modified", "")


def _redirected(url: str, location: str) -> str:
    # http.client takes headers for Latin-1; addresses that are not ASCII are sent as UTF-8 nevertheless.
    with contextlib.suppress(UnicodeError):
        location = location.encode("latin-1").decode("utf-8")
    try:
        return urljoin(url, location)
    except ValueError:
        raise UserError(f"{url}: redirects to {location}, which is not a valid address") from None


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """The seconds that a server asks to wait (Retry-After: a number or a date, RFC 9110); None if it does not say.

    `now` is the time of day as `time.time()` gives it.
    """
    said = headers.get("retry-after", "").strip()
    if said.isdecimal():
        return float(said)
    try:
        stamp = parsedate_to_datetime(said).timestamp()
    except (ValueError, OverflowError, TypeError):  # a date that is none, or that no clock shows
        return None
    return max(0.0, stamp - (time.time() if now is None else now))


def _status(code: int) -> str:
    try:
        return f"{code} {http.HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)


def _one_line(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    shown = "".join(letter if letter.isprintable() else " " for letter in str(text))  # servers have their say in it
    return " ".join(shown.split())[:300] or type(error).__name__
