"""The one downloader: https only, pinned by SHA-256, resumable, limited in size, and never into a private network."""

import contextlib
import errno
import http.client
import ipaddress
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import quote, urljoin, urlsplit

from gramgan import __version__
from gramgan.errors import UserError
from gramgan.files import atomic_path
from gramgan.files import sha256 as sha256_of
from gramgan.locks import exclusive
from gramgan.progress import Progress, silent

_BLOCK = 1 << 20
_REDIRECTS = 5
_ATTEMPTS = 3
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

    `read(n)` gives b"" at the body's end; `close()` ends the connection.
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
    """The transport in use: standard-library HTTPS with certificate checks and a time limit on every read.

    It connects to the given address and checks the certificate against the host's name, so that a second name lookup
    cannot lead elsewhere. Proxies are not used: behind one, name resolution would be out of our sight.
    """

    def __init__(self, timeout: float = 30.0) -> None:
        self._timeout = timeout

    def resolve(self, host: str, port: int) -> Sequence[str]:
        """See `Transport.resolve`."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def get(self, target: Target, address: str, headers: Mapping[str, str]) -> Answer:
        """See `Transport.get`."""
        connection = _PinnedConnection(target.host, target.port, address, self._timeout)
        try:
            connection.request("GET", target.path, headers=dict(headers))
            response = connection.getresponse()
        except BaseException:
            connection.close()
            raise
        names = {key.lower(): value for key, value in response.getheaders()}
        return Answer(response.status, names, response.read, connection.close)


class _PinnedConnection(http.client.HTTPSConnection):
    def __init__(self, host: str, port: int, address: str, timeout: float) -> None:
        self._tls = ssl.create_default_context()
        super().__init__(host, port, timeout=timeout, context=self._tls)
        self._address = address

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), self.timeout)
        try:
            self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise


class _CannotReachError(Exception):
    """Something between here and the server failed; trying again may help."""

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(reason)
        self.host = host


def fetch(
    url: str,
    path: Path,
    *,
    sha256: str,
    size_limit: int,
    progress: Progress | None = None,
    transport: Transport | None = None,
    pause: float = 1.0,
) -> Path:
    """Download `url` to `path` and return `path`; nothing is sent if the right file is there already.

    The file appears under its name only when it is complete and its hash is right. What an interrupted download left in
    `NAME.part` is continued with a range request, and started again where the server does not answer that request
    exactly. Several processes may ask for the same file: one downloads, the others wait.

    Args:
        url: an https address. Every host on the way, also after a redirect, must resolve to public addresses.
        path: where the file is to be.
        sha256: the file's SHA-256 in hexadecimal, or its first 8 digits or more where only those were published.
        size_limit: bytes; a larger file is refused.
        progress: called with (bytes so far, bytes in all; 0 while that is not known).
        transport: how to reach the server; by default `HttpsTransport()`.
        pause: seconds before the second attempt after a lost connection, doubled each time.

    Raises:
        UserError: the address is refused, the host cannot be reached, the server's answer is an error, the file is
            larger than `size_limit`, or its hash is wrong.
    """
    if not re.fullmatch(r"[0-9a-f]{8,64}", sha256):
        raise ValueError(f"sha256 must be 8 to 64 hexadecimal digits in lower case, not {sha256!r}")
    job = _Job(url, path, sha256, size_limit, progress or silent, transport or HttpsTransport())
    with exclusive(path.with_name(f".{path.name}.lock")):
        if path.is_file() and sha256_of(path).startswith(sha256):
            return path
        job.run(pause)
    return path


@dataclass
class _Job:
    url: str
    path: Path
    sha256: str
    size_limit: int
    progress: Progress
    transport: Transport

    @property
    def part(self) -> Path:
        return self.path.with_name(self.path.name + ".part")

    def run(self, pause: float) -> None:
        fresh = not self.part.exists()
        if not fresh and self._complete():
            return
        self._download(pause)
        if self._complete():
            return
        self.part.unlink()
        if not fresh:  # the part may have belonged to an older file of that name: once more, from the start
            self._download(pause)
            if self._complete():
                return
            self.part.unlink()
        raise UserError(
            f"{self.url}: the file that came is not the expected one (its SHA-256 does not begin with {self.sha256}); "
            "try again later, and if it stays so, report it"
        )

    def _complete(self) -> bool:
        """Move the part to its place if its hash is right."""
        if not sha256_of(self.part).startswith(self.sha256):
            return False
        with atomic_path(self.path) as temporary:
            self.part.replace(temporary)
        return True

    def _download(self, pause: float) -> None:
        failures = 0
        with _open_part(self.part) as file:
            while True:
                before = file.seek(0, os.SEEK_END)
                try:
                    self._once(file)
                    return
                except (_CannotReachError, OSError, http.client.HTTPException) as error:
                    if isinstance(error, OSError) and _is_disk_error(error):
                        raise UserError(f"{self.part}: cannot be written ({error.strerror}); free some space") from None
                    failures = 1 if file.tell() > before else failures + 1
                    if failures >= _ATTEMPTS:
                        raise self._offline(error) from None
                time.sleep(pause * 2 ** (failures - 1))

    def _once(self, file: IO[bytes]) -> None:
        start = file.tell()
        ranged = {"Range": f"bytes={start}-"} if start else {}
        with _open(self.url, ranged, self.transport) as answer:
            total = self._position(answer, file, start)
            if total is not None and total > self.size_limit:
                self._refuse_size(file)
            done = file.tell()
            while block := answer.read(_BLOCK):
                done += len(block)
                if done > self.size_limit:
                    self._refuse_size(file)
                file.write(block)
                self.progress(done, total or 0)
            file.flush()
        if total is not None and done < total:
            raise _CannotReachError(_parse(self.url).host, "the connection was cut")

    def _position(self, answer: Answer, file: IO[bytes], start: int) -> int | None:
        """Set the part to where the body belongs; return the whole file's size, None where the server does not say."""
        if answer.status == http.HTTPStatus.PARTIAL_CONTENT:
            found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", answer.headers.get("content-range", "").strip())
            if found and int(found[1]) == start > 0:
                return int(found[2]) + 1 if found[3] == "*" else int(found[3])
        if answer.status == http.HTTPStatus.OK:
            file.truncate(0)
            file.seek(0)
            length = answer.headers.get("content-length", "")
            return int(length) if length.isdecimal() else None
        # 416 or a range that nobody asked for: what is there does not fit to what the server has.
        file.truncate(0)
        file.seek(0)
        raise _CannotReachError(_parse(self.url).host, "the server did not continue the download correctly")

    def _refuse_size(self, file: IO[bytes]) -> None:
        file.truncate(0)
        raise UserError(f"{self.url}: larger than the limit of {self.size_limit:,} bytes; it was not downloaded")

    def _offline(self, error: Exception) -> UserError:
        host = error.host if isinstance(error, _CannotReachError) else _parse(self.url).host
        return UserError(
            f"cannot reach {host} ({_one_line(error)}); "
            f"download {self.url} on another machine and put it at {self.path}"
        )


