"""The downloader against a local server: the test's transport replaces the way there, all checks stay on."""

import contextlib
import dataclasses
import hashlib
import http.client
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gramgan.errors import UserError
from gramgan.fetch import (
    Answer,
    Digest,
    HttpsTransport,
    Manners,
    Target,
    UnreachableError,
    fetch,
    is_public,
    read,
    retry_after,
)
from gramgan.pace import StoppedError

DATA = bytes(range(256)) * 4096  # 1 MiB
DIGEST = hashlib.sha256(DATA).hexdigest()
LIMIT = 2 << 20
URL = "https://files.example"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def state(self) -> "Server":
        assert isinstance(self.server, Server)
        return self.server

    def do_GET(self) -> None:
        ranged = self.headers.get("Range")
        self.state.requests.append((self.path, ranged))
        getattr(self, "_" + self.path.strip("/").partition("/")[0].replace("-", "_"))(ranged)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _send(self, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _ranges(self, ranged: str | None, shift: int = 0) -> None:
        if ranged is None:
            return self._send(200, DATA)
        start = int(ranged.removeprefix("bytes=").removesuffix("-"))
        if start >= len(DATA):
            return self._send(416, b"", Content_Range=f"bytes */{len(DATA)}")
        text = f"bytes {start + shift}-{len(DATA) - 1}/{len(DATA)}"
        return self._send(206, DATA[start + shift :], Content_Range=text)

    def _file(self, ranged: str | None) -> None:
        self._ranges(ranged)

    def _cut(self, ranged: str | None) -> None:
        if len(self.state.requests) == 1:
            return self._send(200, DATA[:300_000], length=len(DATA))
        return self._ranges(ranged)

    def _always_cut(self, ranged: str | None) -> None:
        self._send(200, b"", length=len(DATA))

    def _no_range(self, ranged: str | None) -> None:
        self._send(200, DATA)

    def _wrong_range(self, ranged: str | None) -> None:
        self._ranges(ranged, shift=7)

    def _unknown_length(self, ranged: str | None) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, len(DATA), 1 << 18):
            block = DATA[start : start + (1 << 18)]
            self.wfile.write(f"{len(block):x}\r\n".encode() + block + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def _missing(self, ranged: str | None) -> None:
        self._send(404, b"no")

    def _busy_once(self, ranged: str | None) -> None:
        if len(self.state.requests) == 1:
            return self._send(503, b"")
        return self._ranges(ranged)

    def _slow(self, ranged: str | None) -> None:
        self._send(200, DATA[:1000], length=len(DATA))
        self.state.release.wait(5)

    def _changing(self, ranged: str | None) -> None:
        """A file with a version; the test changes it between requests."""
        tag = f'"{self.state.version}"'
        data = self.state.version.encode() * 100_000
        if self.state.cut:
            self.state.cut = False
            return self._send(200, data[:200_000], length=len(data), ETag=tag)
        if ranged is None or self.headers["If-Range"] != tag:
            return self._send(200, data, ETag=tag)
        start = int(ranged.removeprefix("bytes=").removesuffix("-"))
        return self._send(206, data[start:], ETag=tag, Content_Range=f"bytes {start}-{len(data) - 1}/{len(data)}")

    def _wait(self, ranged: str | None) -> None:
        self._send(429, b"", Retry_After=self.state.wait)

    def _dripping(self, ranged: str | None) -> None:
        self._send(200, b"", length=len(DATA))
        while not self.state.release.wait(0.01):
            self.wfile.write(b"x")

    def _raw(self, ranged: str | None) -> None:
        """Whatever the test wants to be answered, byte for byte."""
        self.wfile.write(self.state.raw)
        self.wfile.flush()

    def _endless(self, ranged: str | None) -> None:
        """An answer that begins, and then a byte now and then."""
        self.wfile.write(self.state.raw)
        with contextlib.suppress(OSError):
            while not self.state.release.wait(0.05):
                self.wfile.write(b"x")
                self.wfile.flush()

    def _html(self, ranged: str | None) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>" * 1000)

    def _redirect(self, ranged: str | None) -> None:
        self._send(302, b"", Location=self.state.location)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str | None]] = []
        self.release = threading.Event()
        self.location = ""
        self.raw = b""
        self.version, self.cut, self.wait = "abcdef", False, "0"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that went away is part of these tests


