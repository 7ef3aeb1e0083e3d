"""How large a batch fits into a device's memory, and how long a step takes, from a few small steps."""

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import torch

from gramgan.config import Config
from gramgan.degradation.bicubic import degrade_bicubic
from gramgan.hardware.device import free_device_bytes
from gramgan.texture.candidates import LocalSource
from gramgan.texture.descriptors import Descriptor
from gramgan.training.assemble import assemble, new_networks

_CROP = 64  # the smallest that the discriminator takes
_BATCHES = (2, 4)  # of fewer images the gradients may be the peak, and these do not grow with the batch
_USABLE = 0.9  # of what is free: allocators leave gaps

_Work = Callable[[], object]


@dataclass(frozen=True)
class Fit:
    """What a training takes of the memory of its device.

    `fixed_bytes`: networks, optimisers, averages, gradients. `image_bytes`: one crop more in the batch.
    """

    parameters: int
    fixed_bytes: int
    image_bytes: int
    free_bytes: int

    @property
    def batch(self) -> int:
        """Largest batch that fits; photographs that a run holds in the device's memory are not counted."""
        return max(0, int((_USABLE * self.free_bytes - self.fixed_bytes) / self.image_bytes))


def measure_fit(config: Config) -> Fit:
    """Measure steps of two batches of 64×64 crops, and scale what grows with them to the crop of `config`.

    The step is that of the training itself (`gramgan.training.assemble`), in its adversarial stage where it has one.
    Networks are new and inputs random: no photograph and no weight file is read. Some seconds on a CPU for the full
    generator.

    Args:
        config: resolved settings (`train.device`, `train.precision` and `train.memory_format` are not `auto`).
    """
    device = config.train.device
    free = free_device_bytes(device)
    trained: list[_Trained] = []

    def begin() -> None:
        trained.append(_Trained(config))
        trained[0].step(1)  # from here on the optimisers have their state

    kept = _measured(device, begin).kept
    peaks = [_measured(device, lambda batch=batch: trained[0].step(batch)).peak for batch in _BATCHES]
    image = max(1.0, (peaks[1] - peaks[0]) / (_BATCHES[1] - _BATCHES[0]))
    return Fit(
        parameters=sum(parameter.numel() for parameter in trained[0].generator.parameters()),
        fixed_bytes=round(kept + peaks[0] - _BATCHES[0] * image),
        image_bytes=round(image * (config.data.crop / _CROP) ** 2),
        free_bytes=free,
    )


def measure_step(config: Config, crops: int | None = None) -> float:
    """Seconds of an adversarial step of `config` on its device, scaled by pixels from a step of 64×64 crops.

    Networks are new and inputs random, as in `measure_fit`.

    Args:
        config: resolved settings.
        crops: how many 64×64 crops to measure with; None: two on a CPU, elsewhere as many as have the step's pixels,
            for a GPU is slow on a few.
    """
    device = torch.device(config.train.device)
    wanted = config.train.batch_size * (config.data.crop / _CROP) ** 2
    crops = crops or (_BATCHES[0] if device.type == "cpu" else max(1, round(wanted)))
    trained = _Trained(config)
    trained.step(crops)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    trained.step(crops)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - started) * wanted / crops


class _Trained:
    """Everything that lives in the device's memory during a run, but photographs and texture databases."""

    def __init__(self, config: Config) -> None:
        config = config.model_copy(
            update={"train": config.train.model_copy(update={"accumulate": 1, "compile": False})}
        )
        self._scale = config.generator.scale
        self._random = torch.Generator().manual_seed(0)
        self._layout = torch.channels_last if config.train.memory_format == "channels_last" else torch.contiguous_format
        with torch.random.fork_rng(devices=[]):
            networks = new_networks(config)
        targets = None
        if config.stages.adversarial and config.losses.texture:
            descriptor = Descriptor.default(config.texture.descriptor, config.texture.k)
            targets = LocalSource(descriptor, self._random, config.texture.warp)
        self._assembled = assemble(config, networks, targets)
        self.generator = networks.generator
        step = self._assembled.step
        self._stage = step.adversarial if config.stages.adversarial else step.pretrain

    def step(self, batch: int) -> None:
        """One step of the stage that takes most, on random images."""
        hr = torch.rand(batch, 3, _CROP, _CROP, generator=self._random)
        hr = hr.to(self._assembled.fabric.device, memory_format=self._layout)
        self._stage(degrade_bicubic(hr, self._scale), hr)
        self._assembled.ema.update_parameters(self.generator)


class _Bytes(NamedTuple):
    """How much more than before was held at most, and how much more is held now."""

    peak: int
    kept: int


def _measured(device: str, work: _Work) -> _Bytes:
    """Bytes of tensors on `device` that `work` takes."""
    if torch.device(device).type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return _Bytes(torch.cuda.max_memory_allocated(device) - before, torch.cuda.memory_allocated(device) - before)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler announces itself on standard error
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    changes = sorted((event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]")
    held = list(accumulate(change for _, change in changes))
    return _Bytes(max(held, default=0), held[-1] if held else 0)
