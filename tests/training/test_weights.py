"""What a run's weight files say of themselves: the PSNR-oriented partner for --strength, and the measured overlap."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from gramgan.config import Config
from gramgan.networks.build import load_generator
from gramgan.networks.context import MEASURED_SIDE, measure_overlap
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.training.folder import BEST_GENERATOR, PSNR_GENERATOR
from gramgan.training.run import train
from gramgan.training.weights import name_overlap, write_best
from gramgan.weights.card import Card
from gramgan.weights.formats import read_weights, write_pth
from gramgan.weights.interpolate import find_partner

Tiny = Callable[..., Config]
CONFIG = RRDBConfig(8, 1, 4, "nearest")


def best_of(folder: Path) -> Path:
    return folder / f"{BEST_GENERATOR}.safetensors"


def test_partner_is_what_pretraining_ended_with(tiny: Tiny, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    train(tiny(stages={"pretrain": 2, "warm_discriminator": 0, "adversarial": 0}), alone)
    both = tmp_path / "both"
    train(tiny(stages={"pretrain": 2, "warm_discriminator": 1, "adversarial": 1}), both)
    partner = Path(find_partner(best_of(both)))
    assert partner == both / f"{PSNR_GENERATOR}.safetensors"
    expected, found = read_weights(best_of(alone)), read_weights(partner)
    assert all(torch.equal(found.state[name], value) for name, value in expected.state.items())
    assert found.card is not None
    assert found.card.losses == {"pixel": 1.0}
    assert found.card.settings["iterations"] == 2
    assert found.card.psnr_partner == ""
    assert not (alone / f"{PSNR_GENERATOR}.safetensors").exists()  # it is the best itself there


def test_partner_is_a_psnr_oriented_start(tiny: Tiny, tmp_path: Path) -> None:
    alone, both = tmp_path / "alone", tmp_path / "both"
    train(tiny(stages={"pretrain": 2, "warm_discriminator": 0, "adversarial": 0}), alone)
    stages = {"pretrain": 0, "warm_discriminator": 1, "adversarial": 1}
    train(tiny(stages=stages, generator={"start": str(best_of(alone))}), both)
    start, partner = read_weights(best_of(alone)), read_weights(Path(find_partner(best_of(both))))
    assert all(torch.equal(partner.state[name], value) for name, value in start.state.items())
    assert partner.card is not None
    assert start.card is not None
    assert partner.card.scores == start.card.scores


def test_unknown_start_is_no_partner(tiny: Tiny, tmp_path: Path) -> None:
    torch.manual_seed(0)
    write_pth(tmp_path / "start.pth", RRDBNet(CONFIG).state_dict())
    stages = {"pretrain": 0, "warm_discriminator": 1, "adversarial": 1}
    train(tiny(stages=stages, generator={"start": str(tmp_path / "start.pth")}), tmp_path / "run")
    assert load_generator(best_of(tmp_path / "run")).card.psnr_partner == ""
    assert not (tmp_path / "run" / f"{PSNR_GENERATOR}.safetensors").exists()


def written(folder: Path, **card: object) -> RRDBNet:
    torch.manual_seed(0)
    network = RRDBNet(CONFIG).eval()
    for parameter in network.parameters():
        parameter.data *= 3  # what lies several convolutions away counts
    values = {"name": "x", "architecture": {"network": "rrdb", **CONFIG.to_dict()}, "licence": "CC0-1.0", **card}
    write_best(folder, Card.model_validate(values), network, None)
    return network


def test_overlap_is_measured_at_the_end(tmp_path: Path) -> None:
    network = written(tmp_path, overlap=7)
    image = np.random.default_rng(0).random((3, MEASURED_SIDE, MEASURED_SIDE + 3), dtype=np.float32)

    @torch.inference_mode()
    def run(tiles: np.ndarray) -> np.ndarray:
        return network(torch.from_numpy(np.ascontiguousarray(tiles))).numpy()

    expected = measure_overlap(run, [image])
    assert expected > 0
    name_overlap(tmp_path, [image[:, :100], image], torch.device("cpu"), network)
    after = read_weights(best_of(tmp_path))
    assert after.card is not None
    assert after.card.overlap == expected
    assert after.card.name == "x"
    assert all(torch.equal(after.state[name], value) for name, value in network.state_dict().items())


def test_overlap_of_the_start_is_kept(tmp_path: Path) -> None:
    network = written(tmp_path, overlap=90, started_from="somebody's")
    image = np.random.default_rng(0).random((3, MEASURED_SIDE, MEASURED_SIDE), dtype=np.float32)
    name_overlap(tmp_path, [image], torch.device("cpu"), network)
    assert load_generator(best_of(tmp_path)).card.overlap == 90


def test_small_images_measure_nothing(tmp_path: Path) -> None:
    network = written(tmp_path, overlap=7)
    name_overlap(tmp_path, [np.zeros((3, MEASURED_SIDE - 1, MEASURED_SIDE), np.float32)], torch.device("cpu"), network)
    assert load_generator(best_of(tmp_path)).card.overlap == 7
