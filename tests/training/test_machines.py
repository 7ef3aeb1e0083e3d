"""The note of the machines that a run was made on."""

from pathlib import Path

import pytest

from gramgan.errors import UserError
from gramgan.training import machines
from gramgan.training.machines import note_machine, read_machines


def here(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setattr(machines, "machine", lambda _: {"device": device})


def test_every_change_of_machine_is_noted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_machines(tmp_path) == []
    for iteration, device in ((0, "slow"), (10, "slow"), (20, "fast"), (30, "fast")):
        here(monkeypatch, device)
        note_machine(tmp_path, "cpu", iteration)
    assert read_machines(tmp_path) == [{"from": 0, "device": "slow"}, {"from": 20, "device": "fast"}]


def test_a_new_run_begins_a_new_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for device in ("slow", "fast"):
        here(monkeypatch, device)
        note_machine(tmp_path, "cpu", 0)
    assert read_machines(tmp_path) == [{"from": 0, "device": "fast"}]


@pytest.mark.parametrize("text", ["[", "{}", '[{"device": "x"}]', "[3]", "3"])
def test_a_damaged_note_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "machines.json").write_text(text)
    with pytest.raises(UserError, match=r"machines\.json: is damaged; delete it"):
        read_machines(tmp_path)


def test_it_says_what_computes() -> None:
    found = machines.machine("cpu")
    assert found["device"].startswith("cpu: ")
    assert "threads" in found["processor"]
    assert "torch" in found["versions"]
