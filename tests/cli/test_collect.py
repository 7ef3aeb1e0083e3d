"""`gramgan collect` and `python collect_images.py` as a user types them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gramgan.cli.app import run
from gramgan.images import write_image

ROOT = Path(__file__).resolve().parents[2]


def photos(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for index in range(count):
        write_image(folder / f"{index}.jpg", rng.random((3, 200, 200)))


def error_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert run(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


def test_a_truncated_jpeg_among_good_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos(tmp_path / "in", 6)
    cut = tmp_path / "in" / "3.jpg"
    cut.write_bytes(cut.read_bytes()[:2000])
    assert run(["collect", "--from", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--licence", "CC0-1.0"]) == 0
    *_, left_out, summary, last = capsys.readouterr().out.strip().splitlines()
    assert left_out.startswith(f"left out: {cut.as_posix()}: unreadable: damaged or truncated JPEG")
    assert summary == "5 photographs (5 new, 1 left out): 4 to train on, 1 to judge by"
    assert str(tmp_path / "out") in last
    assert sorted(path.name for path in (tmp_path / "out").glob("*.jpg")) == [
        "0.jpg",
        "1.jpg",
        "2.jpg",
        "4.jpg",
        "5.jpg",
    ]


def test_an_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    line = error_line(["collect", "--from", str(tmp_path / "in"), "-o", str(tmp_path / "out")], capsys)
    assert "no images in this folder (it is empty)" in line
    assert not (tmp_path / "out").exists()


def test_a_folder_of_text_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.txt", "b.md"):
        (tmp_path / name).write_text("words")
    line = error_line(["collect", "--from", str(tmp_path), "-o", str(tmp_path / "out")], capsys)
    assert "it holds 2 other files" in line


def test_text_files_that_call_themselves_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.jpg", "b.png"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_text("words")
    line = error_line(["collect", "--from", str(tmp_path / "in"), "-o", str(tmp_path / "out")], capsys)
    assert "all 2 images were left out" in line
    assert "not an image" in line


def test_an_output_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos(tmp_path / "in", 1)
    (tmp_path / "out").write_text("mine")
    line = error_line(["collect", "--from", str(tmp_path / "in"), "-o", str(tmp_path / "out")], capsys)
    assert "a file stands where a folder is needed" in line
    assert (tmp_path / "out").read_text() == "mine"


def test_an_output_that_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not Path("/proc/self").exists():
        pytest.skip("this system has no /proc")
    photos(tmp_path / "in", 1)
    assert "cannot create" in error_line(["collect", "--from", str(tmp_path / "in"), "-o", "/proc/out"], capsys)


def test_the_same_folder_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos(tmp_path, 1)
    assert "the same folder" in error_line(["collect", "--from", str(tmp_path), "-o", str(tmp_path)], capsys)


def test_licence_without_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "together with --from" in error_line(["collect", "-o", str(tmp_path), "--licence", "CC0-1.0"], capsys)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--search", "x", "--from", "in"], "--from and --search or --urls: these are different sources"),
        (["--dataset", "div2k", "--urls", "x"], "--search or --urls and --dataset: these are different sources"),
        (["--dataset", "imagenet"], "--dataset imagenet: no such data set; choose from div2k, flickr2k"),
        (["--search", "x", "--service", "flickr"], "--service flickr: no such service; choose from openverse, commons"),
        (["--search", "x", "--accept", "gpl"], "--accept gpl: 'gpl' is not a licence"),
        (
            ["--search", "x", "--licence", "by"],
            "--licence: these photographs have their own licences; --accept chooses",
        ),
        (["--accept", "by"], "--accept: it belongs to --search"),
        (["--service", "commons"], "--service: it belongs to --search"),
        (["--limit", "5"], "--limit: it belongs to --search and --urls"),
        (["--urls", "none.txt"], "none.txt: no such file"),
        (["--contact", "me@example.org"], "--contact: nothing is fetched from the net"),
        (["--search", "x", "--allow-huge"], "--allow-huge: files from the net are never that large"),
        (["--search", "x", "--contact", "me\nX: y"], "--contact: a mail address or the address of a page"),
    ],
)
def test_options_that_do_not_go_together(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "in", 1)
    assert says in error_line(["collect", "-o", "out", *arguments], capsys)
    assert not (tmp_path / "out").exists()


def test_addresses_that_may_not_be_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "list.txt").write_text("https://127.0.0.1/a.jpg\nhttp://[::1]/b.jpg\nhttps://169.254.169.254/c.jpg\n")
    line = error_line(["collect", "--urls", str(tmp_path / "list.txt"), "-o", str(tmp_path / "out")], capsys)
    assert "all 3 images were left out" in line
    assert "leads to 127.0.0.1, which is not a public address" in line


def test_many_left_out_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos(tmp_path / "in", 1)
    for index in range(13):
        (tmp_path / "in" / f"words {index}.png").write_text("words")
    assert run(["collect", "--from", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert out.count("left out: ") == 11
    assert f"left out: 3 more, listed in {tmp_path / 'out' / 'left-out.csv'}" in out


def test_the_script_of_the_first_users(tmp_path: Path) -> None:
    for package in ("skimage", "sklearn"):
        pytest.importorskip(package, reason="the extra 'samples' is not installed")
    command = [sys.executable, str(ROOT / "collect_images.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "downloaded_images" in done.stdout.strip().splitlines()[-1]
    assert (tmp_path / "downloaded_images" / "manifest.csv").is_file()
    assert (tmp_path / "downloaded_images" / "coffee.png").is_file()
