"""The log: whole records only, and none twice after a resumption."""

import errno
import math
import os
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gramgan.errors import UserError
from gramgan.training.folder import read_log
from gramgan.training.logbook import Logbook, Look, Meter
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


@pytest.mark.parametrize("line", [b'{"event": "st', b"", b"[1]", b'{"iteration": 1}', b"\xff\x00", b"\x00" * 20])
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes) -> None:
    whole = b'{"event": "step", "iteration": 1}\n'
    (tmp_path / "log.jsonl").write_bytes(whole + line + b"\n" + whole)
    with pytest.raises(UserError, match=r"log\.jsonl: line 2 is damaged, .*; delete that line$"):
        read_log(tmp_path)


def test_meter_gives_means_since_the_last_look() -> None:
    meter = Meter()
    meter.add(StepResult({"pixel": torch.tensor(1.0)}, {"mask_share": torch.tensor(0.5)}))
    meter.add(StepResult({"pixel": torch.tensor(3.0), "total": torch.tensor(4.0)}))
    assert meter.look() == Look({"pixel": 2.0, "total": 4.0}, {"mask_share": 0.5})
    meter.add(StepResult({"pixel": torch.tensor(5.0)}))
    assert meter.look() == Look({"pixel": 5.0}, {})
    assert meter.look() == Look({}, {})


def test_meter_leaves_out_what_is_not_finite() -> None:
    meter = Meter()
    for pixel, texture in ((1.0, math.nan), (math.inf, math.nan), (2.0, math.nan)):
        meter.add(StepResult({"pixel": torch.tensor(pixel), "texture": torch.tensor(texture)}))
    assert meter.look() == Look({"pixel": 1.5}, {})


def test_meter_averages_over_processes() -> None:
    meter = Meter(lambda values: values + torch.tensor([1.0, 0.0]))  # as if another process had 2 and 0 more
    meter.add(StepResult({"pixel": torch.tensor(1.0)}, {"mask_share": torch.tensor(0.5)}))
    assert meter.look() == Look({"pixel": 2.0}, {"mask_share": 0.5})


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logbook = Logbook(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdopen", full)
        with pytest.raises(UserError, match=r"log\.jsonl: the disk is full"):
            logbook.write({"event": "step", "iteration": 1})
    logbook.close()
