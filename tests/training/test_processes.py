"""Several processes that train one run: the same course as one, and one of them that writes."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gramgan.cli.app import run
from gramgan.config import Config
from gramgan.training.checkpoint import checkpoints, load_checkpoint
from gramgan.training.folder import Record, read_log

Tiny = Callable[..., Config]
Results = dict[str, dict[str, Any]]

SCRIPT = Path(__file__).with_name("two_processes.py")
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Results, Results]:
    """What one process finds alone, and what each of two finds."""
    folder = tmp_path_factory.mktemp("processes")
    found = [folder / name for name in ("alone", "first", "second")]
    ranks = ((0, 1), (0, 2), (1, 2))
    running = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(rank), str(world), str(folder / "rendezvous"), str(path)],
            env=ENVIRONMENT | {"GRAMGAN_CACHE": str(folder / "cache")},
        )
        for (rank, world), path in zip(ranks, found, strict=True)
    ]
    assert [process.wait(timeout=300) for process in running] == [0, 0, 0]
    assert list((folder / "cache" / "shared").iterdir()) == []
    alone, first, second = (torch.load(path, weights_only=False) for path in found)
    return alone, first, second


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("form", ["average", "paired"])
def test_two_processes_do_what_one_does_with_the_doubled_batch(
    results: tuple[Results, Results, Results], form: str, accumulate: int
) -> None:
    alone, first, second = (each[f"{form}-{accumulate}"] for each in results)
    assert all(torch.equal(one, two) for one, two in zip(first["weights"], second["weights"], strict=True))
    for name in ("losses", "statistics"):
        assert first[name] == second[name]
    assert {"texture", "disc_perceptual", "adversarial", "pixel", "total", "discriminator", "r1"} == set(
        alone["losses"]
    )
    if accumulate == 1:  # with more, each process takes its own images in parts, which are others than those of one
        assert first["losses"] == pytest.approx(alone["losses"], rel=1e-5, abs=1e-6)
        assert first["statistics"] == pytest.approx(alone["statistics"], rel=0.01, abs=0.01)
        assert len(alone["gradients"]) == 1 + 1 + 3 * 2
        for one, two in zip(alone["gradients"], first["gradients"], strict=True):
            assert max(float(gradient.abs().max()) for gradient in one) > 1e-3
            torch.testing.assert_close(two, one, rtol=0, atol=1e-5)
        torch.testing.assert_close(first["weights"], alone["weights"], rtol=0, atol=1e-5)
    assert torch.equal(first["random"], alone["random"])


def test_what_breaks_in_one_process_is_skipped_in_all_and_named_by_its_images(
    results: tuple[Results, Results, Results],
) -> None:
    alone, first, second = (each["average-1"]["skips"] for each in results)
    assert first == second
    [(iteration, names, images)] = first
    assert (iteration, images) == (5, ("c", "d"))  # the last image is the second process's
    assert "pixel" in names
    assert alone[0][:2] == (iteration, names)
    assert alone[0][2] == ("a", "b", "c", "d")


def test_what_processes_tell_each_other(results: tuple[Results, Results, Results]) -> None:
    first, second = (each["messages"] for each in results[1:])
    assert first["usage"] == second["usage"] == [(7, 2), (0, 1), (1, 1)]
    assert first["any"] == second["any"] == [True, False]
    assert second["from_first"] == 0
    assert first["said"] == "the last one fails"
    assert second["said"] == "ReportedError: the last one fails"


def test_large_arrays_are_made_once_and_shared(results: tuple[Results, Results, Results]) -> None:
    first, second = (each["shared"] for each in results[1:])
    assert (first["made"], second["made"]) == (1, 0)
    assert first["sum"] == second["sum"] == sum(range(1 << 20))
    if sys.platform == "linux":
        assert len(first["files"]) == 1
        assert first["files"] == second["files"]  # the same inode


@pytest.fixture
def settings(tiny: Tiny, database: Path, tmp_path: Path) -> Path:
    """Settings that need no weights and use every random number: a mixed database and local candidates."""
    config = tiny(
        texture={"candidates": "both", "database": str(database)},
        losses={"perceptual": 0},
        discriminator={"width": 8},
        train={"batch_size": 4},
        schedule={"rate": 1e-4, "rate_discriminator": 1e-4, "rate_pretrain": 1e-4},
        stages={"pretrain": 1, "warm_discriminator": 1, "adversarial": 4},
        log={"validate_every": 3, "checkpoint_every": 100},
    )
    path = tmp_path / "settings.yaml"
    path.write_text(config.to_yaml())
    return path


def gramgan(*arguments: object, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *launcher, "-m", "gramgan", *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=ENVIRONMENT)


def numbers(records: list[Record]) -> list[Record]:
    return [{key: value for key, value in record.items() if key != "iterations_per_second"} for record in records]


def assert_close(one: Path, two: Path) -> None:
    """The same run but for rounding, which Adam's first steps make large in single weights: losses tell."""
    assert load_checkpoint(one / "checkpoints")["iteration"] == load_checkpoint(two / "checkpoints")["iteration"] == 6
    for first, second in zip(*(numbers(read_log(folder)) for folder in (one, two)), strict=True):
        assert first.keys() == second.keys()
        for name in first.keys() & {"losses", "scores", "database"}:
            assert second[name] == pytest.approx(first[name], rel=1e-3, abs=5e-3)