class LocalTransport:
    """Says which addresses names have, and brings every request to the local server."""

    def __init__(self, port: int, timeout: float = 10.0, names: Mapping[str, Sequence[str]] | None = None) -> None:
        self.port = port
        self.timeout = timeout
        self.names = names or {}
        self.reached: list[str] = []

    def resolve(self, host: str, port: int) -> Sequence[str]:
        return self.names.get(host, ["93.184.215.14"])

    def get(self, target: Target, address: str, headers: Mapping[str, str]) -> Answer:
        self.reached.append(f"{target.host} {address}")
        if address == "93.184.215.99":
            raise ConnectionRefusedError("refused")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)
        connection.request("GET", target.path, headers=dict(headers))
        response = connection.getresponse()
        names = {key.lower(): value for key, value in response.getheaders()}
        return Answer(response.status, names, response.read1, connection.close)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.release.set()
        server.shutdown()
        thread.join()


def _fetch(server: Server, name: str, path: Path, sha256: str = DIGEST, **options: object) -> Path:
    settings: dict[str, object] = {
        "size_limit": LIMIT,
        "manners": Manners(pause=0.0),
        "transport": LocalTransport(server.server_port),
    }
    return fetch(f"{URL}/{name}", path, sha256=sha256, **(settings | options))  # type: ignore[arg-type]


