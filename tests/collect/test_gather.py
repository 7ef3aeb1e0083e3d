"""Collecting: what is taken, what is left out and why, and that nothing of the user's is touched."""

import csv
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gramgan.collect import collect_folder, collect_samples, known_licences, read_manifest, split
from gramgan.collect.attribution import ATTRIBUTION
from gramgan.collect.manifest import LEFT_OUT, MANIFEST, read_left_out
from gramgan.collect.samples import SAMPLES, SamplePhoto, locate
from gramgan.errors import UserError
from gramgan.files import sha256
from gramgan.images import read_rgb

RNG = np.random.default_rng(3)


def picture(path: Path, width: int = 200, height: int = 200, seed: int | None = None) -> Path:
    rng = RNG if seed is None else np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    small = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    small.resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


def truncate(path: Path) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def samples_there() -> None:
    for package in ("skimage", "sklearn"):
        pytest.importorskip(package, reason="the extra 'samples' is not installed")


@pytest.mark.usefixtures("samples_there")
def test_samples(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    result = collect_samples(tmp_path / "out", progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, len(SAMPLES)) for done in range(len(SAMPLES) + 1)]
    assert (result.new, result.left_out) == (len(SAMPLES), [])
    entries = result.entries
    assert read_manifest(tmp_path / "out") == entries
    assert {entry.file for entry in entries} == {sample.file for sample in SAMPLES}
    for entry in entries:
        path = tmp_path / "out" / entry.file
        assert sha256(path) == entry.sha256
        assert read_rgb(path).shape == (3, entry.height, entry.width)
        assert min(entry.width, entry.height) >= 192
        assert entry.licence
        assert entry.author
        assert entry.title
        assert entry.source.endswith(entry.file)
    for sample in SAMPLES:
        assert (tmp_path / "out" / sample.file).read_bytes() == locate(sample).read_bytes()
    assert len({entry.pixels_sha256 for entry in entries}) == len(entries)


@pytest.mark.usefixtures("samples_there")
def test_split_of_the_samples(tmp_path: Path) -> None:
    collect_samples(tmp_path)
    train, holdout = split(tmp_path)
    assert [path.name for path in holdout] == ["chelsea.png", "china.jpg", "coffee.png"]
    assert len(train) + len(holdout) == len(SAMPLES)
    assert 0.18 <= len(holdout) / len(SAMPLES) <= 0.26
    entries = read_manifest(tmp_path)
    assert entries is not None
    groups = {side: {entry.group for entry in entries if entry.split == side} for side in ("train", "holdout")}
    assert groups["train"].isdisjoint(groups["holdout"])
    assert {entry.group for entry in entries if entry.file.startswith("motorcycle_")} == {"motorcycle"}


