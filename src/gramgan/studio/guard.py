"""Who may talk to the page: this machine, or who knows the password, and never another web site."""

import base64
import binascii
import ipaddress
import secrets
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from gramgan.errors import UserError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_Application = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data: blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    )
)
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_READING = ("GET", "HEAD")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def check_password(host: str, password: str | None) -> None:
    """Refuse to listen where others could come without a password.

    Raises:
        UserError: `host` is not this machine alone, and there is no password.
    """
    if host not in _LOOPBACK and not password:
        raise UserError(
            f"--host {host}: others could reach this page; give a password in the variable GRAMGAN_STUDIO_PASSWORD, or "
            "leave --host out"
        )


class RequestGuard:
    """ASGI middleware: refuses foreign Host headers, foreign origins and wrong passwords, and bounds what pages load.

    A name that somebody else's DNS leads to this machine (DNS rebinding) is no known Host. What another site's page
    sends says so in `Origin` or `Sec-Fetch-Site`, which a browser sets and a page cannot.
    """

    def __init__(self, app: _Application, *, host: str, password: str | None) -> None:
        """Guard `app`, which listens at `host`. Raises what `check_password` raises."""
        check_password(host, password)
        self._app = app
        self._local = host in _LOOPBACK
        self._names = {*_LOOPBACK, host, *(() if self._local else (socket.gethostname(),))}
        self._password = password

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http":  # there are no web sockets here
            return
        refused = self._refusal(scope["method"], Headers(scope=scope))
        if refused is not None:
            await refused(scope, receive, send)
            return

        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                extra = _HEADERS | {"content-security-policy": POLICY}
                message["headers"] += [
                    (name.encode(), value.encode()) for name, value in extra.items() if name.encode() not in given
                ]
            await send(message)

        await self._app(scope, receive, guarded)

    def _refusal(self, method: str, headers: Headers) -> PlainTextResponse | None:
        host = headers.get("host", "")
        if not self._known(host):
            return PlainTextResponse("this name is not the page's own; open the address that the terminal shows", 421)
        if self._is_foreign(method, host, headers):
            return PlainTextResponse("requests from other pages are refused", 403)
        if self._password is not None and not self._knows_password(headers.get("authorization", "")):
            ask = {"www-authenticate": 'Basic realm="Gram-GAN Studio", charset="UTF-8"'}
            return PlainTextResponse("a password is needed", 401, ask)
        return None

    def _known(self, host: str) -> bool:
        name = _hostname(host)
        if name in self._names:
            return True
        return not self._local and _is_address(name)  # an address cannot be rebound

    def _is_foreign(self, method: str, host: str, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return True
        site = headers.get("sec-fetch-site", "same-origin")
        if site in ("same-origin", "none"):
            return False
        # A link on another page may lead here; its scripts and pictures may not read or send anything.
        return method not in _READING or headers.get("sec-fetch-mode") != "navigate"

    def _knows_password(self, header: str) -> bool:
        scheme, _, encoded = header.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            given = base64.b64decode(encoded, validate=True).partition(b":")[2]
        except binascii.Error:
            return False
        return secrets.compare_digest(given, (self._password or "").encode())


def _hostname(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
