"""`gramgan inspect`, as a user runs it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gramgan.cli.app import run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    smooth = np.linspace(60, 190, 128)[None, :, None] + np.zeros((96, 1, 3))
    noisy = np.round(smooth + rng.normal(0, 6, smooth.shape)).astype(np.uint8)
    Image.fromarray(noisy).save(tmp_path / "noisy.png")
    Image.fromarray(np.round(smooth).astype(np.uint8)).save(tmp_path / "photo.jpg", quality=70)
    deep = (np.linspace(0, 65535, 64)[None] + np.zeros((64, 1))).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return tmp_path


def test_a_line_for_every_file_and_exit_code_1_for_a_bad_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(folder), str(folder / "missing.png")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith(f"error: {folder / 'broken.png'}: damaged PNG")
    assert lines[1] == f"{folder / 'deep.png'}: PNG, 64x64, 16 bits grey: clean"
    assert lines[2] == f"{folder / 'noisy.png'}: PNG, 128x96, 8 bits RGB: noise 6"
    assert lines[3] == f"{folder / 'photo.jpg'}: JPEG, 128x96, 8 bits RGB: JPEG quality 70"
    assert lines[4] == f"error: {folder / 'missing.png'}: no such file; check the name"


def test_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(folder / name) for name in ("photo.jpg", "noisy.png")]
    assert run(["inspect", "--json", *files]) == 0
    photo, noisy = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert photo["condition"]["jpeg"]["quality"] == 70
    assert photo["condition"]["jpeg"]["luma_table"][0][:3] == [10, 7, 6]  # T.81's 16, 11, 10 at 60 %
    assert photo["condition"]["jpeg"]["subsampling"] == "4:2:0"
    assert (photo["width"], photo["height"], photo["bits"], photo["pages"]) == (128, 96, 8, 1)
    assert noisy["condition"]["noise"]["sigma"] == pytest.approx([6, 6, 6], abs=0.5)
    assert not noisy["condition"]["clean"]


def test_a_folder_without_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(tmp_path)]) == 1
    assert "no images in this folder" in capsys.readouterr().out
