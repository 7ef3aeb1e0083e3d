"""`gramgan doctor`: one screen, the same as JSON, and exit code 0 whatever is found."""

import json
from pathlib import Path

import numpy as np
import pytest

from gramgan.cli.app import run
from gramgan.data.throughput import ReadingRate
from gramgan.hardware import doctor
from gramgan.hardware.probe import Verdict
from gramgan.images import write_image
from gramgan.training.fitting import Fit

RATES = [ReadingRate("folder", 25, 1.5, 1.5), ReadingRate("resident", 25, 60.0, 8000.0)]


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, and figures of a machine that need no measuring; every library is loaded already."""
    verdict = Verdict("bf16", True, 2.2, 0.008, "Some CPU", "2.6.0")
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path))
    monkeypatch.setattr("gramgan.hardware.probe.probe", lambda device, refresh: verdict)
    monkeypatch.setattr("gramgan.hardware.probe.probe_training", lambda device, refresh: verdict)
    monkeypatch.setattr("gramgan.training.fitting.measure_fit", lambda config: Fit(10, 2**30, 2**29, 4 * 2**30))
    monkeypatch.setattr("gramgan.training.fitting.measure_step", lambda config: 4.0)


def test_it_fits_on_one_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) <= 24
    for part in (
        "libraries are here, in versions that fit",
        "training: bf16, channels last, 2.2 times as fast",
        "up to 5 crops of 192x192",
        "--set train.batch_size=5",
        "missing: gramgan weights get real-esrgan-x4plus",
    ):
        assert part in " ".join(text.split())


def test_json_has_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["speed"]["training"]["precision"] == "bf16"
    assert found["batch"]["paper"]["largest_batch"] == 5
    assert found["weights"]["vgg19"] is False
    assert {library["name"] for library in found["libraries"]} >= {"torch", "numpy"}
    assert found["devices"][0]["name"] == "cpu"


def test_a_broken_torch_is_a_finding_and_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = doctor.Library("torch", "2.6.0", "cannot be loaded (libcudart.so.12 is missing)")
    monkeypatch.setattr(doctor, "libraries", lambda: [broken])
    assert run(["doctor"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "torch 2.6.0: cannot be loaded (libcudart.so.12 is missing); run pip install --upgrade gramgan" in text
    assert "not measured, for torch does not work" in text
    assert run(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["batch"] == {}


def test_rates_and_who_waits(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gramgan.data.throughput.measure_feeding", lambda *given, **more: RATES)
    assert run(["doctor", "--data", "photos"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "photos, crops of 192x192" in text
    assert "folder: 2 crops/s resident: 8,000 crops/s, loaded at 60 images/s" in text
    assert "paper: a step of 4 s takes 2 crops/s, it would wait for folder" in text
    monkeypatch.setattr("gramgan.data.throughput.measure_feeding", lambda *given, **more: RATES[1:])
    assert run(["doctor", "--data", "photos", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["data"]
    assert found["rates"] == [{"source": "resident", "images": 25, "images_per_s": 60.0, "crops_per_s": 8000.0}]
    assert found["taken"]["paper"] == {"step_seconds": 4.0, "crops_per_s": 2.0}
    assert run(["doctor", "--data", "photos"]) == 0
    assert "it waits for none of these" in " ".join(capsys.readouterr().out.split())


def test_it_measures_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gramgan.data.choice.usual_workers", lambda: 1)
    for name, side in (("HR/a.png", 256), ("LR/a.png", 64)):
        write_image(tmp_path / name, np.zeros((3, side, side), np.float32))
    assert run(["doctor", "--data", str(tmp_path / "HR"), "--low", str(tmp_path / "LR"), "--json"]) == 0
    rates = json.loads(capsys.readouterr().out)["data"]["rates"]
    assert [rate["source"] for rate in rates] == ["pairs", "resident"]
    assert all(rate["crops_per_s"] > 0 for rate in rates)


def test_wrong_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["--data", str(tmp_path / "nowhere")], "no such folder"),
        (["--low", str(tmp_path)], "--low: give the folder of the HR images too"),
    ):
        assert run(["doctor", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert len(error.splitlines()) == 1
