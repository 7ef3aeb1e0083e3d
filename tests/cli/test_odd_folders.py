"""Every command that walks folders, on one with names as they are found: no traceback, and every photograph is used."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gramgan.cli.app import run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes, links and pipes")

NAMES = [os.fsdecode(b"M\xfcller.png"), "n" * 251 + ".png", "evil\x1b[31m\n.png", "写真.JPE", "=1+1", "plain.png"]


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of six photographs, and what else is found in folders; it lies in the working folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / os.fsdecode(b"in\xff")
    for seed, name in enumerate(NAMES):
        photograph(folder / "deep" / name, seed)
    photograph(tmp_path / "elsewhere" / "x.png", 99)
    (folder / "linked").symlink_to("../elsewhere")
    (folder / "gone.png").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.png")
    (folder / "notes.docx").write_text("no picture")
    (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    return folder


def photograph(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).resize(
        (160, 160), Image.Resampling.BICUBIC
    )
    noisy = np.asarray(small).astype(int) + rng.integers(-9, 10, (160, 160, 3))
    with path.open("wb") as file:
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG" if "JPE" in path.name else "PNG")


def said(capfd: pytest.CaptureFixture[str]) -> str:
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    assert "\x1b" not in out + err
    return out + err


def test_inspect(odd: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(odd)]) == 1
    lines = said(capfd).splitlines()
    assert sum("160x160" in line for line in lines) == 6
    assert sum("bad.png" in line for line in lines) == 1
    assert any("1 folder not entered: a link (linked)" in line for line in lines)
    assert run(["inspect", str(odd / "deep" / NAMES[0])]) == 0


@pytest.mark.parametrize("more", [[], ["--shards"]], ids=["files", "shards"])
def test_prepare(odd: Path, more: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert run(["prepare", str(odd), "-o", "out", "--size", "64", "--step", "64", *more]) == 0
        lines = said(capfd).splitlines()
        assert "files: 8; usable photographs: 6" in lines
        assert any(line.startswith("sub-images: 54 in ") for line in lines)
    for name in ("report.csv", "report.html", "manifest.csv"):
        if (Path("out") / name).exists():
            (Path("out") / name).read_text(encoding="utf-8")


def test_collect(odd: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for new in (6, 0):
        assert run(["collect", "--from", str(odd), "-o", "out", "--min-size", "100"]) == 0
        assert f"6 photographs ({new} new, 1 left out)" in said(capfd)


def test_database(odd: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lance")
    other = Path("other")
    for seed, name in enumerate(NAMES):
        photograph(other / name, seed + 50)
    assert run(["db", "build", str(odd / "deep"), "-o", "a.lance", "--patches", "300"]) == 0
    assert run(["db", "add", "a.lance", str(other), "--patches", "300"]) == 0
    assert run(["db", "info", "a.lance"]) == 0
    text = said(capfd)
    assert "of 5 of 5 photographs" in text  # one in five is held out
    assert run(["db", "build", str(odd), "-o", "b.lance", "--patches", "300"]) == 0
    assert "left out of the texture database: " in said(capfd)


def test_evaluate(odd: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", str(odd / "deep"), "--model", "bicubic", "-o", "scores", "--device", "cpu"]) == 0
    assert "mean of 6" in said(capfd)
    assert "'=1+1" in Path("scores/scores.csv").read_text(encoding="utf-8")


def test_degrade(odd: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in NAMES:
        assert run(["degrade", str(odd / "deep" / name), "-o", f"{NAMES[0]}", "--crop", "64", "--samples", "1"]) == 0
    assert Path(NAMES[0]).is_file()
    said(capfd)


def test_training_and_its_reports(odd: Path, capfd: pytest.CaptureFixture[str]) -> None:
    odd.rename("photos")
    settings = ["data.photos=photos", "data.crop=64", "generator.start=null", "generator.nf=4", "generator.nb=1"]
    settings += ["train.batch_size=2", "train.device=cpu", "stages.pretrain=2", "stages.warm_discriminator=0"]
    settings += ["stages.adversarial=0", "log.validate_every=1", "data.source=folder"]
    sets = [part for setting in settings for part in ("--set", setting)]
    assert run(["train", "--preset", "quick", "-o", os.fsdecode(b"run\xff"), *sets]) == 2
    assert r"run\xff: TensorBoard takes names in UTF-8 only" in said(capfd)
    assert run(["train", "--preset", "quick", "-o", "run\x1b", *sets]) == 0
    assert run(["report", "run\x1b"]) == 0
    assert run(["runs", "."]) == 0
    said(capfd)
