"""What may happen to a run: it is killed, told to stop while it saves, out of space, disturbed. Nothing is lost."""

import errno
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from torch import Tensor

from gramgan.cli.app import run
from gramgan.config import Config, load_config
from gramgan.config.sections import Stage
from gramgan.errors import UserError
from gramgan.images import write_image
from gramgan.networks import discriminator
from gramgan.texture.database import TextureDatabase
from gramgan.training.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from gramgan.training.folder import read_log
from gramgan.training.run import Unwatched, train

pytestmark = pytest.mark.usefixtures("no_figures")

Tiny = Callable[..., Config]

KILLS = 20
WIDTHS = discriminator._WIDTHS  # before `small_world` makes all of them 8


@pytest.fixture
def whole(tiny: Tiny, database: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    """Settings for any process: they make the same networks here as where there is no small world."""
    monkeypatch.setattr(discriminator, "_WIDTHS", WIDTHS)

    def make(**sections: dict[str, Any]) -> Config:
        own: dict[str, dict[str, Any]] = {
            "texture": {"candidates": "both", "database": str(database)},
            "losses": {"perceptual": 0},
            "discriminator": {"width": 8},
        }
        return tiny(**{name: own.get(name, {}) | sections.get(name, {}) for name in {*own, *sections}})

    return make


def assert_same_end(one: Path, two: Path) -> None:
    first, second = (load_checkpoint(folder / "checkpoints") for folder in (one, two))
    assert first["iteration"] == second["iteration"]
    for name in ("generator", "discriminator", "ema"):
        for key, value in first[name].items():
            assert torch.equal(value, second[name][key]), key
    for name in ("gramgan_G_best.pth", "gramgan_G_best_D.pth", "patch_usage.csv"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    logs = [
        [{key: value for key, value in record.items() if key != "iterations_per_second"} for record in read_log(folder)]
        for folder in (one, two)
    ]
    assert logs[0] == logs[1]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="processes are killed and forked")
def test_killed_at_random_moments_a_run_ends_as_if_it_had_not_been(whole: Tiny, tmp_path: Path) -> None:
    config = whole(
        stages={"pretrain": 20, "warm_discriminator": 20, "adversarial": 360},
        log={"every": 3, "validate_every": 10, "checkpoint_every": 5},
    )
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert train(config, straight).finished
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gramgan.training.run", "gramgan.training.build"])
    chance = random.Random(0)
    reached = []
    for number in range(KILLS):
        child = context.Process(
            target=train, args=(config, killed), kwargs={"resume": (killed / "config.yaml").exists()}
        )
        child.start()
        child.join(timeout=0.3 + 4 * chance.random())
        assert child.exitcode in (None, 0), f"start number {number + 1} failed"
        child.kill()
        child.join()
        reached.append(int(checkpoints(killed / "checkpoints")[-1].stem) if (killed / "checkpoints").exists() else 0)
    assert reached == sorted(reached)
    assert len(set(reached)) > KILLS / 4  # the kills were spread over the run
    assert train(config, killed, resume=(killed / "config.yaml").exists()).finished
    assert_same_end(straight, killed)
    assert not [path for path in killed.rglob("*") if path.name.startswith(".")]


def test_what_a_killed_process_leaves_is_cleared_away(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(stages={"pretrain": 2, "warm_discriminator": 0, "adversarial": 0})
    train(config, tmp_path)
    half = tmp_path / "checkpoints" / ".0000004.ab_c1d2e.pt"
    half.write_bytes(b"half a checkpoint")
    samples = next((tmp_path / "samples").iterdir())
    picture = samples / ".0000002.ab_c1d2e.png"
    picture.write_bytes(b"half a picture")
    mine = tmp_path / "checkpoints" / ".notes"
    mine.touch()
    (tmp_path / ".lock").touch()
    longer = load_config(file=tmp_path / "config.yaml", overrides=["stages.pretrain=3"])
    assert train(longer, tmp_path, resume=True).finished
    assert not half.exists()
    assert not picture.exists()
    assert mine.exists()
    assert not (tmp_path / ".lock").exists()


def test_killed_before_its_first_checkpoint_a_run_begins_anew(
    tiny: Tiny, tmp_path: Path, messages: pytest.LogCaptureFixture
) -> None:
    config = tiny(stages={"pretrain": 2, "warm_discriminator": 0, "adversarial": 0})
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    train(config, straight)
    killed.mkdir()
    shutil.copy(straight / "config.yaml", killed)
    (killed / "log.jsonl").write_text('{"event": "validation", "iteration": 0, "of": "bicubic", "scores": {}}\n')
    assert train(config, killed, resume=True).finished
    assert f"{killed}: was stopped before its first checkpoint; it begins anew" in messages.text
    one, two = (load_checkpoint(folder / "checkpoints")["generator"] for folder in (straight, killed))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_a_run_that_failed_before_its_first_step_may_be_started_again(tiny: Tiny, tmp_path: Path) -> None:
    class Fails(Unwatched):
        def iteration(self, done: int, total: int, stage: Stage) -> None:
            raise MemoryError

    with pytest.raises(MemoryError):
        train(tiny(), tmp_path, observer=Fails())
    assert [path.name for path in checkpoints(tmp_path / "checkpoints")] == ["0000000.pt"]
    assert train(tiny(train={"batch_size": 1}), tmp_path).finished  # with other settings, too


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_stop_while_it_saves(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    config, straight, stopped = tiny(), tmp_path / "straight", tmp_path / "stopped"
    train(config, straight)
    plain = torch.save

    def told(state: dict[str, Any], file: IO[bytes]) -> None:
        if state.get("iteration") == 2:
            file.write(b"x")
            os.kill(os.getpid(), number)
            file.seek(0)
        plain(state, file)

    monkeypatch.setattr(torch, "save", told)
    result = train(config, stopped)
    assert (result.finished, result.iteration) == (False, 3)  # the step after it, which it was about to make
    assert [path.name for path in checkpoints(stopped / "checkpoints")][-2:] == ["0000002.pt", "0000003.pt"]
    assert train(config, stopped, resume=True).finished
    assert_same_end(straight, stopped)


def test_a_full_disk_keeps_the_previous_checkpoint_and_says_so(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, folder = tmp_path / "settings.yaml", tmp_path / "run"
    settings.write_text(tiny(log={"keep": 1, "validate_every": 100}).to_yaml())
    plain = torch.save

    def full(state: dict[str, Any], file: IO[bytes]) -> None:
        if state.get("iteration") == 4:
            file.write(b"as much as there was room for")
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(state, file)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        assert run(["train", "--config", str(settings), "-o", str(folder)]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error: {folder / 'checkpoints' / '0000004.pt'}: the disk is full")
    assert "the checkpoint of iteration 3 is kept, --resume goes on from it" in last
    assert load_checkpoint(folder / "checkpoints")["iteration"] == 3
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["0000003.pt"]
    assert run(["train", "--resume", str(folder)]) == 0


def test_two_processes_do_not_train_in_one_folder(tiny: Tiny, tmp_path: Path) -> None:
    refused = []

    class Second(Unwatched):
        def iteration(self, done: int, total: int, stage: Stage) -> None:
            if done == 2:
                with pytest.raises(UserError, match=f"{tmp_path}: another process trains in this folder") as error:
                    train(tiny(), tmp_path, resume=True)
                refused.append(error)

    assert train(tiny(), tmp_path, observer=Second()).finished
    assert len(refused) == 1


def test_a_second_process_extends_the_database(whole: Tiny, photos: Path, database: Path, tmp_path: Path) -> None:
    table, more = tmp_path / "texture.lance", tmp_path / "more"
    shutil.copytree(database, table)
    more.mkdir()
    write_image(more / "new.png", torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)).numpy())

    class Extends(Unwatched):
        def iteration(self, done: int, total: int, stage: Stage) -> None:
            if done == 3:
                command = [sys.executable, "-m", "gramgan", "db", "add", str(table), str(more)]
                subprocess.run(command, check=True, capture_output=True, timeout=120)

    config = whole(texture={"database": str(table)})
    alone, disturbed = tmp_path / "alone", tmp_path / "disturbed"
    train(config, alone)
    before = TextureDatabase.open(table).version
    train(config, disturbed, observer=Extends())
    assert TextureDatabase.open(table).version > before
    assert_same_end(alone, disturbed)
    for folder in (alone, disturbed):  # and resumed, it keeps the version that it began with
        longer = load_config(file=folder / "config.yaml", overrides=["stages.adversarial=4"])
        assert train(longer, folder, resume=True).finished
        assert load_config(file=folder / "config.yaml").texture.databases[0].version == before
    assert_same_end(alone, disturbed)


@pytest.mark.parametrize(
    "change",
    [
        "data.crop=128",
        "data.augment=false",
        "generator.nf=16",
        "discriminator.spectral_norm=true",
        "discriminator.r1=1",
        "texture.descriptor=rgb-centred",
        "texture.beta=2",
        "mask.threshold=0.1",
        "losses.adversarial=0.1",
        "train.seed=5",
        "train.batch_size=4",
        "train.ema_decay=0.5",
    ],
)
def test_settings_that_a_run_keeps(finished: Path, capsys: pytest.CaptureFixture[str], change: str) -> None:
    key, _, value = change.partition("=")
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    assert run(["train", "--resume", str(finished), "--set", change, "--set", "stages.pretrain=3"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error: {key}: is ")
    assert (
        f" in this run and cannot become {'True' if value == 'true' else 'False' if value == 'false' else value}"
        in last
    )
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("schedule.rate_pretrain=1e-5", "resuming with schedule.rate_pretrain = 1e-05 (was 0.0002)"),
        ("train.clip=1", "resuming with train.clip = 1.0 (was None)"),
        ("train.precision=bf16", "resuming with train.precision = bf16 (was fp32)"),
        ("guard.patience=5", "resuming with guard.patience = 5 (was 3)"),
        ("log.keep=9", "resuming with log.keep = 9 (was 3)"),
    ],
)
def test_settings_that_a_resumed_run_takes_over(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, said: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    assert run(["train", "--resume", str(folder), "--set", change, "--set", "stages.pretrain=3"]) == 0
    assert said in capsys.readouterr().err
    key, _, value = change.partition("=")
    section, _, name = key.partition(".")
    assert str(getattr(getattr(load_config(file=folder / "config.yaml"), section), name)) in (
        value,
        f"{value}.0",
        "1e-05",
    )
    assert load_checkpoint(folder / "checkpoints")["iteration"] == 3


@pytest.fixture
def finished(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two steps of pretraining."""
    folder = tmp_path_factory.mktemp("finished")
    assert train(tiny(stages={"pretrain": 2, "warm_discriminator": 0, "adversarial": 0}), folder).finished
    return folder


def test_the_checkpoint_of_the_best_validation_stays(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # From the third step on the averaged generator gets worse and worse.
    plain = torch.optim.swa_utils.AveragedModel.update_parameters
    calls = 0

    def worse(self: Any, generator: torch.nn.Module) -> None:
        nonlocal calls
        calls += 1
        plain(self, generator)
        bias: Tensor = self.module.conv_last.bias
        bias.data.fill_(0.5 if calls <= 2 else 5.0 * calls)

    monkeypatch.setattr(torch.optim.swa_utils.AveragedModel, "update_parameters", worse)
    log = {"keep": 2, "validate_every": 1, "checkpoint_every": 1}
    result = train(tiny(stages={"pretrain": 6, "warm_discriminator": 0, "adversarial": 0}, log=log), tmp_path)
    best = load_checkpoint(tmp_path / "checkpoints")["best"]["iteration"]
    assert best <= 2
    assert result.finished
    assert [int(path.stem) for path in checkpoints(tmp_path / "checkpoints")] == [best, 5, 6]


def test_a_spared_checkpoint_is_not_deleted(tmp_path: Path) -> None:
    for iteration in range(1, 5):
        save_checkpoint(tmp_path, iteration, {"value": torch.tensor(iteration)}, keep=1, spare=2)
    assert [path.name for path in checkpoints(tmp_path)] == ["0000002.pt", "0000004.pt"]
    assert load_checkpoint(tmp_path, before=4)["iteration"] == 2
    assert load_checkpoint(tmp_path, before=2)["iteration"] == 4  # there is none before: the newest