@contextlib.contextmanager
def _open(url: str, headers: Mapping[str, str], transport: Transport) -> Iterator[Answer]:
    """Follow redirects to a 2xx answer or 416; every hop is checked like the first."""
    agent = {"User-Agent": f"gramgan/{__version__}", "Accept-Encoding": "identity", **headers}
    for _ in range(_REDIRECTS + 1):
        target = _parse(url)
        with contextlib.closing(_connect(target, _public_addresses(target, transport), agent, transport)) as answer:
            if answer.status in (301, 302, 303, 307, 308):
                url = urljoin(url, answer.headers.get("location", ""))
                continue
            if answer.status >= 500 or answer.status == http.HTTPStatus.TOO_MANY_REQUESTS:
                raise _CannotReachError(target.host, f"the server answered {_status(answer.status)}")
            if answer.status not in (200, 206, 416):
                raise UserError(f"{url}: the server answered {_status(answer.status)}; check the address")
            yield answer
            return
    raise UserError(f"{url}: redirected more than {_REDIRECTS} times; the address is not usable")


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
    try:
        parts = urlsplit(url)
        port = parts.port or 443
    except ValueError:
        raise UserError(f"{url}: not a valid address") from None
    if parts.scheme != "https":
        raise UserError(f"{url}: only https addresses are fetched")
    if not parts.hostname or parts.username is not None:
        raise UserError(f"{url}: needs a host name, and no user name in it")
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + (f"?{parts.query}" if parts.query else "")
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
    return " ".join(str(text).split())
