"""`gramgan runs`: which runs a folder holds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gramgan.cli.app import run
from gramgan.config import load_config


def make(folder: Path, iterations: int, age: float = 0, **scores: float) -> Path:
    folder.mkdir(parents=True)
    overrides = ["stages.pretrain=0", "stages.warm_discriminator=0", "stages.adversarial=40"]
    (folder / "config.yaml").write_text(load_config("paper", overrides=overrides).to_yaml())
    (folder / "checkpoints").mkdir()
    records: list[dict[str, object]] = [{"event": "step", "iteration": iterations, "stage": "adversarial"}]
    if scores:
        records.append({"event": "validation", "of": "generator", "iteration": iterations, "scores": scores, "best": 1})
        records.append({"event": "warning", "iteration": iterations, "message": "colours drift"})
    log = folder / "log.jsonl"
    log.write_text("".join(json.dumps(record) + "\n" for record in records))
    os.utime(log, (1.7e9 - age, 1.7e9 - age))
    return folder


def test_newest_first_with_what_matters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "old", 40, 1e6, psnr_y=27.123, st_lpips=0.0812)
    make(tmp_path / "group" / "new", 12)
    make(tmp_path / "old" / "inside", 3)  # part of a run, such as the demo's: not looked for there
    assert run(["runs", str(tmp_path)]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert " ".join(head.split()) == "run preset iterations last record PSNR-Y, dB ST-LPIPS warnings"
    assert [line.split()[0] for line in lines] == [str(tmp_path / "group" / "new"), str(tmp_path / "old")]
    assert "12 of 40" in lines[0]
    assert lines[1].split()[1:3] == ["paper", "40"]
    assert lines[1].split()[-3:] == ["27.12", "0.0812", "1"]


def test_a_run_may_be_named_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["runs", str(make(tmp_path / "mine", 4))]) == 0
    assert "4 of 40" in capsys.readouterr().out


def test_damaged_runs_are_said_and_the_others_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "good", 4)
    for number in range(7):
        (make(tmp_path / f"bad{number}", 4) / "log.jsonl").write_text("nonsense\n")
    assert run(["runs", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "4 of 40" in out
    assert f"not shown: {tmp_path / 'bad0' / 'log.jsonl'}: line 1 is damaged" in out
    assert out.splitlines()[-1] == "and 2 more runs that cannot be read"


def test_nothing_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text("of: something else\n")
    assert run(["runs", str(tmp_path)]) == 0
    assert "holds no training run" in capsys.readouterr().out
    assert run(["runs", str(tmp_path / "nowhere")]) == 2
    assert "there is no such folder" in capsys.readouterr().err


def test_a_list_waits_for_no_framework(tmp_path: Path) -> None:
    make(tmp_path / "run", 40, psnr_y=27.1)
    code = "import sys; from gramgan.cli.app import run; run(['runs', sys.argv[1]]); print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True).stdout
    assert "27.1" in shown
    assert shown.splitlines()[-1] == "False"
