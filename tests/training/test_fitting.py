"""The batch that fits: the estimate from small steps against the memory of a real run's parts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gramgan.config import Config, load_config, preset_names
from gramgan.degradation.bicubic import degrade_bicubic
from gramgan.images import write_image
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.training import fitting
from gramgan.training.build import Parts, build_training, resolve
from gramgan.training.fitting import Fit, measure_fit
from gramgan.weights.card import Card
from gramgan.weights.formats import write_safetensors

BATCH = 4


@pytest.fixture(scope="module")
def wide_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs that a crop of 96×96 pixels fits into."""
    folder = tmp_path_factory.mktemp("wide")
    random = np.random.default_rng(0)
    for number in range(5):
        write_image(folder / f"photo{number}.png", random.random((3, 128, 128)).astype(np.float32))
    return folder


def _small(config: Config, photos: Path, database: Path, teacher: str | None) -> Config:
    """The preset with networks and crops that a test has time for; what takes part in its step stays."""
    entry = [{"path": str(database)}] if config.uses_database else []
    changes: dict[str, dict[str, Any]] = {
        "data": {"photos": str(photos), "crop": 96, "source": "folder"},
        "generator": {"nf": 16, "nb": 3, "gc": 8, "start": None},
        "discriminator": {"width": 8, "start": None},
        "texture": {"databases": entry},
        "train": {"device": "cpu", "precision": "fp32", "memory_format": "contiguous", "accumulate": 1, "devices": 1},
    }
    if teacher is not None:
        changes["generator"]["teacher"] = teacher
    values = config.model_dump()
    for section, entries in changes.items():
        known = {key: value for key, value in entries.items() if key in values[section]}
        values[section] = values[section] | known
    return Config.model_validate(values)


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_takes_what_the_fit_says(preset: str, wide_photos: Path, database: Path, tmp_path: Path) -> None:
    """The estimate from small crops, and the memory of the parts that `train` itself builds."""
    plain = load_config(preset)
    teacher = None
    if plain.generator.teacher is not None:
        network = RRDBNet(RRDBConfig(16, 3, 8, plain.generator.upsampler))
        architecture = {"network": "rrdb", **network.config.to_dict()}
        card = Card(name="teacher", architecture=architecture, licence="CC0-1.0", overlap=20)
        write_safetensors(tmp_path / "teacher.safetensors", network.state_dict(), card)
        teacher = str(tmp_path / "teacher.safetensors")
    config = _small(plain, wide_photos, database, teacher)
    estimate = measure_fit(config)

    built: list[Parts] = []
    hr = torch.rand(BATCH, 3, 96, 96)

    def step(images: torch.Tensor) -> None:
        stage = built[0].step.adversarial if config.stages.adversarial else built[0].step.pretrain
        stage(degrade_bicubic(images), images)
        built[0].ema.update_parameters(built[0].generator)

    def begin() -> None:
        built.append(build_training(resolve(config)))
        step(hr[:1])

    kept = fitting._measured("cpu", begin).kept
    peak = kept + fitting._measured("cpu", lambda: step(hr)).peak
    built[0].source.close()
    assert estimate.fixed_bytes + BATCH * estimate.image_bytes == pytest.approx(peak, rel=0.1)
    assert estimate.parameters == sum(parameter.numel() for parameter in built[0].generator.parameters())


def test_nothing_is_kept_of_a_piece_of_work_that_frees_what_it_took() -> None:
    import torch

    found = fitting._measured("cpu", lambda: torch.zeros(1000, 1000).add(1).sum().item())
    assert 8_000_000 <= found.peak < 9_000_000
    assert found.kept < 1000


def test_the_batch_leaves_a_tenth_free() -> None:
    assert Fit(1, fixed_bytes=100, image_bytes=50, free_bytes=1000).batch == 16
    assert Fit(1, fixed_bytes=1000, image_bytes=50, free_bytes=1000).batch == 0
