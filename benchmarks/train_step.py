"""One training step with all five losses: Gram-GAN's against a plain fp32 eager one, in the same run.

The plain step is how ESRGAN-style trainers do it: fp32, contiguous memory, Adam without fusion, and D run four times (on SR and
HR for the generator's losses, again for its own). Networks, losses, threads, texture search and data are the same for both.

    python benchmarks/train_step.py [--batch 2] [--side 48] [--rounds 5]
"""

import argparse
import copy
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
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

DATABASE = 200_000


class SyntheticDatabase:
    """A target source over random vectors: the search costs what it costs with real ones, and no files are needed."""

    def __init__(self) -> None:
        self.descriptor = Descriptor.default("rgb")
        textures = torch.rand(DATABASE // 64, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        smooth = torch.nn.functional.avg_pool2d(textures, 3, 1, 1)
        self._vectors = self.descriptor.encode(smooth).flatten(0, 1)
        self._index = build_index(self._vectors)
        self.seconds = 0.0

    def targets(self, query: Tensor, hr: Tensor) -> Targets:
        started = time.perf_counter()
        distance, row = self._index.query(query.flatten(0, 1))
        shape = query.shape[:2]
        found = Targets(self._vectors[row].view_as(query), distance.view(shape), row.view(shape))
        self.seconds += time.perf_counter() - started
        return found


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
def timed_parts(step: TrainingStep, trunk: PerceptualTrunk, seconds: dict[str, float]) -> Iterator[None]:
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
    arguments = parser.parse_args()

    torch.manual_seed(0)
    config = Config()
    generator = RRDBNet(RRDBConfig(upsampler="nearest"))
    discriminator = Discriminator(DiscriminatorConfig())
    trunk = PerceptualTrunk(config.losses.trunk)
    source = SyntheticDatabase()
    hr = torch.rand(arguments.batch, 3, 4 * arguments.side, 4 * arguments.side)
    lr = matlab_bicubic_down(hr)

    plain_networks = copy.deepcopy((generator, discriminator, trunk))
    plain_optimizers = tuple(torch.optim.Adam(n.parameters(), 1e-4, foreach=False) for n in plain_networks[:2])

    def plain() -> dict[str, float]:
        return plain_step(*plain_networks, source, config, plain_optimizers, lr, hr)  # pyright: ignore[reportArgumentType]

    verdict = probe_training("cpu")
    fabric = Fabric(accelerator="cpu", devices=1, precision=PRECISION_FLAG[verdict.precision])
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

    plain_times, fast_times = [], []
    source.seconds = 0.0
    search = 0.0
    parts: dict[str, float] = defaultdict(float)
    for _ in range(arguments.rounds):
        started = time.perf_counter()
        plain()
        plain_times.append(time.perf_counter() - started)
        source.seconds = 0.0
        started = time.perf_counter()
        with timed_parts(step, trunk, parts):
            fast()
        fast_times.append(time.perf_counter() - started)
        search += source.seconds
    total = sum(fast_times)
    print(
        f"plain fp32 eager step {statistics.median(plain_times):.3f} s, Gram-GAN's {statistics.median(fast_times):.3f} s"
    )
    for name, seconds in sorted(parts.items(), key=lambda item: -item[1]):
        print(f"  {name:16} {seconds / total:6.1%}")
    print(f"  {'texture search':16} {search / total:6.1%}")
    print(
        f"result: speedup={statistics.median(plain_times) / statistics.median(fast_times):.2f} "
        f"search_share={search / total:.4f}"
    )


if __name__ == "__main__":
    main()
