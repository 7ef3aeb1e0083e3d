"""`gramgan prepare` as a user runs it: odd files are named, photographs are cut, killed runs go on."""

import csv
import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from gramgan.cli.app import run
from gramgan.collect import collect_folder, read_manifest, split
from gramgan.images import read_rgb, write_image
from gramgan.ops.resize import matlab_bicubic_down
from gramgan.prepare import run as prepare_run
from gramgan.prepare.cutting import starts
from gramgan.prepare.run import Wish, prepare_folder
from gramgan.team import Threads


def picture(width: int = 240, height: int = 200, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (10, 12, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def photos(folder: Path, count: int = 3, width: int = 240, height: int = 200) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        picture(width, height, seed).save(folder / f"photo {seed}.png")
    return folder


def report(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "report.csv").open(encoding="utf-8", newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def sixteen_bits(path: Path, seed: int) -> None:
    values = np.asarray(picture(seed=seed), np.float32).transpose(2, 0, 1) / 255
    if path.suffix == ".tif":
        tifffile.imwrite(path, (values.transpose(1, 2, 0) * 65535).astype(np.uint16), photometric="rgb")
    else:
        write_image(path, values, bits=16)


def odd_files(folder: Path) -> dict[str, tuple[str, str]]:
    """Fills a folder; what the report has to say of each file: the beginning of its problem, and a note."""
    folder.mkdir()
    said: dict[str, tuple[str, str]] = {}
    formats = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "tif": "TIFF", "gif": "GIF", "avif": "AVIF"}
    seed = 100

    def new(name: str, problem: str, note: str = "") -> Path:
        nonlocal seed
        seed += 1
        said[name] = (problem, note)
        return folder / name

    for suffix, name in formats.items():
        new(f"zero.{suffix}", "the file is empty (0 bytes)").touch()
        path = new(f"cut.{suffix}", "damaged")
        picture(seed=seed).save(path, name, **({"compression": "raw"} if name == "TIFF" else {}))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        picture(1, 1, seed=seed).save(
            new(f"one.{suffix}", "a picture of 256" if name == "GIF" else "too small: 1x1"), name
        )
        new(f"words.{suffix}", "not an image that can be read").write_text("nothing but words")
    for suffix, name in (("jpg", "JPEG"), ("tif", "TIFF")):
        path = new(f"cmyk.{suffix}", "", "CMYK, converted to RGB")
        picture(seed=seed).convert("CMYK").save(path, name)
        exif = Image.Exif()
        exif[0x0112] = 6
        path = new(f"rotated.{suffix}", "", "turned upright (EXIF orientation 6)")
        picture(300, 200, seed).save(path, name, exif=exif)
    for suffix in ("png", "tif"):
        path = new(f"deep.{suffix}", "", "16 bits")
        sixteen_bits(path, seed)
    for suffix, name in (("gif", "GIF"), ("webp", "WEBP")):
        path = new(f"moving.{suffix}", "an animation of 3 frames, no photograph")
        frames = [picture(seed=seed + number) for number in (0, 1000, 2000)]
        frames[0].save(path, name, save_all=True, append_images=frames[1:])
    for suffix in ("jpg", "png", "webp", "tif"):
        if suffix != "webp":  # which has no side above 16,383 pixels
            picture(30_000, 2, seed).save(new(f"long.{suffix}", "too small: 30000x2", "very long and narrow"))
        other = {"jpg": "PNG", "png": "JPEG", "webp": "TIFF", "tif": "WEBP"}[suffix]
        shown = {"WEBP": "WebP"}.get(other, other)
        path = new(f"misnamed.{suffix}", "", f"a {shown} file that is called .{suffix}")
        picture(seed=seed).save(path, other)
    new("notes.txt", "no image (.txt)").write_text("nothing but words")
    new("README", "no image (without a suffix)").write_text("nothing but words")
    path = new("hidden.dat", "", "a PNG file that is called .dat")
    picture(seed=seed).save(path, "PNG")
    return said


def test_every_odd_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = odd_files(tmp_path / "in")
    before = {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()}
    assert run(["prepare", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--size", "128", "--workers", "2"]) == 0
    rows = report(tmp_path / "out")
    assert rows.keys() == said.keys()
    for name, (problem, note) in said.items():
        row = rows[name]
        assert row["problem"].startswith(problem) and bool(row["problem"]) == bool(problem), (name, row)
        assert note in row["notes"], (name, row)
        assert (row["used"] == "yes") == (not problem)
        assert (int(row["sub_images"]) > 0) == (not problem)
    assert (rows["rotated.jpg"]["width"], rows["rotated.jpg"]["height"]) == ("200", "300")
    assert rows["deep.tif"]["bits"] == "16"
    assert "png" not in rows["cut.tif"]["problem"]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert all(name in page for name in said)
    assert "http://" not in page and "https://" not in page and "<script" not in page
    assert {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()} == before
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == f"report: {tmp_path / 'out' / 'report.html'}"
    assert sum(line.startswith("not used: ") for line in out) == 11
    # Turned upright means that the sub-image at the upper left is the upper left of what is seen.
    entries = {entry.source: entry for entry in read_manifest(tmp_path / "out") or []}
    corner = read_rgb(tmp_path / "out" / entries["rotated.jpg#x=0&y=0"].file)
    assert np.array_equal(corner, read_rgb(tmp_path / "in" / "rotated.jpg")[:, :128, :128])
    deep = tmp_path / "out" / entries["deep.png#x=0&y=0"].file
    assert np.array_equal(read_rgb(deep), read_rgb(tmp_path / "in" / "deep.png")[:, :128, :128])


def test_sub_images_are_the_photographs_pixels(tmp_path: Path) -> None:
    collect_folder(photos(tmp_path / "mine"), tmp_path / "in", licence="CC0-1.0")
    result = prepare_folder(tmp_path / "in", tmp_path / "out", Wish(size=96, step=48), team=Threads(2))
    sources = {entry.file: entry for entry in read_manifest(tmp_path / "in") or []}
    entries = read_manifest(tmp_path / "out") or []
    xs, ys = [0, 48, 96, 144], [0, 48, 96, 104]
    assert result.sub_images == len(entries) == 3 * len(xs) * len(ys)
    for entry in entries:
        file, _, place = entry.source.partition("#")
        x, y = (int(part.partition("=")[2]) for part in place.split("&"))
        assert x in xs and y in ys
        path = tmp_path / "out" / entry.file
        assert np.array_equal(read_rgb(path), read_rgb(tmp_path / "in" / file)[:, y : y + 96, x : x + 96])
        assert entry.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert (entry.licence, entry.group, entry.split) == ("CC0-1.0", sources[file].group, sources[file].split)
        assert path.stem.count(".") == 0
    train, holdout = split(tmp_path / "out")
    assert len(train) == 32 and len(holdout) == 16
    # The hashes of pixels are those that collecting would find.
    again = collect_folder(tmp_path / "out", tmp_path / "again", min_size=96)
    assert {one.sha256: one.pixels_sha256 for one in again.entries} == {
        one.sha256: one.pixels_sha256 for one in entries
    }


def test_shrunk_copies_are_what_shrinking_the_whole_photograph_gives(tmp_path: Path) -> None:
    folder = photos(tmp_path / "in", 1, 407, 331)
    sixteen_bits(folder / "deep.png", 5)
    arguments = ["prepare", str(folder), "-o", str(tmp_path / "out"), "--size", "80", "--step", "70"]
    assert run([*arguments, "--shrink", "3", "--shrink", "1", "--shrink", "2", "--shrink", "2"]) == 0
    found: dict[tuple[str, int], int] = {}
    for entry in read_manifest(tmp_path / "out") or []:
        file, _, place = entry.source.partition("#")
        told = {name: int(value) for name, _, value in (part.partition("=") for part in place.split("&"))}
        shrink = told.get("shrink", 1)
        found[file, shrink] = found.get((file, shrink), 0) + 1
        whole = torch.from_numpy(read_rgb(folder / file))
        whole = whole[:, : whole.shape[1] // shrink * shrink, : whole.shape[2] // shrink * shrink]
        if shrink > 1:
            whole = matlab_bicubic_down(whole[None], shrink, quantise=False)[0].clamp(0, 1)
        x, y = told["x"] // shrink, told["y"] // shrink
        levels = 65535 if file == "deep.png" else 255
        expected = (whole[:, y : y + 80, x : x + 80] * levels).numpy()
        assert np.abs(read_rgb(tmp_path / "out" / entry.file) * levels - expected).max() <= 0.51
    assert found == {
        # 407x331, 203x165 and 135x110; 240x200 and 120x100, and a third of that is too small.
        ("photo 0.png", 1): 6 * 5,
        ("photo 0.png", 2): 3 * 3,
        ("photo 0.png", 3): 2 * 2,
        ("deep.png", 1): 4 * 3,
        ("deep.png", 2): 2 * 2,
    }


def test_a_shrunk_sample_of_a_shard_says_what_it_shows(tmp_path: Path) -> None:
    folder = photos(tmp_path / "in", 3)
    arguments = ["prepare", str(folder), "-o", str(tmp_path / "out"), "--size", "96", "--shards"]
    assert run([*arguments, "--shrink", "1", "--shrink", "2"]) == 0
    with tarfile.open(tmp_path / "out" / "train-000000.tar") as archive:
        told = [json.loads(archive.extractfile(m).read()) for m in archive.getmembers() if m.name.endswith("json")]  # type: ignore[union-attr]
    shrunk = [one for one in told if one.get("shrink") == 2]
    assert {(one["x"], one["y"], one["width"], one["height"]) for one in shrunk} == {
        (x, y, 192, 192) for x in (0, 48) for y in (0, 8)
    }
    assert all(one["width"] == 96 for one in told if "shrink" not in one)
    assert run([*arguments, "--shrink", "2"]) == 0
    with tarfile.open(tmp_path / "out" / "train-000000.tar") as archive:
        assert len(archive.getnames()) == 2 * len(shrunk)


def test_what_shrinking_leaves_too_small_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = photos(tmp_path / "in", 1)
    assert run(["prepare", str(folder), "-o", str(tmp_path / "out"), "--size", "128", "--shrink", "2"]) == 2
    assert "--shrink" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("length", "expected"), [(480, [0]), (481, [0, 1]), (720, [0, 240]), (725, [0, 240, 245]), (960, [0, 240, 480])]
)
def test_starts(length: int, expected: list[int]) -> None:
    assert starts(length, 480, 240) == expected


def test_a_grey_photograph_stays_grey_and_adobe_rgb_becomes_srgb(tmp_path: Path) -> None:
    folder = photos(tmp_path / "in", 1)
    picture(seed=7).convert("L").save(folder / "grey.png")
    prepare_folder(folder, tmp_path / "out", Wish(size=128, step=128))
    (grey,) = (tmp_path / "out").glob("grey-*_x00000_y00000.png")
    with Image.open(grey) as image:
        assert image.mode == "L"


def test_licences_of_another_programs_manifest_are_kept(tmp_path: Path) -> None:
    folder = photos(tmp_path / "in", 2)
    (folder / "manifest.csv").write_text("file,width,license\nphoto 0.png,240,CC-BY-4.0\n")
    prepare_folder(folder, tmp_path / "out", Wish(size=128, step=128, licence="my own"))
    found = {entry.source.partition("#")[0]: entry.licence for entry in read_manifest(tmp_path / "out") or []}
    assert found == {"photo 0.png": "CC-BY-4.0", "photo 1.png": "my own"}


def test_duplicates_and_leaks(tmp_path: Path) -> None:
    folder = photos(tmp_path / "in", 3)
    with Image.open(folder / "photo 0.png") as image:
        image.resize((180, 150), Image.Resampling.LANCZOS).save(folder / "a smaller one.jpg", quality=60)
        image.save(folder / "same.tif")
    (tmp_path / "Set1").mkdir()
    picture(120, 100, 1).transpose(Image.Transpose.FLIP_LEFT_RIGHT).rotate(90, expand=True).save(
        tmp_path / "Set1" / "truth.png"
    )
    result = prepare_folder(folder, tmp_path / "out", Wish(size=96, step=96), benchmarks=[tmp_path / "Set1"])
    rows = report(tmp_path / "out")
    assert rows["photo 1.png"]["leaks"] == "Set1/truth.png"
    assert rows["photo 1.png"]["problem"].startswith("leaks: looks like Set1/truth.png (")
    assert rows["a smaller one.jpg"]["problem"].startswith("duplicate: looks like photo 0.png (")
    assert rows["same.tif"]["problem"] == "duplicate: the same pixels as photo 0.png"
    assert {check.file for check in result.checks if not check.problem} == {"photo 0.png", "photo 2.png"}
    assert {entry.source.partition("#")[0] for entry in read_manifest(tmp_path / "out") or []} == {
        "photo 0.png",
        "photo 2.png",
    }


def test_what_is_worse_than_wanted_is_left_out(tmp_path: Path) -> None:
    folder = photos(tmp_path / "in", 1)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (200, 240, 3), dtype=np.uint8)).save(folder / "sharp.png")
    out = tmp_path / "out"
    arguments = ["prepare", str(folder), "-o", str(out), "--size", "96", "--max-blur", "0.5", "--check-only"]
    assert run(arguments) == 0
    assert report(out)["photo 0.png"]["problem"].startswith("too blurred: 0.")
    assert report(out)["sharp.png"]["problem"] == ""
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) == ["report.csv", "report.html"]


class Killed(BaseException):
    pass


def test_a_killed_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, out, whole = photos(tmp_path / "in", 4), tmp_path / "out", tmp_path / "whole"
    wish = Wish(size=96, step=48)
    prepare_folder(folder, whole, wish, team=Threads(1))

    def stop(done: int, total: int) -> None:
        if done == 32:
            raise Killed

    with pytest.raises(Killed):
        prepare_folder(folder, out, wish, team=Threads(1), on_cut=stop)
    assert not (out / "manifest.csv").exists()
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")}
    assert 32 <= len(times) < 64  # the photograph after that may have been begun
    checked: list[Path] = []
    monkeypatch.setattr(prepare_run, "check_file", lambda path, *_args, **_more: checked.append(path))
    prepare_folder(folder, out, wish, team=Threads(1))
    assert checked == []
    first = list(out.glob("photo-0-*.png"))
    assert len(first) == 16
    assert all(path.stat().st_mtime_ns == times[path.name] for path in first)
    assert visible(out) == visible(whole)


def visible(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("shards", [[], ["--shards", "--shard-size", "16"]])
def test_a_photograph_that_is_gone_when_it_is_to_be_cut_is_said_and_the_rest_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shards: list[str]
) -> None:
    folder, out, whole = photos(tmp_path / "in", 3), tmp_path / "out", tmp_path / "whole"
    command = ["prepare", str(folder), "--size", "96", "--step", "48", *shards, "-o"]
    assert run([*command, str(whole)]) == 0
    kept = (folder / "photo 1.png").read_bytes()
    check = prepare_run.check_file

    def check_and_take_away(path: Path, *arguments: Any, **more: Any) -> prepare_run.Check:
        found = check(path, *arguments, **more)
        if path.name == "photo 1.png":
            path.unlink()
        return found

    monkeypatch.setattr(prepare_run, "check_file", check_and_take_away)
    capsys.readouterr()
    assert run([*command, str(out)]) == 1
    told = capsys.readouterr()
    assert "failed: " in told.err
    if not shards:
        assert f"sub-images: {sum(name.endswith('.png') for name in visible(out))} in" in told.out
    assert len(set(visible(out)) & {name for name in visible(whole) if name.endswith((".png", ".tar"))}) > 0
    monkeypatch.setattr(prepare_run, "check_file", check)
    (folder / "photo 1.png").write_bytes(kept)
    assert run([*command, str(out)]) == 0
    assert visible(out) == visible(whole)


def test_another_size_replaces_what_was_cut(tmp_path: Path) -> None:
    folder, out = photos(tmp_path / "in", 2), tmp_path / "out"
    prepare_folder(folder, out, Wish(size=96, step=96))
    (out / "mine.png").write_bytes(b"not ours")
    prepare_folder(folder, out, Wish(size=128, step=128))
    assert {entry.width for entry in read_manifest(out) or []} == {128}
    assert {path.name for path in out.glob("*.png")} == {
        "mine.png",
        *(entry.file for entry in read_manifest(out) or []),
    }


def test_shards(tmp_path: Path) -> None:
    collect_folder(photos(tmp_path / "mine", 5), tmp_path / "in", licence="CC-BY-4.0")
    out = tmp_path / "out"
    arguments = ["prepare", str(tmp_path / "in"), "-o", str(out), "--size", "96", "--shards", "--shard-size", "20"]
    assert run(arguments) == 0
    index = json.loads((out / "train-index.json").read_text())
    assert (index["__kind__"], index["wids_version"], index["name"]) == ("wids-shard-index-v1", 1, "train")
    names = [shard["url"] for shard in index["shardlist"]]
    assert names == [f"train-{number:06d}.tar" for number in range(len(names))]
    assert [shard["nsamples"] for shard in index["shardlist"]] == [20, 20, 20, 4]
    assert all(shard["filesize"] == (out / shard["url"]).stat().st_size for shard in index["shardlist"])
    seen = set()
    for name in names:
        with tarfile.open(out / name) as archive:
            members = archive.getmembers()
            for image, record in zip(members[::2], members[1::2], strict=True):
                key = image.name.removesuffix(".png")
                assert record.name == f"{key}.json" and "." not in key
                told = json.loads(archive.extractfile(record).read())  # type: ignore[union-attr]
                assert (told["licence"], told["split"]) == ("CC-BY-4.0", "train")
                data = archive.extractfile(image).read()  # type: ignore[union-attr]
                pixels = np.asarray(Image.open(io.BytesIO(data)))
                with Image.open(tmp_path / "in" / told["source"]) as photograph:
                    x, y = told["x"], told["y"]
                    assert np.array_equal(pixels, np.asarray(photograph)[y : y + 96, x : x + 96])
                seen.add((told["source"], x, y))
    assert len(seen) == 64
    holdout = json.loads((out / "holdout-index.json").read_text())
    assert sum(shard["nsamples"] for shard in holdout["shardlist"]) == 16
    assert not (out / "manifest.csv").exists()
    # Once more, with one shard gone: only that one is written again.
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    before = (out / names[1]).read_bytes()
    (out / names[1]).unlink()
    assert run(arguments) == 0
    assert (out / names[1]).read_bytes() == before
    assert {name for name in times if (out / name).stat().st_mtime_ns != times[name]} == {names[1]}
    # Fewer photographs, fewer shards.
    shutil.copytree(tmp_path / "in", tmp_path / "fewer")
    for entry in [one for one in read_manifest(tmp_path / "in") or [] if one.split == "train"][:3]:
        (tmp_path / "fewer" / entry.file).unlink()
    assert run([arguments[0], str(tmp_path / "fewer"), *arguments[2:]]) == 0
    assert [path.name for path in sorted(out.glob("train-*.tar"))] == ["train-000000.tar"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none", "-o", "out"], "none: no such folder; give a folder with photographs"),
        (["in", "-o", "in"], "in: the output lies in the folder that is prepared"),
        (["in", "-o", "in/out"], "in/out: the output lies in the folder that is prepared"),
        (["empty", "-o", "out"], "empty: this folder is empty"),
        (["in", "-o", "out", "--benchmark", "none"], "none: no such folder"),
        (["in", "-o", "out", "--shard-size", "3"], "--shard-size: it belongs to --shards"),
        (["in", "-o", "out", "--shards", "--check-only"], "--shards: --check-only cuts nothing"),
        (["in", "-o", "out", "--size", "500"], "in: none of its 1 files can be used; see out/report.html"),
        (["in", "-o", "foreign"], "foreign/manifest.csv: not written by gramgan collect"),
    ],
)
def test_what_cannot_be_prepared(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "in", 1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "manifest.csv").write_text("mine\n")
    assert run(["prepare", *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"error: {says}")
