"""A researcher's own parts: by the same engine, refused in one line where they do not fit, recorded, resumed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gramgan
from gramgan.cli.app import run
from gramgan.config import Config
from gramgan.errors import UserError
from gramgan.training.checkpoint import load_checkpoint
from gramgan.training.folder import read_log

Tiny = Callable[..., Config]


class Generator(nn.Module):
    """Nearest-neighbour enlargement and a little more."""

    def __init__(self, scale: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3 * scale**2, 3, padding=1)
        self.scale = scale

    def forward(self, lr: Tensor) -> Tensor:
        return F.interpolate(lr, scale_factor=float(self.scale)) + 0.1 * F.pixel_shuffle(self.conv(lr), self.scale)


class Discriminator(nn.Module):
    """Logits alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 3, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images)


def edges(sr: Tensor, hr: Tensor) -> Tensor:
    return (sr.diff(dim=-1) - hr.diff(dim=-1)).abs().mean()


def half(hr: Tensor) -> Tensor:
    return F.avg_pool2d(hr, 4)


def stripes(number: int, batch: int, crop: int) -> Tensor:
    generator = torch.Generator().manual_seed(number)
    return torch.rand(batch, 3, crop, 1, generator=generator).expand(-1, -1, -1, crop).contiguous()


def error(sr: Tensor, hr: Tensor) -> Tensor:
    return (sr - hr).abs().mean()


def test_every_part_at_once_by_the_same_engine(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(losses={"disc_perceptual": 0}, log={"best_by": "error"})
    result = gramgan.train(
        config,
        tmp_path / "run",
        generator=Generator,
        discriminator=Discriminator,
        losses={"edges": (edges, 0.5)},
        degradation=half,
        crops=stripes,
        metrics={"error": error},
    )
    assert result.finished
    assert set(result.scores) >= {"error", "psnr_y"}
    records = read_log(result.folder)
    step = [record for record in records if record["event"] == "step" and record["stage"] == "adversarial"][-1]
    total = sum(
        weight * step["losses"][name] for name, weight in {**config.losses.weights, "edges": 0.5}.items() if weight
    )
    assert step["losses"]["edges"] > 0
    assert step["losses"]["total"] == pytest.approx(total, rel=1e-4)
    assert step["shares"]["edges"] > 0
    parts = json.loads((result.folder / "parts.json").read_text())
    assert set(parts) == {"generator", "discriminator", "degradation", "crops", "losses.edges", "metrics.error"}
    assert parts["losses.edges"].startswith(f"{edges.__module__}:edges sha256:")
    assert result.best is not None
    own = gramgan.load_own_generator(result.best, Generator)
    assert own.card.architecture["build"] == f"{Generator.__module__}:Generator"
    assert own.card.settings["losses.edges"] == parts["losses.edges"]
    assert own.card.losses["edges"] == 0.5
    picture = np.random.default_rng(0).random((3, 20, 24), np.float32)
    enlarged = gramgan.Upscaler.for_generator(own, "fp32", "cpu").upscale_array(picture)
    with torch.no_grad():
        wanted = own.network(torch.from_numpy(picture)[None])[0].clamp(0, 1)
    np.testing.assert_allclose(enlarged, wanted, atol=1e-5)
    with pytest.raises(UserError, match="load_own_generator"):
        gramgan.load_generator(result.best)


def test_a_resumed_run_is_the_run_that_was_not_interrupted(tiny: Tiny, tmp_path: Path) -> None:
    parts: dict[str, Any] = {"generator": Generator, "losses": {"edges": (edges, 0.5)}, "crops": stripes}
    long = {"pretrain": 1, "warm_discriminator": 1, "adversarial": 4}
    gramgan.train(tiny(stages=long), tmp_path / "whole", **parts)
    gramgan.train(tiny(stages={**long, "adversarial": 2}), tmp_path / "two", **parts)
    gramgan.train(tiny(stages=long), tmp_path / "two", resume=True, **parts)
    whole, two = (load_checkpoint(tmp_path / name / "checkpoints")["generator"] for name in ("whole", "two"))
    assert all(torch.equal(whole[name], two[name]) for name in whole)


def test_a_resumed_run_is_given_the_same_parts(tiny: Tiny, tmp_path: Path) -> None:
    gramgan.train(tiny(), tmp_path / "run", losses={"edges": (edges, 0.5)})
    more = tiny(stages={"adversarial": 4})
    with pytest.raises(UserError, match=r"losses\.edges: this run was started with .*edges; give it again"):
        gramgan.train(more, tmp_path / "run", resume=True)
    with pytest.raises(UserError, match="degradation: this run was started without"):
        gramgan.train(more, tmp_path / "run", resume=True, losses={"edges": (edges, 0.5)}, degradation=half)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"generator": lambda: Generator(2)}, "generator: .* gives 2x3x32x48 where 2x3x64x96 is wanted .generator.scale=4"),
    ({"generator": 3}, "generator: is 3; give torch.nn.Module, a function or None"),
    ({"generator": lambda: 3}, "generator: .* makes int; give what makes a torch.nn.Module"),
    ({"generator": lambda: nn.Upsample(scale_factor=4)}, "generator: .* has no parameters"),
    ({"generator": lambda: 1 / 0}, "generator: .* fails without arguments .ZeroDivisionError"),
    ({"discriminator": Discriminator}, "losses.disc_perceptual: .* gives logits alone"),
    ({"discriminator": Generator}, "discriminator: .* gives logits of 2x3x256x256"),
    ({"losses": {"mine": edges}}, "losses.mine: is function; give .function, weight."),
    ({"losses": {"mine": (edges, -1)}}, "losses.mine: its weight is -1"),
    ({"losses": {"pixel": (edges, 1)}}, "losses.pixel: a loss of ours"),
    ({"losses": {"mine": (lambda output, target: output, 1)}}, "losses.mine: .* takes output, target; name its arg"),
    ({"losses": {"mine": (lambda sr, hr: (sr - hr).abs(), 1)}}, "losses.mine: .* gives 2x3x128x128; give one finite"),
    ({"losses": {"mine": (lambda sr, hr: hr.mean(), 1)}}, "losses.mine: .* does not depend on sr"),
    ({"losses": [edges]}, r"losses: is \[<function edges.*; give a dictionary"),
    ({"degradation": lambda hr: F.avg_pool2d(hr, 2)}, "degradation: .* gives 2x3x32x48 where 2x3x16x24 is wanted"),
    ({"degradation": lambda hr: half(hr) + 1}, r"degradation: .* gives values outside of \[0, 1\]"),
    ({"degradation": lambda: 1}, r"degradation: .* takes nothing; its arguments are \(hr\), or \(hr, seeds\)"),
    ({"crops": lambda n, batch, crop: torch.rand(1, 3, 8, 8)}, "crops: .* gives 1x3x8x8 where 2x3x64x64 is wanted"),
    ({"metrics": {"mine": lambda sr, hr: sr}}, "metrics.mine: .* gives 1x3x64x64; give one number"),
]


