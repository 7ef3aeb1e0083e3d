"""One training step with all five losses: Gram-GAN's against a plain fp32 eager one, in the same run.

The plain step is how ESRGAN-style trainers do it: fp32, contiguous memory, Adam without fusion, and D run four times
(on SR and HR for the generator's losses, again for its own). Networks, losses, threads, texture search and data are the
same for both. The weights are random, but for the generator's, which is nearest-neighbour enlargement, as trainings
from scratch begin: what noise asks for lies far from every texture, where a search in a tree takes a hundred times as
long, and no run begins there. Each of the two has a process of its own, the plain one with the system's allocator as it
is, so that memory and page faults of each are known; they take turns.

    python benchmarks/train_step.py [--batch 2 8] [--side 48] [--rounds 3] [--seconds 150]
    python benchmarks/train_step.py --agree 50 --batch 2 --side 16

The last line's speedup is the least of the batches', search_share the largest part of our step that the database search
takes, peak_gib the largest memory of our process. With --agree N both train from the same weights on the same N
batches, and their loss values are compared instead.
"""

import argparse
import logging
import math
import multiprocessing
import os
import re
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gramgan.config import Config
from gramgan.hardware.allocator import keep_memory
from gramgan.hardware.casting import memory_format
from gramgan.hardware.precision import Precision
from gramgan.hardware.probe import probe_training
from gramgan.hardware.processor import processor_key, processor_name
from gramgan.losses import (
    discriminator_adversarial_loss,
    discriminator_perceptual_loss,
    generator_adversarial_loss,
    patch_texture_loss,
    perceptual_loss,
    pixel_loss,
)
from gramgan.networks.discriminator import Discriminator, DiscriminatorConfig
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.networks.trunks import PerceptualTrunk
from gramgan.ops.resize import matlab_bicubic_down
from gramgan.texture.candidates import Targets, TargetSource, combined_query
from gramgan.texture.descriptors import Descriptor
from gramgan.texture.mask import texture_mask
from gramgan.texture.search import SearchBackend, build_index
from gramgan.training import assemble as parts
from gramgan.training.assemble import assemble
from gramgan.training.step import TrainingStep

DATABASE = 200_000  # vectors
SEARCH = "texture search"


class TargetVectors:
    """A target source over the vectors of a texture database, on their device."""

    def __init__(self, descriptor: Descriptor, vectors: Tensor, search: SearchBackend = "auto") -> None:
        self.descriptor = descriptor
        self._vectors = vectors
        self._index = build_index(vectors, search)

    def targets(self, query: Tensor, hr: Tensor) -> Targets:
        """See `gramgan.texture.candidates.TargetSource.targets`."""
        distance, row = self._index.query(query.flatten(0, 1))
        shape = query.shape[:2]
        return Targets(self._vectors[row].view_as(query), distance.view(shape), row.view(shape))


