"""The demo's own pieces; the whole of it is `make demo`."""

from pathlib import Path

import numpy as np
import pytest

from gramgan.cli.app import run
from gramgan.demo import most_textured


def test_most_textured_window_is_found() -> None:
    image = np.full((3, 96, 128), 0.5, np.float32)
    image[:, 40:72, 64:96] += np.random.default_rng(0).normal(0, 0.1, (3, 32, 32)).astype(np.float32)
    top, left = most_textured(image, 32)
    assert abs(top - 40) <= 4
    assert abs(left - 64) <= 4
    assert top % 4 == left % 4 == 0


def test_an_earlier_demo_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "demo" / "gram-gan" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "0000050.pt").write_bytes(b"")
    assert run(["demo", "--output", str(tmp_path / "demo"), "--photos", str(tmp_path / "photos")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--output" in error
    assert not (tmp_path / "photos").exists()
