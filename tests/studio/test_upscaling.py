"""Pictures through the page: what is said of them before, what comes out, and what is left behind."""

import os
import shutil
import subprocess
import sys
import time
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from served import Served, picture

from gramgan.images import Raster, write_image

pytest.importorskip("starlette", reason="the extra `studio` is not installed")


def _settings(served: Served, **more: Any) -> dict[str, Any]:
    return {"model": str(served.folder / "small.safetensors"), "backend": "torch", "precision": "fp32", **more}


def _put(served: Served, name: str) -> str:
    return served.post("/api/pictures", {"path": str(served.folder / name)}).json["pictures"][0]["id"]


def _command(served: Served, source: Path, target: Path, *more: str) -> bytes:
    weights = str(served.folder / "small.safetensors")
    same = ["--model", weights, "--backend", "torch", "--precision", "fp32"]
    subprocess.run(
        [sys.executable, "-m", "gramgan", "upscale", str(source), "-o", str(target), *same, *more], check=True
    )
    return target.read_bytes()


@pytest.mark.parametrize(
    ("name", "form", "suffix", "settings", "options"),
    [
        ("one.png", None, "png", {}, ()),
        ("deep.png", None, "png", {"scale": 3}, ("--scale", "3")),
        ("one.png", "jpg", "jpg", {"quality": 80, "denoise": 0.5}, ("--quality", "80", "--denoise", "0.5")),
        ("one.png", "webp", "webp", {"size": "200x", "texture_mask": True}, ("--size", "200x", "--texture-mask")),
    ],
)
def test_a_download_is_the_commands_file_bit_for_bit(
    served: Served,
    tmp_path: Path,
    name: str,
    form: str | None,
    suffix: str,
    settings: dict[str, Any],
    options: tuple[str],
) -> None:
    body = {"pictures": [_put(served, name)], "settings": _settings(served, **settings), "format": form}
    number = served.post("/api/upscale", body).json["jobs"][0]
    job = served.wait(number)
    assert job["state"] == "done", job
    answer = served.get(f"/results/{number}")
    assert f'filename="{Path(name).stem}.{suffix}"' in answer.headers["content-disposition"]
    assert answer.data == _command(served, served.folder / name, tmp_path / f"{Path(name).stem}.{suffix}", *options)


def test_depth_and_alpha_stay(served: Served, tmp_path: Path) -> None:
    number = served.post("/api/upscale", {"pictures": [_put(served, "deep.png")], "settings": _settings(served)}).json[
        "jobs"
    ][0]
    served.wait(number)
    (tmp_path / "result.png").write_bytes(served.get(f"/results/{number}").data)
    info = Raster.open(tmp_path / "result.png").info
    assert (info.width, info.height, info.bits, info.has_alpha) == (192, 160, 16, True)


def test_a_result_beside_its_picture_replaces_nothing(served: Served) -> None:
    target = served.folder / "one_x4.png"
    body = {"pictures": [_put(served, "one.png")], "settings": _settings(served), "beside": True}
    number = served.post("/api/upscale", body).json["jobs"][0]
    assert served.wait(number)["result"]["saved"] == str(target)
    assert target.read_bytes() == served.get(f"/results/{number}").data
    refused = served.post("/api/upscale", body)
    assert refused.status == 400
    assert refused.json["error"].startswith(f"{target}: is there already")
    target.unlink()
    first, second = (served.post("/api/upscale", body).json["jobs"][0] for _ in range(2))
    assert served.wait(first)["state"] == "done"
    late = served.wait(second)
    assert late["state"] == "failed"
    assert late["error"].startswith(f"{target}: is there already")
    target.unlink()


def test_an_uploaded_picture_has_no_place_beside_it(served: Served) -> None:
    number = served.upload("up.png", (served.folder / "one.png").read_bytes()).json["picture"]["id"]
    answer = served.post("/api/upscale", {"pictures": [number], "settings": _settings(served), "beside": True})
    assert answer.status == 400
    assert "was uploaded" in answer.json["error"]


def test_what_is_said_before_is_what_comes_out(served: Served) -> None:
    number = _put(served, "deep.png")
    found = served.post("/api/plan", {"picture": number, "settings": _settings(served, scale=2.5)}).json
    assert "48x40, 16 bits RGB with alpha" in found["facts"]
    assert (found["plan"]["width"], found["plan"]["height"]) == (120, 100)
    assert found["plan"]["bytes"] == 120 * 100 * 4 * 2
    assert found["plan"]["weights"] == "small.safetensors"
    assert "shrunk" in found["plan"]["way"]