@pytest.mark.parametrize(("parts", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_what_does_not_fit_is_refused_before_the_first_step(
    parts: dict[str, Any], message: str, tiny: Tiny, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        gramgan.train(tiny(), tmp_path / "run", **parts)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "run").glob("checkpoints/*"))


MODULE = """
import torch, torch.nn.functional as F

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 48, 3, padding=1)
    def forward(self, lr):
        return F.interpolate(lr, scale_factor=4.0) + F.pixel_shuffle(self.conv(lr), 4)

def wrong(sr): return sr
def mine(sr, hr): return (sr - hr).square().mean()
"""


@pytest.fixture
def command(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    (tmp_path / "mine_for_tests.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.yaml").write_text(tiny().to_yaml())
    return ["train", "--config", "own.yaml", "-o", "run"]


def test_references_from_the_command_line(command: list[str], tmp_path: Path) -> None:
    own = ["generator.build=mine_for_tests:Net", "losses.own.mine.build=mine_for_tests.py:mine"]
    settings = [part for setting in (*own, "losses.own.mine.weight=0.25") for part in ("--set", setting)]
    assert run([*command, *settings]) == 0
    parts = json.loads((tmp_path / "run" / "parts.json").read_text())
    assert parts["generator"].startswith("mine_for_tests:Net sha256:")
    assert parts["losses.mine"].startswith("mine_for_tests.py:mine sha256:")
    assert len(parts["losses.mine"].rpartition(":")[2]) == 64
    assert (tmp_path / "run" / "report.html").is_file()
    assert run(["train", "--resume", "run", "--set", "stages.adversarial=4"]) == 0  # the references are in its settings


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("generator.build=nowhere_to_be_found:make", "generator: nowhere_to_be_found cannot be imported"),
        ("generator.build=make", "generator: 'make' is no reference; write my_module:name"),
        ("generator.build=mine_for_tests:make", "generator: mine_for_tests holds no make; it has Net, wrong, mine"),
        ("generator.build=mine_for_tests:wrong", "generator: mine_for_tests:wrong fails without arguments"),
        ("losses.own.mine.build=mine_for_tests:wrong", "losses.mine: mine_for_tests:wrong gives"),
        ("data.degradation=mine_for_tests:mine", "degradation: mine_for_tests:mine"),
        ("data.degradation=blurry", "data.degradation: "),
        ("log.best_by=nonsense", "log.best_by: there is no score nonsense; use one of psnr_y"),
    ],
)
def test_references_that_do_not_fit_are_one_line(
    setting: str, message: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, "--set", setting]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
