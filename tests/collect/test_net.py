"""Collecting from the net, against a local server that speaks the services' JSON and serves faulty files."""

import hashlib
import io
import json
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image

from gramgan.collect import Collected
from gramgan.collect.found import FoundPhoto
from gramgan.collect.manifest import ManifestEntry, read_left_out, read_manifest
from gramgan.collect.net import collect_found
from gramgan.errors import UserError
from gramgan.fetch import Manners

SCRIPT = Path(__file__).with_name("net_process.py")
BY = {"license": "by", "license_version": "4.0", "license_url": "https://creativecommons.org/licenses/by/4.0/"}
CC0 = {"license": "cc0", "license_version": "1.0", "license_url": "https://creativecommons.org/publicdomain/zero/1.0/"}
TWO_GB = 2 << 30


def photo(seed: int, width: int = 400, height: int = 300, quality: int = 92) -> bytes:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    file = io.BytesIO()
    small.resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG", quality=quality)
    return file.getvalue()


A, B, C, E, F = (photo(seed) for seed in range(5))
GOOD = {"A": A, "B": B, "C": C, "E": E, "F": F}


def openverse_record(name: str, licence: dict[str, str] = BY, **more: object) -> dict[str, object]:
    return {
        "id": name,
        "title": f"Field <b>{name}</b>",
        "indexed_on": "2024-01-01T00:00:00Z",
        "foreign_landing_url": f"https://museum.example/page/{name}",
        "url": f"https://museum.example/{name}.jpg",
        "creator": "Ada & Co",
        "creator_url": None,
        **licence,
        "provider": "museum",
        "source": "museum",
        "filesize": None,
        "filetype": None,
        "tags": [],
        "attribution": "…",
        "mature": False,
        "height": None,
        "width": None,
        "thumbnail": f"https://api.openverse.org/v1/images/{name}/thumb/",
        **more,
    }


OPENVERSE: list[list[dict[str, object]]] = [
    [
        openverse_record("a", url="http://museum.example/a.jpg", width=400, height=300),
        openverse_record("busy", CC0),
        openverse_record("cut"),
        openverse_record("ends-early"),
        openverse_record("html"),
        openverse_record("to-loopback"),
        openverse_record("to-private"),
        openverse_record("to-link-local"),
        openverse_record("to-mixed"),
        openverse_record("rebinding", url="https://rebinding.example/again.jpg"),
        openverse_record("two-gigabytes"),
    ],
    [
        openverse_record("endless"),
        openverse_record("wrong-licence", BY | {"license": "by-nc", "license_url": "https://x.example/"}),
        openverse_record("same-as-a"),
        openverse_record("like-b"),
        openverse_record("announced-small", width=400, height=100),
        openverse_record("small"),
        openverse_record("thumbnail", width=4000, height=3000),
        openverse_record("flickr", url="https://live.staticflickr.com/65535/1_2_b.jpg"),
        openverse_record("gone"),
        openverse_record("text"),
        openverse_record("gif"),
        openverse_record("a", title="the same address again"),
        openverse_record("not-here", url=None),
    ],
]


def commons_page(index: int, name: str, data: bytes, licence: str, url: str, **more: object) -> dict[str, object]:
    info: dict[str, object] = {
        "size": len(data),
        "width": 400,
        "height": 300,
        "url": f"https://upload.wikimedia.org/wikipedia/commons/a/ab/{name}.jpg",
        "descriptionurl": f"https://commons.wikimedia.org/wiki/File:{name}.jpg",
        "sha1": hashlib.sha1(data).hexdigest(),
        "mime": "image/jpeg",
        "extmetadata": {
            "Artist": {"value": '<a href="//x">J&ouml;rg</a> <style>.a{}</style>', "source": "commons-desc-page"},
            "LicenseShortName": {"value": licence},
            "License": {"value": licence.lower().replace(" ", "-")},
            **({"LicenseUrl": {"value": url}} if url else {}),
        },
        **more,
    }
    return {"pageid": index, "ns": 6, "title": f"File:{name}.jpg", "index": index, "imageinfo": [info]}


