"""Whole runs: what they leave, resuming bit for bit, stopping, refusing."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gramgan.cli.app import run
from gramgan.cli.live import LiveView
from gramgan.config import Config, load_config
from gramgan.config.sections import Stage
from gramgan.files import sha256
from gramgan.images import read_rgb
from gramgan.networks.build import load_generator
from gramgan.networks.discriminator import Discriminator, DiscriminatorConfig
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.texture.database import TextureDatabase
from gramgan.training.checkpoint import load_checkpoint
from gramgan.training.folder import Record, read_log
from gramgan.training.run import Unwatched, train
from gramgan.weights.formats import load_strict, read_weights, write_pth

pytestmark = pytest.mark.usefixtures("no_figures")

Tiny = Callable[..., Config]


class Stopper(Unwatched):
    """Sends a signal to this process after some iterations."""

    def __init__(self, after: int, number: signal.Signals = signal.SIGTERM) -> None:
        self.after, self.number = after, number

    def iteration(self, done: int, total: int, stage: Stage) -> None:
        if done == self.after:
            os.kill(os.getpid(), self.number)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small generator's weights."""
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("weights") / "start.pth"
    write_pth(path, RRDBNet(RRDBConfig(8, 1, 4, "nearest")).state_dict())
    return path


@pytest.fixture
def complete(tiny: Tiny, database: Path, start: Path) -> Tiny:
    """Settings that use every part: both sources of texture, all five losses, given weights."""

    def make(**sections: dict[str, Any]) -> Config:
        own: dict[str, dict[str, Any]] = {
            "texture": {"candidates": "both", "database": str(database)},
            "generator": {"start": str(start)},
        }
        return tiny(**{name: own.get(name, {}) | sections.get(name, {}) for name in {*own, *sections}})

    return make


@pytest.fixture
def stopped(complete: Tiny, tmp_path: Path) -> Path:
    """A run of 6 iterations that was stopped after 4."""
    folder = tmp_path / "stopped"
    assert not train(complete(), folder, observer=Stopper(4)).finished
    return folder