def synthetic_database() -> TargetVectors:
    """Patches of synthetic textures: no files are needed."""
    descriptor = Descriptor.default("rgb")
    images = textures(DATABASE // 64, 32, torch.Generator().manual_seed(1))
    return TargetVectors(descriptor, descriptor.encode(images).flatten(0, 1))


def textures(count: int, side: int, random: torch.Generator) -> Tensor:
    """Smoothed noise around a colour: `[count, 3, side, side]` in [0, 1]."""
    noise = F.avg_pool2d(torch.rand(count, 3, side + 2, side + 2, generator=random), 3, stride=1)
    return (0.5 * noise + 0.5 * torch.rand(count, 3, 1, 1, generator=random)).clamp(0, 1)


def plain_step(
    generator: RRDBNet,
    discriminator: Discriminator,
    trunk: PerceptualTrunk,
    source: TargetSource,
    config: Config,
    optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer],
    lr: Tensor,
    hr: Tensor,
) -> dict[str, Tensor]:
    """One step as ESRGAN-style trainers do it."""
    g_optimizer, d_optimizer = optimizers
    weights, form = config.losses.weights, config.losses.relativistic
    discriminator.requires_grad_(False)
    sr = generator(lr)
    mask = texture_mask(hr, config.mask.threshold, config.mask.window)
    gram_sr, gram_hr = source.descriptor.encode(sr), source.descriptor.encode(hr)
    query = combined_query(gram_hr, gram_sr, config.texture.alpha, config.texture.beta)
    on_sr, on_hr = discriminator(sr * mask), discriminator(hr * mask)
    losses = {
        "texture": patch_texture_loss(gram_sr, source.targets(query, hr), source.descriptor),
        "perceptual": perceptual_loss(trunk(sr), trunk(hr), trunk.weights),
        "pixel": pixel_loss(sr, hr),
        "disc_perceptual": discriminator_perceptual_loss(on_sr, on_hr),
        "adversarial": generator_adversarial_loss(on_sr.logit, on_hr.logit, form),
    }
    g_optimizer.zero_grad()
    torch.stack([weights[name] * value for name, value in losses.items()]).sum().backward()
    g_optimizer.step()
    discriminator.requires_grad_(True)
    d_optimizer.zero_grad()
    on_hr, on_sr = discriminator(hr * mask), discriminator(sr.detach() * mask)
    own = discriminator_adversarial_loss(on_sr.logit, on_hr.logit, form)
    own.backward()
    d_optimizer.step()
    return {name: value.detach() for name, value in losses.items()} | {"discriminator": own.detach()}


@contextmanager
def timed_parts(
    step: TrainingStep, trunk: PerceptualTrunk, source: TargetSource, seconds: dict[str, float]
) -> Iterator[None]:
    """Add up how long the parts of a step take, by wrapping them while the block runs."""

    def wrap(owner: object, name: str, label: str) -> Callable[[], None]:
        original = getattr(owner, name)

        def timed(*args: object, **kwargs: object) -> object:
            started = time.perf_counter()
            result = original(*args, **kwargs)
            seconds[label] += time.perf_counter() - started
            return result

        setattr(owner, name, timed)
        return lambda: setattr(owner, name, original)

    undo = [
        wrap(step, "generator", "G forward"),
        wrap(step, "discriminator", "D forward"),
        wrap(trunk, "forward", "trunk forward"),
        wrap(source, "targets", SEARCH),
        wrap(step, "_backward", "backward"),
        wrap(step.generator_optimizer, "step", "Adam"),
        wrap(step.discriminator_optimizer, "step", "Adam"),
    ]
    try:
        yield
    finally:
        for restore in undo:
            restore()


@dataclass
class Networks:
    """What both steps move."""

    generator: RRDBNet
    discriminator: Discriminator
    trunk: PerceptualTrunk

    @classmethod
    def new(cls, generator: RRDBConfig, width: int = 64) -> "Networks":
        """The same weights in every process: see the head of this file."""
        torch.manual_seed(0)
        start = RRDBNet(generator)
        start.start_as_nearest()
        return cls(start, Discriminator(DiscriminatorConfig(width=width)), PerceptualTrunk("vgg19"))

    def to(self, device: torch.device) -> "Networks":
        """All three on `device`."""
        for network in self.each():
            network.to(device)
        return self

    def each(self) -> tuple[RRDBNet, Discriminator, PerceptualTrunk]:
        """All three."""
        return self.generator, self.discriminator, self.trunk