def test_downloads_with_progress_and_leaves_nothing_else(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = _fetch(server, "file", tmp_path / "new" / "w.bin", progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == DATA
    assert seen[-1] == (len(DATA), len(DATA))
    assert sorted(file.name for file in path.parent.iterdir()) == [".w.bin.lock", "w.bin"]


def test_a_right_file_needs_no_request(server: Server, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(DATA)
    _fetch(server, "file", tmp_path / "w.bin")
    assert server.requests == []


def test_a_wrong_file_in_place_is_replaced(server: Server, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"old")
    assert _fetch(server, "file", tmp_path / "w.bin").read_bytes() == DATA


def test_resumes_after_a_cut_within_one_call(server: Server, tmp_path: Path) -> None:
    assert _fetch(server, "cut", tmp_path / "w.bin").read_bytes() == DATA
    assert server.requests == [("/cut", None), ("/cut", "bytes=300000-")]


def test_resumes_what_an_earlier_run_left(server: Server, tmp_path: Path) -> None:
    (tmp_path / "w.bin.part").write_bytes(DATA[:500_000])
    assert _fetch(server, "file", tmp_path / "w.bin").read_bytes() == DATA
    assert server.requests == [("/file", "bytes=500000-")]
    assert not (tmp_path / "w.bin.part").exists()


def test_a_complete_part_needs_no_request(server: Server, tmp_path: Path) -> None:
    (tmp_path / "w.bin.part").write_bytes(DATA)
    assert _fetch(server, "file", tmp_path / "w.bin").read_bytes() == DATA
    assert server.requests == []


@pytest.mark.parametrize("name", ["no-range", "wrong-range"])
def test_starts_again_where_the_range_is_not_answered(server: Server, tmp_path: Path, name: str) -> None:
    (tmp_path / "w.bin.part").write_bytes(DATA[:1000])
    assert _fetch(server, name, tmp_path / "w.bin").read_bytes() == DATA


@pytest.mark.parametrize("part", [b"x" * 1000, b"x" * len(DATA), b"x" * (len(DATA) + 5)], ids=["short", "full", "long"])
def test_a_part_of_another_file_is_thrown_away(server: Server, tmp_path: Path, part: bytes) -> None:
    (tmp_path / "w.bin.part").write_bytes(part)
    assert _fetch(server, "file", tmp_path / "w.bin").read_bytes() == DATA


def test_body_of_unknown_length(server: Server, tmp_path: Path) -> None:
    assert _fetch(server, "unknown-length", tmp_path / "w.bin").read_bytes() == DATA


def test_tries_again_when_the_server_is_busy(server: Server, tmp_path: Path) -> None:
    assert _fetch(server, "busy-once", tmp_path / "w.bin").read_bytes() == DATA
    assert len(server.requests) == 2


def test_wrong_hash(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^https://files.example/file: .*not the expected one"):
        _fetch(server, "file", tmp_path / "w.bin", sha256="0" * 64)
    assert not (tmp_path / "w.bin").exists()
    assert not (tmp_path / "w.bin.part").exists()


def test_the_beginning_of_a_hash_is_enough_from_eight_digits(server: Server, tmp_path: Path) -> None:
    assert _fetch(server, "file", tmp_path / "w.bin", sha256=DIGEST[:8]).read_bytes() == DATA
    for bad in (DIGEST[:7], DIGEST.upper(), ""):
        with pytest.raises(ValueError, match="hexadecimal"):
            _fetch(server, "file", tmp_path / "w.bin", sha256=bad)


@pytest.mark.parametrize("name", ["file", "unknown-length"])
def test_size_limit(server: Server, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="larger than the limit of 1,000 bytes"):
        _fetch(server, name, tmp_path / "w.bin", size_limit=1000)
    assert not (tmp_path / "w.bin").exists()


def test_not_found_is_not_tried_again(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="404 Not Found"):
        _fetch(server, "missing", tmp_path / "w.bin")
    assert len(server.requests) == 1


def test_a_stalled_server_ends_in_one_line_that_says_what_to_do(server: Server, tmp_path: Path) -> None:
    begin = time.perf_counter()
    with pytest.raises(UserError) as caught:
        _fetch(server, "slow", tmp_path / "w.bin", transport=LocalTransport(server.server_port, timeout=0.2))
    assert time.perf_counter() - begin < 5
    assert "cannot reach files.example (" in str(caught.value)
    assert f"download {URL}/slow on another machine and put it at {tmp_path / 'w.bin'}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_connection_that_is_always_cut_gives_up(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cut"):
        _fetch(server, "always-cut", tmp_path / "w.bin")
    assert len(server.requests) == 3


def test_offline(tmp_path: Path) -> None:
    class Offline(LocalTransport):
        def resolve(self, host: str, port: int) -> Sequence[str]:
            raise OSError(-3, "Temporary failure in name resolution")

    with pytest.raises(
        UserError, match=r"cannot reach files.example \(Temporary failure in name resolution\); download"
    ):
        fetch(
            f"{URL}/a",
            tmp_path / "a",
            sha256=DIGEST,
            size_limit=LIMIT,
            manners=Manners(pause=0.0),
            transport=Offline(0),
        )


def _fetch_any(server: Server, name: str, path: Path, **options: object) -> Path:
    settings: dict[str, object] = {"size_limit": LIMIT, "manners": Manners(pause=0.0, attempts=2)}
    settings["transport"] = LocalTransport(server.server_port)
    return fetch(f"{URL}/{name}", path, **(settings | options))  # type: ignore[arg-type]


def test_addresses_that_are_not_ascii(server: Server, tmp_path: Path) -> None:
    assert _fetch_any(server, "file/Zürich %C3%BC.jpg?größe=1 2|3", tmp_path / "w.bin").read_bytes() == DATA
    assert server.requests[-1][0] == "/file/Z%C3%BCrich%20%C3%BC.jpg?gr%C3%B6%C3%9Fe=1%202|3"
    server.location = "https://files.example/file/ü".encode().decode("latin-1")
    assert _fetch_any(server, "redirect", tmp_path / "v.bin").read_bytes() == DATA
    assert server.requests[-1][0] == "/file/%C3%BC"
    server.location = "https://[bad/"
    with pytest.raises(UserError, match=r"redirects to https://.bad/, which is not a valid address"):
        _fetch_any(server, "redirect", tmp_path / "u.bin")


def test_without_a_hash_a_file_that_is_there_is_not_asked_for(server: Server, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"mine")
    assert _fetch_any(server, "file", tmp_path / "w.bin").read_bytes() == b"mine"
    assert server.requests == []


@pytest.mark.parametrize("changed", [False, True])
def test_without_a_hash_only_the_same_version_is_continued(server: Server, tmp_path: Path, changed: bool) -> None:
    server.cut = True
    with pytest.raises(UnreachableError, match="cut"):
        _fetch_any(server, "changing", tmp_path / "w.bin", manners=Manners(attempts=1))
    assert (tmp_path / "w.bin.part").stat().st_size == 200_000
    server.version = "uvwxyz" if changed else "abcdef"
    assert _fetch_any(server, "changing", tmp_path / "w.bin").read_bytes() == server.version.encode() * 100_000
    assert server.requests[1] == ("/changing", "bytes=200000-")
    assert sorted(file.name for file in tmp_path.iterdir()) == [".w.bin.lock", "w.bin"]


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_what_stands_where_the_part_belongs_is_neither_followed_nor_written_to(
    server: Server, tmp_path: Path, kind: str
) -> None:
    part = tmp_path / "w.bin.part"
    if kind == "link":
        (tmp_path / "other").write_bytes(b"of somebody else")
        part.symlink_to(tmp_path / "other")
    else:
        (part / "inside").mkdir(parents=True)
    with pytest.raises(UserError, match=rf"^{part}: cannot be written"):
        _fetch_any(server, "file", tmp_path / "w.bin")
    assert kind == "folder" or (tmp_path / "other").read_bytes() == b"of somebody else"


def test_without_a_hash_or_a_version_it_begins_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "w.bin.part").write_bytes(b"of yesterday")
    assert _fetch_any(server, "file", tmp_path / "w.bin").read_bytes() == DATA
    assert server.requests == [("/file", None)]


def test_another_hash(server: Server, tmp_path: Path) -> None:
    md5 = Digest("md5", hashlib.md5(DATA).hexdigest())
    assert _fetch_any(server, "file", tmp_path / "w.bin", digest=md5).read_bytes() == DATA
    with pytest.raises(UserError, match="its SHA-1 does not begin with 00000000"):
        _fetch_any(server, "file", tmp_path / "v.bin", digest=Digest("sha1", "0" * 40))


def test_a_wait_that_is_too_long_is_the_end(server: Server, tmp_path: Path) -> None:
    server.wait = "40000"
    begin = time.perf_counter()
    with pytest.raises(UnreachableError, match="429 Too Many Requests"):
        _fetch_any(server, "wait", tmp_path / "w.bin")
    assert time.perf_counter() - begin < 5
    assert len(server.requests) == 1


def test_a_wait_that_is_asked_for_is_kept(server: Server, tmp_path: Path) -> None:
    server.wait = "1"
    begin = time.perf_counter()
    with pytest.raises(UnreachableError):
        _fetch_any(server, "wait", tmp_path / "w.bin")
    assert time.perf_counter() - begin > 0.9
    assert len(server.requests) == 2


def test_a_body_that_drips_is_given_up(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gramgan.fetch._PATIENCE", 0.3)
    with pytest.raises(UnreachableError, match="slower than 1 KiB/s"):
        _fetch_any(server, "dripping", tmp_path / "w.bin", manners=Manners(pause=0.0, attempts=1))


@pytest.mark.parametrize("name", ["html", "file"])
def test_the_kind_is_judged_by_the_first_bytes(server: Server, tmp_path: Path, name: str) -> None:
    heads: list[bytes] = []

    def check(head: bytes) -> None:
        heads.append(head)
        if head.startswith(b"<html"):
            raise UserError("no image")

    if name == "file":
        assert _fetch_any(server, name, tmp_path / "w.bin", check=check).read_bytes() == DATA
    else:
        with pytest.raises(UserError, match="no image"):
            _fetch_any(server, name, tmp_path / "w.bin", check=check)
        assert not (tmp_path / "w.bin").exists()
        assert (tmp_path / "w.bin.part").stat().st_size == 0
    assert len(heads) == 1
    assert len(heads[0]) >= 512


def test_short_answers(server: Server) -> None:
    transport = LocalTransport(server.server_port)
    assert read(f"{URL}/file", size_limit=LIMIT, transport=transport) == DATA
    with pytest.raises(UserError, match="larger than the limit of 10 bytes"):
        read(f"{URL}/file", size_limit=10, transport=transport)
    with pytest.raises(UserError, match="not a public address"):
        read("https://10.0.0.1/file", size_limit=10, transport=HttpsTransport())


def test_a_stopped_pace_ends_a_download(server: Server, tmp_path: Path) -> None:
    manners = Manners()
    manners.pace.stop()
    with pytest.raises(StoppedError):
        _fetch_any(server, "file", tmp_path / "w.bin", manners=manners)
    assert server.requests == []


def test_redirect_to_a_public_host_is_followed(server: Server, tmp_path: Path) -> None:
    server.location = "https://mirror.example/file"
    transport = LocalTransport(server.server_port)
    assert _fetch(server, "redirect", tmp_path / "w.bin", transport=transport).read_bytes() == DATA
    assert transport.reached == ["files.example 93.184.215.14", "mirror.example 93.184.215.14"]


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("https://internal.example/file", "leads to 10.0.0.5"),
        ("https://mixed.example/file", "leads to 127.0.0.1"),
        ("http://files.example/file", "only https"),
        ("ftp://files.example/file", "only https"),
        ("file:///etc/passwd", "only https"),
        ("https://user:secret@files.example/file", "no user name"),
        ("https://files.example:bad/file", "not a valid address"),
        ("/redirect", "redirected more than"),
    ],
)
def test_redirects_are_checked_like_the_first_address(
    server: Server, tmp_path: Path, location: str, reason: str
) -> None:
    server.location = location
    names = {"internal.example": ["10.0.0.5"], "mixed.example": ["93.184.215.14", "127.0.0.1"]}
    transport = LocalTransport(server.server_port, names=names)
    with pytest.raises(UserError, match=reason):
        _fetch(server, "redirect", tmp_path / "w.bin", transport=transport)
    assert all(entry.startswith("files.example") for entry in transport.reached)


def test_the_next_address_is_tried(server: Server, tmp_path: Path) -> None:
    transport = LocalTransport(server.server_port, names={"files.example": ["93.184.215.99", "93.184.215.14"]})
    assert _fetch(server, "file", tmp_path / "w.bin", transport=transport).read_bytes() == DATA


def test_two_at_once_download_once(server: Server, tmp_path: Path) -> None:
    threads = [threading.Thread(target=_fetch, args=(server, "file", tmp_path / "w.bin")) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "w.bin").read_bytes() == DATA
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "0x7f000001", "2130706433", "169.254.169.254", "[::ffff:10.0.0.1]", "0.0.0.0"],
)
def test_the_shipped_transport_reaches_no_private_address(tmp_path: Path, host: str) -> None:
    with pytest.raises(UserError, match="not a public address"):
        fetch(f"https://{host}/x", tmp_path / "x", sha256=DIGEST, size_limit=LIMIT)