def comparable(records: list[Record]) -> list[Record]:
    return [{key: value for key, value in record.items() if key != "iterations_per_second"} for record in records]


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every tensor and number in nested dictionaries and lists."""
    if isinstance(value, dict | list | tuple):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, f"{path}/{key}")
    else:
        yield path, value


def assert_same(one: dict[str, Any], two: dict[str, Any]) -> None:
    first, second = dict(leaves(one)), dict(leaves(two))
    assert list(first) == list(second)
    for key, value in first.items():
        same = torch.equal(value, second[key]) if isinstance(value, Tensor) else value == second[key]
        assert same, f"{key} differs"


@pytest.mark.parametrize(
    ("after", "degradation"),
    [(1, "bicubic"), (2, "bicubic"), (4, "bicubic"), (2, "realphoto")],  # in each of the three stages
)
def test_resuming_is_bit_exact(complete: Tiny, tmp_path: Path, after: int, degradation: str) -> None:
    sections = {"log": {"validate_every": 5, "checkpoint_every": 100}, "data": {"degradation": degradation}}
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    assert train(complete(**sections), straight).finished
    torch.manual_seed(99)  # whatever a new process would begin with
    halted = train(complete(**sections), broken, observer=Stopper(after))
    assert (halted.finished, halted.iteration) == (False, after)
    torch.manual_seed(98)
    assert train(complete(**sections), broken, resume=True).finished
    one, two = (load_checkpoint(folder / "checkpoints") for folder in (straight, broken))
    assert {"generator", "discriminator", "ema", "generator_optimizer", "discriminator_optimizer"} <= set(one)
    assert one["iteration"] == 6
    assert one["usage"]["counts"].sum() > 0
    assert_same(one, two)
    assert comparable(read_log(straight)) == comparable(read_log(broken))
    for name in ("patch_usage.csv", "config.yaml", "gramgan_G_best.pth", "gramgan_G_best_D.pth"):
        assert (straight / name).read_bytes() == (broken / name).read_bytes(), name


def test_another_seed_takes_another_course(complete: Tiny, tmp_path: Path) -> None:
    # What the test above compares is not the same for trivial reasons.
    losses = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        train(complete(train={"seed": seed}), folder)
        losses.append([record["losses"] for record in read_log(folder) if record["event"] == "step"])
    assert all(one != two for one, two in zip(*losses, strict=True))


def test_a_runs_folder(complete: Tiny, start: Path, tmp_path: Path, photos: Path) -> None:
    folder = tmp_path / "new" / "run"
    result = train(complete(train={"device": "auto"}), folder)
    assert result.finished
    assert result.best == folder / "gramgan_G_best.safetensors"

    stored = load_config(file=folder / "config.yaml")
    (entry,) = stored.texture.databases
    assert entry.version is not None
    assert entry.identity == TextureDatabase.open(entry.path).identity
    assert stored.train.device != "auto"

    records = read_log(folder)
    assert [record["of"] for record in records if record["iteration"] == 0] == ["bicubic", "start"]
    steps = {record["iteration"]: record for record in records if record["event"] == "step"}
    assert list(steps) == [1, 2, 3, 4, 5, 6]
    assert set(steps[1]["losses"]) == {"pixel", "total"}
    assert set(steps[3]["losses"]) == {"discriminator"}
    five = {"texture", "disc_perceptual", "perceptual", "adversarial", "pixel"}
    assert set(steps[6]["losses"]) == five | {"total", "discriminator"}
    assert set(steps[6]["database"]) == {"database_share", "unique_share", "target_ratio"}
    assert {"learning_rate", "mask_share", "ranked_right", "iterations_per_second", "stage"} <= set(steps[6])
    validated = [record for record in records if record.get("of") == "generator"]
    assert [record["iteration"] for record in validated] == [1, 4, 6]  # G did not change at 2
    assert "best" not in validated[0]  # of pretraining, which is not what the run is for
    assert validated[1]["best"]
    best = max(validated[1:], key=lambda record: record["scores"]["psnr_y"])
    assert result.scores == best["scores"]

    [held_out] = (folder / "samples").iterdir()
    assert (photos / f"{held_out.name}.png").exists()
    pictures = {path.stem: read_rgb(path) for path in held_out.iterdir()}
    strip = np.split(pictures.pop("strip"), 3, axis=2)
    assert [np.array_equal(strip[i], pictures[name]) for i, name in enumerate(("bicubic", "0000006", "truth"))]
    assert set(pictures) == {"truth", "bicubic", "start", "0000001", "0000004", "0000006"}
    assert {picture.shape for picture in pictures.values()} == {(3, 96, 80)}
    assert np.array_equal(pictures["truth"], read_rgb(photos / f"{held_out.name}.png"))

    assert [path.name for path in sorted((folder / "checkpoints").iterdir())] == [
        "0000003.pt",
        "0000004.pt",
        "0000006.pt",
    ]
    assert list((folder / "tensorboard").iterdir())
    usage = (folder / "patch_usage.csv").read_text().splitlines()
    assert usage[0] == "patch_id,count"
    share = sum(steps[i]["database"]["database_share"] for i in (4, 5, 6)) / 3
    assert sum(int(line.split(",")[1]) for line in usage[1:]) == round(share * 3 * 2 * 16 * 16)
    assert not [path for path in folder.rglob("*") if path.name.startswith(".")]


def test_weights_that_a_run_leaves(complete: Tiny, start: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    result = train(complete(), folder)
    loaded = load_generator(folder / "gramgan_G_best.safetensors")
    assert loaded.config == RRDBConfig(8, 1, 4, "nearest")
    card = loaded.card
    assert card.started_from == f"{start.parent.name}/{start.name}"  # and not where it lies on this machine
    assert card.parents == {card.started_from: sha256(start)}
    [(protocol, scores)] = card.scores.items()
    assert protocol == "sr-y-crop4 on 1 validation images"
    assert scores == result.scores
    photographs, database = card.trained_on[-2:]
    assert photographs.count == 4
    assert (database.name, database.count) == ("texture database texture.lance", 200)
    assert card.losses["adversarial"] == 0.005
    state = load_checkpoint(folder / "checkpoints")
    if state["best"]["iteration"] == 6:
        for name, value in loaded.network.state_dict().items():
            assert torch.equal(value, state["ema"][f"module.{name}"])

    old = torch.load(folder / "gramgan_G_best.pth", weights_only=True)["params_ema"]
    esrgan = {"conv_first", "body.0.rdb1.conv1", "body.0.rdb3.conv5", "conv_body", "conv_up1", "conv_up2"}
    assert esrgan | {"conv_hr", "conv_last"} <= {name.rpartition(".")[0] for name in old}
    assert set(old) == set(loaded.network.state_dict())
    for suffix in ("pth", "safetensors"):
        weights = read_weights(folder / f"gramgan_G_best_D.{suffix}")
        load_strict(Discriminator(DiscriminatorConfig()), weights.state, weights.path)
        if weights.card is not None:
            assert weights.card.architecture["network"] == "discriminator"

    # They start another run, G and D.
    again = complete(
        generator={"start": str(folder / "gramgan_G_best.safetensors")},
        discriminator={"start": str(folder / "gramgan_G_best_D.safetensors")},
        stages={"pretrain": 0, "warm_discriminator": 0, "adversarial": 1},
    )
    train(again, tmp_path / "again")
    trained_on = load_generator(tmp_path / "again" / "gramgan_G_best.safetensors").card.trained_on
    assert len(trained_on) == 2  # photographs and a texture database, the same as before: said once


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_after_the_step(
    complete: Tiny,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    config, folder = tmp_path / "settings.yaml", tmp_path / "run"
    config.write_text(complete().to_yaml())
    before = signal.getsignal(number)
    monkeypatch.setattr(LiveView, "iteration", Stopper(3, number).iteration)
    assert run(["train", "--config", str(config), "-o", str(folder)]) == 1
    monkeypatch.undo()
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == (f"stopped after 3 iterations; go on with: gramgan train --resume {folder}")
    assert f"stopping after this step ({number.name})" in captured.err
    assert load_checkpoint(folder / "checkpoints")["iteration"] == 3
    assert signal.getsignal(number) is before
    assert run(["train", "--resume", str(folder), "--set", "stages.adversarial=1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"done: {folder / 'gramgan_G_best.safetensors'}"


def test_a_second_signal_acts_at_once(tiny: Tiny, tmp_path: Path) -> None:
    class Impatient(Unwatched):
        def iteration(self, done: int, total: int, stage: Stage) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    # A shell starts background jobs with SIGINT ignored, and Python leaves it so: the test must not depend on that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(tiny(), tmp_path / "run", observer=Impatient())
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_run_is_not_overwritten(
    stopped: Path, complete: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "settings.yaml"
    config.write_text(complete().to_yaml())
    before = {path: path.stat().st_mtime_ns for path in stopped.rglob("*")}
    assert run(["train", "--config", str(config), "-o", str(stopped)]) == 2
    assert capsys.readouterr().err == (
        f"error: {stopped}: holds a training run already; go on with --resume or choose another folder\n"
    )
    assert {path: path.stat().st_mtime_ns for path in stopped.rglob("*")} == before


def test_resuming_refuses_other_settings_by_name(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for key, old, new in (("train.batch_size", 2, 4), ("losses.pixel", 1.0, 2.0), ("texture.alpha", 1.0, 2.0)):
        assert run(["train", "--resume", str(stopped), "--set", f"{key}={new}"]) == 2
        assert capsys.readouterr().err == (
            f"error: {key}: is {old} in this run and cannot become {new}; "
            "a resumed run may change only stages, schedule, guard, log, texture.candidates, texture.databases, "
            "texture.search, texture.recall, data.source, data.workers, train.device, train.devices, train.num_nodes, "
            "train.precision, "
            "train.memory_format, train.compile, train.activation_checkpointing, train.clip and "
            "train.clip_discriminator\n"
        )


def test_resuming_applies_changed_stages_and_log(stopped: Path, messages: pytest.LogCaptureFixture) -> None:
    changed = load_config(file=stopped / "config.yaml", overrides=["stages.adversarial=5", "log.every=2", "log.keep=1"])
    assert train(changed, stopped, resume=True).iteration == 8
    assert "stages.adversarial = 5 (was 3)" in messages.text
    assert load_config(file=stopped / "config.yaml") == changed
    steps = [record["iteration"] for record in read_log(stopped) if record["event"] == "step"]
    assert steps == [1, 2, 3, 4, 6, 8]
    assert [path.name for path in (stopped / "checkpoints").iterdir()] == ["0000008.pt"]


def test_resuming_cannot_go_back(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (stopped / "config.yaml").read_bytes()
    assert run(["train", "--resume", str(stopped), "--set", "stages.pretrain=0", "--set", "stages.adversarial=1"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: stages: end at iteration 3, the run has made 4 already; give more"
    )
    assert (stopped / "config.yaml").read_bytes() == before


def test_an_adversarial_stage_may_follow_a_finished_pretraining(complete: Tiny, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    pretrained = train(complete(stages={"pretrain": 2, "warm_discriminator": 0, "adversarial": 0}), folder)
    assert pretrained.scores
    assert not (folder / "gramgan_G_best_D.pth").exists()
    longer = load_config(file=folder / "config.yaml", overrides=["stages.warm_discriminator=1", "stages.adversarial=1"])
    assert longer.texture.databases[0].version is None  # was not needed
    result = train(longer, folder, resume=True)
    assert result.iteration == 4
    assert load_config(file=folder / "config.yaml").texture.databases[0].version is not None
    best = [record["iteration"] for record in read_log(folder) if record.get("best")]
    assert (
        best == [1, 2, 4] or best == [2, 4] or best == [1, 4]
    )  # whatever pretraining reached, 4 is the first of its stage
    assert (folder / "gramgan_G_best_D.pth").exists()


def test_resuming_what_is_no_run(tmp_path: Path, stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--resume", str(tmp_path)]) == 2
    assert f"{tmp_path}: is not a training run (it has no config.yaml)" in capsys.readouterr().err
    newest = sorted((stopped / "checkpoints").iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    assert run(["train", "--resume", str(stopped)]) == 2
    assert f"error: {newest}: damaged" in capsys.readouterr().err
    newest.unlink()
    assert run(["train", "--resume", str(stopped)]) == 0  # from the one before
    shutil.rmtree(stopped / "checkpoints")
    assert run(["train", "--resume", str(stopped)]) == 2
    assert "holds no checkpoint" in capsys.readouterr().err


def test_training_in_bf16_keeps_weights_and_losses_in_fp32(complete: Tiny, tmp_path: Path) -> None:
    reduced = {"precision": "bf16", "memory_format": "channels_last"}
    assert train(complete(train=reduced), tmp_path / "bf16").finished
    train(complete(), tmp_path / "fp32")
    state = load_checkpoint(tmp_path / "bf16" / "checkpoints")
    assert {value.dtype for value in state["generator"].values()} == {torch.float32}
    for one, two in zip(read_log(tmp_path / "bf16"), read_log(tmp_path / "fp32"), strict=True):
        if one["event"] == "step" and one["stage"] == "pretrain":
            assert one["losses"]["pixel"] != two["losses"]["pixel"]
            assert one["losses"]["pixel"] == pytest.approx(two["losses"]["pixel"], rel=0.01)