def plain_runner(
    networks: Networks, source: TargetSource, config: Config
) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
    """`plain_step` with optimisers that are not fused."""
    generator, discriminator, trunk = networks.each()
    # On a GPU torch takes all parameters of a kind at once by itself; on a CPU one after another.
    optimizers = tuple(torch.optim.Adam(n.parameters(), 1e-4) for n in (generator, discriminator))

    def run(lr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        return plain_step(generator, discriminator, trunk, source, config, optimizers, lr, hr)  # pyright: ignore[reportArgumentType]

    return run


def our_step(
    networks: Networks,
    source: TargetSource,
    config: Config,
    precision: Precision,
    *,
    channels_last: bool,
    device: torch.device,
) -> TrainingStep:
    """Gram-GAN's step, put together as a training run does it."""
    settled = {"device": str(device), "precision": precision}
    settled["memory_format"] = "channels_last" if channels_last else "contiguous"
    config = config.model_copy(update={"train": config.train.model_copy(update=settled)})
    return assemble(config, parts.Networks(*networks.each()), source).step


def images(batch: int, side: int, seed: int) -> tuple[Tensor, Tensor]:
    """LR and HR images of random textures."""
    hr = textures(batch, 4 * side, torch.Generator().manual_seed(seed))
    return matlab_bicubic_down(hr), hr


def work(kind: str, batch: int, side: int, pipe: Connection) -> None:
    """A process that makes one step whenever a seed for its images comes through `pipe`, until None comes.

    It answers with the seconds that the step took, those of the processor (of all threads), its page faults and its
    losses; at the end with the seconds of the parts of a step and the most memory that the process had, in GiB.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    config, networks = Config(), Networks.new(RRDBConfig(upsampler="nearest"))
    source = synthetic_database()
    parts: dict[str, float] = defaultdict(float)
    run: Callable[[Tensor, Tensor], dict[str, Tensor]]
    if kind == "plain":
        run = plain_runner(networks, source, config)
        layout = torch.contiguous_format
    else:
        keep_memory()  # as every command does; the peer has the system's allocator as it is
        verdict = probe_training("cpu")
        step = our_step(
            networks,
            source,
            config,
            verdict.precision,
            channels_last=verdict.channels_last,
            device=torch.device("cpu"),
        )
        layout = memory_format(verdict.channels_last)

        def ours(lr: Tensor, hr: Tensor) -> dict[str, Tensor]:
            with timed_parts(step, networks.trunk, source, parts):
                return step.adversarial(lr, hr).losses

        run = ours

    while (seed := pipe.recv()) is not None:
        lr, hr = (x.contiguous(memory_format=layout) for x in images(batch, side, seed))
        started, used, faults = time.perf_counter(), time.process_time(), page_faults()
        losses = {name: value.item() for name, value in run(lr, hr).items()}
        pipe.send((time.perf_counter() - started, time.process_time() - used, page_faults() - faults, losses))
        if seed == 0:
            parts.clear()  # the warm-up
    pipe.send((dict(parts), peak_gib()))


def page_faults() -> int:
    """How often this process has had to wait for a page of memory; 0 where the system does not tell."""
    status = Path("/proc/self/stat")
    return int(status.read_text().rpartition(")")[2].split()[7]) if status.exists() else 0


def peak_gib() -> float:
    """The most memory that this process had, in GiB; NaN where the system does not tell."""
    status = Path("/proc/self/status")
    match = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE) if status.exists() else None
    return int(match[1]) / 2**20 if match else math.nan


class Worker:
    """A process of `work`."""

    def __init__(self, kind: str, batch: int, side: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(kind, batch, side, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def step(self, seed: int) -> tuple[float, float, int, dict[str, float]]:
        """Seconds, seconds of the processor, page faults and losses of one step."""
        self._pipe.send(seed)
        return self._pipe.recv()

    def end(self) -> tuple[dict[str, float], float]:
        """Seconds of the parts of all steps, and peak memory in GiB."""
        self._pipe.send(None)
        result = self._pipe.recv()
        self._process.join()
        return result


@dataclass(frozen=True)
class Measured:
    """Medians in seconds, memory in GiB, and the share of the texture search."""

    plain: float
    ours: float
    plain_gib: float
    our_gib: float
    search_share: float


def measure(batch: int, side: int, rounds: int, seconds: float) -> Measured:
    """Take turns, and print what a step is made of."""
    begun = time.perf_counter()
    plain, ours = Worker("plain", batch, side), Worker("ours", batch, side)
    first_plain, first_ours = plain.step(0)[-1], ours.step(0)[-1]  # also the warm-up
    print(f"batch {batch}: first step's losses, plain | Gram-GAN:")
    for name, value in first_plain.items():
        print(f"  {name:16} {value:10.5f} | {first_ours[name]:10.5f}")
    plain_steps: list[tuple[float, float, int]] = []
    our_steps: list[tuple[float, float, int]] = []
    while len(our_steps) < rounds and (not our_steps or time.perf_counter() - begun < seconds):
        plain_steps.append(plain.step(1)[:-1])
        our_steps.append(ours.step(1)[:-1])
    (_, plain_gib), (parts, our_gib) = plain.end(), ours.end()
    slow, slow_used, slow_faults = (statistics.median(each) for each in zip(*plain_steps, strict=True))
    quick, quick_used, quick_faults = (statistics.median(each) for each in zip(*our_steps, strict=True))
    total = sum(seconds for seconds, _, _ in our_steps)
    print(f"{len(our_steps)} rounds: plain fp32 eager {slow:.3f} s, Gram-GAN's {quick:.3f} s: {slow / quick:.2f} times")
    for name, spent in sorted(parts.items(), key=lambda item: -item[1]):
        print(f"  {name:16} {spent / total:6.1%}")
    print(f"  {'the rest':16} {1 - sum(parts.values()) / total:6.1%}")
    # On a busy machine the processor's own time says more than the clock.
    print(f"processor time: plain {slow_used:.3f} s, Gram-GAN's {quick_used:.3f} s: {slow_used / quick_used:.2f} times")
    print(f"page faults a step: plain {slow_faults:,.0f}, Gram-GAN's {quick_faults:,.0f}")
    print(f"peak memory of the process: plain {plain_gib:.2f} GiB, Gram-GAN's {our_gib:.2f} GiB", flush=True)
    return Measured(slow, quick, plain_gib, our_gib, parts[SEARCH] / total)


def agreement(batch: int, side: int, steps: int) -> None:
    """Train both on the same images, and print by how much their losses differ."""
    plain, ours = Worker("plain", batch, side), Worker("ours", batch, side)
    both = [(plain.step(seed)[-1], ours.step(seed)[-1]) for seed in range(1, steps + 1)]
    plain.end()
    ours.end()
    worst = 0.0
    print(
        "mean of each loss over all steps, plain | Gram-GAN, and mean of |difference| relative to the plain one's mean:"
    )
    for name in both[0][0]:
        a, b = ([side_[name] for side_ in pair] for pair in zip(*both, strict=True))
        difference = statistics.fmean(abs(x - y) for x, y in zip(a, b, strict=True)) / statistics.fmean(map(abs, a))
        worst = max(worst, difference)
        print(f"  {name:16} {statistics.fmean(a):10.5f} | {statistics.fmean(b):10.5f}   {difference:.3%}")
    print(f"result: steps={steps} largest_difference={worst:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--side", type=int, default=48, help="LR crop side")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=75, help="for each batch: begin no new round after this long")
    parser.add_argument("--agree", type=int, default=0, metavar="STEPS", help="compare the losses of so many steps")
    arguments = parser.parse_args()

    verdict = probe_training("cpu")
    print(
        f"{processor_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"{torch.backends.cpu.get_cpu_capability()}{', AMX' if has_amx() else ''}; the probe chose "
        f"{verdict.precision}, channels_last {verdict.channels_last}",
        flush=True,
    )
    if arguments.agree:
        agreement(arguments.batch[0], arguments.side, arguments.agree)
        return
    found = {batch: measure(batch, arguments.side, arguments.rounds, arguments.seconds) for batch in arguments.batch}
    each: dict[str, Any] = {f"batch_{batch}": f"{one.plain / one.ours:.2f}" for batch, one in found.items()}
    print(
        f"result: speedup={min(one.plain / one.ours for one in found.values()):.2f} "
        f"search_share={max(one.search_share for one in found.values()):.4f} "
        f"peak_gib={max(one.our_gib for one in found.values()):.2f} "
        + " ".join(f"{name}={value}" for name, value in each.items())
    )


def has_amx() -> bool:
    """Whether the processor multiplies bf16 matrices in hardware."""
    return "amx_bf16" in processor_key() and "AMX" in os.environ.get("ONEDNN_MAX_CPU_ISA", "AMX")


if __name__ == "__main__":
    main()
