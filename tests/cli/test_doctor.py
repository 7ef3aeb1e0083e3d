"""`gramgan doctor`: one screen, the same as JSON, and exit code 0 whatever is found."""

import json
from pathlib import Path

import pytest

from gramgan.cli.app import run
from gramgan.hardware import doctor
from gramgan.hardware.probe import Verdict
from gramgan.training.fitting import Fit


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, and figures of a machine that need no measuring; every library is loaded already."""
    verdict = Verdict("bf16", True, 2.2, 0.008, "Some CPU", "2.6.0")
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path))
    monkeypatch.setattr("gramgan.hardware.probe.probe", lambda device, refresh: verdict)
    monkeypatch.setattr("gramgan.hardware.probe.probe_training", lambda device, refresh: verdict)
    monkeypatch.setattr("gramgan.training.fitting.measure_fit", lambda config: Fit(10, 2**30, 2**29, 4 * 2**30))


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
