"""The one downloader: https only, checked by hash, resumable, limited in size and time, never into a private network.

HTTP itself is the standard library's. What is written here is what no client brings: one that resolves a name, checks
every address and connects to just that one has to be told so in its inner parts, and resuming by hash or version, a
look at the first bytes, and turns at a host are ours with any of them.
"""

import contextlib
import errno
import http.client
import io
import ipaddress
import math
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Literal, Protocol
from urllib.parse import quote, urljoin, urlsplit

from gramgan import __version__
from gramgan.errors import UserError, WriteFailedError
from gramgan.files import atomic_path
from gramgan.files import digest as digest_of
from gramgan.locks import exclusive
from gramgan.pace import Pace
from gramgan.progress import Progress, silent

USER_AGENT = f"gramgan/{__version__}"

_BLOCK = 1 << 20
_HEAD = 512  # bytes that a file's kind is judged by
_REDIRECTS = 5
_PATH_SAFE = "/%:@!$&'()*+,;=~"
_LONGEST_WAIT = 300.0  # seconds that a server may ask for; beyond that the user had better come back later
_PATIENCE = 30.0  # seconds after which a body must come faster than `_SLOWEST`
_SLOWEST = 1024  # bytes/s
_HUGE = 10**18  # bytes, more than any limit
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True)
class Target:
    """Where one request goes: host name, port, and path with query, all taken from an https address."""

    url: str
    host: str
    port: int
    path: str


@dataclass(frozen=True)
class Answer:
    """What a server answered: status, headers (names in lower case) and the body.

    `read(n)` gives what has come, n bytes at most, and b"" at the body's end; `close()` ends the connection.
    """

    status: int
    headers: Mapping[str, str]
    read: Callable[[int], bytes]
    close: Callable[[], None]


class Transport(Protocol):
    """How requests leave this machine. It resolves and connects; `fetch` alone decides what may be reached."""

    def resolve(self, host: str, port: int) -> Sequence[str]:
        """The IP addresses of `host`, best first. Raises OSError."""
        ...

    def get(self, target: Target, address: str, headers: Mapping[str, str]) -> Answer:
        """Send GET for `target` to exactly this IP address. Raises OSError or http.client.HTTPException."""
        ...


class HttpsTransport:
    """The transport in use: standard-library HTTPS with certificate checks and time limits.

    `timeout`: seconds that the connection may take, and that a server may be silent. `deadline`: seconds that it may
    take for TLS and all headers together, and for one part of the body, however often it sends a byte.

    It connects to the given address and checks the certificate against the host's name, so that a second name lookup
    cannot lead elsewhere. Proxies are not used: behind one, name resolution would be out of our sight.
    """

    def __init__(self, timeout: float = 30.0, deadline: float = 60.0) -> None:
        self._timeout = timeout
        self._deadline = deadline

    def resolve(self, host: str, port: int) -> Sequence[str]:
        """See `Transport.resolve`."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def get(self, target: Target, address: str, headers: Mapping[str, str]) -> Answer:
        """See `Transport.get`."""
        watch = _Watch(self._deadline)
        connection = _PinnedConnection(target.host, target.port, address, self._timeout, watch)

        def close() -> None:
            watch.close()
            connection.close()

        def read(most: int) -> bytes:
            with watch.limit():
                return response.read1(most)

        try:
            with watch.limit():
                connection.request("GET", target.path, headers=dict(headers))
                response = connection.getresponse()
        except BaseException:
            close()
            raise
        names = {key.lower(): value for key, value in response.getheaders()}
        return Answer(response.status, names, read, close)


class _Watch:
    """Ends a connection that takes too long: a time limit on every read does not see one byte now and then."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = math.inf
        self._over = threading.Event()
        self._expired = False

    def begin(self, connection: socket.socket) -> None:
        """Watch this connection from now on."""
        own = connection.dup()  # TLS takes the first one over
        threading.Thread(target=self._run, args=(own,), name="gramgan-fetch", daemon=True).start()

    @contextlib.contextmanager
    def limit(self) -> Iterator[None]:
        """The block has the seconds that were given.

        Raises:
            TimeoutError: it took longer.
        """
        self._until = time.monotonic() + self._seconds
        try:
            yield
        except (OSError, http.client.HTTPException):
            self._check()
            raise
        finally:
            self._until = math.inf
        self._check()

    def close(self) -> None:
        """There is nothing to watch any more."""
        self._over.set()

    def _check(self) -> None:
        if self._expired:
            raise TimeoutError(f"the server takes longer than {self._seconds:.0f} seconds to send the next part")

    def _run(self, connection: socket.socket) -> None:
        with connection:
            while not self._over.wait(min(1.0, self._seconds / 4)):
                if time.monotonic() > self._until:
                    self._expired = True
                    with contextlib.suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)
                    return


