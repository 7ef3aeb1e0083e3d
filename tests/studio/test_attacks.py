"""What a hostile page, name, path or file may try."""

import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import pyvips
from served import Served, picture, started

from gramgan.images import write_image

pytest.importorskip("starlette", reason="the extra `studio` is not installed")
pytest.importorskip("uvicorn", reason="the extra `studio` is not installed")


@pytest.fixture
def png(tmp_path: Path) -> bytes:
    write_image(tmp_path / "small.png", picture(7, 24, 24))
    return (tmp_path / "small.png").read_bytes()


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "192.168.0.7", "", "[::"]
)
def test_a_rebound_host_name_gets_nothing(served: Served, host: str) -> None:
    for path in ("/", "/api/pictures", "/static/style.css"):
        assert served.get(path, host=host).status == 421


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_the_names_of_this_machine_are_known(served: Served, host: str) -> None:
    assert served.get("/", host=f"{host}:{served.port}").status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
def test_a_post_of_another_site_changes_nothing(served: Served, headers: dict[str, str]) -> None:
    before = served.get("/api/pictures").json
    answer = served.post("/api/pictures", {"path": str(served.folder / "deep.png")}, **headers)
    assert answer.status == 403
    assert served.get("/api/pictures").json == before


def test_another_site_cannot_read_but_may_link_here(served: Served) -> None:
    assert served.get("/api/pictures", sec_fetch_site="cross-site", sec_fetch_mode="no-cors").status == 403
    assert served.get("/", sec_fetch_site="cross-site", sec_fetch_mode="navigate").status == 200
    own = served.get("/", origin=served.address, sec_fetch_site="same-origin")
    assert own.status == 200
    assert "access-control-allow-origin" not in own.headers


def test_every_answer_forbids_what_is_not_the_pages_own(served: Served) -> None:
    for path in ("/", "/train", "/static/core.js", "/api/jobs", "/no/such/page"):
        headers = served.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


@pytest.fixture
def outside(served: Served, tmp_path: Path) -> Iterator[Path]:
    """A picture outside of the studio's folders, with links to it and to its folder inside of them."""
    write_image(tmp_path / "secret.png", picture(9, 20, 20))
    links = [served.folder / "link.png", served.folder / "linked"]
    links[0].symlink_to(tmp_path / "secret.png")
    links[1].symlink_to(tmp_path)
    yield tmp_path / "secret.png"
    for link in links:
        link.unlink()


def _refused(served: Served, path: Path | str) -> None:
    text = str(path)
    for route, body in (
        ("/api/pictures", {"path": text}),
        ("/api/prepare", {"photos": text}),
        ("/api/databases/build", {"photos": text, "name": "x"}),
        ("/api/evaluate", {"truth": text, "models": ["bicubic", "gramgan-x4"]}),
        ("/api/runs/start", {"preset": "lite", "photos": text, "name": "x"}),
        ("/api/runs/stop", {"run": text}),
        ("/api/runs/resume", {"run": text}),
        ("/api/spot", {"database": text, "picture": "picture-1", "x": 0, "y": 0}),
    ):
        answer = served.post(route, body)
        assert answer.status == 400, route
        assert "lies outside of the folders" in answer.json["error"], route


def test_no_path_leads_out_of_the_folders(served: Served, outside: Path) -> None:
    before = served.get("/api/pictures").json
    dots = os.path.relpath(outside, served.folder)
    for path in (outside, served.folder / dots, f"{served.folder}/../../etc/passwd", "/etc/passwd", "~/x.png"):
        _refused(served, path)
    assert served.get("/api/pictures").json == before


def test_no_link_leads_out_of_the_folders(served: Served, outside: Path) -> None:
    for path in (served.folder / "link.png", served.folder / "linked", served.folder / "linked" / "secret.png"):
        _refused(served, path)
    listed = served.post("/api/folder", {"path": str(served.folder)}).json["entries"]
    assert {"link.png", "linked"}.isdisjoint(entry["label"] for entry in listed)
    everything = served.post("/api/pictures", {"path": str(served.folder)}).json
    assert "secret.png" not in str(everything["pictures"])
    assert "link.png" not in str(everything["pictures"])
    assert "1 left out" in everything["note"]


@pytest.mark.parametrize(
    "path",
    [
        "/static/../guard.py",
        "/static/%2e%2e/guard.py",
        "/static/..%2fguard.py",
        "/static//etc/passwd",
        "/results/..%2f..%2fetc%2fpasswd",
        "/pages/..%2f..%2fetc%2fpasswd",
        "/api/shown/..%2f..",
        "/api/thumbnail/file-1",
        "/api/sample?run=/etc&image=..&file=passwd",
    ],
)
def test_no_address_leads_to_a_file(served: Served, path: str) -> None:
    answer = served.get(path)
    assert answer.status in (400, 404)
    assert b"root:" not in answer.data
    assert b"import" not in answer.data


def test_settings_of_a_training_name_no_file_outside(served: Served) -> None:
    for more in ("generator.start=/etc/passwd", "data.validation=/etc", "data.low=/etc", "discriminator.start=/etc/x"):
        body = {
            "preset": "lite",
            "photos": str(served.folder),
            "name": "x",
            "more": f"generator.from_nearest=false\n{more}",
        }
        answer = served.post("/api/runs/start", body)
        assert answer.status == 400
        assert "lies outside of the folders" in answer.json["error"]
    for name in ("../x", "a/b", "", ".hidden", "x\n"):
        body = {"preset": "lite", "photos": str(served.folder), "name": name}
        assert served.post("/api/runs/start", body).status == 400
    assert list(served.runs.iterdir()) == []


