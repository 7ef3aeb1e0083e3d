"""Odd pictures in every command that reads some: each says in one line what is odd, and does the others."""

import logging
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from gramgan.cli.app import run
from gramgan.collect import split
from gramgan.config import Config
from gramgan.training.images import images_of

RNG = np.random.default_rng(23)
RGB = np.kron(RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8), np.ones((4, 4, 1), np.uint8))  # 128x96

USABLE = {
    "few-bits.png": "as 12-bit data does",
    "infrared.tif": "channel 4 is no alpha",
    "no-end.jpg": "lacks the mark of its end",
    "pyramid.tif": "1 smaller picture in it",
}
REFUSED = {
    "range.tif": "--radiometry 0,255",
    "hole.tif": "not finite",
    "cut.jpg": "damaged or truncated JPEG",
    "camera.tif": "a camera's raw file",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One plain photograph, and one of every odd kind, each with pixels of its own."""
    odd = tmp_path / "photos"
    odd.mkdir()
    Image.fromarray(RGB).save(odd / "plain.png")
    few = np.kron(RNG.integers(0, 4096, (24, 32)).astype(np.uint16), np.ones((4, 4), np.uint16))
    Image.fromarray(few).save(odd / "few-bits.png")
    near = np.kron(RNG.integers(0, 256, (24, 32, 4), dtype=np.uint8), np.ones((4, 4, 1), np.uint8))
    tifffile.imwrite(odd / "infrared.tif", near, photometric="rgb", extrasamples=["unspecified"], metadata=None)
    other = np.kron(RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8), np.ones((4, 4, 1), np.uint8))
    Image.fromarray(other).save(odd / "no-end.jpg", quality=95)
    (odd / "no-end.jpg").write_bytes((odd / "no-end.jpg").read_bytes()[:-2])
    with tifffile.TiffWriter(odd / "pyramid.tif") as writer:
        writer.write(np.rot90(other, 2), photometric="rgb", tile=(32, 32), metadata=None)
        writer.write(np.rot90(other, 2)[::2, ::2], photometric="rgb", tile=(32, 32), subfiletype=1, metadata=None)
    tifffile.imwrite(odd / "range.tif", RGB.astype(np.float32), photometric="rgb")
    hole = (RGB / 255).astype(np.float32)
    hole[50, 60] = np.nan
    tifffile.imwrite(odd / "hole.tif", hole, photometric="rgb")
    data = (odd / "no-end.jpg").read_bytes()
    (odd / "cut.jpg").write_bytes(data[: len(data) // 2])
    with tifffile.TiffWriter(odd / "camera.tif") as writer:
        writer.write(RGB[::2, ::2], photometric="rgb", subfiletype=1, subifds=1, metadata=None)
        writer.write(few, photometric="cfa", metadata=None)
    return odd


def test_prepare(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["prepare", str(folder), "-o", str(tmp_path / "out"), "--size", "48"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, says in USABLE.items():
        assert [line for line in lines if line.startswith(f"used, but: {name}: ") and says in line], name
    for name, says in REFUSED.items():
        assert [line for line in lines if line.startswith(f"not used: {name}: ")], (name, lines)
        assert says in (tmp_path / "out" / "report.csv").read_text() or name == "range.tif"
    assert not [line for line in lines if "plain.png" in line]
    again = run(["prepare", str(folder), "-o", str(tmp_path / "out"), "--size", "48"])  # from the journal this time
    assert (again, capsys.readouterr().out.splitlines()) == (0, lines)


def test_inspect(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    for name, says in {**USABLE, **REFUSED}.items():
        (line,) = (line for line in lines if f"/{name}:" in line)
        assert says in line
        assert line.startswith("error: ") == (name in REFUSED)
    (plain,) = (line for line in lines if "/plain.png:" in line)
    assert ";" not in plain


def test_upscale(folder: Path, small_generator: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = ["upscale", str(folder), "-o", str(tmp_path / "out"), "--model", str(small_generator)]
    options = ["--backend", "torch", "--device", "cpu", "--precision", "fp32", "--format", "png"]
    assert run([*command, *options]) == 1
    err = capfd.readouterr().err.splitlines()
    for name, says in USABLE.items():
        assert [line for line in err if name in line and says in line], name
        assert (tmp_path / "out" / f"{Path(name).stem}.png").exists()
    for name, says in REFUSED.items():
        assert [line for line in err if line.startswith("failed: ") and name in line and says in line], name
        assert not (tmp_path / "out" / f"{Path(name).stem}.png").exists()


def test_db_build(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """All but what is held out, which depends on the names alone."""
    command = ["db", "build", str(folder), "-o", str(tmp_path / "t.lance"), "--patches", "300", "--licence", "CC0"]
    assert run(command) == 0
    lines = capfd.readouterr().err.splitlines()

    def told(kinds: dict[str, str]) -> set[str]:
        return {name for name, says in kinds.items() if any(name in line and says in line for line in lines)}

    said, refused = told(USABLE), told(REFUSED)
    assert sum("left out of the texture database" in line for line in lines) >= len(refused)
    held_out = {path.name for path in split(folder)[1]}
    assert said == set(USABLE) - held_out
    assert refused == set(REFUSED) - held_out
    assert len(said) > 1 < len(refused)


@pytest.mark.parametrize("name", [*USABLE, *REFUSED])
def test_evaluate(
    folder: Path, tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where the scores go
    (tmp_path / "hr").mkdir()
    (tmp_path / "hr" / name).write_bytes((folder / name).read_bytes())
    code = run(["evaluate", str(tmp_path / "hr"), "--model", "bicubic", "--device", "cpu"])
    err = capfd.readouterr().err
    assert code == (2 if name in REFUSED else 0), err
    assert {**USABLE, **REFUSED}[name] in err


def test_train_says_so_before_it_begins(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in REFUSED:
        (folder / name).unlink()
    (folder / "second.png").write_bytes((folder / "few-bits.png").read_bytes())
    config = Config.model_validate({"data": {"photos": str(folder)}})
    with caplog.at_level(logging.WARNING, logger="gramgan"):
        images = images_of(config)
    assert len(images.training) + len(images.validation) == 6
    assert "and 2 more of the 6 images looked at" in caplog.text
    assert "as 12-bit data does" in caplog.text
    assert "channel 4 is no alpha" in caplog.text
