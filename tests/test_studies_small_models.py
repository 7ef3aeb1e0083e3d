"""The trainings behind the small generators: their settings are accepted, and each begins with what another left."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch

import small_models
from gramgan.collect.manifest import known_licences
from gramgan.config import Config
from gramgan.images import write_image
from gramgan.networks.discriminator import Discriminator, DiscriminatorConfig
from gramgan.prepare.run import Wish
from gramgan.training.folder import BEST_DISCRIMINATOR, BEST_GENERATOR
from gramgan.weights.card import Card
from gramgan.weights.formats import read_weights, write_safetensors


def write_discriminator(path: Path) -> None:
    network = Discriminator(DiscriminatorConfig(width=8))
    card = Card(name="d", architecture={"network": "discriminator", **network.config.to_dict()}, licence="other")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_safetensors(path, network.state_dict(), card)


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Config]:
    """What would be trained, by name. Nothing is; somebody stops a training, and goes on with it."""
    found: dict[str, Config] = {}
    stop = True

    def trained(folder: Path, config: Config, _: object) -> bool:
        found[folder.name] = config
        for kept in (BEST_DISCRIMINATOR, BEST_GENERATOR):
            write_discriminator(folder / f"{kept}.safetensors")
        return folder.name != "lite" or not stop

    monkeypatch.setattr(small_models, "SHRUNK", Wish(size=64, step=64, shrink=(2,)))
    monkeypatch.setattr(small_models, "AS_THEY_ARE", Wish(size=64, step=64))
    monkeypatch.setattr(small_models, "SETS", [])
    monkeypatch.setattr(small_models, "fetch_weights", lambda _: None)
    monkeypatch.setattr(small_models, "trained", trained)
    monkeypatch.setattr(small_models, "ship_start", lambda target: target.write_bytes(b""))
    photos = tmp_path / "photos"
    for seed in range(2):
        write_image(photos / f"{seed}.png", np.random.default_rng(seed).random((3, 160, 130), dtype=np.float32))
    sharp = tmp_path / "cid22"
    for name in ("1", "106399"):
        write_image(sharp / f"{name}.png", np.random.default_rng(len(name)).random((3, 80, 80), dtype=np.float32))
    (sharp / "manifest.csv").write_text("file,license\n1.png,CC-BY-SA-4.0\n106399.png,CC-BY-SA-4.0\n")
    arguments = argparse.Namespace(
        photos=photos, sharp=[sharp], folder=tmp_path / "out", only=list(small_models.TRAININGS)
    )
    files = small_models.run(arguments)
    assert {name: file.stem for name, file in files.items()} == {
        "lite-psnr": "gramgan-x4-lite-psnr",
        "psnr": "gramgan-x4-psnr",
    }
    stop = False
    assert [*small_models.run(arguments)] == ["lite-psnr", "psnr", "lite", "discriminator"]
    assert len(list((tmp_path / "out" / "shrunk").glob("*_s2_*.png"))) == 2 * 4
    return found


def test_each_begins_with_what_another_left(configs: dict[str, Config], tmp_path: Path) -> None:
    left = {name: str(tmp_path / "out" / name / f"{BEST_GENERATOR}.safetensors") for name in configs}
    assert {name: config.generator.start for name, config in configs.items()} == {
        "psnr": "realsr-df2k",
        "lite-first": "span-x4",
        "lite-second": left["lite-first"],
        "lite-third": left["lite-second"],
        "lite": left["lite-third"],
        "discriminator": "gramgan-x4",
    }
    assert {name: config.discriminator.start for name, config in configs.items() if config.discriminator.start} == {
        name: tmp_path / "out" / before / f"{BEST_DISCRIMINATOR}.safetensors"
        for name, before in (("lite-third", "lite-second"), ("lite", "lite-third"))
    }


def test_the_small_network_sees_sharp_ones_too_but_none_held_out(configs: dict[str, Config], tmp_path: Path) -> None:
    shrunk, together = tmp_path / "out" / "shrunk", tmp_path / "out" / "together"
    assert {name: config.data.photos for name, config in configs.items()} == {
        "psnr": shrunk,
        "lite-first": together,
        "lite-second": together,
        "lite-third": together,
        "lite": together,
        "discriminator": shrunk,
    }
    licences = {path.name: licence for path, licence in known_licences(together).items()}
    assert sum(licence == "CC-BY-SA-4.0" for licence in licences.values()) == 4
    assert len(licences) == 3 * 4
    assert not [name for name in licences if "106399" in name]
    assert configs["lite"].data.validation == tmp_path / "out" / "held-out"
    assert [path.name for path in (tmp_path / "out" / "held-out").iterdir()] == ["106399.png"]


def test_the_one_for_psnr_knows_no_other_loss(configs: dict[str, Config]) -> None:
    assert configs["psnr"].stages.total == configs["psnr"].stages.pretrain  # L_C alone
    assert [config.stages.pretrain for name, config in configs.items() if name.startswith("lite")] == [0] * 4


def test_a_discriminator_ships_in_half_precision(configs: dict[str, Config], tmp_path: Path) -> None:
    shipped = tmp_path / "out" / "gramgan-x4-D.safetensors"
    with safetensors.safe_open(shipped, framework="pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118
    card = read_weights(shipped).card
    assert card is not None
    assert (card.name, card.licence) == ("gramgan-x4-D", "Apache-2.0")
    stages = configs["discriminator"].stages
    assert configs["discriminator"].log.validate_every == stages.total == stages.warm_discriminator + 1


def test_generators_are_scored(tmp_path: Path, small_generator: Path) -> None:
    truths = tmp_path / "truths"
    write_image(truths / "a.png", np.random.default_rng(0).random((3, 96, 96), np.float32))
    files = {"psnr": small_generator, "discriminator": tmp_path / "no generator"}
    report = small_models.scored(files, truths)
    assert report is not None
    assert [model.name for model in report.models] == ["bicubic", small_generator.stem]
    assert small_models.scored({"discriminator": tmp_path / "no generator"}, truths) is None


def test_the_small_network_stays_small(configs: dict[str, Config]) -> None:
    small = [config.generator for name, config in configs.items() if name.startswith("lite")]
    assert {(generator.network, generator.nf, generator.nb) for generator in small} == {("span", 48, 6)}