@pytest.mark.parametrize(
    "address",
    [
        *("10.1.2.3", "172.16.0.1", "192.168.1.1", "127.9.9.9", "169.254.1.1", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
        *("240.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.2.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1"),
        *("ff02::1", "::ffff:192.168.0.1", "2002:7f00:1::", "64:ff9b::a00:1", "64:ff9b:1::1", "2001:db8::1", "2001::1"),
    ],
)
def test_private_addresses(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.215.14", "8.8.8.8", "2606:4700::1", "64:ff9b::808:808", "::ffff:8.8.8.8"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("digits", ["9" * 5000, "9" * 4000, "1" + "0" * 30, "٣" * 5, "-1", "1e9", "5, 6"])
def test_a_length_that_is_none(server: Server, tmp_path: Path, digits: str) -> None:
    """Read up to the limit, or refused as too large: in one line, whatever it says."""
    server.raw = f"HTTP/1.1 200 OK\r\nContent-Length: {digits}\r\n\r\n".encode() + DATA
    is_number = digits.isascii() and digits.isdecimal()
    if is_number:
        with pytest.raises(UserError, match=r"/raw: larger than the limit of 2,097,152 bytes"):
            _fetch_any(server, "raw", tmp_path / "w.bin")
    else:
        assert _fetch_any(server, "raw", tmp_path / "w.bin").read_bytes() == DATA


@pytest.mark.parametrize(
    "said",
    [
        *("bytes 5-9/" + "9" * 5000, "bytes " + "9" * 5000 + "-9/10", "bytes 5-" + "9" * 5000 + "/*", "bytes ٥-٩/٩"),
        *("bytes 9-5/3", "bytes -5/9", "pages 1-2/3", "bytes 0-4/5", ""),
    ],
)
def test_a_range_that_is_none(server: Server, tmp_path: Path, said: str) -> None:
    (tmp_path / "w.bin.part").write_bytes(DATA[:5])
    server.raw = f"HTTP/1.1 206 Partial Content\r\nContent-Range: {said}\r\nContent-Length: 4\r\n\r\nabcd".encode()
    with pytest.raises(UserError) as caught:
        _fetch(server, "raw", tmp_path / "w.bin")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert not (tmp_path / "w.bin").exists()


@pytest.mark.parametrize(
    "head", ["HTTP/1.1 200 OK\r\n" + "X: y\r\n" * 5000, "HTTP/9 what", "\0" * 9, "HTTP/1.1 999 \x1b[2J"]
)
def test_an_answer_that_is_not_http(server: Server, tmp_path: Path, head: str) -> None:
    server.raw = head.encode() + b"\r\n\r\n"
    with pytest.raises(UserError) as caught:
        _fetch_any(server, "raw", tmp_path / "w.bin")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "said", ["9" * 5000, "Fri, 99 Foo 0000 99:99:99 GMT", "Mon, 01 Jan 0001 00:00:00 +2359", "\x1b[2J"]
)
def test_a_wait_that_is_none(said: str) -> None:
    seconds = retry_after({"retry-after": said}, now=0.0)
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize("location", ["https://files.example/\x1b[2J", "https://files.example/\x00"])
def test_an_address_with_control_characters(server: Server, tmp_path: Path, location: str) -> None:
    server.location = location
    with pytest.raises(UserError, match="not a valid address") as caught:
        _fetch_any(server, "redirect", tmp_path / "w.bin")
    assert str(caught.value).isprintable()


@pytest.fixture
def tls_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A TLS server whose certificate is for files.example and trusted in this test."""
    if shutil.which("openssl") is None:
        pytest.skip("the program openssl, which makes the test's certificate, is not installed")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=files.example"]
    command += ["-addext", "subjectAltName=DNS:files.example", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with Server() as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.release.set()
        server.shutdown()
        thread.join()


def test_the_shipped_transport_connects_to_the_given_address_with_the_hosts_name(tls_server: Server) -> None:
    # files.example has no address at all: only the pinned one can have been used.
    target = Target(f"{URL}/file", "files.example", tls_server.server_port, "/file")
    with closing(HttpsTransport(timeout=5).get(target, "127.0.0.1", {})) as answer:
        assert answer.status == 200
        assert answer.read(10) == DATA[:10]


class TlsTransport(HttpsTransport):
    """The shipped transport, with every name's server on this machine."""

    def __init__(self, port: int, deadline: float) -> None:
        super().__init__(timeout=5, deadline=deadline)
        self.port = port

    def resolve(self, host: str, port: int) -> Sequence[str]:
        return ["93.184.215.14"]

    def get(self, target: Target, address: str, headers: Mapping[str, str]) -> Answer:
        return super().get(dataclasses.replace(target, port=self.port), "127.0.0.1", headers)


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param(b"", id="status line"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: ", id="header"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;", id="length of a chunk"),
    ],
)
def test_an_answer_that_never_ends_is_cut_off(tls_server: Server, tmp_path: Path, begun: bytes) -> None:
    tls_server.raw = begun
    threads = threading.active_count()
    started = time.perf_counter()
    with pytest.raises(UnreachableError, match=r"cannot reach files.example \(the server takes longer than 1 seconds"):
        _fetch_any(
            tls_server,
            "endless",
            tmp_path / "w.bin",
            transport=TlsTransport(tls_server.server_port, deadline=0.6),
            manners=Manners(pause=0.0, attempts=2),
        )
    assert 1.2 <= time.perf_counter() - started < 10
    tls_server.release.set()
    for _ in range(100):
        if threading.active_count() <= threads:
            break
        time.sleep(0.05)
    assert threading.active_count() <= threads


