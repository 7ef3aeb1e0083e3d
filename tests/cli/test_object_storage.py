"""The commands with pictures, tables, weights and results in object storage: the same as with local files."""

import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from s3_server import SECRET, Bucket

from gramgan.cli.app import run
from gramgan.places import as_place
from gramgan.texture.database import TextureDatabase
from gramgan.upscaling.jobs import FolderJournal, plan_jobs, written

PLAIN = ("--backend", "torch", "--precision", "fp32", "--device", "cpu")


def _photo(seed: int, side: int = 96) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (side // 8, side // 8, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def photos(bucket: Bucket, tmp_path: Path) -> Path:
    """The same four photographs in the bucket, below `photos/`, and in a local folder."""
    for number in range(4):
        bucket.put(f"photos/sub/{number}.png", _photo(number))
        path = tmp_path / "photos" / "sub" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_photo(number))
    return tmp_path / "photos"


def _results(bucket: Bucket, prefix: str) -> list[str]:
    """Keys of objects, without the empty ones that stand for folders."""
    return [key for key in bucket.listed(prefix) if not key.endswith("/")]


def test_a_folder_is_upscaled_into_a_bucket_with_the_same_results(
    bucket: Bucket, photos: Path, small_generator: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = bucket.put("weights/small.safetensors", small_generator.read_bytes())
    there = f"{bucket.url}/out"
    assert run(["upscale", f"{bucket.url}/photos", "-o", there, "--model", model, *PLAIN]) == 0
    assert f"{there}: 4 of 4 pictures done" in capsys.readouterr().out
    assert _results(bucket, "out") == [f"out/sub/{number}.png" for number in range(4)]
    here = photos.parent / "out"
    assert run(["upscale", str(photos), "-o", str(here), "--model", str(small_generator), *PLAIN]) == 0
    for number in range(4):
        assert bucket.get(f"out/sub/{number}.png") == (here / "sub" / f"{number}.png").read_bytes()


def test_patterns_and_single_files(bucket: Bucket, photos: Path, small_generator: Path) -> None:
    options = ["--model", str(small_generator), *PLAIN]
    assert run(["upscale", f"{bucket.url}/photos/**/[01].png", "-o", f"{bucket.url}/some", *options]) == 0
    assert _results(bucket, "some") == ["some/sub/0.png", "some/sub/1.png"]
    assert run(["upscale", f"{bucket.url}/photos/sub/2.png", "-o", f"{bucket.url}/one.jpg", *options]) == 0
    assert bucket.get("one.jpg").startswith(b"\xff\xd8")
    local = photos.parent / "local.png"
    assert run(["upscale", f"{bucket.url}/photos/sub/2.png", "-o", str(local), *options]) == 0
    assert Image.open(local).size == (384, 384)


def test_a_stopped_job_is_gone_on_with_from_any_machine(
    bucket: Bucket,
    photos: Path,
    small_generator: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    command = ["upscale", f"{bucket.url}/photos", "-o", f"{bucket.url}/out", "--model", str(small_generator), *PLAIN]
    bucket.server.refuse = lambda method, path: b"AccessDenied" if path.endswith("out/sub/2.png") else None
    assert run(command) == 1
    told = capsys.readouterr()
    assert f"failed: {bucket.url}/out/sub/2.png: access is denied; check the rights" in told.err
    assert SECRET not in told.err + told.out
    bucket.server.refuse = None
    assert _results(bucket, "out/sub") == [f"out/sub/{number}.png" for number in (0, 1, 3)]
    before = bucket.get("out/sub/1.png")
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path / "another machine"))
    bucket.server.requests.clear()
    assert run(command) == 0
    told = capsys.readouterr()
    assert "going on with a job that was stopped; 3 results done already" in told.out
    assert [path for method, path in bucket.server.requests if method == "PUT" and path.endswith(".png")] == [
        f"/{bucket.name}/out/sub/2.png"
    ]
    assert bucket.get("out/sub/1.png") == before
    assert not [key for key in _results(bucket, "out") if ".gramgan" in key]  # everything is done: the journal is gone


