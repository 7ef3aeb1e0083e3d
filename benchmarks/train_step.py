"""One training step with all five losses: Gram-GAN's against a plain fp32 eager one, in the same run.

The plain step is how ESRGAN-style trainers do it: fp32, contiguous memory, Adam without fusion, and D run four times
(on SR and HR for the generator's losses, again for its own). Networks, losses, threads, texture search and data are the
same for both. The weights are random: they do not change what a step costs.

    python benchmarks/train_step.py [--batch 2] [--side 48] [--rounds 5] [--seconds 75]

The last line's search_share is the part of our step that the database search takes.
"""

import argparse
import copy
import logging
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor

from gramgan.config import Config
from gramgan.hardware.probe import probe_training
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
from gramgan.texture.search import build_index
from gramgan.training.build import PRECISION_FLAG, build_optimizer
from gramgan.training.step import TrainingStep

DATABASE = 200_000  # vectors
SEARCH = "texture search"


class SyntheticDatabase:
    """A target source over patches of synthetic textures: no files are needed."""

    def __init__(self, random: torch.Generator) -> None:
        self.descriptor = Descriptor.default("rgb")
        self._vectors = self.descriptor.encode(textures(DATABASE // 64, 32, random)).flatten(0, 1)
        self._index = build_index(self._vectors)

    def targets(self, query: Tensor, hr: Tensor) -> Targets:
        """See `gramgan.texture.candidates.TargetSource.targets`."""
        distance, row = self._index.query(query.flatten(0, 1))
        shape = query.shape[:2]
        return Targets(self._vectors[row].view_as(query), distance.view(shape), row.view(shape))


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
) -> dict[str, float]:
    """One step as ESRGAN-style trainers do it."""
    g_optimizer, d_optimizer = optimizers
    weights, form = config.loss_weights, config.losses.relativistic
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
    return {name: value.item() for name, value in losses.items()} | {"discriminator": own.item()}


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--side", type=int, default=48, help="LR crop side")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=75, help="begin no new round after this long")
    arguments = parser.parse_args()

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    begun = time.perf_counter()
    random = torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    config = Config()
    generator = RRDBNet(RRDBConfig(upsampler="nearest"))
    discriminator = Discriminator(DiscriminatorConfig())
    trunk = PerceptualTrunk(config.losses.trunk)
    source = SyntheticDatabase(random)
    hr = textures(arguments.batch, 4 * arguments.side, random)
    lr = matlab_bicubic_down(hr)

    plain_networks = copy.deepcopy((generator, discriminator, trunk))
    plain_optimizers = tuple(torch.optim.Adam(n.parameters(), 1e-4, foreach=False) for n in plain_networks[:2])

    def plain() -> dict[str, float]:
        return plain_step(*plain_networks, source, config, plain_optimizers, lr, hr)  # pyright: ignore[reportArgumentType]

    verdict = probe_training("cpu")
    precision = PRECISION_FLAG[verdict.precision]
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)  # pyright: ignore[reportArgumentType]
    memory_format = torch.channels_last if verdict.channels_last else torch.contiguous_format
    for network in (generator, discriminator, trunk):
        network.to(memory_format=memory_format)  # pyright: ignore[reportCallIssue]
    g_wrapped, g_optimizer = fabric.setup(generator, build_optimizer(generator, 1e-4))
    d_wrapped, d_optimizer = fabric.setup(discriminator, build_optimizer(discriminator, 1e-4))
    step = TrainingStep(fabric, config, g_wrapped, g_optimizer, d_wrapped, d_optimizer, trunk, source)
    fast_lr, fast_hr = (x.contiguous(memory_format=memory_format) for x in (lr, hr))

    def fast() -> dict[str, float]:
        return {name: value.item() for name, value in step.adversarial(fast_lr, fast_hr).losses.items()}

    first_plain, first_fast = plain(), fast()  # also the warm-up
    print(f"threads {torch.get_num_threads()}, precision {verdict.precision}, channels_last {verdict.channels_last}")
    print("first step's losses, plain | Gram-GAN:")
    for name, value in first_plain.items():
        print(f"  {name:16} {value:10.5f} | {first_fast[name]:10.5f}")

    plain_times: list[float] = []
    fast_times: list[float] = []
    parts: dict[str, float] = defaultdict(float)
    while len(fast_times) < arguments.rounds and (not fast_times or time.perf_counter() - begun < arguments.seconds):
        plain_times.append(seconds_of(plain))
        with timed_parts(step, trunk, source, parts):
            fast_times.append(seconds_of(fast))
    total = sum(fast_times)
    slow, quick = statistics.median(plain_times), statistics.median(fast_times)
    print(f"{len(fast_times)} rounds: plain fp32 eager step {slow:.3f} s, Gram-GAN's {quick:.3f} s")
    for name, seconds in sorted(parts.items(), key=lambda item: -item[1]):
        print(f"  {name:16} {seconds / total:6.1%}")
    print(f"  {'the rest':16} {1 - sum(parts.values()) / total:6.1%}")
    print(f"result: speedup={slow / quick:.2f} search_share={parts[SEARCH] / total:.4f}")


def seconds_of(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
