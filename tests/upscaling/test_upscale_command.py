"""`gramgan upscale`: results, exit codes, and one line for every mistake."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gramgan.cli.app import run
from gramgan.progress import Progress

Run = Callable[..., int]


@pytest.fixture
def upscale(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command with tiny weights in an empty folder."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path / "cache"))

    def command(*arguments: str) -> int:
        settings = ["--model", str(weights), "--backend", "torch", "--precision", "fp32", "--device", "cpu"]
        return run(["upscale", *settings, *arguments])

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


@pytest.mark.parametrize(
    ("form", "name"),
    [("jpg", "JPEG"), ("webp", "WEBP"), ("tiff", "TIFF"), ("png", "PNG"), ("gif", "GIF"), ("avif", "AVIF")],
)
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
    assert sorted(path.name for path in Path("out").glob("*.png")) == ["a.png", "d.png"]
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
        (["good.png", "-o", "out.png", "--backend", "abacus"], "backend 'abacus': unknown"),
        (["good.png", "-o", "out.png", "--overlap", "-1"], "overlap: -1 is negative"),
        (["good.png", "-o", "out.png", "--scale", "0.5"], "scale: 0.5 is outside of 1 to 64"),
        (["good.png", "-o", "out.png", "--scale", "2", "--size", "9x"], "scale 2 and size 9x"),
        (["good.png", "-o", "out.png", "--size", "big"], "size 'big': not a size"),
        (["good.png", "-o", "out.png", "--size", "5x"], "good.png: 12x9 is larger than the 5x4 asked for"),
        (["good.png", "-o", "out.png", "--quality", "101"], "quality: 101 is outside"),
        (["good.png", "-o", "out.png", "--icc", "none"], "icc 'none': unknown"),
        (["good.png", "-o", "out.png", "--strength", "2"], "strength: 2.0 is outside"),
        (["good.png", "-o", "out.png", "--strength", "0.5"], "name no PSNR-oriented generator"),
        (["good.png", "-o", "out.png", "--strength", "0.5", "--psnr-model", "no.pth"], "no.pth: "),
        (["good.png", "-o", "out.png", "--psnr-model", "no.pth"], "psnr_model no.pth: has an effect only"),
        (["good.png", "-o", "out.png", "--texture-threshold", "2"], "texture_threshold 2: has an effect only"),
        (["good.png", "-o", "out.png", "--texture-mask", "--texture-threshold", "0"], "texture_threshold: 0.0 is"),
        (["good.png", "-o", "out", "--name", "{stem}{x}"], "{x} is unknown; use {stem}"),
        (["good.png", "-o", "out.png", "--name", "{stem}{suffix}"], "out.png is the name of the result already"),
        (["*.jpg", "-o", "out"], "*.jpg: no image matches this pattern"),
        (["-", "good.png", "-o", "out"], "-: stands for one picture"),
        (["good.png", "photo/good.png", "-o", "-"], "-: stands for one picture"),
        (["photo", "-o", "-"], "-: the name of one file"),
        (["good.png", "-o", "-", "--textures", "a.lance", "--texture-map"], "texture_map: lies beside a result"),
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


def test_a_model_that_is_not_here_yet_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path / "cache"))
    save("in.png")
    assert run(["upscale", "in.png", "-o", "out.png", "--model", "real-esrgan-x4plus"]) == 2
    assert "gramgan weights get real-esrgan-x4plus" in capsys.readouterr().err


def test_without_a_model_the_one_it_takes_is_named(
    upscale: Run, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gramgan.upscaling import api

    save("in.png")
    monkeypatch.setattr(api, "DEFAULT_MODEL", str(weights))
    assert run(["upscale", "in.png", "-o", "out.png", "--precision", "fp32", "--backend", "torch"]) == 0
    assert "in.png: too small to tell: tiny\n" in capsys.readouterr().err


def sizes(folder: str) -> dict[str, tuple[int, int]]:
    shown = [path for path in sorted(Path(folder).iterdir()) if not path.name.startswith(".")]
    return {path.name: Image.open(path).size for path in shown}


def test_names_scales_and_patterns(upscale: Run) -> None:
    save("photos/a.jpg")
    save("photos/b.png")
    save("photos/c.txt.png")
    assert upscale("photos/[ab].*", "-o", "out", "--scale", "1.5", "--name", "{stem}_x{scale}_{model}{suffix}") == 0
    assert sizes("out") == {"a_x1.5_tiny.png": (18, 14), "b_x1.5_tiny.png": (18, 14)}
    assert upscale("photos", "-o", "wide", "--size", "100x", "--name", "{stem} {scale}{suffix}") == 0
    assert sizes("wide") == {"a 100x.png": (100, 75), "b 100x.png": (100, 75), "c.txt 100x.png": (100, 75)}


def test_control(upscale: Run, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save("in.png", (40, 30))
    assert upscale("in.png", "-o", "out.png", "--texture-mask", "--texture-threshold", "3", "--consistency") == 0
    assert "in.png: shrunk again, the result differs from its input by" in capsys.readouterr().err
    assert upscale("in.png", "-o", "plain.png") == 0
    assert upscale("in.png", "-o", "same.png", "--strength", "0.3", "--psnr-model", str(weights)) == 0
    plain, same, out = (np.asarray(Image.open(f"{name}.png")).astype(int) for name in ("plain", "same", "out"))
    assert np.abs(plain - same).max() <= 1
    assert np.abs(plain - out).max() > 1


def test_the_card_says_whether_results_are_consistent(
    upscale: Run, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ramp = np.add.outer(np.arange(30), np.arange(40))[..., None] * np.array([3, 2, 1])
    Image.fromarray(ramp.astype(np.uint8)).save("in.png")  # clean: of noise not every pixel is held on to
    assert upscale("in.png", "-o", "plain.png", "--no-consistency") == 0
    assert upscale("in.png", "-o", "asked.png", "--consistency") == 0
    capsys.readouterr()
    own = str(weights.with_name("own.safetensors"))
    assert run(["export", str(weights), "-o", own, "--consistency"]) == 0
    assert upscale("in.png", "-o", "card.png", "--model", own) == 0
    assert "shrunk again" not in capsys.readouterr().err  # nobody asked
    assert upscale("in.png", "-o", "not.png", "--model", own, "--no-consistency") == 0
    plain, asked, card, refused = (
        np.asarray(Image.open(f"{name}.png")).astype(int) for name in ("plain", "asked", "card", "not")
    )
    # Export widens so small a network with zeros: the same sums, in another order.
    assert np.abs(plain - refused).max() <= 1
    assert np.abs(asked - card).max() <= 1
    assert np.abs(plain - card).max() > 1


class Pipe(io.TextIOWrapper):
    """Standard input or output that is bytes and no terminal."""

    def __init__(self, data: bytes = b"") -> None:
        self.bytes = io.BytesIO(data)
        super().__init__(self.bytes, write_through=True)


def test_standard_input_and_output(
    upscale: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save("in.png")
    out = Pipe()
    monkeypatch.setattr(sys, "stdin", Pipe(Path("in.png").read_bytes()))
    monkeypatch.setattr(sys, "stdout", out)
    assert upscale("-", "-o", "-", "--format", "tiff") == 0
    result = Image.open(io.BytesIO(out.bytes.getvalue()))
    assert (result.format, result.size) == ("TIFF", (48, 36))
    monkeypatch.setattr(sys, "stdin", Pipe(Path("in.png").read_bytes()))
    assert upscale("-", "-o", "file.webp") == 0
    assert Image.open("file.webp").size == (48, 36)


@pytest.mark.parametrize(
    ("data", "message"), [(b"", "-: nothing came from standard input"), (b"no image", "error: -: not an image")]
)
def test_bad_standard_input(
    upscale: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data: bytes, message: str
) -> None:
    monkeypatch.setattr(sys, "stdin", Pipe(data))
    assert upscale("-", "-o", "out.png") == 2
    assert message in capsys.readouterr().err
    assert not Path("out.png").exists()


def test_terminals_are_no_pictures(
    upscale: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save("in.png")

    class Screen(io.BytesIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Screen()))
    assert upscale("-", "-o", "out.png") == 2
    assert "-: standard input is the keyboard" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(Screen()))
    assert upscale("in.png", "-o", "-") == 2
    assert "-: standard output is the screen" in capsys.readouterr().err


def test_existing_results_are_skipped_if_asked(upscale: Run, capsys: pytest.CaptureFixture[str]) -> None:
    save("photos/a.png")
    save("photos/b.png")
    Path("out").mkdir()
    Path("out/a.png").write_bytes(b"there")
    assert upscale("photos", "-o", "out", "--skip-existing") == 0
    assert Path("out/a.png").read_bytes() == b"there"
    assert "out: 1 of 2 pictures done in" in (said := capsys.readouterr().out)
    assert "1 skipped (there already)" in said
    assert upscale("photos", "-o", "out", "--skip-existing") == 0
    assert "out: nothing to do, 2 results there already" in capsys.readouterr().out
    assert upscale("photos", "-o", "out") == 0
    assert Image.open("out/a.png").size == (48, 36)


def test_a_folder_job_that_was_stopped_goes_on(
    upscale: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gramgan.upscaling.api import Upscaling

    for name in "abcd":
        save(f"photos/{name}.png")
    original, done = Upscaling.file, []

    def stopped(self: Upscaling, source: Path, target: Path, progress: Progress) -> Path:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(source.name)
        return original(self, source, target, progress)

    monkeypatch.setattr(Upscaling, "file", stopped)
    assert upscale("photos", "-o", "out") == 130
    assert "the same command continues from here" in capsys.readouterr().err
    monkeypatch.setattr(Upscaling, "file", original)
    times = {name: Path(f"out/{name}").stat().st_mtime_ns for name in done}

    assert upscale("photos", "-o", "out") == 0
    said = capsys.readouterr().out
    assert "out: going on with a job that was stopped; 2 results done already" in said
    assert "out: 2 of 4 pictures done in" in said
    assert "2 done before" in said
    assert {name: Path(f"out/{name}").stat().st_mtime_ns for name in done} == times
    assert sizes("out") == {f"{name}.png": (48, 36) for name in "abcd"}
    assert not list(Path("out").glob(".*")), "the journal is gone"

    assert upscale("photos", "-o", "out") == 0
    assert "out: 4 of 4 pictures done in" in capsys.readouterr().out, "a finished job is done anew"


def test_with_other_settings_nothing_counts_as_done(
    upscale: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save("photos/a.png")
    save("photos/b.png")
    Path("photos/b.png").write_bytes(Path("photos/b.png").read_bytes()[:60])
    assert upscale("photos", "-o", "out") == 1
    assert upscale("photos", "-o", "out") == 1
    assert "1 result done already" in capsys.readouterr().out, "what failed is tried again, the rest is not"
    assert upscale("photos", "-o", "out", "--scale", "2") == 1
    assert "done already" not in capsys.readouterr().out
    assert Image.open("out/a.png").size == (24, 18)


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_killed_folder_job_goes_on(weights: Path, upscale: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(15):
        save(f"photos/{number:02}.png", (60, 40))
    command = [sys.executable, "-c", "import sys; from gramgan.cli.app import main; main()", "upscale", "photos"]
    settings = ["-o", "out", "--model", str(weights), "--backend", "torch", "--precision", "fp32", "--device", "cpu"]
    process = subprocess.Popen([*command, *settings])
    deadline = time.monotonic() + 60
    while len(list(Path("out").glob("*.png"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert upscale("photos", "-o", "out") == 0
    assert "going on with a job that was stopped" in capsys.readouterr().out
    assert sizes("out") == {f"{number:02}.png": (240, 160) for number in range(15)}


def test_only_what_is_needed_is_imported_for_the_help() -> None:
    code = "import sys, gramgan.cli.upscale; print([m for m in ('torch', 'numpy', 'pyvips') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_what_needs_no_torch_does_not_import_it() -> None:
    code = (
        "import sys, gramgan.upscaling.api, gramgan.upscaling.jobs, gramgan.cli.streams; print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
