"""Backends take turns on the tiles of a job: who is right, who is fastest, and what happens when that changes."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gramgan.upscaling.backends import turns as turns_module
from gramgan.upscaling.backends.turns import TurnsBackend
from gramgan.upscaling.choice import CUT, Candidate, Choice, probe_picture

TORCH, TORCH16 = Candidate("torch", "fp32"), Candidate("torch", "bf16")
OPENVINO, OPENVINO16 = Candidate("openvino", "fp32"), Candidate("openvino", "bf16")
ORT = Candidate("onnxruntime", "fp32")
SLOW = 8.0  # of the reference, where nothing else is said
SMALL, MIDDLE, LARGE = (1, 3, CUT, CUT), (1, 3, 128, 128), (1, 3, 256, 256)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Machine:
    """Backends that take as long as `pace` says (seconds for a tile of `LARGE`), `opening` for the first of a size.

    `wrong` is what a backend's results are off by.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pace: dict[Candidate, float], opening: float = 0.0) -> None:
        self.pace, self.opening = pace, opening
        self.wrong: dict[Candidate, float] = {}
        self.now = 0.0
        self.ran: list[Candidate] = []
        self.made: list[Candidate] = []
        monkeypatch.setattr(turns_module.time, "perf_counter", lambda: self.now)

    def backend(self) -> TurnsBackend:
        """As in a new process."""
        opened: set[tuple[Candidate, tuple[int, ...]]] = set()
        machine = self

        class Fake:
            side, batch, bytes_per_pixel = None, 1, 1

            def __init__(self, one: Candidate) -> None:
                self.one, self.name = one, str(one)
                machine.made.append(one)

            def free_bytes(self) -> int:
                return 1

            def run(self, tiles: np.ndarray) -> np.ndarray:
                if (self.one, tiles.shape) not in opened:
                    opened.add((self.one, tiles.shape))
                    machine.now += machine.opening
                machine.now += machine.pace.get(self.one, SLOW) * tiles[0].size / np.prod(LARGE)
                machine.ran.append(self.one)
                return np.repeat(np.repeat(tiles, 4, 2), 4, 3) + machine.wrong.get(self.one, 0.0)

        choice = Choice("weights", self.pace)
        return TurnsBackend(choice, list(self.pace), TORCH, lambda *one: Fake(Candidate(*one)), lambda _: 1, "auto")

    def work(self, backend: TurnsBackend, tiles: int, shape: tuple[int, ...] = LARGE) -> float:
        """Seconds of a job; `ran` then holds who did its tiles."""
        self.ran.clear()
        begun = self.now
        picture = np.resize(probe_picture(shape[-1]), shape)
        for _ in range(tiles):
            result = backend.run(picture)
            assert result.shape == (1, 3, 4 * shape[2], 4 * shape[3])
        return self.now - begun


def learned(machine: Machine, tiles: int = 12) -> Machine:
    """After a job with which all is known."""
    machine.work(machine.backend(), tiles)
    return machine


@pytest.mark.parametrize(
    ("off", "expected"), [(0.004, OPENVINO16), (0.009, OPENVINO), (float("nan"), OPENVINO), (0.3, OPENVINO)]
)
def test_the_fastest_that_is_right(monkeypatch: pytest.MonkeyPatch, off: float, expected: Candidate) -> None:
    machine = Machine(monkeypatch, {TORCH: 8.0, OPENVINO: 4.0, OPENVINO16: 1.0})
    machine.wrong[OPENVINO16] = off
    machine.work(learned(machine).backend(), 5)
    assert set(machine.ran) == {expected}


def test_noise_differs_more_and_is_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {TORCH: 8.0, OPENVINO16: 1.0})
    machine.wrong[OPENVINO16] = 0.009
    backend = machine.backend()
    noise = np.random.default_rng(0).random(SMALL, np.float32)
    monkeypatch.setattr(turns_module, "detail", lambda truth: 0.2)  # these backends synthesise none
    backend.run(noise)
    machine.work(backend, 3)
    assert set(machine.ran) == {OPENVINO16}


def test_where_nothing_is_right_the_first_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {OPENVINO: 2.0, ORT: 1.0})
    machine.wrong = {OPENVINO: 0.5, ORT: 0.5}
    machine.pace[TORCH] = 3.0
    backend = TurnsBackend(
        Choice("weights", [OPENVINO, ORT]), [OPENVINO, ORT], TORCH, machine.backend()._make, lambda _: 1, "auto"
    )
    machine.work(backend, 3)
    assert machine.ran[-3:] == [OPENVINO] * 3


def test_no_result_of_a_tile_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {TORCH: 8.0, TORCH16: 1.0, OPENVINO16: 1.1})
    backend = machine.backend()
    machine.work(backend, 1)
    compared = sum(machine.pace[one] for one in machine.ran[:-1]) * CUT**2 / 256**2
    assert machine.now == pytest.approx(compared + machine.pace[machine.ran[-1]])
    machine.work(backend, 8)
    assert len(machine.ran) == 8
    assert {TORCH16, OPENVINO16} == set(machine.ran)  # both had turns, and the slow fp32 had none
    small = machine.backend().run(np.resize(probe_picture(CUT), SMALL))
    assert small.shape == (1, 3, 4 * CUT, 4 * CUT)


def test_a_picture_as_small_as_the_comparison_is_done_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {TORCH: 8.0, OPENVINO16: 1.0})
    machine.wrong[OPENVINO16] = 0.001
    picture = np.resize(probe_picture(CUT), SMALL)
    result = machine.backend().run(picture)
    assert result.mean() == pytest.approx(picture.mean() + 0.001, abs=1e-5)  # of the best, not of the reference
    compared = len(machine.ran)
    machine.work(machine.backend(), 1, SMALL)
    assert compared >= 4
    assert machine.ran == [OPENVINO16]


