"""The generator's losses together: every one in a run, and none that is not asked for."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from gramgan.config import Config
from gramgan.config.sections import LOSS_NAMES
from gramgan.errors import UserError
from gramgan.metrics.dists import Dists
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.training.folder import read_log
from gramgan.training.run import train
from gramgan.weights.formats import write_pth

Tiny = Callable[..., Config]


@pytest.fixture
def untrained_dists(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr("gramgan.training.build.Dists.load", Dists)


@pytest.fixture
def weights(tmp_path: Path) -> str:
    """A generator to learn from."""
    path = tmp_path / "weights.pth"
    write_pth(path, RRDBNet(RRDBConfig(8, 1, 4, "nearest")).state_dict())
    return str(path)


@pytest.mark.usefixtures("untrained_dists")
def test_a_run_with_every_loss(tiny: Tiny, weights: str, tmp_path: Path) -> None:
    config = tiny(
        losses=dict.fromkeys(LOSS_NAMES, 0.5),
        generator={"teacher": weights},
        stages={"pretrain": 0, "warm_discriminator": 0, "adversarial": 2},
    )
    result = train(config, tmp_path / "run")
    assert result.finished
    steps = [record for record in read_log(result.folder) if record["event"] == "step"]
    assert len(steps) == 2
    for step in steps:
        assert set(step["losses"]) == {*LOSS_NAMES, "total", "discriminator"}
        assert step["losses"]["total"] == pytest.approx(
            sum(0.5 * step["losses"][name] for name in LOSS_NAMES), rel=1e-4
        )
        assert set(step["shares"]) == set(LOSS_NAMES)


def test_a_loss_of_weight_0_loads_no_weights(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> nn.Module:
        raise AssertionError("loaded although no loss needs it")

    monkeypatch.setattr("gramgan.training.build.Dists.load", refuse)
    monkeypatch.setattr("gramgan.training.build.load_trunk", refuse)
    config = tiny(losses={"perceptual": 0}, stages={"pretrain": 0, "warm_discriminator": 0, "adversarial": 1})
    assert train(config, tmp_path / "run").finished


def test_dists_as_a_loss_says_which_weights_it_needs(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gramgan weights get dists-vgg16"):
        train(tiny(losses={"dists": 1}), tmp_path / "run")
