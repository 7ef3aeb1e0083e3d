"""`gramgan db browse` and `gramgan db search` as a user types them."""

from pathlib import Path

import numpy as np
import pytest

from gramgan.cli.app import run
from gramgan.images import write_image
from gramgan.texture.database import Source, TextureDatabase


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs in `photos`, and a database of them."""
    folder = tmp_path_factory.mktemp("browse")
    random = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        write_image(folder / "photos" / name, random.random((3, 64, 72), np.float32))
    sources = [Source(path, "CC0-1.0") for path in sorted((folder / "photos").iterdir())]
    TextureDatabase.build(folder / "t.lance", sources, patches=400)
    return folder


def error_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert run(arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    return line


def test_browse(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, picture = tmp_path / "page.html", tmp_path / "map.png"
    options = ["--photos", str(folder / "photos"), "-o", str(page), "--map", str(picture)]
    assert run(["db", "browse", str(folder / "t.lance"), *options]) == 0
    assert capsys.readouterr().out.strip() == f"written: {page} and {picture}"
    assert page.exists()
    assert picture.exists()


def test_browse_with_a_run_looks_into_its_photographs(folder: Path, tmp_path: Path) -> None:
    from gramgan.config import load_config

    photos = folder / "photos"
    (tmp_path / "run").mkdir()
    config = load_config("quick", overrides=[f"data.photos={photos}", f"texture.database={folder / 't.lance'}"])
    (tmp_path / "run" / "config.yaml").write_text(config.to_yaml())
    patch = TextureDatabase.open(folder / "t.lance").patch_ids()[0]
    (tmp_path / "run" / "patch_usage.csv").write_text(f"patch_id,count\n{patch},3\n")
    page = tmp_path / "page.html"
    assert run(["db", "browse", str(folder / "t.lance"), "--run", str(tmp_path / "run"), "-o", str(page)]) == 0
    html = page.read_text(encoding="utf-8")
    assert "3 times a patch of the generator" in html
    assert "were not at hand" not in html


def test_search(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "s.html"
    image = folder / "photos" / "a.png"
    arguments = ["db", "search", str(folder / "t.lance"), "--image", str(image), "--photos", str(folder / "photos")]
    assert run([*arguments, "--at", "10,12", "--at", "0,63", "--neighbours", "2", "-o", str(page)]) == 0
    out = capsys.readouterr().out
    assert "8,10" in out
    assert "0,60" in out
    assert "CC0-1.0" in out
    assert out.strip().endswith(f"written: {page} and {page.with_suffix('.png')}".split("/")[-1])
    assert page.exists()
    assert page.with_suffix(".png").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--at", "12"], "--at 12: expected X,Y"),
        (["--at", "1,2,3"], "--at 1,2,3: expected X,Y"),
        (["--at", "-1,4"], "--at -1,4: expected X,Y"),
        (["--at", "72,4"], "--at 72,4: lies outside the image, whose pixels are 0,0 to 71,63"),
        (["--neighbours", "50", "--version", "99"], "has no version 99"),
        (["--photos", "nowhere"], "nowhere: no such folder"),
        (["--sr", "nowhere.png"], "nowhere.png"),
        (["-o", "page.pdf"], "page.pdf: a page's name ends in .html"),
    ],
)
def test_search_refuses(options: list[str], expected: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = str(folder / "photos" / "a.png")
    assert expected in error_line(["db", "search", str(folder / "t.lance"), "--image", image, *options], capsys)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--run", "nowhere"], "nowhere: is not a training run"),
        (["--version", "99"], "has no version 99"),
        (["-o", "page"], "page: its name has to end in .html"),
        (["--photos", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_browse_refuses(options: list[str], expected: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert expected in error_line(["db", "browse", str(folder / "t.lance"), *options], capsys)


@pytest.mark.parametrize("command", [["browse"], ["search", "--image", "x.png"]])
def test_what_is_no_database(
    command: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *options = command
    assert "no such texture database" in error_line(["db", name, str(tmp_path / "no.lance"), *options], capsys)
    assert str(folder / "photos") in error_line(["db", name, str(folder / "photos"), *options], capsys)


def test_an_image_that_cannot_be_read(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.png").write_text("no picture")
    arguments = ["db", "search", str(folder / "t.lance"), "--image", str(tmp_path / "x.png")]
    assert str(tmp_path / "x.png") in error_line(arguments, capsys)
