"""The way to a server: which addresses may be asked, and HTTPS to exactly the one that was checked, in limited time.

HTTP and TLS are the standard library's `http.client` and `ssl`. urllib3's connection is a subclass of the same, which
saves no line here and logs a hostile server's headers with a traceback.
"""

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote, urlsplit

from gramgan.errors import UserError

_PATH_SAFE = "/%:@!$&'()*+,;=~"
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
    """The transport in use: HTTPS with certificate checks and time limits.

    `timeout`: seconds that a server may be silent. `deadline`: seconds that connection, TLS and all headers may take
    together, and one part of the body, however often a byte of it comes.

    It connects to the given address and checks the certificate against the host's name, so that a second name lookup
    cannot lead elsewhere. Proxies are not used: behind one, name resolution would be out of our sight.
    """

    def __init__(self, timeout: float = 30.0, deadline: float = 60.0) -> None:
        self._timeout = timeout
        self._deadline = deadline

    def resolve(self, host: str, port: int) -> Sequence[str]:
        """The addresses that the system's resolver gives for `host`. Raises OSError."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def get(self, target: Target, address: str, headers: Mapping[str, str]) -> Answer:
        """Send the request to `address`. Raises OSError or http.client.HTTPException."""
        connection = _PinnedConnection(target, address, self._timeout, self._deadline)

        def read(most: int) -> bytes:
            connection.begin_part()
            return response.read1(most)

        try:
            connection.request("GET", target.path, headers=dict(headers))
            response = connection.getresponse()
        except BaseException:
            connection.close()
            raise
        names = {key.lower(): value for key, value in response.getheaders()}
        return Answer(response.status, names, read, connection.close)


class _PinnedConnection(http.client.HTTPSConnection):
    def __init__(self, target: Target, address: str, timeout: float, deadline: float) -> None:
        self._tls = ssl.create_default_context()
        self._tls.sslsocket_class = self._socket_class()
        super().__init__(target.host, target.port, timeout=timeout, context=self._tls)
        self._address = address
        self._silence = timeout
        self._deadline = deadline
        self.begin_part()

    def begin_part(self) -> None:
        self._until = time.monotonic() + self._deadline

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), self._limit())
        try:
            # What was checked is what has been reached, whatever stands between the two.
            reached = str(plain.getpeername()[0])
            if ipaddress.ip_address(reached) != ipaddress.ip_address(self._address):
                raise OSError(f"the connection to {self._address} went to {reached}")
            plain.settimeout(self._limit())  # for the handshake as a whole
            self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise

    def _limit(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"the server takes longer than {self._deadline:.0f} seconds to send the next part")
        return min(left, self._silence)

    def _socket_class(self) -> type[ssl.SSLSocket]:
        connection = self

        class Watched(ssl.SSLSocket):
            """A time limit for each read does not see one byte now and then."""

            def recv_into(self, buffer, nbytes=None, flags=0):  # type: ignore[no-untyped-def]
                self.settimeout(connection._limit())
                try:
                    return super().recv_into(buffer, nbytes, flags)
                except TimeoutError:
                    connection._limit()  # says so if it was the deadline
                    raise

        return Watched


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


def parse(url: str) -> Target:
    """The target of an https address, with everything that is not ASCII percent-encoded.

    Raises:
        UserError: it is of another scheme, has a user name in it, or is no address.
    """
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
