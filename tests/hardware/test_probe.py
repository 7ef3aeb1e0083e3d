"""The probe chooses by speed and by error, remembers, and survives whatever is in its cache."""

import json
import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gramgan.errors import UserError
from gramgan.hardware import probe as module
from gramgan.hardware.casting import in_precision
from gramgan.hardware.device import resolve_device
from gramgan.hardware.probe import MAX_ERROR, Verdict, probe, probe_training
from gramgan.networks.rrdb import RRDBConfig, RRDBNet


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def choose(
    monkeypatch: pytest.MonkeyPatch, *runs: tuple[str, bool, float, float], calls: list | None = None
) -> Verdict:
    """The verdict over candidates of (precision, channels_last, seconds, error), the first being the reference."""

    def timed(candidate: module._Candidate, device: str) -> tuple[Tensor, float]:
        if calls is not None:
            calls.append((candidate.precision, candidate.channels_last))
        return candidate.run(), seconds[candidate]

    candidates, seconds = [], {}
    for precision, channels_last, duration, error in runs:
        result = torch.tensor([1.0, 1.0 + error])
        candidate = module._Candidate(precision, channels_last, lambda result=result: result)  # type: ignore[arg-type]
        candidates.append(candidate)
        seconds[candidate] = duration
    monkeypatch.setattr(module, "_timed", timed)
    return module._choose(candidates, "cpu", MAX_ERROR, lambda x, fp32: float((x - fp32).abs().max()))


@pytest.mark.parametrize(
    ("bf16_seconds", "bf16_error", "expected"),
    [
        (0.20, 0.01, ("bf16", True)),
        (0.69, 0.01, ("bf16", True)),
        (0.75, 0.01, ("fp32", True)),  # 1.2 times as fast as the better fp32 is not enough
        (0.20, 0.03, ("fp32", True)),  # fast and wrong
        (0.20, float("nan"), ("fp32", True)),
        (4.00, 0.00, ("fp32", True)),
    ],
)
def test_bf16_only_where_it_is_fast_and_right(
    monkeypatch: pytest.MonkeyPatch, bf16_seconds: float, bf16_error: float, expected: tuple[str, bool]
) -> None:
    verdict = choose(
        monkeypatch, ("fp32", False, 1.0, 0.0), ("fp32", True, 0.9, 0.0), ("bf16", True, bf16_seconds, bf16_error)
    )
    assert (verdict.precision, verdict.channels_last) == expected
    assert verdict.speedup == pytest.approx(1 / (bf16_seconds if expected[0] == "bf16" else 0.9))


def test_channels_last_only_where_it_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = choose(monkeypatch, ("fp32", False, 1.0, 0.0), ("fp32", True, 1.1, 0.0), ("bf16", True, 2.0, 0.0))
    assert (verdict.precision, verdict.channels_last, verdict.speedup) == ("fp32", False, 1.0)


def test_of_two_the_faster_is_taken_and_of_the_right_ones_only(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = (("fp32", False, 1.0, 0.0), ("fp32", True, 1.0, 0.0))
    assert choose(monkeypatch, *plain, ("bf16", True, 0.3, 0.0), ("fp16", True, 0.2, 0.0)).precision == "fp16"
    assert choose(monkeypatch, *plain, ("bf16", True, 0.3, 0.0), ("fp16", True, 0.2, 0.5)).precision == "bf16"


def test_a_hopeless_candidate_is_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, bool]] = []
    choose(monkeypatch, ("fp32", False, 1.0, 0.0), ("fp32", True, 1.0, 0.0), ("bf16", True, 30.0, 0.0), calls=calls)
    assert calls.count(("bf16", True)) == 1
    assert calls.count(("fp32", True)) > 1


def test_a_slow_machine_is_not_kept_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, bool]] = []
    choose(monkeypatch, ("fp32", False, 5.0, 0.0), ("fp32", True, 5.0, 0.0), ("bf16", True, 5.0, 0.0), calls=calls)
    assert len(calls) == 6  # the warm-up and one round


@pytest.mark.parametrize("measure", [probe, probe_training])
def test_a_real_probe_is_remembered(measure, cache: Path) -> None:
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    verdict = measure("cpu")
    assert torch.equal(torch.random.get_rng_state(), state), "the caller's random numbers are left alone"
    assert verdict.precision in ("fp32", "bf16")
    assert verdict.speedup >= 0.99
    assert 0 <= verdict.max_error < 0.1
    assert verdict.torch_version == torch.__version__
    (path,) = (cache / "probe").iterdir()
    assert json.loads(path.read_text())["precision"] == verdict.precision


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Measuring is replaced by counting."""
    calls: list[str] = []

    def measure(device: str) -> Verdict:
        calls.append(device)
        return Verdict("bf16", True, 2.0 + len(calls), 0.001, "a processor", torch.__version__)

    monkeypatch.setattr(module, "_measure_inference", measure)
    return calls


def test_it_is_measured_once_and_again_when_asked(counted: list[str]) -> None:
    assert probe() == probe()
    assert len(counted) == 1
    assert probe(refresh=True).speedup == 4.0
    assert probe().speedup == 4.0
    assert len(counted) == 2


def test_another_number_of_threads_is_another_machine(counted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    probe()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    probe()
    assert len(counted) == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"precision": "fp8", "channels_last": true, "speedup": 1, "max_error": 0, "device": "", "torch_version": ""}',
        '{"precision": "bf16", "channels_last": 1, "speedup": 1, "max_error": 0, "device": "", "torch_version": ""}',
        '{"precision": [], "channels_last": true, "speedup": 1, "max_error": 0, "device": "", "torch_version": ""}',
        b"\xff\xfe\x00",
    ],
)
def test_a_damaged_cache_is_measured_again(counted: list[str], cache: Path, text: str | bytes) -> None:
    verdict = probe()
    (path,) = (cache / "probe").iterdir()
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert probe() != verdict
    assert len(counted) == 2
    assert json.loads(path.read_text())["speedup"] == 4.0


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    counted: list[str], cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.write_text("a file in the folder's place")
    with caplog.at_level(logging.WARNING, "gramgan"):
        assert probe().precision == "bf16"
    assert "not kept" in caplog.text


def test_in_precision_leaves_the_original_alone_and_returns_float32() -> None:
    network = RRDBNet(RRDBConfig(nf=8, nb=1, gc=4)).train()
    copy = in_precision(network, "bf16", channels_last=True)
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert network.training
    assert not copy.training
    assert copy.conv_first.weight.dtype == torch.bfloat16
    assert copy(torch.rand(1, 3, 5, 6, dtype=torch.bfloat16)).dtype == torch.float32
    assert not any(p.requires_grad for p in copy.parameters())


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "", "cpu:0"])
def test_unknown_devices_are_refused(device: str) -> None:
    with pytest.raises(UserError, match="unknown; use auto, cpu, cuda, cuda:N or mps"):
        resolve_device(device)


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device() == resolve_device("cpu") == "cpu"
    with pytest.raises(UserError, match="no CUDA device here"):
        resolve_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device() == "cuda"
    assert resolve_device("cuda:1") == "cuda:1"
    with pytest.raises(UserError, match="only cuda:0 to cuda:1 are here"):
        resolve_device("cuda:2")