def test_a_run_on_two_devices_and_its_resumption_on_one(settings: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert gramgan("train", "--config", settings, "-o", one).returncode == 0
    half = ("--set", "stages.adversarial=1")  # ends where the whole run validates, too
    result = gramgan("train", "--config", settings, "-o", two, "--devices", 2, *half)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == f"done: {two / 'gramgan_G_best.safetensors'}"
    assert result.stdout.count("done:") == 1
    assert result.stderr.count("training on 2 devices, 2 images each") == 1
    assert len([record for record in read_log(two) if record["event"] == "step"]) == 3  # written once
    assert not [path for path in two.rglob("*") if path.name.startswith(".")]

    rest = ("--set", "stages.adversarial=4")
    result = gramgan("train", "--resume", two, "--devices", 1, *rest)
    assert result.returncode == 0, result.stderr
    assert "resuming with train.devices = 1 (was 2)" in result.stderr
    assert_close(one, two)


@pytest.mark.slow
def test_torchrun_says_how_many_there_are(settings: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, iterations in ((one, 4), (two, 1)):
        result = gramgan("train", "--config", settings, "-o", folder, "--set", f"stages.adversarial={iterations}")
        assert result.returncode == 0, result.stderr
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    result = gramgan("train", "--resume", two, "--set", "stages.adversarial=4", launcher=torchrun)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("done:") == 1
    assert_close(one, two)


def test_a_signal_to_one_process_stops_all_after_the_step(settings: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    more = ("--devices", "2", "--set", "stages.adversarial=5000", "--set", "log.every=1")
    command = [sys.executable, "-m", "gramgan", "train", "--config", settings, "-o", folder, *more]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        deadline = time.monotonic() + 120
        while len(read_log(folder)) < 6 and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    last = out.splitlines()[-1]
    match = re.fullmatch(rf"stopped after (\d+) iterations; go on with: gramgan train --resume {folder}", last)
    assert match
    assert int(checkpoints(folder / "checkpoints")[-1].stem) == int(match[1])
    assert err.count("stopping after this step (SIGTERM)") == 1


def test_an_error_of_all_is_said_once(settings: Path, tmp_path: Path) -> None:
    missing = ("--photos", tmp_path / "missing", "--devices", "2")
    result = gramgan("train", "--config", settings, "-o", tmp_path / "run", *missing)
    assert result.returncode == 2
    assert [line for line in result.stderr.splitlines() if "error" in line] == [
        f"error: {tmp_path / 'missing'}: no such folder; give a folder with images"
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            ("--devices", "3"),
            "train.batch_size: 4 images for each step, of all devices together, do not divide among 3",
        ),
        (("--devices", "2", "--set", "train.device=cuda:0"), "torch sees no CUDA device here"),
    ],
)
def test_numbers_that_do_not_fit(
    settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], given: tuple[str, ...], expected: str
) -> None:
    assert run(["train", "--config", str(settings), "-o", str(tmp_path / "run"), *given]) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
