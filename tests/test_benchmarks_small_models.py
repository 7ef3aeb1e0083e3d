"""The trainings behind the small generators: their settings are accepted, and each begins with what another left."""

import argparse
from pathlib import Path

import numpy as np
import pytest

import small_models
from gramgan.config import Config
from gramgan.images import write_image
from gramgan.prepare.run import Wish
from gramgan.training.weights import BEST_GENERATOR


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Config]:
    """What would be trained, by name. Nothing is, and the last training is stopped by somebody."""
    found: dict[str, Config] = {}

    def trained(folder: Path, config: Config, _: object) -> bool:
        found[folder.name] = config
        return folder.name != "lite"

    def export(spec: Path, target: Path, *, half: bool, name: str, licence: str) -> argparse.Namespace:
        assert half
        assert licence == "Apache-2.0"
        assert name == target.stem
        assert spec.name == f"{BEST_GENERATOR}.safetensors"
        return argparse.Namespace(path=target)

    monkeypatch.setattr(small_models, "SHARP", Wish(size=64, step=64, shrink=(2,)))
    monkeypatch.setattr(small_models, "fetch_weights", lambda _: None)
    monkeypatch.setattr(small_models, "trained", trained)
    monkeypatch.setattr(small_models, "export_generator", export)
    photos = tmp_path / "photos"
    for seed in range(2):
        write_image(photos / f"{seed}.png", np.random.default_rng(seed).random((3, 160, 130), dtype=np.float32))
    arguments = argparse.Namespace(photos=photos, folder=tmp_path / "out", only=list(small_models.TRAININGS))
    files = small_models.run(arguments)
    assert [file.stem for file in files] == ["gramgan-x4-psnr", "gramgan-x4-lite-psnr"]
    assert len(list((tmp_path / "out" / "sharp").glob("*_s2_*.png"))) == 2 * 4
    return found


def test_each_begins_with_what_another_left(configs: dict[str, Config], tmp_path: Path) -> None:
    left = {name: str(tmp_path / "out" / name / f"{BEST_GENERATOR}.safetensors") for name in configs}
    assert {name: config.generator.start for name, config in configs.items()} == {
        "psnr": "realsr-df2k",
        "lite-psnr": None,
        "lite-distilled": left["lite-psnr"],
        "lite": left["lite-distilled"],
    }
    assert configs["lite-distilled"].generator.teacher == left["psnr"]
    assert {config.data.photos for config in configs.values()} == {tmp_path / "out" / "sharp"}


def test_those_for_psnr_know_no_other_loss(configs: dict[str, Config]) -> None:
    for name in ("psnr", "lite-psnr"):
        assert configs[name].stages.total == configs[name].stages.pretrain  # L_C alone
    weights = configs["lite-distilled"].loss_weights
    assert {loss for loss, weight in weights.items() if weight} == {"pixel", "teacher"}
    five = ("texture", "disc_perceptual", "perceptual", "adversarial", "pixel")
    assert all(configs["lite"].loss_weights[loss] > 0 for loss in five)


def test_the_small_network_stays_small(configs: dict[str, Config]) -> None:
    small = [config.generator for name, config in configs.items() if name.startswith("lite")]
    assert {(generator.nf, generator.nb, generator.gc) for generator in small} == {(32, 4, 16)}