class _PinnedConnection(http.client.HTTPSConnection):
    def __init__(self, host: str, port: int, address: str, timeout: float, watch: _Watch) -> None:
        self._tls = ssl.create_default_context()
        super().__init__(host, port, timeout=timeout, context=self._tls)
        self._address = address
        self._watch = watch

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), self.timeout)
        try:
            # What was checked is what has been reached, whatever stands between the two.
            reached = str(plain.getpeername()[0])
            if ipaddress.ip_address(reached) != ipaddress.ip_address(self._address):
                raise OSError(f"the connection to {self._address} went to {reached}")
            self._watch.begin(plain)
            self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise


class UnreachableError(UserError):
    """The server could not be reached or was too busy: trying again later may help."""


class _CannotReachError(Exception):
    """Something between here and the server failed; trying again may help.

    `wait`: seconds that the server asks to wait before that.
    """

    def __init__(self, host: str, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.host = host
        self.wait = wait


Check = Callable[[bytes], None]
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
    progress: Progress | None = None,
    transport: Transport | None = None,
    manners: Manners | None = None,
    check: Check | None = None,
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
        UserError: the address is refused, the server's answer is an error, the file is larger than `size_limit`, or its
            hash is wrong.
        StoppedError: the manners' pace was stopped.
    """
    if sha256 is not None:
        digest = Digest("sha256", sha256)
    transfer = _Transfer(
        url, size_limit, progress or silent, transport or HttpsTransport(), manners or Manners(), check
    )
    with exclusive(path.with_name(f".{path.name}.lock")):
        if path.is_file() and (digest is None or digest.fits(path)):
            return path
        _Job(transfer, path, digest).run()
    return path


def read(url: str, *, size_limit: int, transport: Transport | None = None, manners: Manners | None = None) -> bytes:
    """The body of a short answer, such as a service's JSON; the checks are those of `fetch`.

    Raises:
        UnreachableError: the host cannot be reached, or is too busy.
        UserError: the address is refused, the server's answer is an error, or it is longer than `size_limit`.
        StoppedError: the manners' pace was stopped.
    """
    body = io.BytesIO()
    transfer = _Transfer(url, size_limit, silent, transport or HttpsTransport(), manners or Manners(), None)
    transfer.run(body, "try again later")
    return body.getvalue()


@dataclass
class _Job:
    transfer: "_Transfer"
    path: Path
    digest: Digest | None

    @property
    def part(self) -> Path:
        return self.path.with_name(self.path.name + ".part")

    @property
    def version(self) -> Path:
        return self.path.with_name(self.path.name + ".version")

    def run(self) -> None:
        fresh = not self.part.exists()
        if not fresh and self.digest is not None and self._complete():
            return
        self._download()
        if self._complete():
            return
        if not fresh:  # the part may have belonged to an older file of that name: once more, from the start
            self.part.unlink()
            self._download()
            if self._complete():
                return
        self.part.unlink()
        assert self.digest is not None  # without one every download is complete
        raise UserError(
            f"{self.transfer.url}: the file that came is not the expected one (its {self.digest.name} does not begin "
            f"with {self.digest.hexadecimal}); try again later, and if it stays so, report it"
        )

    def _complete(self) -> bool:
        """Move the part to its place if its hash is right."""
        if self.digest is not None and not self.digest.fits(self.part):
            return False
        with atomic_path(self.path) as temporary:
            self.part.replace(temporary)
        self.version.unlink(missing_ok=True)
        return True

    def _download(self) -> None:
        with _open_part(self.part) as file:
            if self.digest is None:
                self.transfer.version = self.version.read_text("utf-8") if self.version.exists() else ""
                if not self.transfer.version:  # nobody could tell whether it belongs to what would follow
                    file.truncate(0)
                self.transfer.on_version = self._note
            try:
                self.transfer.run(file, f"download {self.transfer.url} on another machine and put it at {self.path}")
            except OSError as error:
                raise WriteFailedError(f"{self.part}: cannot be written ({error.strerror}); free some space") from None

    def _note(self, version: str) -> None:
        self.version.write_text(version, encoding="utf-8")


@dataclass
class _Transfer:
    """The body of one address, brought into an open file in as many attempts as it takes.

    `version` is what tells whether a file has changed (an ETag or a date); None if its hash is known, which is better.
    """

    url: str
    size_limit: int
    progress: Progress
    transport: Transport
    manners: Manners
    check: Check | None
    version: str | None = None
    on_version: Callable[[str], None] | None = None

    def run(self, file: IO[bytes], otherwise: str) -> None:
        """Bring the body into `file`; `otherwise` says what the user can do if that fails. Raises OSError of disks."""
        failures = 0
        while True:
            before = file.seek(0, os.SEEK_END)
            try:
                self._once(file)
                return
            except (_CannotReachError, OSError, http.client.HTTPException) as error:
                if isinstance(error, OSError) and _is_disk_error(error):
                    raise
                failures = 1 if file.tell() > before else failures + 1
                asked = error.wait if isinstance(error, _CannotReachError) else None
                host = error.host if isinstance(error, _CannotReachError) else _parse(self.url).host
                if failures >= self.manners.attempts or (asked is not None and asked > _LONGEST_WAIT):
                    raise UnreachableError(f"cannot reach {host} ({_one_line(error)}); {otherwise}") from None
            if asked is not None:
                self.manners.pace.hold(host, asked)
            self.manners.pace.wait(max(asked or 0.0, self.manners.pause * 2 ** (failures - 1)))

    def _once(self, file: IO[bytes]) -> None:
        start = file.tell()
        wanted = {"User-Agent": self.manners.agent}
        if start:
            wanted["Range"] = f"bytes={start}-"
            if self.version:
                wanted["If-Range"] = self.version
        with _open(self.url, wanted, self.transport, self.manners.pace) as answer:
            total = self._position(answer, file, start)
            if total is not None and total > self.size_limit:
                self._refuse(file)
            if self.on_version is not None and file.tell() == 0:
                self.version = _version_of(answer)
                self.on_version(self.version)
            done = self._copy(answer, file, total or 0)
        if total is not None and done < total:
            raise _CannotReachError(_parse(self.url).host, "the connection was cut")

    def _copy(self, answer: Answer, file: IO[bytes], total: int) -> int:
        done = file.tell()
        head = b"" if done == 0 and self.check is not None else None  # collected until there is enough to judge
        began, brought = time.monotonic(), 0
        while block := answer.read(_BLOCK):
            if head is not None:
                head += block
                if len(head) >= _HEAD:
                    self._judge(head, file)
                    head = None
            done += len(block)
            brought += len(block)
            if done > self.size_limit:
                self._refuse(file)
            file.write(block)
            self.progress(done, total)
            elapsed = time.monotonic() - began
            if elapsed > _PATIENCE and brought < _SLOWEST * elapsed:
                raise _CannotReachError(_parse(self.url).host, f"slower than {_SLOWEST / 1024:.0f} KiB/s")
        if head and (not total or done >= total):
            self._judge(head, file)
        file.flush()
        return done

    def _judge(self, head: bytes, file: IO[bytes]) -> None:
        assert self.check is not None
        try:
            self.check(head)
        except UserError:
            file.truncate(0)
            raise

    def _position(self, answer: Answer, file: IO[bytes], start: int) -> int | None:
        """Set the part to where the body belongs; return the whole file's size, None where the server does not say."""
        if answer.status == http.HTTPStatus.PARTIAL_CONTENT:
            found = re.fullmatch(
                r"bytes ([0-9]+)-([0-9]+)/([0-9]+|\*)", answer.headers.get("content-range", "").strip()
            )
            if found and _number(found[1]) == start > 0:
                return _number(found[2]) + 1 if found[3] == "*" else _number(found[3])
        if answer.status == http.HTTPStatus.OK:
            file.truncate(0)
            file.seek(0)
            length = answer.headers.get("content-length", "").strip()
            return _number(length) if re.fullmatch(r"[0-9]+", length) else None
        # 416 or a range that nobody asked for: what is there does not fit to what the server has.
        file.truncate(0)
        file.seek(0)
        raise _CannotReachError(_parse(self.url).host, "the server did not continue the download correctly")

    def _refuse(self, file: IO[bytes]) -> None:
        file.truncate(0)
        raise UserError(f"{self.url}: larger than the limit of {self.size_limit:,} bytes; it was not downloaded")


def _number(digits: str) -> int:
    """A number of bytes; what no file can have counts as more than any limit, and is not worked out."""
    significant = digits.lstrip("0") or "0"
    return int(significant) if len(significant) <= len(str(_HUGE)) else _HUGE


def _version_of(answer: Answer) -> str:
    """What a later request can ask the server to compare with: a strong ETag, or a date; empty if there is neither."""
    tag = answer.headers.get("etag", "")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("last-modified", "")


@contextlib.contextmanager
def _open(url: str, headers: Mapping[str, str], transport: Transport, pace: Pace) -> Iterator[Answer]:
    """Follow redirects to a 2xx answer or 416; every hop is checked, and waits for its turn, like the first."""
    headers = {"Accept-Encoding": "identity", **headers}
    for _ in range(_REDIRECTS + 1):
        target = _parse(url)
        with (
            pace.turn(target.host),
            contextlib.closing(_connect(target, _public_addresses(target, transport), headers, transport)) as answer,
        ):
            if answer.status in (301, 302, 303, 307, 308):
                url = _redirected(url, answer.headers.get("location", ""))
                continue
            if answer.status >= 500 or answer.status == http.HTTPStatus.TOO_MANY_REQUESTS:
                raise _CannotReachError(
                    target.host, f"the server answered {_status(answer.status)}", retry_after(answer.headers)
                )
            if answer.status not in (200, 206, 416):
                raise UserError(f"{url}: the server answered {_status(answer.status)}; check the address")
            yield answer
            return
    raise UserError(f"{url}: redirected more than {_REDIRECTS} times; the address is not usable")


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
        when = parsedate_to_datetime(said)
        stamp = when.timestamp()
    except (ValueError, OverflowError, TypeError):  # a date that is none, or that no clock shows
        return None
    return max(0.0, stamp - (time.time() if now is None else now))


def _connect(target: Target, addresses: Sequence[str], headers: Mapping[str, str], transport: Transport) -> Answer:
    """The answer of the first address that takes the connection."""
    reason = "the name has no address"
    for address in addresses:
        try:
            return transport.get(target, address, headers)
        except (OSError, http.client.HTTPException) as error:
            reason = _one_line(error)
    raise _CannotReachError(target.host, reason)


def _public_addresses(target: Target, transport: Transport) -> Sequence[str]:
    try:
        addresses = transport.resolve(target.host, target.port)
    except (OSError, UnicodeError) as error:
        raise _CannotReachError(target.host, _one_line(error)) from None
    for address in addresses:
        if not is_public(address):
            raise UserError(f"{target.url}: leads to {address}, which is not a public address; it was not requested")
    return addresses


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet: not private, loopback, link-local, multicast or reserved.

    IPv6 addresses that carry an IPv4 one inside (mapped, 6to4, NAT64) count as what they carry.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv4Address):
        return ip.is_global and not ip.is_multicast
    inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else ip.ipv4_mapped or ip.sixtofour
    if inner is not None:
        return is_public(str(inner))
    return ip in _GLOBAL_UNICAST and ip.is_global


def _parse(url: str) -> Target:
    if not url.isprintable():  # nor does a terminal get to see it as it is
        raise UserError(f"{url!a}: not a valid address")
    try:
        parts = urlsplit(url)
        port = parts.port or 443
    except ValueError:
        raise UserError(f"{url}: not a valid address") from None
    if parts.scheme != "https":
        raise UserError(f"{url}: only https addresses are fetched")
    if not parts.hostname or parts.username is not None:
        raise UserError(f"{url}: needs a host name, and no user name in it")
    path = quote(parts.path or "/", safe=_PATH_SAFE)
    if parts.query:
        path += "?" + quote(parts.query, safe=_PATH_SAFE + "?|")
    return Target(url, parts.hostname, port, path)


def _open_part(path: Path) -> IO[bytes]:
    file = path.open("r+b") if path.exists() else path.open("w+b")
    file.seek(0, os.SEEK_END)
    return file


def _is_disk_error(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)


def _status(code: int) -> str:
    try:
        return f"{code} {http.HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)


def _one_line(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    shown = "".join(letter if letter.isprintable() else " " for letter in str(text))  # servers have their say in it
    return " ".join(shown.split())[:300] or type(error).__name__
