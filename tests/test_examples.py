"""The examples of own parts run from a checkout, with a training of some steps."""

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gramgan.images import write_image

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted(path for path in (ROOT / "examples").glob("*.py") if path.name != "common.py")
STEPS = {
    "stages.pretrain": 1,
    "stages.warm_discriminator": 1,
    "stages.adversarial": 1,
    "data.crop": 64,
    "train.batch_size": 2,
    "train.device": "cpu",
    "train.precision": "fp32",
    "train.memory_format": "contiguous",
    "losses.perceptual": 0,
    "log.validation_images": 1,
    "log.validation_crop": 64,
    "log.best_by": "psnr_y",
}


def test_all_five_are_there() -> None:
    assert [path.stem for path in EXAMPLES] == [
        "dists_like_metric",
        "extra_loss",
        "fast_generator",
        "own_degradation",
        "unet_discriminator",
    ]


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What an example is told: three photographs, a run's folder, few steps."""
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path / "cache"))
    photos = tmp_path / "photos"
    for number in range(3):
        picture = np.random.default_rng(number).random((3, 12, 12)).repeat(8, 1).repeat(8, 2)
        write_image(photos / f"{number}.png", picture.astype(np.float32))
    settings = [part for key, value in STEPS.items() for part in ("--set", f"{key}={value}")]
    return ["--photos", str(photos), "--output", str(tmp_path / "run"), *settings]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_trains(
    example: Path,
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(example.parent)
    monkeypatch.setattr(sys, "argv", [str(example), *arguments])
    runpy.run_path(str(example), run_name="__main__")
    assert "done: " in capsys.readouterr().out
    assert (tmp_path / "run" / "parts.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_a_program(example: Path, arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, str(example), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "done: " in done.stdout
