"""The generator's losses together: every one in a run, and none that is not asked for."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from gramgan.config import Config
from gramgan.config.losses import LOSS_NAMES
from gramgan.errors import UserError
from gramgan.metrics.dists import Dists
from gramgan.metrics.lpips import Lpips
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.ops.resize import matlab_bicubic_down
from gramgan.training.folder import read_log
from gramgan.training.objective import Guides, Objective
from gramgan.training.run import train
from gramgan.training.teacher import Teacher
from gramgan.weights.formats import write_pth

Tiny = Callable[..., Config]


@pytest.fixture
def untrained_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr("gramgan.training.build.Dists.load", Dists)
    monkeypatch.setattr("gramgan.training.build.Lpips.load", Lpips)


@pytest.fixture
def weights(tmp_path: Path) -> str:
    """A generator to learn from."""
    path = tmp_path / "weights.pth"
    write_pth(path, RRDBNet(RRDBConfig(8, 1, 4, "nearest")).state_dict())
    return str(path)


@pytest.mark.usefixtures("untrained_distances")
@pytest.mark.parametrize("kind", ["classifier", "unet", "semantic"])
def test_a_run_with_every_loss(kind: str, tiny: Tiny, weights: str, tmp_path: Path) -> None:
    config = tiny(
        losses=dict.fromkeys(LOSS_NAMES, 0.5),
        generator={"teacher": weights, "decoder": weights},
        discriminator={"kind": kind, "sees": "image" if kind == "unet" else "wavelets", "width": 8, "r1": 1.0},
        stages={"pretrain": 0, "warm_discriminator": 0, "adversarial": 2},
    )
    result = train(config, tmp_path / "run")
    assert result.finished
    steps = [record for record in read_log(result.folder) if record["event"] == "step"]
    assert len(steps) == 2
    for step in steps:
        assert set(step["losses"]) == {*LOSS_NAMES, "total", "discriminator", *(["r1"] if step is steps[0] else [])}
        assert step["losses"]["total"] == pytest.approx(
            sum(0.5 * step["losses"][name] for name in LOSS_NAMES), rel=1e-4
        )
        assert set(step["shares"]) == set(LOSS_NAMES)


def test_a_loss_of_weight_0_loads_no_weights(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> nn.Module:
        raise AssertionError("loaded although no loss needs it")

    monkeypatch.setattr("gramgan.training.build.Dists.load", refuse)
    monkeypatch.setattr("gramgan.training.build.Lpips.load", refuse)
    monkeypatch.setattr("gramgan.training.build.load_trunk", refuse)
    config = tiny(losses={"perceptual": 0}, stages={"pretrain": 0, "warm_discriminator": 0, "adversarial": 1})
    assert train(config, tmp_path / "run").finished


@pytest.mark.parametrize(("loss", "weights"), [("dists", "dists-vgg16"), ("lpips", "vgg16")])
def test_learned_distances_say_which_weights_they_need(loss: str, weights: str, tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"gramgan weights get {weights}"):
        train(tiny(losses={loss: 1}), tmp_path / "run")


@pytest.mark.parametrize("role", ["teacher", "decoder"])
def test_a_guide_of_another_scale_is_named(role: str, tiny: Tiny, weights: str, tmp_path: Path) -> None:
    loss = {"teacher": "teacher", "decoder": "autoencoded"}[role]
    config = tiny(generator={role: weights, "scale": 2}, losses={loss: 1})
    with pytest.raises(UserError, match=f"generator.{role}: .* enlarges 4 times, generator.scale is 2"):
        train(config, tmp_path / "run")


def test_the_teacher_goes_over_to_hr() -> None:
    """Linearly from the first adversarial iteration on; once there, the teacher is not asked any more."""
    torch.manual_seed(0)
    hr = torch.rand(2, 3, 64, 64)
    lr, sr = matlab_bicubic_down(hr, 4, quantise=False), torch.rand(2, 3, 64, 64)
    network = RRDBNet(RRDBConfig(4, 1, 4, "nearest"))
    asked: list[int] = []
    network.register_forward_hook(lambda *_: asked.append(1))
    config = Config.model_validate(
        {
            "losses": dict.fromkeys(LOSS_NAMES, 0) | {"teacher": 1, "teacher_steps": 4},
            "generator": {"teacher": "a file"},
            "stages": {"pretrain": 2, "warm_discriminator": 1, "adversarial": 9},
        }
    )
    fabric = Fabric(accelerator="cpu", devices=1)
    objective = Objective(fabric, config, Guides(teacher=Teacher(network, consistent=False)))
    taught = network(lr).clamp(0, 1).detach()
    asked.clear()
    for done, share in [(0, 0.0), (1, 0.25), (3, 0.75), (4, 1.0), (8, 1.0)]:
        loss = objective(lr, sr, hr, {}, 3 + done).losses["teacher"]
        torch.testing.assert_close(loss, (sr - (1 - share) * taught - share * hr).abs().mean())
    assert len(asked) == 3