def test_the_time_is_known_once_the_speed_was_measured(served: Served) -> None:
    body = {"picture": _put(served, "one.png"), "settings": _settings(served)}
    until = time.monotonic() + 60
    while (seconds := served.post("/api/plan", body).json["plan"]["seconds"]) is None and time.monotonic() < until:
        time.sleep(0.2)
    assert seconds is not None
    larger = served.post("/api/plan", {**body, "settings": _settings(served, scale=16)}).json["plan"]["seconds"]
    assert larger > 3 * seconds


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": 65}, "scale: 65.0 is outside of 1 to 64"),
        ({"scale": "much"}, "scale 'much': is not a number; correct it"),
        ({"denoise": 0.5, "consistency": True}, "denoise: 0.5 has no effect"),
        ({"scale": 2, "size": "10x"}, "both say how large"),
        ({"texture_mask": 1}, "texture_mask 1: is neither yes nor no"),
        ({"nothing": 1}, "nothing: no such setting"),
        ({"icc": "cmyk"}, "icc 'cmyk': unknown"),
    ],
)
def test_a_wrong_setting_is_told_as_the_command_tells_it(
    served: Served, settings: dict[str, Any], message: str
) -> None:
    number = _put(served, "one.png")
    answer = served.post("/api/upscale", {"pictures": [number], "settings": settings})
    assert answer.status == 400
    assert message in answer.json["error"]
    planned = served.post("/api/plan", {"picture": number, "settings": settings}).json
    assert message in planned["error"]
    assert "80x60" in planned["facts"]


def test_a_damaged_picture_fails_alone(served: Served) -> None:
    whole = (served.folder / "one.png").read_bytes()
    broken = served.upload("broken.png", whole[: len(whole) // 2]).json["picture"]["id"]
    body = {"pictures": [broken, _put(served, "one.png")], "settings": _settings(served)}
    first, second = (served.wait(number) for number in served.post("/api/upscale", body).json["jobs"])
    assert first["state"] == "failed"
    assert first["error"].startswith("broken.png: ")
    assert "\n" not in first["error"]
    assert second["state"] == "done"
    assert not list(served.work.rglob(f"results/{first['id']}"))


def test_a_cancelled_picture_leaves_nothing(served: Served) -> None:
    write_image(served.folder / "wide.png", picture(5, 400, 400))
    number = _put(served, "wide.png")
    body = {"pictures": [number, number], "settings": _settings(served, tile=32, scale=8), "beside": False}
    first, second = served.post("/api/upscale", body).json["jobs"]
    before = sorted(served.folder.iterdir())
    while not served.jobs("upscale")[-2]["done"]:
        time.sleep(0.02)
    assert list(served.work.rglob(f"results/{first}/.*"))  # in the middle of it
    served.post("/api/jobs/cancel", {"jobs": [second, first]})
    assert served.wait(first)["state"] == "cancelled"
    assert served.wait(second)["state"] == "cancelled"
    assert not list(served.work.rglob(f"results/{first}"))
    assert sorted(served.folder.iterdir()) == before
    (served.folder / "wide.png").unlink()


def test_all_results_in_one_archive_each_under_its_own_name(served: Served) -> None:
    number = _put(served, "one.png")
    body = {"pictures": [number], "settings": _settings(served)}
    jobs = [served.post("/api/upscale", body).json["jobs"][0] for _ in range(2)]
    for one in jobs:
        served.wait(one)
    with zipfile.ZipFile(BytesIO(served.get("/results").data)) as archive:
        names = archive.namelist()
        assert {f"{one} one.png" for one in jobs} <= set(names)
        assert len(set(names)) == len(names)
        assert archive.read(f"{jobs[0]} one.png") == served.get(f"/results/{jobs[0]}").data


def test_a_removed_job_takes_its_result_along(served: Served) -> None:
    number = served.post("/api/upscale", {"pictures": [_put(served, "one.png")], "settings": _settings(served)}).json[
        "jobs"
    ][0]
    served.wait(number)
    assert list(served.work.rglob(f"results/{number}/one.png"))
    assert served.post("/api/jobs/remove", {"jobs": [number]}).status == 200
    assert not list(served.work.rglob(f"results/{number}"))
    assert served.get(f"/results/{number}").status == 400


@pytest.mark.skipif(sys.platform == "darwin", reason="file systems there take only text for names")
def test_a_name_that_is_no_text_goes_all_the_way(served: Served) -> None:
    folder = served.folder / "odd"
    folder.mkdir()
    path = folder / os.fsdecode(b"odd \xff name.png")
    path.write_bytes((served.folder / "one.png").read_bytes())
    entry = served.post("/api/folder", {"path": str(folder)}).json["entries"][0]
    number = served.post("/api/pictures", {"path": entry["path"]}).json["pictures"][0]["id"]
    body = {"pictures": [number], "settings": _settings(served), "beside": True}
    job = served.post("/api/upscale", body).json["jobs"][0]
    assert served.wait(job)["state"] == "done"
    assert os.fsdecode(b"odd \xff name_x4.png") in [one.name for one in folder.iterdir()]
    assert served.get(f"/results/{job}").status == 200
    assert served.get("/results").status == 200
    shutil.rmtree(folder)
