"""The learning rate, and that it is set before the step it belongs to."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gramgan.config import Config
from gramgan.training.run import train
from gramgan.training.schedule import learning_rate
from gramgan.training.step import StepResult, TrainingStep

COURSE = {"warmup": 10, "period": 100, "minimum": 1e-6}


def rate(step: int) -> float:
    return learning_rate(step, 1e-3, **COURSE)


def test_warm_up_begins_above_zero_and_ends_at_the_base_rate() -> None:
    assert rate(0) == pytest.approx(1e-4)
    assert rate(1) == pytest.approx(2e-4)
    assert rate(9) == rate(10) == pytest.approx(1e-3)
    assert learning_rate(0, 1e-3, warmup=0, period=100, minimum=0) == 1e-3


def test_cosine_falls_and_restarts() -> None:
    assert rate(60) == pytest.approx((1e-3 + 1e-6) / 2)
    assert 1e-6 < rate(109) < 2e-6
    assert rate(110) == pytest.approx(1e-3)
    assert rate(160) == rate(60)
    falling = [rate(step) for step in range(10, 110)]
    assert falling == sorted(falling, reverse=True)


def test_the_loop_sets_the_rate_before_each_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Callable[..., Config]
) -> None:
    seen: list[tuple[str, float, float]] = []

    def spy(stage: str) -> None:
        def step(self: TrainingStep, lr: Tensor, hr: Tensor, number: int) -> StepResult:
            assert self.discriminator_optimizer is not None
            groups = self.generator_optimizer.param_groups, self.discriminator_optimizer.param_groups
            seen.append((stage, groups[0][0]["lr"], groups[1][0]["lr"]))
            return StepResult({"pixel": torch.zeros(())})

        monkeypatch.setattr(TrainingStep, stage, step)

    for stage in ("pretrain", "warm_discriminator", "adversarial"):
        spy(stage)
    rates = {"rate": 1e-3, "rate_discriminator": 2e-3, "rate_pretrain": 3e-3, "warmup": 2, "restart_every": 3}
    stages = {"pretrain": 2, "warm_discriminator": 2, "adversarial": 7}
    train(tiny(schedule=rates, stages=stages), tmp_path / "run")
    base = {"warmup": 2, "period": 3, "minimum": 1e-7}
    expected = [("pretrain", 3e-3, 2e-3, step) for step in range(2)]
    expected += [("warm_discriminator", 1e-3, 2e-3, step) for step in range(2)]
    expected += [("adversarial", 1e-3, 2e-3, step) for step in range(7)]
    assert seen == [
        (stage, learning_rate(step, g, **base), learning_rate(step, d, **base)) for stage, g, d, step in expected
    ]
    assert seen[0][1] == 1.5e-3  # base / warm-up, and not 0
