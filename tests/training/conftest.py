"""Small photographs, small networks and small settings, so that a whole training takes a second."""

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gramgan.config import Config
from gramgan.images import write_image
from gramgan.networks import discriminator, trunks
from gramgan.networks.trunks import PerceptualTrunk, TrunkName
from gramgan.texture.database import Source, TextureDatabase


@pytest.fixture(scope="module", autouse=True)
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """D and the trunks with eight channels everywhere (the trunk untrained), and an empty cache."""
    narrow = {
        name: dataclasses.replace(spec, blocks=tuple((8,) * len(block) for block in spec.blocks))
        for name, spec in trunks.SPECS.items()
    }

    def untrained(name: TrunkName, layers: Sequence[str] | None = None) -> PerceptualTrunk:
        return PerceptualTrunk(name, layers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAMGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(discriminator, "_WIDTHS", (8,) * 11)
        patch.setattr(trunks, "SPECS", narrow)
        patch.setattr("gramgan.training.build.load_trunk", untrained)
        yield


def photograph(seed: int, height: int = 96, width: int = 80) -> np.ndarray:
    """Blobs of random colour with some noise on them: float32 `[3, H, W]` in [0, 1]."""
    random = np.random.default_rng(seed)
    blobs = np.kron(random.random((3, height // 8, width // 8)), np.ones((8, 8)))
    return (0.8 * blobs + 0.2 * random.random((3, height, width))).astype(np.float32)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five photographs of 80×96 pixels, one of them held out for validation."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(5):
        write_image(folder / f"photo{number}.png", photograph(number))
    return folder


@pytest.fixture(scope="module")
def database(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A texture database of those photographs."""
    path = tmp_path_factory.mktemp("database") / "texture.lance"
    TextureDatabase.build(path, [Source(photo) for photo in photos.iterdir()], patches=200)
    return path


@pytest.fixture
def tiny(photos: Path) -> Callable[..., Config]:
    """Makes settings of a run of a second; the sections given go on top: `tiny(train={"seed": 1})`."""

    def make(**sections: dict[str, Any]) -> Config:
        values: dict[str, Any] = {
            "preset": "test",
            "data": {"photos": str(photos), "crop": 64},
            "generator": {"nf": 8, "nb": 1, "gc": 4, "upsampler": "nearest"},
            "stages": {"pretrain": 1, "warm_discriminator": 2, "adversarial": 3},
            "schedule": {"rate": 1e-3, "rate_discriminator": 1e-3, "warmup": 2, "restart_every": 3},
            "train": {"batch_size": 2, "device": "cpu", "precision": "fp32", "memory_format": "contiguous"},
            "log": {"every": 1, "validate_every": 2, "checkpoint_every": 2, "best_by": "psnr_y"},
        }
        for section, changes in sections.items():
            values[section] = {**values.get(section, {}), **changes}
        return Config.model_validate(values)

    return make


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """The package's log from INFO on, also after the command line has directed it to standard error."""
    logger = logging.getLogger("gramgan")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", True)
    caplog.set_level(logging.INFO, "gramgan")
    return caplog
