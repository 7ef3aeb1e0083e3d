"""Losses that are not finite: steps skipped and named, the return to a checkpoint, the end."""

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gramgan.cli.app import run
from gramgan.config import Config, load_config
from gramgan.config.sections import GuardConfig
from gramgan.errors import UserError
from gramgan.networks.build import load_generator
from gramgan.training import objective
from gramgan.training import step as steps
from gramgan.training.checkpoint import checkpoints, load_checkpoint
from gramgan.training.ema import Average
from gramgan.training.folder import Record, read_log
from gramgan.training.guard import StepGuard
from gramgan.training.processes import Processes
from gramgan.training.run import train
from gramgan.training.step import StepResult

pytestmark = pytest.mark.usefixtures("no_figures")

Tiny = Callable[..., Config]

LOSSES = {
    "texture": "patch_texture_loss",
    "disc_perceptual": "discriminator_perceptual_loss",
    "perceptual": "perceptual_loss",
    "adversarial": "generator_adversarial_loss",
    "pixel": "pixel_loss",
    "discriminator": "discriminator_adversarial_loss",
}
ADVERSARIAL = {"pretrain": 0, "warm_discriminator": 0, "adversarial": 4}


def broken(monkeypatch: pytest.MonkeyPatch, loss: str, calls: set[int], how: Callable[[Tensor], Tensor]) -> None:
    """Break `loss` in its calls of those numbers, counted from 1."""
    name, count = LOSSES[loss], 0
    places = [module for module in (steps, objective) if hasattr(module, name)]
    plain = getattr(places[0], name)

    def diverging(*arguments: Any) -> Tensor:
        nonlocal count
        count += 1
        value = plain(*arguments)
        return how(value) if count in calls else value

    for module in places:
        monkeypatch.setattr(module, name, diverging)


def of(folder: Path, event: str) -> list[Record]:
    return [record for record in read_log(folder) if record["event"] == event]


def multiplied(value: Tensor) -> Tensor:
    return value * math.nan


def added(value: Tensor) -> Tensor:
    return value + math.inf  # a gradient that is finite


@pytest.mark.parametrize("how", [multiplied, added])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_broken_step_is_skipped_and_named(
    tiny: Tiny,
    tmp_path: Path,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    messages: pytest.LogCaptureFixture,
    loss: str,
    how: Callable[[Tensor], Tensor],
) -> None:
    broken(monkeypatch, loss, {2}, how)
    seen: list[list[Tensor]] = []

    def watching(stage: Any) -> Any:
        def step(self: Any, *arguments: Any) -> StepResult:
            networks = (self.generator, self.discriminator)
            result = stage(self, *arguments)
            seen.append([p.detach().clone() for network in networks for p in network.parameters()])
            return result

        return step

    monkeypatch.setattr(steps.TrainingStep, "adversarial", watching(steps.TrainingStep.adversarial))
    # Once on a CPU, whatever the interval of the log.
    assert train(tiny(stages=ADVERSARIAL, log={"every": 4, "validate_every": 100}), tmp_path).finished
    [skip] = of(tmp_path, "skip")
    assert (skip["iteration"], skip["stage"], skip["broken"]) == (2, "adversarial", [loss])
    assert set(skip["images"]) <= {path.name for path in photos.iterdir()}
    assert f"a step is skipped: the loss {loss} is not finite at iteration 2 (adversarial) on photo" in messages.text
    changed = [any(not torch.equal(a, b) for a, b in zip(*pair, strict=True)) for pair in pairwise(seen)]
    assert changed == [False, True, True]
    for value in (value for record in of(tmp_path, "step") for value in record["losses"].values()):
        assert math.isfinite(value)
    state = load_checkpoint(tmp_path / "checkpoints")
    steps_of = {float(value["step"]) for value in state["generator_optimizer"]["state"].values()}
    assert steps_of == {3.0}