def test_weights_outside_are_not_opened(served: Served, outside: Path) -> None:
    number = served.post("/api/pictures", {"path": str(served.folder / "one.png")}).json["pictures"][0]["id"]
    for name in ("model", "psnr_model"):
        answer = served.post("/api/upscale", {"pictures": [number], "settings": {name: str(outside)}})
        assert answer.status == 400
        assert "lies outside of the folders" in answer.json["error"]


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("../../up.png", "up.png"),
        ("..\\..\\up.png", "up.png"),
        ("/etc/up.png", "up.png"),
        ("<img src=x onerror=alert(1)>.png", "<img src=x onerror=alert(1)>.png"),
        (".hidden.png", "hidden.png"),
        ("new\nline\0.png", "newline.png"),
        ("a" * 400 + ".png", "a" * 196 + ".png"),
    ],
)
def test_an_uploaded_name_is_only_a_name(served: Served, png: bytes, name: str, stored: str) -> None:
    before = {path for path in served.work.rglob("*") if path.is_file()}
    answer = served.upload(name, png)
    assert answer.status == 200
    assert answer.json["picture"]["name"] == stored
    new = {path for path in served.work.rglob("*") if path.is_file()} - before
    assert [path.name for path in new if path.suffix == ".png"] == [stored]
    assert "onerror" not in served.get("/").data.decode()


@pytest.mark.parametrize("name", ["", "..", "/", "evil.sh", "page.html", "\0"])
def test_what_has_no_pictures_name_is_not_kept(served: Served, png: bytes, name: str) -> None:
    before = sorted(path for path in served.work.rglob("*") if path.is_file())
    answer = served.upload(name, png)
    assert answer.status == 400
    assert "\n" not in answer.json["error"]
    assert sorted(path for path in served.work.rglob("*") if path.is_file()) == before


def test_uploads_are_bounded(place: Path, png: bytes) -> None:
    with started(place, "--max-upload", "1") as studio:
        answer = studio.upload("large.png", png + bytes(2**20))
        assert answer.status == 413
        assert "larger than 1 MiB" in answer.json["error"]
        assert not list(studio.work.rglob("large.png"))
        assert studio.upload("small.png", png).status == 200
        full = [studio.upload(f"{n}.png", png + bytes(2**20 - len(png))) for n in range(16)]  # that much in all
        last = full[-1]
        assert last.status == 413
        assert "uploaded" in last.json["error"]


def test_a_request_is_bounded_and_must_be_an_object(served: Served) -> None:
    assert served.ask("POST", "/api/pictures", b" " * (2**20 + 1)).status == 413
    assert served.ask("POST", "/api/pictures", b"[1]").status == 400
    assert served.ask("POST", "/api/pictures", b"\xff{").status == 400
    assert served.post("/api/pictures", {"path": 7}).status == 400
    assert served.post("/api/upscale", {"pictures": "1", "settings": []}).status == 400


def test_a_hundred_megapixels_never_go_to_the_browser_whole(served: Served, tmp_path: Path) -> None:
    pixels = np.zeros((1, 10_000, 10_000), np.float32)
    pixels[:, ::100] = 1
    write_image(tmp_path / "huge.png", pixels)
    picture = served.upload("huge.png", (tmp_path / "huge.png").read_bytes()).json["picture"]
    shape = served.get(f"/api/shown/picture-{picture['id']}").json
    assert (shape["width"], shape["height"]) == (10_000, 10_000)
    coarsest = served.get(f"/api/shown/picture-{picture['id']}/{shape['levels'] - 1}/0/0")
    thumbnail = served.get(f"/api/thumbnail/picture-{picture['id']}")
    for answer in (coarsest, thumbnail):
        assert answer.status == 200
        assert len(answer.data) < 1_000_000
    planned = served.post("/api/plan", {"picture": picture["id"], "settings": {}}).json
    assert planned["plan"]["width"] == 40_000


def test_a_picture_that_would_fill_the_memory_is_refused(served: Served) -> None:
    bomb = pyvips.Image.black(17_000, 17_000).pngsave_buffer(compression=1)
    picture = served.upload("bomb.png", bomb).json["picture"]
    for answer in (
        served.post("/api/plan", {"picture": picture["id"], "settings": {}}),
        served.get(f"/api/shown/picture-{picture['id']}"),
        served.get(f"/api/thumbnail/picture-{picture['id']}"),
    ):
        assert answer.status == 400
        assert answer.json["error"].startswith("bomb.png: ")
        assert "megapixels" in answer.json["error"]


def test_another_host_demands_a_password() -> None:
    command = [sys.executable, "-m", "gramgan", "studio", "--no-browser", "--host", "0.0.0.0"]
    environment = {name: value for name, value in os.environ.items() if name != "GRAMGAN_STUDIO_PASSWORD"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: --host 0.0.0.0: ")
    assert ended.stderr.count("\n") == 1


def test_the_password_is_asked_of_everybody(place: Path) -> None:
    def basic(text: str) -> str:
        return "Basic " + b64encode(text.encode()).decode()

    with started(place, "--host", "0.0.0.0", GRAMGAN_STUDIO_PASSWORD="söme words") as studio:
        for path in ("/", "/api/pictures", "/static/core.js"):
            refused = studio.get(path)
            assert refused.status == 401
            assert refused.headers["www-authenticate"].startswith("Basic")
            for wrong in ("anybody:other", "anybody", ":", "Basic !"):
                assert studio.get(path, authorization=basic(wrong)).status == 401
            assert studio.get(path, authorization="Basic !").status == 401
            assert studio.get(path, authorization=basic("anybody:söme words")).status == 200
        assert studio.get("/", authorization=basic(":söme words"), host="evil.example").status == 421