def test_slow_frameworks_are_not_even_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {TORCH: 8.0, TORCH16: 2.0, ORT: 6.0})
    learned(machine)
    assert ORT not in machine.made


def test_they_are_where_nothing_else_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = learned(Machine(monkeypatch, {TORCH: 8.0, ORT: 6.0}))
    machine.work(machine.backend(), 3)
    assert machine.ran == [ORT] * 3


def test_every_size_has_its_own_best(monkeypatch: pytest.MonkeyPatch) -> None:
    """As measured: OpenVINO leads on small tiles, torch on large ones."""
    machine = Machine(monkeypatch, {TORCH16: 1.5, OPENVINO16: 1.0}, opening=0.01)
    backend = machine.backend()
    machine.work(backend, 9, (1, 3, 128, 128))
    machine.pace = {TORCH16: 1.0, OPENVINO16: 1.4}
    machine.work(backend, 9, (1, 3, 384, 384))
    assert machine.ran[-4:] == [TORCH16] * 4
    machine.pace = {TORCH16: 1.5, OPENVINO16: 1.0}
    machine.work(backend, 2, (1, 3, 128, 128))
    assert machine.ran == [OPENVINO16] * 2


def test_what_is_known_is_kept_and_a_damaged_record_made_again(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    machine = learned(Machine(monkeypatch, {TORCH: 1.4, OPENVINO: 1.0}))
    made = len(machine.made)
    machine.work(machine.backend(), 3)
    assert machine.ran == [OPENVINO] * 3
    assert machine.made[made:] == [OPENVINO]
    (path,) = (cache / "probe").iterdir()
    good = json.loads(path.read_text())
    for text in ("", "{}", "[1]", json.dumps(good | {"tried": {"abacus fp32": {}}}), json.dumps(good | {"paces": 1})):
        path.write_text(text)
        machine.work(machine.backend(), 1)
        assert len(machine.ran) > 1  # all were compared again


def test_a_disturbed_comparison_is_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {TORCH16: 30.0, OPENVINO16: 1.5})  # as seen beside programs with many threads
    machine.work(machine.backend(), 1, MIDDLE)
    machine.pace[TORCH16] = 1.0
    machine.ran.clear()
    seconds = 0.0
    while TORCH16 not in machine.ran:
        seconds += machine.work(machine.backend(), 10, MIDDLE)
        assert seconds < 300
    # A tile of a quarter of `LARGE` costs 7.1 s more as far as is known: 3 % of 237 s.
    assert seconds > 225
    machine.work(machine.backend(), 10, MIDDLE)
    assert machine.ran.count(TORCH16) >= 9


def test_what_is_done_once_at_the_first_opening_is_not_held_against_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {TORCH16: 1.5, OPENVINO16: 1.0}, opening=0.1)
    machine.work(machine.backend(), 1, SMALL)  # compared
    done_by: list[Candidate] = []
    for _ in range(6):  # jobs of one tile, each in a process of its own
        machine.opening = 0.1 if OPENVINO16 in done_by else 1.5  # OpenVINO's first one converts
        machine.work(machine.backend(), 1)
        done_by += machine.ran
    assert done_by.count(TORCH16) == 1
    assert done_by[-3:] == [OPENVINO16] * 3


def share_lost(machine: Machine, job: Callable[[], float], tiles: int, best: float) -> float:
    """What a job took beyond its best backend's time, as a share of that."""
    return job() / (tiles * best) - 1


def test_a_backend_that_slows_down_in_mid_job(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = learned(Machine(monkeypatch, {TORCH16: 1.0, OPENVINO16: 1.3}, opening=0.5))
    backend = machine.backend()
    machine.work(backend, 20)
    assert machine.ran.count(TORCH16) >= 18
    machine.pace[TORCH16] = 4.0
    lost = share_lost(machine, lambda: machine.work(backend, 100), 100, 1.3)
    assert machine.ran[10:].count(OPENVINO16) >= 85
    assert lost < 0.1
    machine.pace[TORCH16] = 1.0  # it recovers, which only a turn can show
    machine.work(backend, 200)
    assert machine.ran[100:].count(TORCH16) >= 90


def test_a_machine_that_slows_down_as_a_whole_changes_nothing_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = learned(Machine(monkeypatch, {TORCH16: 1.0, OPENVINO16: 1.3}, opening=0.5))
    backend = machine.backend()
    machine.work(backend, 10)
    machine.pace = {TORCH16: 3.0, OPENVINO16: 3.9}
    lost = share_lost(machine, lambda: machine.work(backend, 60), 60, 3.0)
    assert lost < 0.1
    assert machine.ran.count(TORCH16) >= 54


def test_a_later_job_contradicts_what_was_measured_on_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = learned(Machine(monkeypatch, {TORCH16: 3.0, OPENVINO16: 1.3}, opening=0.5))  # torch was disturbed
    machine.pace[TORCH16] = 1.0
    backend = machine.backend()
    machine.work(backend, 150)
    assert machine.ran[:10].count(OPENVINO16) >= 8
    assert machine.ran[100:].count(TORCH16) >= 45


def test_jobs_of_one_tile_weigh_again_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a process of its own, whose only tile has the opening in it."""
    machine = learned(Machine(monkeypatch, {TORCH16: 1.0, OPENVINO16: 1.3}, opening=0.5), tiles=1)
    seconds = [machine.work(machine.backend(), 1) for _ in range(30)]
    assert sum(seconds) < 1.1 * 30 * 1.5
    assert machine.ran == [TORCH16]
    machine.pace[TORCH16] = 4.0
    for _ in range(10):
        machine.work(machine.backend(), 1)
    assert machine.ran == [OPENVINO16]