def test_an_object_that_vanishes_while_the_job_runs_is_one_line(
    bucket: Bucket, photos: Path, small_generator: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def vanishes(method: str, path: str) -> None:
        if method == "PUT" and path.endswith("out/sub/0.png"):
            bucket.client.delete_object(Bucket=bucket.name, Key="photos/sub/2.png")

    bucket.server.refuse = vanishes
    options = ["--model", str(small_generator), *PLAIN]
    assert run(["upscale", f"{bucket.url}/photos", "-o", f"{bucket.url}/out", *options]) == 1
    told = capsys.readouterr()
    assert [line for line in told.err.splitlines() if "failed" in line] == [
        f"failed: {bucket.url}/photos/sub/2.png: no such file; check the name"
    ]
    assert _results(bucket, "out/sub") == [f"out/sub/{number}.png" for number in (0, 1, 3)]


@pytest.mark.parametrize("count", [1500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_results_that_are_there_are_skipped_with_few_requests(
    bucket: Bucket, small_generator: Path, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    bucket.put_many(f"in/{number // 100}/{number}.png" for number in range(count))
    bucket.put_many(f"out/{number // 100}/{number}.png" for number in range(count))
    folder = as_place(f"{bucket.url}/out")
    jobs = plan_jobs([f"{bucket.url}/in"], folder)
    journal, stamps = FolderJournal(folder, "key"), written(jobs, folder)
    for job in jobs[:2]:
        journal.add(job)
    assert len(bucket.server.requests) < 40 + 2 * count / 1000  # a listing has 1,000 objects
    assert len(bucket.listed("out/.gramgan-upscale/")) == 2
    again = FolderJournal(folder, "key")
    assert [job for job in jobs if again.holds(job, stamps[job])] == jobs[:2]
    bucket.server.requests.clear()
    options = ["--model", str(small_generator), *PLAIN, "--skip-existing"]
    assert run(["upscale", f"{bucket.url}/in", "-o", str(folder), *options]) == 0
    assert f"nothing to do, {count} results there already" in capsys.readouterr().out
    assert len(bucket.server.requests) < 20 + 2 * count / 1000


def test_a_database_is_built_from_and_in_a_bucket_row_for_row_as_a_local_one(bucket: Bucket, photos: Path) -> None:
    table, local = f"{bucket.url}/tables/t.lance", photos.parent / "t.lance"
    options = ["--patches", "200", "--seed", "3"]
    assert run(["db", "build", f"{bucket.url}/photos", "-o", table, *options]) == 0
    assert run(["db", "build", str(photos), "-o", str(local), *options]) == 0
    one, other = TextureDatabase.open(table), TextureDatabase.open(local)
    assert len(one) == len(other) > 0
    for column in ("patch_id", "gram", "patch", "x", "y", "scale", "warped"):
        assert np.array_equal(one._storage.numbers(column), other._storage.numbers(column))


def test_everything_that_changes_a_table_does_so_in_a_bucket(
    bucket: Bucket, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = f"{bucket.url}/t.lance"
    build = ["db", "build", f"{bucket.url}/photos", "-o", table, "--patches", "200"]
    assert run(build) == 0
    bucket.put("more/9.png", _photo(9))
    assert run(["db", "versions", table, "--tag", "first"]) == 0
    assert run(["db", "add", table, f"{bucket.url}/more"]) == 0
    assert run(["db", "remove", table, "--source", "9.png"]) == 0
    assert run(["db", "verify", table]) == 0
    assert "version 3 is whole: 200 patches" in capsys.readouterr().out
    assert len(TextureDatabase.open(table, "first")) == len(TextureDatabase.open(table)) == 200
    assert run(["db", "versions", table, "--untag", "first", "--clean"]) == 0
    assert [version.number for version in TextureDatabase.open(table).versions()] == [3]
    assert run(["db", "snapshot", table, "-o", f"{bucket.url}/t.safetensors"]) == 0
    assert len(TextureDatabase.open(f"{bucket.url}/t.safetensors")) == 200
    assert run(["db", "merge", table, f"{bucket.url}/t.safetensors", "-o", f"{bucket.url}/m.lance"]) == 0
    assert run(["db", "info", f"{bucket.url}/m.lance"]) == 0
    capsys.readouterr()
    assert run(build) == 2
    assert capsys.readouterr().err.startswith(f"error: {table}: exists already; ")
    assert run([*build, "--overwrite"]) == 0
    assert [version.patches for version in TextureDatabase.open(table).versions()] == [200]
    assert run(["db", "verify", table]) == 0


def test_a_table_that_cannot_be_written_is_as_it_was(
    bucket: Bucket, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = f"{bucket.url}/t.lance"
    assert run(["db", "build", f"{bucket.url}/photos", "-o", table, "--patches", "200"]) == 0
    bucket.put("more/9.png", _photo(9))
    before = _results(bucket, "t.lance")
    bucket.server.refuse = lambda method, path: (
        b"AccessDenied" if method in ("PUT", "POST") and path.endswith(".lance") else None
    )
    assert run(["db", "add", table, f"{bucket.url}/more"]) == 2
    line = capsys.readouterr().err
    assert "access is denied; check the rights" in line and SECRET not in line and line.count("\n") == 1
    bucket.server.refuse = None
    assert _results(bucket, "t.lance") == before
    assert len(TextureDatabase.open(table)) == 200


def test_photographs_are_prepared_from_and_into_a_bucket_and_not_twice(bucket: Bucket, photos: Path) -> None:
    command = ["prepare", f"{bucket.url}/photos", "-o", f"{bucket.url}/prepared", "--size", "32"]
    assert run(command) == 0
    local = photos.parent / "prepared"
    assert run(["prepare", str(photos), "-o", str(local), "--size", "32"]) == 0
    names = sorted(path.relative_to(local).as_posix() for path in local.rglob("*.png"))
    assert len(names) == 100
    assert [key for key in _results(bucket, "prepared") if key.endswith(".png")] == [f"prepared/{n}" for n in names]
    assert all(bucket.get(f"prepared/{name}") == (local / name).read_bytes() for name in names)
    assert bucket.get("prepared/manifest.csv") == (local / "manifest.csv").read_bytes()
    bucket.server.requests.clear()
    assert run(command) == 0
    assert not [path for method, path in bucket.server.requests if method == "PUT" and path.endswith(".png")]
    assert len(bucket.server.requests) < 80


def test_preparing_is_gone_on_with_from_any_machine(
    bucket: Bucket,
    photos: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    command = ["prepare", f"{bucket.url}/photos", "-o", f"{bucket.url}/prepared", "--size", "48"]
    bucket.server.refuse = lambda method, path: b"AccessDenied" if method == "PUT" and "/sub-2-" in path else None
    assert run(command) == 1
    told = capsys.readouterr()
    assert re.search(r"failed: s3://bucket-\w+/prepared/sub-2-\w+\.png: access is denied; check the rights", told.err)
    assert SECRET not in told.err + told.out
    bucket.server.refuse = None
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path / "another machine"))
    bucket.server.requests.clear()
    assert run(command) == 0
    written = [path for method, path in bucket.server.requests if method == "PUT" and path.endswith(".png")]
    assert len(written) == 9 and all("/sub-2-" in path for path in written)
    assert run(["prepare", str(photos), "-o", str(tmp_path / "local"), "--size", "48"]) == 0
    assert bucket.get("prepared/manifest.csv") == (tmp_path / "local" / "manifest.csv").read_bytes()


def test_the_same_in_google_cloud_storage(
    bucket: Bucket,
    photos: Path,
    small_generator: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Its own protocol, as far as the server here speaks it: lists, reading, writing in one piece, deleting."""
    account = {"client_email": "", "private_key": SECRET, "private_key_id": "", "disable_oauth": True}
    key = tmp_path / "account.json"
    key.write_text(json.dumps(account | {"gcs_base_url": os.environ["AWS_ENDPOINT_URL"]}))
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(key))
    google = replace(bucket, scheme="gs")
    upscale = ["upscale", f"{google.url}/photos", "-o", f"{google.url}/out", "--model", str(small_generator), *PLAIN]
    google.server.refuse = lambda method, path: b"AccessDenied" if path.endswith("out/sub/2.png") else None
    assert run(upscale) == 1
    google.server.refuse = None
    assert run(upscale) == 0
    told = capsys.readouterr()
    assert f"failed: {google.url}/out/sub/2.png: access is denied; check the rights" in told.err
    assert "going on with a job that was stopped; 3 results done already" in told.out
    assert _results(google, "out") == [f"out/sub/{number}.png" for number in range(4)]
    options = ["--patches", "100"]
    assert run(["db", "build", f"{google.url}/photos", "-o", f"{google.url}/t.lance", *options]) == 0
    assert run(["db", "build", str(photos), "-o", str(tmp_path / "t.lance"), *options]) == 0
    one, other = TextureDatabase.open(f"{google.url}/t.lance"), TextureDatabase.open(tmp_path / "t.lance")
    assert all(np.array_equal(one.numbers(name), other.numbers(name)) for name in ("patch_id", "gram", "patch"))
    assert run(["db", "info", "gs://no-such-bucket/t.lance"]) == 2
    told = capsys.readouterr()
    assert SECRET not in told.err + told.out
    assert told.err.startswith("error: gs://no-such-bucket/t.lance: ") and told.err.count("\n") == 1


def test_shards_are_written_into_a_bucket(bucket: Bucket, photos: Path) -> None:
    command = ["prepare", f"{bucket.url}/photos", "-o", f"{bucket.url}/shards", "--size", "32", "--shards"]
    assert run(command) == 0
    local = photos.parent / "shards"
    assert run(["prepare", str(photos), "-o", str(local), "--size", "32", "--shards"]) == 0
    for path in local.glob("*.tar"):
        assert bucket.get(f"shards/{path.name}") == path.read_bytes()


def test_scores_of_pictures_and_weights_in_a_bucket(bucket: Bucket, photos: Path, small_generator: Path) -> None:
    model = bucket.put("weights/small.safetensors", small_generator.read_bytes())
    options = ["--precision", "fp32", "--device", "cpu"]
    assert run(["evaluate", f"{bucket.url}/photos", "-o", f"{bucket.url}/scores", "--model", model, *options]) == 0
    local = photos.parent / "scores"
    assert run(["evaluate", str(photos), "-o", str(local), "--model", str(small_generator), *options]) == 0
    assert bucket.get("scores/scores.csv") == (local / "scores.csv").read_bytes()
    assert {"scores/report.html", "scores/scores.json", "scores/scores.md"} < set(bucket.listed("scores"))


@pytest.mark.parametrize(
    "command",
    [
        ["upscale", "{url}/photos", "-o", "{url}/out"],
        ["db", "build", "{url}/photos", "-o", "{url}/t.lance"],
        ["db", "info", "{url}/t.lance"],
        ["prepare", "{url}/photos", "-o", "{url}/prepared"],
        ["evaluate", "{url}/photos", "-o", "{url}/scores", "--model", "bicubic"],
        ["inspect", "{url}/photos/1.png"],
    ],
)
def test_an_unreachable_storage_is_one_line_of_every_command(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert run([part.format(url=bucket.url) for part in command]) in (1, 2)
    told = capsys.readouterr()
    line = told.err or told.out  # `inspect` tells of bad files among the results
    assert "the storage at http://127.0.0.1:9 cannot be reached; check the address" in line
    assert line.count("\n") == 1 and SECRET not in line


def test_photographs_are_collected_into_a_bucket(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(2):
        (tmp_path / "photos" / f"{number}.png").write_bytes(_photo(number, 256))
    folder = f"{bucket.url}/collection"
    assert run(["collect", "--from", str(tmp_path / "photos"), "-o", folder, "--licence", "CC0"]) == 0
    assert run(["collect", "--from", str(tmp_path / "photos"), "-o", folder, "--licence", "CC0"]) == 0
    there = set(bucket.listed("collection"))
    assert {"collection/0.png", "collection/1.png", "collection/manifest.csv", "collection/ATTRIBUTION.md"} <= there
    assert bucket.get("collection/0.png") == _photo(0, 256)


def test_a_run_folder_is_local(bucket: Bucket, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "-o", f"{bucket.url}/run", "--photos", f"{bucket.url}/photos"]) == 2
    line = capsys.readouterr().err
    assert (
        line == f"error: {bucket.url}/run: a run appends to its journals, so it needs a local folder; train there, "
        "and copy the folder when it is finished\n"
    )
    assert run(["runs", f"{bucket.url}/runs"]) == 2
    line = capsys.readouterr().err
    assert line == f"error: {bucket.url}/runs: runs are looked for in local folders; copy this one to a disk first\n"
