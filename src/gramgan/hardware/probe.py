"""Which precision and memory format this machine is fast and right in: measured once, then remembered.

bf16 is several times faster on processors with AMX and slower than fp32 on those without any bf16 instruction; half
precision turns some networks black. So neither is chosen by the device's name but by a measurement of speed and error.
"""

import hashlib
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from gramgan.cache import keep_entry, read_entry, working_cache
from gramgan.hardware.casting import DTYPES, in_precision, memory_format
from gramgan.hardware.precision import PRECISIONS, Precision
from gramgan.hardware.processor import processor_name
from gramgan.networks.rrdb import RRDBConfig, RRDBNet

MIN_SPEEDUP = 1.3
"""A lower precision is chosen only where it is at least this much faster than the best fp32."""
MAX_ERROR = 0.02
"""Largest error of a chosen precision: max |x - fp32| / max |fp32| over the results of the probe's network."""
MAX_GRADIENT_ERROR = 0.1
"""The same for training: |g - g_fp32| / |g_fp32| over the gradient of all parameters (Euclidean norm)."""

_MIN_FORMAT_SPEEDUP = 1.05
_RUNS = 3
_BUDGET = 2.0  # seconds after which no further round is begun, on a slow or busy machine
_HOPELESS = 2.5  # a first run this many times slower than fp32's settles the matter
_CONFIG = RRDBConfig(nf=64, nb=2, gc=32, upsampler="nearest")  # the layers of the full generator
_SIDE = 48
_TRAINING_SIDE = 48  # smaller crops hide the speed of bf16 behind fixed costs

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    """What a probe found.

    `precision` and `channels_last` are the choice; `speedup` is its factor over fp32 in the contiguous format and
    `max_error` its error against that, in the sense of `MAX_ERROR` (inference) or `MAX_GRADIENT_ERROR` (training).
    `device` is the processor's or accelerator's name.
    """

    precision: Precision
    channels_last: bool
    speedup: float
    max_error: float
    device: str
    torch_version: str


@dataclass(frozen=True)
class _Candidate:
    precision: Precision
    channels_last: bool
    run: Callable[[], Tensor]


def probe(device: str = "cpu", refresh: bool = False) -> Verdict:
    """The precision for upscaling on `device`, measured on a small RRDB network (about a second) and then cached.

    Args:
        device: `cpu`, `cuda`, `cuda:1`, …
        refresh: measure again although a result is stored.

    Returns:
        The fastest of fp32, bf16 (and fp16 on an accelerator) that passes `MIN_SPEEDUP` and `MAX_ERROR`.
    """
    return _cached("inference", device, refresh, _measure_inference)


def probe_training(device: str = "cpu", refresh: bool = False) -> Verdict:
    """The precision for training on `device`: forward and backward under autocast, fp32 or bf16 (see `probe`).

    fp16 is left out: its gradients need loss scaling, and every accelerator of the last generations has bf16.
    """
    return _cached("training", device, refresh, _measure_training)