@pytest.mark.usefixtures("samples_there")
def test_twice_is_once(tmp_path: Path) -> None:
    collect_samples(tmp_path)
    before = everything(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.png")}
    assert collect_samples(tmp_path).new == 0
    assert everything(tmp_path) == before
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.png")} == times


def test_a_package_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'gramgan\[samples\]'") as caught:
        collect_samples(tmp_path / "out")
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("samples_there")
def test_a_file_that_the_package_no_longer_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = SamplePhoto("scikit-image", "no_such.png", "t", "a", "l", "", "", "g")
    monkeypatch.setattr("gramgan.collect.gather.SAMPLES", (*SAMPLES[:2], gone))
    result = collect_samples(tmp_path)
    assert [one.reason.split(":")[0] for one in result.left_out] == ["missing"]
    assert len(result.entries) == 2


def test_what_is_left_out_of_a_folder(tmp_path: Path) -> None:
    source = tmp_path / "in"
    for index in range(6):
        picture(source / f"{index}.png")
    truncate(picture(source / "cut.jpg"))
    (source / "words.jpg").write_text("not a picture")
    (source / "nothing.png").touch()
    (source / "notes.txt").write_text("not looked at")
    picture(source / "small.png", width=191)
    Image.open(source / "3.png").save(source / "sub.tif")  # the same pixels in another format
    (source / "deep").mkdir()
    Image.open(source / "4.png").save(source / "deep" / "4.png", compress_level=0)
    before = everything(source)
    result = collect_folder(source, tmp_path / "out", licence="CC0-1.0")
    reasons = {Path(one.file).relative_to(source.resolve()).as_posix(): one.reason for one in result.left_out}
    assert {name: reason.split(":")[0] for name, reason in reasons.items()} == {
        "cut.jpg": "unreadable",
        "words.jpg": "unreadable",
        "nothing.png": "unreadable",
        "small.png": "too small",
        "sub.tif": "duplicate",
        "deep/4.png": "duplicate",
    }
    assert reasons["small.png"] == "too small: 191x200, less than 192 pixels"
    assert read_left_out(tmp_path / "out") == sorted(result.left_out, key=lambda one: one.file)
    assert len(result.entries) == result.new == 6
    assert {entry.licence for entry in result.entries} == {"CC0-1.0"}
    assert everything(source) == before


def test_user_files_in_the_output_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    picture(source / "a.png", seed=1)
    picture(source / "deep" / "a.png", seed=2)
    picture(output / "a.png", seed=3)
    (output / "notes.txt").write_text("mine")
    before = everything(output)
    result = collect_folder(source, output)
    assert sorted(entry.file for entry in result.entries) == ["a-2.png", "a-3.png"]
    after = everything(output)
    assert before.items() <= after.items()
    assert collect_folder(source, output).new == 0
    assert everything(output) == after
    (output / "a-2.png").write_bytes(b"changed")
    with caplog.at_level(logging.WARNING, logger="gramgan"):
        result = collect_folder(source, output)
    assert "a-2.png: has been changed since it was collected" in caplog.text
    assert (output / "a-2.png").read_bytes() == b"changed"
    assert sorted(entry.file for entry in result.entries) == ["a-3.png", "a-4.png"]


def test_an_interrupted_run_is_taken_up(tmp_path: Path) -> None:
    for index in range(3):
        picture(tmp_path / "in" / f"{index}.png")

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect_folder(tmp_path / "in", tmp_path / "out", progress=stop)
    collect_folder(tmp_path / "in", tmp_path / "out")
    assert sorted(everything(tmp_path / "out")) == ["0.png", "1.png", "2.png", ATTRIBUTION, LEFT_OUT, MANIFEST]


def test_two_sources_in_one_folder_and_sides_that_stay(tmp_path: Path) -> None:
    for index in range(10):
        picture(tmp_path / "one" / f"{index}.png")
        picture(tmp_path / "two" / f"x{index}.png")
    picture(tmp_path / "two" / "small.png", width=20)
    collect_folder(tmp_path / "two", tmp_path / "out")
    first = {entry.file: entry.split for entry in read_manifest(tmp_path / "out") or []}
    collect_folder(tmp_path / "one", tmp_path / "out")
    second = {entry.file: entry.split for entry in read_manifest(tmp_path / "out") or []}
    assert first.items() <= second.items()
    assert list(second.values()).count("holdout") == 4
    assert [Path(one.file).name for one in read_left_out(tmp_path / "out") or []] == ["small.png"]


def test_a_collected_folder_as_source_keeps_what_is_known(tmp_path: Path) -> None:
    for index in range(10):
        picture(tmp_path / "in" / f"{index}.png")
    first = collect_folder(tmp_path / "in", tmp_path / "one", licence="CC-BY-4.0").entries
    second = collect_folder(tmp_path / "one", tmp_path / "two").entries
    assert [(e.file, e.licence, e.split, e.group) for e in first] == [
        (e.file, e.licence, e.split, e.group) for e in second
    ]


def test_source_and_output_must_not_be_one(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "sub" / "a.png")
    with pytest.raises(UserError, match="the same folder"):
        collect_folder(tmp_path / "in", tmp_path / "in" / ".." / "in")
    with pytest.raises(UserError, match="lies inside of the output"):
        collect_folder(tmp_path / "in" / "sub", tmp_path / "in")


def test_an_output_inside_of_the_source_is_not_collected_again(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    for new in (1, 0):
        result = collect_folder(tmp_path, tmp_path / "out")
        assert (result.new, result.left_out) == (new, [])


def test_nothing_usable(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png", width=20)
    with pytest.raises(UserError, match=r"all 1 images were left out .*too small: 20x200") as caught:
        collect_folder(tmp_path / "in", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert len(read_left_out(tmp_path / "out") or []) == 1


def test_a_foreign_manifest_is_not_overwritten(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / MANIFEST).write_text("file,price\na.png,3\n")
    with pytest.raises(UserError, match="not written by gramgan collect"):
        collect_folder(tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out" / MANIFEST).read_text() == "file,price\na.png,3\n"


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [("width", "wide", "'wide' is not a number"), ("split", "both", "neither train nor holdout")],
)
def test_a_damaged_manifest(tmp_path: Path, column: str, value: str, says: str) -> None:
    picture(tmp_path / "in" / "a.png")
    collect_folder(tmp_path / "in", tmp_path / "out")
    path = tmp_path / "out" / MANIFEST
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows[0][column] = value
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(UserError, match=says) as caught:
        read_manifest(tmp_path / "out")
    assert f"{path}: line 2" in str(caught.value)


def test_an_unfinished_manifest_line(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    collect_folder(tmp_path / "in", tmp_path / "out")
    path = tmp_path / "out" / MANIFEST
    path.write_text(path.read_text().rsplit(",", 1)[0] + "\n")
    with pytest.raises(UserError, match="line 2 has not 14 columns"):
        read_manifest(tmp_path / "out")


@pytest.mark.parametrize("column", ["licence", "license"])
def test_licences_of_another_program_s_manifest(tmp_path: Path, column: str) -> None:
    (tmp_path / MANIFEST).write_text(f"file,width,{column}\na.png,3,CC0-1.0\nb.png,4,\n")
    assert known_licences(tmp_path) == {tmp_path / "a.png": "CC0-1.0"}


@pytest.mark.parametrize("text", [None, "", "name,licence\na.png,CC0-1.0\n", "file,price\na.png,3\n"])
def test_no_licences_where_nothing_names_them(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / MANIFEST).write_text(text)
    assert known_licences(tmp_path) == {}


def test_licences_of_our_own_manifest(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    collect_folder(tmp_path / "in", tmp_path / "out", licence="CC-BY-4.0")
    assert list(known_licences(tmp_path / "out").values()) == ["CC-BY-4.0"]


def test_collecting_keeps_the_licences_of_another_program_s_manifest(tmp_path: Path) -> None:
    for number, name in enumerate(("a.png", "b.png")):
        picture(tmp_path / "in" / name, seed=number)
    (tmp_path / "in" / MANIFEST).write_text("file,license\na.png,CC-BY-SA-4.0\n")
    collect_folder(tmp_path / "in", tmp_path / "out", licence="my own")
    assert {entry.file: entry.licence for entry in read_manifest(tmp_path / "out") or []} == {
        "a.png": "CC-BY-SA-4.0",
        "b.png": "my own",
    }


def test_a_damaged_manifest_of_another_program(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text("file,licence\na.png\n")
    with pytest.raises(UserError, match="line 2 has not 2 columns"):
        known_licences(tmp_path)


def test_names_with_commas_and_quotes_survive(tmp_path: Path) -> None:
    picture(tmp_path / "in" / 'a, "b" ü.png')
    collect_folder(tmp_path / "in", tmp_path / "out")
    assert [entry.file for entry in read_manifest(tmp_path / "out") or []] == ['a, "b" ü.png']