def test_a_handshake_that_never_ends_is_cut_off() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = Target(f"{URL}/file", "files.example", silent.getsockname()[1], "/file")
        started = time.perf_counter()
        with pytest.raises(OSError, match="timed out"):
            HttpsTransport(timeout=5, deadline=0.5).get(target, "127.0.0.1", {})
    assert time.perf_counter() - started < 4


def test_a_slow_reader_is_not_taken_for_a_slow_server(tls_server: Server, tmp_path: Path) -> None:
    def rest(done: int, total: int) -> None:
        if done < 1 << 17:
            time.sleep(0.7)

    transport = TlsTransport(tls_server.server_port, deadline=0.5)
    assert _fetch(tls_server, "file", tmp_path / "w.bin", transport=transport, progress=rest).read_bytes() == DATA
    assert len(tls_server.requests) == 1


def test_the_shipped_transport_checks_the_certificates_name(tls_server: Server) -> None:
    target = Target("https://other.example/file", "other.example", tls_server.server_port, "/file")
    with pytest.raises(ssl.SSLCertVerificationError):
        HttpsTransport(timeout=5).get(target, "127.0.0.1", {})


def test_the_shipped_transport_refuses_a_connection_that_went_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server() as server:
        port = server.server_port
        plain = socket.create_connection
        monkeypatch.setattr(socket, "create_connection", lambda address, timeout: plain(("127.0.0.1", port), timeout))
        target = Target(f"{URL}/file", "files.example", port, "/file")
        with pytest.raises(OSError, match=r"the connection to 93.184.215.14 went to 127.0.0.1"):
            HttpsTransport(timeout=5).get(target, "93.184.215.14", {})
