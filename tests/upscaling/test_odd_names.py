"""Folders as other programs and hostile people leave them: every picture is done, and everything else is said."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gramgan.cli.app import run
from gramgan.upscaling.api import Upscaling

Run = Callable[..., int]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes, links and pipes")

NOT_UTF8 = os.fsdecode(b"M\xfcller")


@pytest.fixture
def settings(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command's options for tiny weights; the working folder is empty."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path / "cache"))
    return ["--model", str(weights), "--backend", "torch", "--precision", "fp32", "--device", "cpu"]


@pytest.fixture
def upscale(settings: list[str]) -> Run:
    """Runs the command."""
    return lambda *arguments: run(["upscale", *settings, *arguments])


def save(path: Path | str, form: str = "PNG", frames: int = 1) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(0).integers(0, 256, (frames, 9, 12, 3), dtype=np.uint8)
    first, *others = map(Image.fromarray, values)
    with Path(path).open("w+b") as file:
        first.save(file, form, save_all=bool(others), append_images=others) if others else first.save(file, form)


def tree(folder: Path | str) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if not path.is_dir())


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".gif", ".avif"])
@pytest.mark.parametrize(
    "stem",
    [NOT_UTF8, "n" * 238, "n" * 250, "é" * 124, "evil\x1b[31m\nname", "-rf", " ", "[page=2]", "a\\b", "\u202egnp"],
    ids=["bytes", "242", "255", "multibyte", "control", "option", "blank", "options", "backslash", "bidi"],
)
def test_names_of_any_bytes_and_length(upscale: Run, stem: str, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    stem = stem[: 255 - len(suffix)]
    save(f"in/{stem}{suffix}", {".jpg": "JPEG", ".tif": "TIFF"}.get(suffix, suffix[1:].upper()))
    assert upscale("in", "-o", "out") == 0
    assert tree("out") == [f"{stem}{suffix if suffix == '.tif' else '.png'}"]
    said = capfd.readouterr()
    assert "\x1b" not in said.out + said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("folder", [NOT_UTF8, "n" * 255])
@pytest.mark.parametrize("form", ["png", "jpg", "webp", "tiff", "avif", "gif"])
def test_folders_of_any_name_and_formats(upscale: Run, folder: str, form: str) -> None:
    save(f"{folder}/{NOT_UTF8}.png")
    save(f"{folder}/pages.tif", "TIFF", frames=2)
    save(f"{folder}/frames.gif", "GIF", frames=2)
    assert upscale(folder, "-o", f"out/{folder}", "--format", form) == 0
    assert len(tree("out")) == 3
    assert upscale(f"{folder}/{NOT_UTF8}.png", "-o", f"out2/{NOT_UTF8}.png", "--scale", "8") == 0
    assert upscale(f"{folder}/frames.gif", "-o", f"out3/{NOT_UTF8}.gif") == 0
    assert not [name for name in tree(".") if "/." in name]


@pytest.mark.parametrize("name", [f"{NOT_UTF8}.png", "n" * 251 + ".png"])
def test_a_stopped_job_of_any_name_goes_on(upscale: Run, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    save(f"in/{name}")
    upscaled = Upscaling.file
    with monkeypatch.context() as patch:

        def stop(self: Upscaling, source: Path, target: Path, progress: Callable[[int, int], None]) -> Path:
            def until(done: int, total: int) -> None:
                if done:
                    raise KeyboardInterrupt

            return upscaled(self, source, target, until)

        patch.setattr(Upscaling, "file", stop)
        assert upscale("in", "-o", "out") == 130
    assert len(tree("out")) == 2  # its samples and their journal
    assert all(len(os.fsencode(left)) < 255 for left in tree("out"))
    assert upscale("in", "-o", "out") == 0
    assert tree("out") == [name]


def test_pictures_by_any_suffix_and_what_is_none(upscale: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.jfif", "b.JPE", "c.jpg", "c.png", "d", "deep/e.2024"):
        save(f"in/{name}", "PNG" if name.endswith("png") else "JPEG")
    save("in/f.bmp", "BMP")
    save("in/g.ppm", "PPM")
    save("in/raw.CR2", "TIFF")  # a camera's raw file is a TIFF whose first picture is a preview
    Path("in/h.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    Path("in/notes.txt").write_text("no picture")
    save("elsewhere/x.png")
    Path("in/linked").symlink_to("../elsewhere")
    Path("in/gone.png").symlink_to("nowhere")
    os.mkfifo("in/pipe.png")
    assert upscale("in", "-o", "out") == 0
    assert tree("out") == ["a.png", "b.png", "c.png", "c_jpg.png", "d.png", "deep/e.png"]
    said = capsys.readouterr().err
    assert "in: 1 folder not entered: a link (linked)" in said
    assert "in: 2 names passed over: no file (a pipe, or a link to nothing) (gone.png, pipe.png)" in said
    assert "in: 5 files passed over: no image that can be read (f.bmp, h.HEIC, raw.CR2, …)" in said


def test_an_unreadable_subfolder_is_said(
    upscale: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save("in/a.png")
    save("in/private/b.png")
    scandir = os.scandir

    def refusing(path: Path) -> object:  # as root nothing is unreadable
        if Path(path).name == "private":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert upscale("in", "-o", "out") == 0
    assert "in: 1 folder could not be read (private)" in capsys.readouterr().err


@pytest.mark.parametrize("error", [RecursionError, MemoryError, AssertionError, ValueError, KeyError, OSError])
def test_any_exception_of_one_picture_is_one_line(
    upscale: Run, error: type[Exception], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b", "c"):
        save(f"in/{name}.png")
    file = Upscaling.file

    def failing(self: Upscaling, source: Path, *arguments: object) -> Path:
        if source.name == "b.png":
            raise error("deep\ninside")
        return file(self, source, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Upscaling, "file", failing)
    assert upscale("in", "-o", "out") == 1
    said = capsys.readouterr()
    assert said.out.splitlines()[-1].startswith("out: 2 of 3 pictures done in ")
    (line,) = [line for line in said.err.splitlines() if "b.png" in line]
    assert line.startswith(f"failed: in/b.png: a defect of the program or its libraries ({error.__name__}: ")
    assert "Traceback" not in said.err
    assert upscale("in/b.png", "-o", "one.png") == 1
    assert capsys.readouterr().err.startswith("failed: in/b.png: ")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8", "shift-jis"])
@pytest.mark.parametrize("name", ["写真", NOT_UTF8])
def test_standard_output_in_any_encoding(
    upscale: Run, name: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save("a.png")
    stdout = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stdout)
    assert upscale("a.png", "-o", f"{name}.png") == 0
    assert Path(f"{name}.png").is_file()
    stdout.flush()
    assert b": done in " in stdout.buffer.getvalue()  # type: ignore[attr-defined]


def test_standard_output_of_the_program_itself(settings: list[str]) -> None:
    save("a.png")
    arguments = [sys.executable, "-m", "gramgan", "upscale", *settings, "a.png", "-o", "写真.png"]
    done = subprocess.run(arguments, env=os.environ | {"PYTHONIOENCODING": "cp1252"}, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"\\u5199\\u771f.png: done in ")


def test_two_runs_on_one_folder_share_the_work(settings: list[str]) -> None:
    for number in range(12):
        save(f"in/{number}.png")
    arguments = [sys.executable, "-m", "gramgan", "upscale", *settings, "in", "-o", "out"]
    both = [subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [one.communicate(timeout=120) for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert tree("out") == sorted(f"{number}.png" for number in range(12))
    for out, err in said:
        assert "out: " in out.splitlines()[-1]
        assert "failed" not in out + err


def test_what_another_process_writes_is_left_to_it(
    upscale: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save("in/a.png")
    save("in/b.png")
    from gramgan.images.canvas import claim_for
    from gramgan.locks import release
    from gramgan.names import hidden_beside

    target = Path("out/a.png")
    target.parent.mkdir()
    journal = hidden_beside(target, "journal")
    handle = claim_for(target, journal)

    def other_ends(_: float) -> None:
        save(target)
        release(handle, journal)

    monkeypatch.setattr("time.sleep", other_ends)
    assert upscale("in", "-o", "out") == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("1 done by another process")
    assert Image.open(target).size == (12, 9)  # the other's
