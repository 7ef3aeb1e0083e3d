"""One process of `test_processes.py`: makes training steps on its part of a batch, and writes down what came of them.

python two_processes.py RANK WORLD RENDEZVOUS RESULT
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from lightning_fabric import Fabric

from gramgan.config import Config
from gramgan.config.sections import GuardConfig, Stage
from gramgan.errors import ReportedError, UserError
from gramgan.networks.discriminator import Discriminator, DiscriminatorConfig
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.share import Share
from gramgan.texture.candidates import LocalSource
from gramgan.texture.descriptors import Descriptor
from gramgan.training.ema import averaged
from gramgan.training.guard import StepGuard
from gramgan.training.logbook import Meter
from gramgan.training.objective import Guides, Objective
from gramgan.training.processes import Processes
from gramgan.training.step import TrainingStep
from gramgan.training.usage import PatchUsage

BATCH, RATE = 4, 1e-2
WEIGHTS = {"texture": 0.3, "disc_perceptual": 2.0, "perceptual": 0, "adversarial": 5.0, "pixel": 1.5}
NAMES = ("a", "b", "c", "d")


def steps(processes: Processes, form: str, accumulate: int) -> dict[str, Any]:
    """Two adversarial steps after one of each other stage, and one that breaks in the last image."""
    torch.manual_seed(0)
    networks = RRDBNet(RRDBConfig(8, 1, 4, "nearest")), Discriminator(DiscriminatorConfig(width=8))
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    gradients: list[list[torch.Tensor]] = []
    setups: list[Any] = []
    for network in networks:
        optimizer = torch.optim.SGD(network.parameters(), RATE, fused=True)
        optimizer.register_step_pre_hook(
            lambda optimizer, *_: gradients.append([p.grad.clone() for p in optimizer.param_groups[0]["params"]])
        )
        setups += fabric.setup(network, optimizer)
    config = Config.model_validate(
        {
            "losses": WEIGHTS | {"relativistic": form},
            "data": {"crop": 64},
            "discriminator": {"r1": 1.0, "r1_every": 2},
            "train": {"clip": 1.0, "clip_discriminator": 0.1, "accumulate": accumulate},
        }
    )
    random = torch.Generator().manual_seed(5)
    source = LocalSource(Descriptor.default("rgb"), random, share=processes.share)
    g, g_optimizer, d, d_optimizer = setups
    objective = Objective(fabric, config, Guides(targets=source))
    step = TrainingStep(fabric, config, g, g_optimizer, d, d_optimizer, objective, processes)
    ema = averaged(networks[0], 0.5)
    meter, guard = Meter(processes.mean), StepGuard(GuardConfig(), processes)
    hr = torch.rand(6, BATCH, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    hr[-1, -1] = torch.nan
    rows = processes.share.rows(BATCH // processes.world)
    stages: list[Stage] = ["pretrain", "warm_discriminator", "adversarial", "adversarial", "adversarial", "adversarial"]
    skips = []
    for number, (stage, images) in enumerate(zip(stages, hr, strict=True)):
        own = images[rows]
        result = getattr(step, stage)(torch.nn.functional.avg_pool2d(own, 4), own, number)
        ema.update_parameters(networks[0])
        meter.add(result)
        guard.add(number, stage, result, NAMES)
        skips += guard.look()
    look = meter.look()
    return {
        "gradients": gradients[:-2],
        "weights": [p.detach().clone() for network in (*networks, ema) for p in network.parameters()],
        "losses": look.losses,
        "statistics": look.statistics,
        "skips": [(skip.iteration, skip.broken, skip.images) for skip in skips],
        "random": random.get_state(),
    }


def messages(processes: Processes) -> dict[str, Any]:
    """What the processes tell each other."""
    usage = PatchUsage(processes.gather)
    usage.add(torch.tensor([processes.share.rank, 7]))
    usage.collect()

    def fails() -> None:
        if processes.share.rank == processes.world - 1:
            raise UserError("the last one fails")

    try:
        processes.together(fails)
        said = ""
    except UserError as error:
        said = f"{type(error).__name__}: {error}" if isinstance(error, ReportedError) else str(error)
    return {
        "usage": usage.most_used(9),
        "any": [processes.any(processes.share.rank == 1), processes.any(False)],
        "from_first": processes.from_first(processes.share.rank),
        "said": said,
    }


def shared(processes: Processes) -> dict[str, Any]:
    """Whether a large array is made once, and lies in one file that has gone from the disk."""
    made = []

    def make() -> np.ndarray:
        made.append(True)
        return np.arange(1 << 20, dtype=np.float32)

    array = processes.place(make)
    lines = Path("/proc/self/maps").read_text().splitlines() if Path("/proc/self/maps").exists() else []
    files = sorted({line.split()[4] for line in lines if ".npy" in line})  # inodes
    return {"made": len(made), "sum": float(array.sum(dtype=np.float64)), "files": files}


def main() -> None:
    rank, world = int(sys.argv[1]), int(sys.argv[2])
    # oneDNN rounds an image's convolutions by the batch it is in, and one sign that flips in an L1 loss is worth 1e-5.
    torch.backends.mkldnn.enabled = False  # pyright: ignore[reportAttributeAccessIssue]
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{sys.argv[3]}", rank=rank, world_size=world)
    processes = Processes(torch.device("cpu"), Share(rank, world), local_rank=rank)
    found: dict[str, Any] = {
        f"{form}-{accumulate}": steps(processes, form, accumulate)
        for form in ("average", "paired")
        for accumulate in (1, 2)
    }
    torch.save(found | {"messages": messages(processes), "shared": shared(processes)}, sys.argv[4])
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
