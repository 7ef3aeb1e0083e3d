"""`gramgan upscale`: results, exit codes, and one line for every mistake."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gramgan.cli.app import run

Run = Callable[..., int]


@pytest.fixture
def upscale(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command with tiny weights in an empty folder."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path / "cache"))

    def command(*arguments: str) -> int:
        return run(["upscale", "--model", str(weights), "--precision", "fp32", "--device", "cpu", *arguments])

    return command


def save(name: str, size: tuple[int, int] = (12, 9), mode: str = "RGB") -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = {"L": 1, "RGB": 3, "RGBA": 4}[mode]
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    Image.fromarray(values[..., 0] if channels == 1 else values, mode).save(path)


def test_a_file(upscale: Run, capsys: pytest.CaptureFixture[str]) -> None:
    save("in.jpg")
    assert upscale("in.jpg", "-o", "out.png") == 0
    assert Image.open("out.png").size == (48, 36)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("out.png: done in ")
    assert last.endswith(" s")


def test_a_folder_with_its_tree(upscale: Run, capsys: pytest.CaptureFixture[str]) -> None:
    save("photos/a.jpg")
    save("photos/deep/b.png", (1, 1), "L")
    save("photos/deep/c.png", (3, 2), "RGBA")
    assert upscale("photos", "-o", "large") == 0
    found = {path.as_posix(): Image.open(path) for path in sorted(Path("large").rglob("*.*"))}
    assert {name: (image.mode, image.size) for name, image in found.items()} == {
        "large/a.png": ("RGB", (48, 36)),
        "large/deep/b.png": ("L", (4, 4)),
        "large/deep/c.png": ("RGBA", (12, 8)),
    }
    assert "large: 3 of 3 pictures done in" in capsys.readouterr().out


@pytest.mark.parametrize(("form", "name"), [("jpg", "JPEG"), ("webp", "WEBP"), ("tiff", "TIFF"), ("png", "PNG")])
def test_formats(upscale: Run, form: str, name: str) -> None:
    save("in.png")
    assert upscale("in.png", "-o", "out", "--format", form) == 0
    (path,) = Path("out").iterdir()
    assert Image.open(path).format == name


def test_tile_and_overlap(upscale: Run) -> None:
    save("in.png", (90, 70))
    assert upscale("in.png", "-o", "whole.png") == 0
    assert upscale("in.png", "-o", "tiled.png", "--tile", "16", "--overlap", "20") == 0
    whole, tiled = (np.asarray(Image.open(name)).astype(int) for name in ("whole.png", "tiled.png"))
    assert np.abs(whole - tiled).max() <= 1


def test_failures_in_a_folder_are_listed_at_the_end(upscale: Run, capsys: pytest.CaptureFixture[str]) -> None:
    save("photos/a.png")
    save("photos/c.png", (60, 60))
    data = Path("photos/c.png").read_bytes()
    Path("photos/c.png").write_bytes(data[: len(data) // 2])
    Path("photos/b.png").write_text("no image")
    save("photos/d.png")
    assert upscale("photos", "-o", "out") == 1
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.png", "d.png"]
    captured = capsys.readouterr()
    assert "failed: photos/b.png: " in captured.err
    assert "failed: photos/c.png: " in captured.err
    assert captured.out.splitlines()[-1].startswith("out: 2 of 4 pictures done in ")
    assert captured.out.splitlines()[-1].endswith("2 failed (listed above)")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bad.png", "-o", "out.png"], "bad.png: "),
        (["no.png", "-o", "out.png"], "no.png: no such file or folder"),
        (["empty", "-o", "out"], "empty: no images in this folder"),
        (["texts", "-o", "out"], "texts: no images in this folder"),
        (["good.png", "-o", "good.png"], "good.png: this is an input"),
        (["good.png", "-o", "bad.png/out.png"], "bad.png: a file stands where a folder is needed"),
        (["good.png", "photo/good.png", "-o", "out"], "both good.png and photo/good.png"),
        (["good.png", "-o", "out.png", "--format", "xcf"], "format 'xcf': unknown"),
        (["good.png", "-o", "out.png", "--tile", "3"], "tile: 3 is too small"),
        (["good.png", "-o", "out.png", "--device", "tpu"], "device 'tpu': unknown"),
        (["good.png", "-o", "out.png", "--precision", "int4"], "precision 'int4': unknown"),
        (["good.png", "-o", "out.png", "--model", "no.safetensors"], "no.safetensors: "),
    ],
)
def test_mistakes(upscale: Run, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    save("good.png")
    save("photo/good.png")
    Path("bad.png").write_text("no image")
    Path("empty").mkdir()
    Path("texts").mkdir()
    Path("texts/a.txt").write_text("text")
    before = Path("good.png").read_bytes()
    assert upscale(*arguments) == 2  # of an option that is given twice, the last value holds
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert Path("good.png").read_bytes() == before
    assert not Path("out.png").exists()


def test_a_folder_that_cannot_be_written(upscale: Run, capsys: pytest.CaptureFixture[str]) -> None:
    save("in.png")
    Path("out").write_text("a file")
    assert upscale("in.png", "-o", "out") == 2
    assert "out: a file stands where a folder is needed" in capsys.readouterr().err


def test_without_a_model_it_says_which_one_and_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path / "cache"))
    save("in.png")
    assert run(["upscale", "in.png", "-o", "out.png"]) == 2
    assert "gramgan weights get real-esrgan-x4plus" in capsys.readouterr().err


def test_without_a_model_the_one_it_takes_is_named(
    upscale: Run, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gramgan.upscaling import engine

    save("in.png")
    monkeypatch.setattr(engine, "DEFAULT_MODEL", str(weights))
    assert run(["upscale", "in.png", "-o", "out.png", "--precision", "fp32"]) == 0
    assert f"No --model given: using {weights}" in capsys.readouterr().out
