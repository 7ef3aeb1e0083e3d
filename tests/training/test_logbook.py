"""The log: whole records only, and none twice after a resumption."""

from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gramgan.training.logbook import Logbook, Look, Meter, read_log
from gramgan.training.step import StepResult


def write(folder: Path, iterations: range, value: float, resume_at: int = 0) -> None:
    logbook = Logbook(folder, resume_at)
    for iteration in iterations:
        logbook.write({"event": "step", "iteration": iteration, "losses": {"pixel": value}})
    logbook.close()


def board(folder: Path) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    return [(event.step, event.value) for event in events.Scalars("step/losses/pixel")]


def test_resuming_drops_what_will_be_made_again_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, range(1, 6), 0.25)
    write(tmp_path, range(4, 7), 0.5, resume_at=3)
    expected = [(1, 0.25), (2, 0.25), (3, 0.25), (4, 0.5), (5, 0.5), (6, 0.5)]
    assert [(record["iteration"], record["losses"]["pixel"]) for record in read_log(tmp_path)] == expected
    assert board(tmp_path) == expected


def test_a_new_run_begins_an_empty_log(tmp_path: Path) -> None:
    write(tmp_path, range(1, 3), 0.25)  # broken off before its first checkpoint
    write(tmp_path, range(1, 2), 0.5)
    assert [record["losses"]["pixel"] for record in read_log(tmp_path)] == [0.5]
    assert board(tmp_path) == [(1, 0.5)]


def test_a_line_cut_short_by_a_crash_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"event": "step", "iteration": 1}\n{"event": "st')
    assert read_log(tmp_path) == [{"event": "step", "iteration": 1}]
    assert read_log(tmp_path / "elsewhere") == []


def test_meter_gives_means_since_the_last_look() -> None:
    meter = Meter()
    meter.add(1, StepResult({"pixel": torch.tensor(1.0)}, {"mask_share": torch.tensor(0.5)}))
    meter.add(2, StepResult({"pixel": torch.tensor(3.0), "total": torch.tensor(4.0)}))
    assert meter.look() == Look({"pixel": 2.0, "total": 4.0}, {"mask_share": 0.5}, None)
    meter.add(3, StepResult({"pixel": torch.tensor(5.0)}))
    assert meter.look() == Look({"pixel": 5.0}, {}, None)
    assert meter.look() == Look({}, {}, None)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_meter_names_the_loss_that_broke_first(value: float) -> None:
    meter = Meter()
    for iteration, pixel, texture in ((11, 1.0, 1.0), (12, 1.0, value), (13, value, value)):
        meter.add(iteration, StepResult({"pixel": torch.tensor(pixel), "texture": torch.tensor(texture)}))
    assert meter.look().broken == (12, "texture")