COMMONS: list[list[dict[str, object]]] = [
    [
        commons_page(2, "share-alike", A, "CC BY-SA 4.0", "https://creativecommons.org/licenses/by-sa/4.0"),
        commons_page(1, "E", E, "CC BY 2.0 de", "http://creativecommons.org/licenses/by/2.0/de/deed.en"),
        {"pageid": 9, "ns": 6, "title": "File:later.jpg", "index": 3},
    ],
    [
        commons_page(4, "F", F, "Public domain", ""),
        commons_page(5, "wrong-hash", A, "CC BY 4.0", "https://creativecommons.org/licenses/by/4.0"),
        commons_page(6, "drawing", A, "CC0", "", mime="image/svg+xml"),
    ],
]

LEFT_OUT = {
    "https://museum.example/ends-early.jpg": "unreadable: damaged or truncated JPEG",
    "https://museum.example/html.jpg": "refused: an HTML page came instead of an image",
    "https://museum.example/to-loopback.jpg": "refused: https://127.0.0.1/secret: leads to 127.0.0.1, which is not a",
    "https://museum.example/to-private.jpg": "refused: https://internal.example/x: leads to 10.0.0.5, which is not a",
    "https://museum.example/to-link-local.jpg": "refused: http://169.254.169.254/latest: only https",
    "https://museum.example/to-mixed.jpg": "refused: https://mixed.example/x: leads to 192.168.0.1, which is not",
    "https://rebinding.example/again.jpg": "refused: leads to 127.0.0.1, which is not a public address",
    "https://museum.example/two-gigabytes.jpg": "refused: larger than the limit of 3,145,728 bytes",
    "https://museum.example/endless.jpg": "refused: larger than the limit of 3,145,728 bytes",
    "https://museum.example/wrong-licence.jpg": "licence: CC-BY-NC-4.0 is not one of those to accept",
    "https://museum.example/same-as-a.jpg": "duplicate: the same pixels as ",
    "https://museum.example/like-b.jpg": "duplicate: looks like ",
    "https://museum.example/announced-small.jpg": "too small: 400x100, less than 192 pixels",
    "https://museum.example/small.jpg": "too small: 300x191, less than 192 pixels",
    "https://museum.example/thumbnail.jpg": "rendition: 400x300 came where 4000x3000 was announced",
    "https://live.staticflickr.com/65535/1_2_b.jpg": "rendition: the address is of a smaller copy",
    "https://museum.example/gone.jpg": "refused: the server answered 404 Not Found",
    "https://museum.example/text.jpg": "refused: not an image that can be read",
    "https://museum.example/gif.jpg": "refused: GIF is no kind of photograph",
    "https://upload.wikimedia.org/wikipedia/commons/a/ab/share-alike.jpg": "licence: CC-BY-SA-4.0 is not",
    "https://upload.wikimedia.org/wikipedia/commons/a/ab/wrong-hash.jpg": "refused: the file that came is not",
    "https://upload.wikimedia.org/wikipedia/commons/a/ab/drawing.jpg": "format: image/svg+xml is no kind of photograph",
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def state(self) -> "Server":
        assert isinstance(self.server, Server)
        return self.server

    def do_GET(self) -> None:
        self.close_connection = True
        parts = urlsplit(self.path)
        host, name = self.headers["Host"], parts.path.rpartition("/")[2].removesuffix(".jpg")
        self.state.note(host, self.path, self.headers["Range"], self.headers["User-Agent"])
        if host == "api.openverse.org":
            return self._openverse({key: value[0] for key, value in parse_qs(parts.query).items()})
        if host == "commons.wikimedia.org":
            return self._commons({key: value[0] for key, value in parse_qs(parts.query).items()})
        if name in self.state.hang:
            self.state.hang.discard(name)
            self._send(200, C[: len(C) // 2], length=len(C), ETag='"c"')
            self.state.hung.set()
            self.state.released.wait(20)
            return None
        return getattr(self, "_" + name.replace("-", "_"))()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _send(self, status: int, body: bytes, length: int | None = None, **headers: Any) -> None:
        self.send_response(status)
        if length != -1:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _json(self, answer: dict[str, Any], **headers: Any) -> None:
        self._send(200, json.dumps(answer).encode(), Content_Type="application/json", **headers)

    def _openverse(self, asked: dict[str, str]) -> None:
        if int(asked["page_size"]) > 20:
            return self._send(401, b"{}")
        assert asked["q"] == "wheat field"
        assert set(asked["license"].split(",")) == {"cc0", "pdm", "by"}
        number = int(asked["page"])
        answer = {"result_count": 24, "page_count": 2, "page_size": 20, "page": number}
        return self._json(answer | {"results": OPENVERSE[number - 1]})

    def _commons(self, asked: dict[str, str]) -> None:
        assert asked["generator"] == "search"
        assert asked["gsrnamespace"] == "6"
        assert asked["maxlag"] == "5"
        if self.state.count("commons.wikimedia.org") == 1:
            error = {"code": "maxlag", "info": "Waiting for 10.64.0.1: 7 seconds lagged", "lag": 7}
            return self._json({"error": error}, Retry_After="5", MediaWiki_API_Error="maxlag")
        if "gsroffset" not in asked:
            after = {"gsroffset": 50, "continue": "gsroffset||"}
            return self._json({"continue": after, "query": {"pages": COMMONS[0]}})
        assert (asked["gsroffset"], asked["continue"]) == ("50", "gsroffset||")
        return self._json({"batchcomplete": True, "query": {"pages": COMMONS[1]}})

    def _a(self) -> None:
        self._send(200, A)

    def _busy(self) -> None:
        if self.state.first("busy"):
            return self._send(429, b"", Retry_After="1")
        return self._send(200, B)

    def _cut(self) -> None:
        if self.state.first("cut"):
            return self._send(200, C[:2000], length=len(C), ETag='"c"')
        asked = self.headers["Range"]
        if asked is None:
            return self._send(200, C, ETag='"c"')
        assert self.headers["If-Range"] == '"c"'
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        return self._send(206, C[start:], ETag='"c"', Content_Range=f"bytes {start}-{len(C) - 1}/{len(C)}")

    def _ends_early(self) -> None:
        self._send(200, photo(70)[:-1500], length=-1, Connection="close")  # nobody says how long it ought to be

    def _html(self) -> None:
        self._send(200, b"<!DOCTYPE html><html>please sign in</html>" * 40, Content_Type="image/jpeg")

    def _to_loopback(self) -> None:
        self._send(302, b"", Location="https://127.0.0.1/secret")

    def _to_private(self) -> None:
        self._send(301, b"", Location="https://internal.example/x")

    def _to_link_local(self) -> None:
        self._send(307, b"", Location="http://169.254.169.254/latest")

    def _to_mixed(self) -> None:
        self._send(308, b"", Location="https://mixed.example/x")

    def _again(self) -> None:
        self._send(302, b"", Location="/again.jpg")

    def _two_gigabytes(self) -> None:
        self._pour(length=str(TWO_GB))

    def _endless(self) -> None:
        self._pour(length=None)

    def _pour(self, length: str | None) -> None:
        self.send_response(200)
        self.send_header("Content-Length" if length else "Connection", length or "close")
        self.end_headers()
        block = A + bytes((1 << 20) - len(A))
        try:
            for _ in range(TWO_GB >> 20):
                self.wfile.write(block)
                self.state.poured += len(block)
        except OSError:
            pass  # the client has had enough

    def _same_as_a(self) -> None:
        self._send(200, A)

    def _like_b(self) -> None:
        with Image.open(io.BytesIO(B)) as image:
            file = io.BytesIO()
            image.resize((280, 210), Image.Resampling.LANCZOS).save(file, "JPEG", quality=60)
        self._send(200, file.getvalue())

    def _small(self) -> None:
        self._send(200, photo(71, 300, 191))

    def _thumbnail(self) -> None:
        self._send(200, photo(72))

    def _gone(self) -> None:
        self._send(404, b"gone")

    def _text(self) -> None:
        self._send(200, b"nothing but words\n" * 100)

    def _gif(self) -> None:
        file = io.BytesIO()
        Image.new("P", (400, 300)).save(file, "GIF")
        self._send(200, file.getvalue())

    def _E(self) -> None:  # noqa: N802
        self._send(200, E)

    def _F(self) -> None:  # noqa: N802
        self._send(200, F)

    def _down(self) -> None:
        if self.state.is_down:
            return self._send(503, b"")
        return self._send(200, photo(74))

    def _wrong_hash(self) -> None:
        self._send(200, photo(73))


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.hang: set[str] = set()
        self.hung, self.released = threading.Event(), threading.Event()
        self.requests: list[tuple[str, str, str | None]] = []
        self.agents: set[str] = set()
        self.poured = 0
        self.is_down = True
        self._first: set[str] = set()

    def note(self, host: str, path: str, ranged: str | None, agent: str) -> None:
        self.requests.append((host, path, ranged))
        self.agents.add(agent)

    def count(self, host: str) -> int:
        return sum(one[0] == host for one in self.requests)

    def first(self, name: str) -> bool:
        is_first = name not in self._first
        self._first.add(name)
        return is_first

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients that go away are part of these tests


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def start(server: Server, folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, str(SCRIPT), str(server.server_port), str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def url_key(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:32]


def finish(process: "subprocess.Popen[str]") -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    return out.strip()


def kill_where_it_hangs(server: Server, folder: Path, name: str) -> None:
    server.hang.add(name)
    server.hung.clear()
    process = start(server, folder)
    assert server.hung.wait(30)
    deadline = time.monotonic() + 10
    part = folder / ".collect" / "incoming" / f"{url_key(f'https://museum.example/{name}.jpg')}.part"
    while not part.stat().st_size:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def check(folder: Path) -> list[ManifestEntry]:
    entries = read_manifest(folder)
    assert entries is not None
    wanted = {hashlib.sha256(data).hexdigest()[:20] + ".jpg": data for data in GOOD.values()}
    assert {entry.file for entry in entries} == set(wanted)
    visible = [path for path in folder.iterdir() if not path.name.startswith(".")]
    assert {path.name for path in visible} == {*wanted, "manifest.csv", "left-out.csv", "ATTRIBUTION.md"}
    for name, data in wanted.items():
        assert (folder / name).read_bytes() == data
    left_out = {one.file: one.reason for one in read_left_out(folder) or []}
    assert left_out.keys() == LEFT_OUT.keys()
    for url, reason in LEFT_OUT.items():
        assert left_out[url].startswith(reason), (url, left_out[url])
    return entries


def test_the_right_files_and_lists(server: Server, tmp_path: Path) -> None:
    assert finish(start(server, tmp_path)) == "5 5"
    entries = {entry.source.rpartition("/")[2]: entry for entry in check(tmp_path)}
    assert server.agents == {"gramgan-test"}
    assert server.poured < 64 << 20
    first = entries["a.jpg"]
    assert (first.title, first.author) == ("Field a", "Ada & Co")
    assert (first.licence, first.licence_url) == ("CC-BY-4.0", BY["license_url"])
    assert first.page_url == "https://museum.example/page/a"
    assert entries["busy.jpg"].licence == "CC0-1.0"
    assert (entries["E.jpg"].licence, entries["E.jpg"].author) == ("CC-BY-2.0-DE", "Jörg")
    assert entries["F.jpg"].licence == "public domain"
    assert Counter(entry.split for entry in entries.values()) == {"train": 4, "holdout": 1}
    text = (tmp_path / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert "- **E** by Jörg, [CC-BY-2.0-DE](<http://creativecommons.org/licenses/by/2.0/de/deed.en>)" in text
    assert text.count("\n- **") == 5
    # Once more: everything is known, nobody is asked.
    before, manifest = len(server.requests), (tmp_path / "manifest.csv").read_bytes()
    assert finish(start(server, tmp_path)) == "5 0"
    assert server.requests[before:] == []
    assert (tmp_path / "manifest.csv").read_bytes() == manifest
    check(tmp_path)


def test_killed_and_resumed_twice(server: Server, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(server, whole))
    server.requests.clear()
    server._first.clear()
    kill_where_it_hangs(server, killed, "cut")
    assert not (killed / "manifest.csv").exists()
    kill_where_it_hangs(server, killed, "small")
    asked = [path for host, path, _ in server.requests if host == "museum.example"]
    ranges = [ranged for _, path, ranged in server.requests if path == "/cut.jpg"]
    assert ranges[0] is None
    assert ranges[1] is not None
    assert 0 < int(ranges[1].removeprefix("bytes=").removesuffix("-")) <= len(C) // 2
    finish(start(server, killed))
    check(killed)
    assert Counter(asked)["/a.jpg"] <= 2  # asked for again only if nothing had been decided before the first kill
    later = [path for host, path, _ in server.requests if host == "museum.example"][len(asked) :]
    assert "/a.jpg" not in later
    assert "/cut.jpg" not in later
    assert server.count("api.openverse.org") <= 3
    for name in ("manifest.csv", "left-out.csv", "ATTRIBUTION.md"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert not (killed / ".collect" / "journal.jsonl").exists()
    assert not (killed / ".collect" / "incoming").exists()


def listed(*names: str) -> list[FoundPhoto]:
    return [FoundPhoto(f"https://museum.example/{name}.jpg", licence="CC0-1.0") for name in names]


def collect_listed(server: Server, folder: Path, *names: str, **more: Any) -> Collected:
    transport = runpy.run_path(str(SCRIPT))["LocalTransport"](server.server_port)
    manners = Manners(pause=0.01, attempts=2)
    return collect_found(folder, listed=listed(*names), manners=manners, transport=transport, **more)


def test_a_limit_is_of_what_is_there_at_the_end(server: Server, tmp_path: Path) -> None:
    first = collect_listed(server, tmp_path, "a", "text", "E", "F", limit=2)
    assert {entry.source.rpartition("/")[2] for entry in first.entries} == {"a.jpg", "E.jpg"}
    assert server.count("museum.example") == 3
    sides = {entry.file: entry.split for entry in first.entries}
    again = collect_listed(server, tmp_path, "a", "text", "E", "F", limit=3)
    assert (len(again.entries), again.new) == (3, 1)
    assert server.count("museum.example") == 4
    assert sides.items() <= {entry.file: entry.split for entry in again.entries}.items()


def test_unreachable_ones_are_asked_again(server: Server, tmp_path: Path) -> None:
    first = collect_listed(server, tmp_path, "down", "a", limit=2)
    (left_out,) = first.left_out
    assert left_out.reason == "unreachable: cannot reach museum.example (the server answered 503 Service Unavailable)"
    server.is_down = False
    again = collect_listed(server, tmp_path, "down", "a", limit=2)
    assert (again.new, again.left_out) == (1, [])
    assert read_left_out(tmp_path) == []


def test_ctrl_c_keeps_what_is_there(server: Server, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect_listed(server, tmp_path, "a", "E", "F", limit=3, progress=stop)
    assert [entry.source for entry in read_manifest(tmp_path) or []] == ["https://museum.example/a.jpg"]
    assert len(collect_listed(server, tmp_path, "a", "E", "F", limit=3).entries) == 3
    assert server.count("museum.example") <= 5


def test_addresses_that_are_none_do_not_end_a_run(server: Server, tmp_path: Path) -> None:
    transport = runpy.run_path(str(SCRIPT))["LocalTransport"](server.server_port)
    bad = [
        FoundPhoto("https://[bad/x.jpg"),
        FoundPhoto("https://a:99999/x.jpg"),
        FoundPhoto("ftp://a/x.jpg"),
        FoundPhoto("x.jpg"),
    ]
    manners = Manners(pause=0.01, attempts=2)
    result = collect_found(tmp_path, listed=[*bad, *listed("a")], manners=manners, transport=transport, limit=9)
    assert result.new == 1
    assert {one.file: one.reason for one in result.left_out} == {
        "https://[bad/x.jpg": "refused: not a valid address",
        "https://a:99999/x.jpg": "refused: not a valid address",
        "ftp://a/x.jpg": "refused: only https addresses are fetched",
        "x.jpg": "refused: only https addresses are fetched",
    }


def test_nothing_at_all(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"all 1 images were left out .the first is refused: not an image"):
        collect_listed(server, tmp_path, "text", limit=2)
    with pytest.raises(UserError, match="nothing was found"):
        collect_listed(server, tmp_path / "other", limit=2)


def test_an_attribution_of_the_users_own_is_not_overwritten(server: Server, tmp_path: Path) -> None:
    (tmp_path / "ATTRIBUTION.md").write_text("# Mine")
    with pytest.raises(UserError, match=r"ATTRIBUTION\.md: not written by gramgan collect"):
        collect_listed(server, tmp_path, "a", limit=1)
    assert [path.name for path in tmp_path.iterdir()] == ["ATTRIBUTION.md"]