def device_name(device: str) -> str:
    """The name of the processor or accelerator behind a torch device, such as `NVIDIA A100-SXM4-40GB`."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return processor_name()


def _measure_inference(device: str) -> Verdict:
    network, lr = _network(), _lr(_SIDE)

    def candidate(precision: Precision, channels_last: bool) -> _Candidate:
        prepared = in_precision(network, precision, channels_last, device)
        inputs = lr.to(device).to(dtype=DTYPES[precision], memory_format=memory_format(channels_last))

        def run() -> Tensor:
            with torch.inference_mode():
                return prepared(inputs)

        return _Candidate(precision, channels_last, run)

    by_device: dict[str, list[Precision]] = {"cpu": ["bf16"], "mps": ["fp16"]}  # macOS 13 has no bf16
    reduced = by_device.get(torch.device(device).type, ["bf16", "fp16"])
    candidates = [candidate("fp32", False), candidate("fp32", True), *(candidate(p, True) for p in reduced)]
    return _choose(candidates, device, MAX_ERROR, lambda x, fp32: float((x - fp32).abs().max() / fp32.abs().max()))


def _measure_training(device: str) -> Verdict:
    network, lr = _network().to(device), _lr(_TRAINING_SIDE).to(device)

    def candidate(precision: Precision, channels_last: bool) -> _Candidate:
        layout = memory_format(channels_last)
        inputs = lr.contiguous(memory_format=layout)

        def run() -> Tensor:
            network.to(memory_format=layout)  # pyright: ignore[reportCallIssue]
            network.zero_grad(set_to_none=True)
            with torch.autocast(inputs.device.type, DTYPES[precision], enabled=precision != "fp32"):
                result = network(inputs)
            result.float().square().mean().backward()
            return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])

        return _Candidate(precision, channels_last, run)

    candidates = [candidate("fp32", False), candidate("fp32", True), candidate("bf16", True)]
    return _choose(candidates, device, MAX_GRADIENT_ERROR, lambda g, fp32: float((g - fp32).norm() / fp32.norm()))


def _choose(
    candidates: list[_Candidate], device: str, max_error: float, error: Callable[[Tensor, Tensor], float]
) -> Verdict:
    """The verdict over `candidates`, of which the first two are fp32 in the contiguous and the channels-last format."""
    plain, formatted, *reduced = candidates
    reference, slowest = _timed(plain, device)
    errors, seconds = {plain: 0.0}, {plain: slowest}
    for other in candidates[1:]:
        result, seconds[other] = _timed(other, device)
        errors[other] = error(result.float(), reference.float())
    running = [one for one in candidates if seconds[one] <= _HOPELESS * slowest]
    spent = sum(seconds.values())
    for run in range(_RUNS):  # interleaved, so that another process's load meets all alike
        if run > 0 and spent > _BUDGET:
            break
        for one in running:
            again = _timed(one, device)[1]
            spent += again
            seconds[one] = again if run == 0 else min(seconds[one], again)  # the first run of all was the warm-up

    best = formatted if seconds[plain] / seconds[formatted] >= _MIN_FORMAT_SPEEDUP else plain
    right = [one for one in reduced if errors[one] <= max_error]  # a NaN is not right either
    fastest = min(right, key=lambda one: seconds[one], default=best)
    if seconds[best] / seconds[fastest] >= MIN_SPEEDUP:
        best = fastest
    return Verdict(
        precision=best.precision,
        channels_last=best.channels_last,
        speedup=seconds[plain] / seconds[best],
        max_error=errors[best],
        device=device_name(device),
        torch_version=torch.__version__,
    )


def _timed(candidate: _Candidate, device: str) -> tuple[Tensor, float]:
    start = time.perf_counter()
    result = candidate.run()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    elif torch.device(device).type == "mps":
        torch.mps.synchronize()
    return result, time.perf_counter() - start


def _network() -> RRDBNet:
    # The same random weights and input everywhere, without touching the caller's random state.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return RRDBNet(_CONFIG)


def _lr(side: int) -> Tensor:
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))


def _cached(kind: str, device: str, refresh: bool, measure: Callable[[str], Verdict]) -> Verdict:
    path = _cache_path(kind, device)
    if not refresh:
        stored = _read(path)
        if stored is not None:
            return stored
    verdict = measure(device)
    keep_entry(path, asdict(verdict))
    return verdict


def _cache_path(kind: str, device: str) -> Path:
    """Named by everything that decides the speed: processor, instruction sets, threads, torch."""
    key = (
        device_name(device),
        torch.__version__,
        torch.backends.cpu.get_cpu_capability(),
        str(torch.get_num_threads()),
        os.environ.get("ONEDNN_MAX_CPU_ISA", ""),
    )
    digest = hashlib.sha256("\n".join(key).encode()).hexdigest()[:16]
    return working_cache() / "probe" / f"{kind}-{torch.device(device).type}-{digest}.json"


def _read(path: Path) -> Verdict | None:
    values = read_entry(path)
    if values is None:
        return None
    try:
        verdict = Verdict(**values)
        if verdict.precision not in PRECISIONS or not isinstance(verdict.channels_last, bool):
            raise ValueError(f"unknown precision {verdict.precision!r}")
        if not all(math.isfinite(number) for number in (verdict.speedup, verdict.max_error)):
            raise ValueError("no numbers")
    except (ValueError, TypeError) as error:
        _log.info("%s: unreadable result of the speed probe (%s); measuring again", path, error)
        return None
    return verdict