def test_a_gradient_that_is_not_finite(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # √0 has an infinite slope, and 0 times infinity is no number.
    broken(monkeypatch, "pixel", {1}, lambda value: value + (value * 0).sqrt())
    assert train(tiny(stages={"pretrain": 2, "warm_discriminator": 0, "adversarial": 0}), tmp_path).finished
    assert [skip["broken"] for skip in of(tmp_path, "skip")] == [["gradient of the generator"]]


def test_repetition_sends_the_run_back_and_then_it_goes_on(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: pytest.LogCaptureFixture
) -> None:
    broken(monkeypatch, "perceptual", {4, 5, 6}, multiplied)
    config = tiny(
        stages=ADVERSARIAL | {"adversarial": 8}, log={"checkpoint_every": 2, "validate_every": 100, "keep": 9}
    )
    assert train(config, tmp_path).finished
    # The steps to 4, 5 and 6 break, so the checkpoint of 4 is not the one to go back to.
    assert "the run goes back from iteration 6 to 2, learning rates times 0.5" in messages.text
    [record] = of(tmp_path, "rollback")
    assert (record["iteration"], record["from"], record["rate_scale"]) == (2, 6, 0.5)
    assert "the loss perceptual is not finite at iteration 6" in record["because"]
    rates = {record["iteration"]: record["learning_rate"] for record in of(tmp_path, "step")}
    assert list(rates) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert rates[3] == rates[6] == rates[2] / 2  # the schedule's rate is the same in all three
    assert [int(path.stem) for path in checkpoints(tmp_path / "checkpoints")] == [0, 2, 4, 6, 8]
    # The lower rates outlast the process.
    assert load_checkpoint(tmp_path / "checkpoints")["guard"]["returns"] == 1
    longer = load_config(file=tmp_path / "config.yaml", overrides=["stages.adversarial=9"])
    assert train(longer, tmp_path, resume=True).finished
    assert of(tmp_path, "step")[-1]["learning_rate"] == pytest.approx(rates[6])


def test_going_back_does_not_meet_the_same_images_again(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch, "pixel", {2, 3, 4}, multiplied)
    seen: list[Tensor] = []
    plain = steps.TrainingStep.adversarial

    def step(self: Any, lr: Tensor, hr: Tensor, number: int) -> StepResult:
        seen.append(hr)
        return plain(self, lr, hr, number)

    monkeypatch.setattr(steps.TrainingStep, "adversarial", step)
    train(tiny(stages=ADVERSARIAL), tmp_path)
    assert len(seen) == 4 + 4
    assert all(not torch.equal(one, other) for i, one in enumerate(seen) for other in seen[:i])


def test_without_help_the_run_ends_with_a_line_and_a_code(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken(monkeypatch, "texture", set(range(3, 100)), multiplied)
    settings, folder = tmp_path / "settings.yaml", tmp_path / "run"
    settings.write_text(tiny(stages=ADVERSARIAL | {"adversarial": 50}, log={"validate_every": 2}).to_yaml())
    assert run(["train", "--config", str(settings), "-o", str(folder)]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error: {folder}: the loss texture is not finite at iteration 5 (adversarial) on photo")
    assert "going back to a checkpoint with lower rates has not helped (2 times)" in last
    assert "The checkpoint of iteration 4 is good" in last  # made of the weights of 2: what followed was skipped
    state = load_checkpoint(folder / "checkpoints")
    assert (state["iteration"], state["guard"]["returns"]) == (4, 2)
    for name in ("generator", "discriminator", "ema"):
        assert all(bool(value.isfinite().all()) for value in state[name].values())
    best = load_generator(folder / "gramgan_G_best.pth").network
    assert all(bool(value.isfinite().all()) for value in best.parameters())


def test_weights_that_are_not_finite_are_not_kept(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Average.update_parameters

    def breaks(self: Any, generator: torch.nn.Module) -> None:
        plain(self, generator)
        self.module.conv_last.bias.data.fill_(torch.nan)

    monkeypatch.setattr(Average, "update_parameters", breaks)
    with pytest.raises(UserError, match="the validation score psnr_y is not finite at iteration 1"):
        train(tiny(), tmp_path / "validated")
    with pytest.raises(UserError, match="a weight is not finite at iteration 1"):
        train(
            tiny(stages={"pretrain": 9, "adversarial": 0}, log={"validate_every": 9, "checkpoint_every": 1}),
            tmp_path / "saved",
        )
    for folder in (tmp_path / "validated", tmp_path / "saved"):
        assert not (folder / "gramgan_G_best.safetensors").exists()
        assert [path.name for path in (folder / "checkpoints").iterdir()] == ["0000000.pt"]
        assert len(of(folder, "rollback")) == 1  # the earlier one was of iteration 0 as well, and made again


def test_images_are_those_of_the_process_that_broke() -> None:
    class Two(Processes):
        def each(self, values: Tensor) -> Tensor:
            return torch.stack((torch.ones_like(values), values))

    guard = StepGuard(GuardConfig(), Two(torch.device("cpu")))
    flag = torch.ones(())
    losses = {"pixel": torch.tensor(1.0), "texture": torch.tensor(math.nan), "total": torch.tensor(math.nan)}
    guard.add(7, "adversarial", StepResult(losses, broken=flag), ("a", "b", "c", "d"))
    guard.add(8, "adversarial", StepResult(losses, broken=torch.zeros(())), ("e", "f", "g", "h"))
    [skip] = guard.look()
    assert (skip.iteration, skip.broken, skip.images) == (7, ("texture",), ("c", "d"))
    assert str(skip) == "the loss texture is not finite at iteration 7 (adversarial) on c, d"
    assert guard.look() == []


def test_only_broken_steps_within_the_window_count() -> None:
    guard = StepGuard(GuardConfig(patience=2, window=10), Processes(torch.device("cpu")))
    result = StepResult({"pixel": torch.tensor(math.nan)}, broken=torch.ones(()))
    for iteration, expected in ((5, False), (15, False), (20, True)):
        guard.add(iteration, "pretrain", result, ("a",))
        guard.look()
        assert guard.exhausted(iteration) is expected
    assert guard.since == 15
    guard.went_back()
    assert not guard.exhausted(20)
    assert (guard.since, guard.rate_scale) == (None, 0.5)
