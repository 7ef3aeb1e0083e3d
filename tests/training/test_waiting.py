"""No step makes the host wait for the device.

Everything of a step lies on torch's `meta` device, which has shapes and no numbers: looking at one (`.item()`, `bool`,
`nonzero`) is an error there. Copies between host and device, at which a GPU makes the host wait as well, are counted.
"""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from gramgan.config import Config
from gramgan.degradation.bicubic import degrade_bicubic
from gramgan.networks.discriminator import Discriminator, DiscriminatorConfig
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.networks.trunks import PerceptualTrunk
from gramgan.share import WHOLE
from gramgan.texture.candidates import DatabaseSource, LocalSource, NearerSource, TargetSource
from gramgan.texture.descriptors import Descriptor
from gramgan.texture.mixing import MixedSource
from gramgan.texture.search import DirectSearch
from gramgan.training.ema import averaged
from gramgan.training.logbook import Meter
from gramgan.training.objective import Guides, Objective
from gramgan.training.step import TrainingStep
from gramgan.training.usage import PatchUsage

DEVICE = torch.device("meta")


class Waits(TorchDispatchMode):
    """Notes what would make the host wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._made = _Made(self.found)

    def __enter__(self) -> "Waits":
        self._made.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._made.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            other = args[1] if func == torch.ops.aten.copy_.default else result
            asynchronous = kwargs.get("non_blocking") or args[2:3] == (True,)
            if {args[0].device.type, other.device.type} == {"cpu", "meta"} and not asynchronous:
                self.found.append(str(func))
        return result


class _Made(TorchFunctionMode):
    """Tensors made on the device from numbers of the host: a copy as well, which the dispatcher does not show."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self._found = found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (torch.tensor, torch.as_tensor, Tensor.new_tensor) and result.device == DEVICE:
            self._found.append(func.__name__)
        return result


@pytest.mark.parametrize(
    "offence",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.sum() > 0),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: torch.zeros(3).to(x),
        lambda x: torch.zeros(3).copy_(x),
        lambda x: torch.tensor([1.0, 2.0], device=x.device),
        lambda x: x.new_tensor([1.0]),
    ],
)
def test_what_waits_is_found(offence: Callable[[Tensor], object]) -> None:
    x = torch.zeros(3, device=DEVICE)
    waits = Waits()
    try:
        with waits:
            offence(x)
    except (RuntimeError, NotImplementedError):  # a look at numbers that are not there
        return
    assert waits.found


def test_what_does_not_wait_is_not() -> None:
    with Waits() as waits:
        x = torch.zeros(3, device=DEVICE)
        x = torch.ones(3).to(DEVICE, non_blocking=True) + x.clamp_min(0)
        torch.zeros(3).sum().item()
    assert not waits.found


class Descent(torch.optim.SGD):
    """Moves, and says that it is fused: torch's own, which look at `found_inf` on the device, are not for this one."""

    def __init__(self, parameters: Iterable[nn.Parameter], rate: float) -> None:
        super().__init__(parameters, rate)
        self.defaults["fused"] = True

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for parameter in self.param_groups[0]["params"]:
            if parameter.grad is not None:
                parameter.add_(parameter.grad, alpha=-0.1)


def database(vectors: int) -> DatabaseSource:
    """Numbers without meaning: only where they lie counts."""
    source = DatabaseSource.__new__(DatabaseSource)
    source.descriptor = Descriptor.default("rgb")
    source._vectors = torch.empty(vectors, 6, device=DEVICE)
    source._ids = torch.empty(vectors, dtype=torch.int64, device=DEVICE)
    source.index = DirectSearch(source._vectors)
    return source


def sources(kind: str) -> TargetSource:
    random = torch.Generator().manual_seed(0)
    local = LocalSource(Descriptor.default("rgb"), random, 0.003, WHOLE)
    return {
        "local": lambda: local,
        "both": lambda: NearerSource(database(500), local),
        "mixed": lambda: MixedSource([database(500), database(300)], [0.7, 0.3], random),
    }[kind]()


@pytest.mark.parametrize("kind", ["local", "both", "mixed"])
@pytest.mark.parametrize("stage", ["pretrain", "warm_discriminator", "adversarial"])
def test_no_step_waits(stage: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # that device has none
    values = {
        "data": {"crop": 64},
        "train": {"clip": 1.0, "accumulate": 2, "activation_checkpointing": True},
        "texture": {"candidates": "local" if kind == "local" else "both", "databases": ["a.lance"]},
    }
    config = Config.model_validate(values)
    with DEVICE:
        generator, discriminator = RRDBNet(RRDBConfig(8, 2, 4)), Discriminator(DiscriminatorConfig())
        trunk = PerceptualTrunk("vgg19")
    generator.checkpointing = True
    ema = averaged(generator, 0.999)
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    g_wrapped, g_optimizer = fabric.setup(generator, Descent(generator.parameters(), 0.1), move_to_device=False)
    d_wrapped, d_optimizer = fabric.setup(discriminator, Descent(discriminator.parameters(), 0.1), move_to_device=False)
    objective = Objective(fabric, config, Guides(trunk, sources(kind)))
    step = TrainingStep(fabric, config, g_wrapped, g_optimizer, d_wrapped, d_optimizer, objective)
    meter, usage = Meter(), PatchUsage()

    def iteration() -> None:
        hr = torch.empty(4, 3, 64, 64, device=DEVICE)
        result = getattr(step, stage)(degrade_bicubic(hr), hr)
        ema.update_parameters(generator)
        if result.patch_id is not None:
            usage.add(result.patch_id)
        meter.add(result)

    iteration()  # constants get to the device once
    with Waits() as waits:
        iteration()
    assert not waits.found
