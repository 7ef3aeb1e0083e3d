"""Training on a GPU: Gram-GAN's step with the published setting, against a plain fp32 step and a plain bf16 one.

Runs unattended, without network, from a checkout that need not be installed:

    PYTHONPATH=src python benchmarks/train_gpu.py [--database NAME.safetensors] [--photos FOLDER] [--batch 8 16]
    PYTHONPATH=src python benchmarks/train_gpu.py --device cpu --quick      the same path with tiny networks, in seconds

It needs torch with CUDA, lightning (or lightning-fabric), safetensors, pyyaml and the small wheels pydantic (with
pydantic-core, annotated-types and typing-inspection) and platformdirs. Lance, Faiss, pykdtree and pyvips are not
needed: `--database` is a snapshot made elsewhere by `gramgan db snapshot` (random textures serve without one), and
photographs are read by Pillow (random textures serve without them). Weights are random: they do not change the speed.

What is measured, with photographs and textures in the device's memory, and crops, degradation and the average of the
weights as in a training run:

- iterations per second at each batch size: Gram-GAN's step (bf16 autocast, channels last, fused Adam; also with
  torch.compile, where there is a compiler), the plain step in fp32, and the plain step under bf16 autocast. The plain
  step is ESRGAN's way: contiguous memory, D run four times, Adam as torch makes it;
- the largest memory of a step at the first batch size, as it is and with activation checkpointing;
- whether the device computes what the CPU computes: the losses of one step in fp32, and one picture upscaled.

The last line has the figures for a program to read. Timings are medians of windows of several iterations, with the
device synchronised at the ends of a window alone.
"""

import argparse
import logging
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

try:
    import lightning_fabric  # noqa: F401
except ImportError:  # the same library as a part of the package `lightning`
    import lightning.fabric  # pyright: ignore[reportMissingImports]

    sys.modules["lightning_fabric"] = lightning.fabric

import numpy as np

from gramgan.config import Config
from gramgan.degradation.bicubic import degrade_bicubic
from gramgan.hardware.casting import in_precision
from gramgan.hardware.precision import Precision
from gramgan.networks.rrdb import RRDBConfig
from gramgan.texture.descriptors import Descriptor
from gramgan.texture.snapshot import Snapshot
from gramgan.training.compiling import compile_networks
from gramgan.training.ema import averaged
from train_step import Networks, TargetVectors, our_step, plain_runner, textures

Step = Callable[[Tensor, Tensor], object]


@dataclass(frozen=True)
class Setting:
    """What a run of this script trains."""

    device: torch.device
    generator: RRDBConfig
    width: int  # of D
    crop: int
    windows: int
    window: int  # iterations
    photos: list[Tensor]  # uint8 `[3, H, W]` on the device
    vectors: Tensor  # of the textures, on the device
    descriptor: Descriptor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, nargs="+", default=None, help="default: 8 16; with --quick: 2")
    parser.add_argument("--database", type=Path, help="snapshot of a texture database; default: random textures")
    parser.add_argument("--photos", type=Path, help="folder of photographs; default: random textures")
    parser.add_argument("--quick", action="store_true", help="tiny networks and few iterations: a test of this script")
    arguments = parser.parse_args()

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("torch sees no CUDA device here; try --device cpu --quick")
    setting = settle(arguments)
    batches = arguments.batch or ([2] if arguments.quick else [8, 16])
    name = torch.cuda.get_device_name(setting.device) if on_cuda(setting) else "cpu"
    print(f"{name}, torch {torch.__version__}, {len(setting.vectors):,} textures, {len(setting.photos)} photographs")

    compiled = can_compile(setting) if not arguments.quick else False
    rows: dict[int, dict[str, float]] = {}
    for batch in batches:
        rows[batch] = {}
        for label, step in steps(setting, compiled):
            rows[batch][label] = iterations_per_second(setting, step, batch)
            print(f"batch {batch}: {label:28} {rows[batch][label]:8.2f} it/s", flush=True)
            del step
            clear(setting)
    memory = {checkpointing: peak_gib(setting, batches[0], checkpointing) for checkpointing in (False, True)}
    losses = loss_difference(setting)
    picture = {precision: picture_difference(setting, precision) for precision in ("fp32", "bf16")}

    print(f"\n| step ({name}) | " + " | ".join(f"batch {batch}, it/s" for batch in batches) + " |")
    print("| --- |" + " --- |" * len(batches))
    for label in rows[batches[0]]:
        print(f"| {label} | " + " | ".join(f"{rows[batch][label]:.2f}" for batch in batches) + " |")
    print(
        f"\nlargest memory at batch {batches[0]}: {memory[False]:.2f} GiB, with activation checkpointing "
        f"{memory[True]:.2f} GiB\nlosses of one step, fp32, largest relative difference to the CPU: {losses:.1e}\n"
        f"one picture, largest difference to the CPU's fp32: fp32 {picture['fp32']:.1e}, bf16 {picture['bf16']:.1e}"
    )
    best = {batch: max(value for label, value in row.items() if label.startswith(OURS)) for batch, row in rows.items()}
    figures = {f"its_{batch}": f"{value:.2f}" for batch, value in best.items()}
    figures |= {f"vs_fp32_{batch}": f"{value / rows[batch][PLAIN]:.2f}" for batch, value in best.items()}
    figures |= {f"vs_bf16_{batch}": f"{value / rows[batch][AUTOCAST]:.2f}" for batch, value in best.items()}
    figures |= {"peak_gib": f"{memory[False]:.2f}", "peak_gib_checkpointed": f"{memory[True]:.2f}"}
    figures |= {"loss_difference": f"{losses:.1e}", "picture_difference": f"{picture['fp32']:.1e}"}
    print("result: " + " ".join(f"{name}={value}" for name, value in figures.items()))


OURS, PLAIN, AUTOCAST = "Gram-GAN", "plain fp32", "plain bf16 autocast"


def settle(arguments: argparse.Namespace) -> Setting:
    """Read or make what the script trains with, and put it on the device."""
    device = torch.device(arguments.device)
    random = torch.Generator().manual_seed(1)
    if arguments.database is None:
        descriptor = Descriptor.default("rgb")
        count = 1_000 if arguments.quick else 200_000
        vectors = descriptor.encode(textures(math.ceil(count / 64), 32, random)).flatten(0, 1)
    else:
        snapshot = Snapshot.open(arguments.database)
        descriptor = snapshot.metadata.descriptor
        vectors = torch.from_numpy(snapshot.numbers("gram") / np.asarray(descriptor.scale, np.float32))
    if arguments.photos is None:
        side = 128 if arguments.quick else 1024
        photos = [image.mul(255).byte() for image in textures(4 if arguments.quick else 16, side, random)]
    else:
        photos = list(read_photos(arguments.photos))
    quick = arguments.quick
    return Setting(
        device=device,
        generator=RRDBConfig(8, 1, 4) if quick else RRDBConfig(),
        width=8 if quick else 64,
        crop=64 if quick else 192,
        windows=1 if quick else 5,
        window=1 if quick else 20,
        photos=[photo.to(device) for photo in photos],
        vectors=vectors.to(device),
        descriptor=descriptor,
    )


def read_photos(folder: Path) -> Iterator[Tensor]:
    """The photographs of a folder, uint8 `[3, H, W]`."""
    from PIL import Image

    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"):
            with Image.open(path) as image:
                yield torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()


def on_cuda(setting: Setting) -> bool:
    return setting.device.type == "cuda"


def config_of(setting: Setting) -> Config:
    """The published losses, with textures from the database."""
    values = {"data": {"crop": setting.crop}, "texture": {"candidates": "database", "databases": ["snapshot"]}}
    return Config.model_validate(values)


def textures_of(setting: Setting) -> TargetVectors:
    """The database, searched as a run on this device does it; a CPU without pykdtree compares directly."""
    return TargetVectors(setting.descriptor, setting.vectors, "auto" if on_cuda(setting) else "direct")


def steps(setting: Setting, compiled: bool) -> Iterator[tuple[str, Step]]:
    """What is compared, by label; each with networks of its own, made when it is its turn."""
    yield OURS, ours(setting, "bf16")
    if compiled:
        yield f"{OURS}, compiled", ours(setting, "bf16", compiled=True)
    yield PLAIN, plain(setting)
    yield AUTOCAST, plain(setting, autocast=True)


def ours(setting: Setting, precision: Precision, *, compiled: bool = False, checkpointing: bool = False) -> Step:
    """Gram-GAN's step with the average of the weights, as the training loop makes it."""
    networks = Networks.new(setting.generator, setting.width)
    networks.generator.checkpointing = checkpointing
    source = textures_of(setting)
    step = our_step(networks, source, config_of(setting), precision, channels_last=True, device=setting.device)
    ema = averaged(networks.generator, 0.999)
    if compiled:
        compile_networks(networks.generator, networks.trunk, setting.device)

    def run(lr: Tensor, hr: Tensor) -> object:
        layout = torch.channels_last
        result = step.adversarial(lr.contiguous(memory_format=layout), hr.contiguous(memory_format=layout))
        ema.update_parameters(networks.generator)
        return result.losses

    return run


def plain(setting: Setting, *, autocast: bool = False) -> Step:
    """The plain step, with the same average."""
    networks = Networks.new(setting.generator, setting.width).to(setting.device)
    run_step = plain_runner(networks, textures_of(setting), config_of(setting))
    ema = averaged(networks.generator, 0.999)

    def run(lr: Tensor, hr: Tensor) -> object:
        with torch.autocast(setting.device.type, torch.bfloat16, enabled=autocast):
            losses = run_step(lr, hr)
        ema.update_parameters(networks.generator)
        return losses

    return run


def can_compile(setting: Setting) -> bool:
    networks = Networks.new(RRDBConfig(8, 1, 4), 8)
    return compile_networks(networks.generator.to(setting.device), None, setting.device)


def crops(setting: Setting, batch: int, random: torch.Generator) -> Tensor:
    """Random crops out of the photographs in the device's memory: float32 `[B, 3, crop, crop]` in [0, 1]."""
    found = []
    for _ in range(batch):
        photo = setting.photos[int(torch.randint(len(setting.photos), (), generator=random))]
        top, left = (int(torch.randint(side - setting.crop + 1, (), generator=random)) for side in photo.shape[-2:])
        found.append(photo[:, top : top + setting.crop, left : left + setting.crop])
    return torch.stack(found).float().div_(255)


def iterations_per_second(setting: Setting, step: Step, batch: int) -> float:
    """Median over windows, after a warm-up."""
    random = torch.Generator().manual_seed(2)

    def window(iterations: int) -> float:
        synchronise(setting)
        started = time.perf_counter()
        for _ in range(iterations):
            hr = crops(setting, batch, random)
            step(degrade_bicubic(hr), hr)
        synchronise(setting)
        return iterations / (time.perf_counter() - started)

    window(1 if setting.window == 1 else 10)
    return statistics.median(window(setting.window) for _ in range(setting.windows))


def synchronise(setting: Setting) -> None:
    if on_cuda(setting):
        torch.cuda.synchronize(setting.device)


def clear(setting: Setting) -> None:
    if on_cuda(setting):
        torch.cuda.empty_cache()


def peak_gib(setting: Setting, batch: int, checkpointing: bool) -> float:
    """Largest memory that the allocator took from the device during three steps, in GiB; NaN on a CPU."""
    step = ours(setting, "bf16", checkpointing=checkpointing)
    random = torch.Generator().manual_seed(2)
    if on_cuda(setting):
        clear(setting)
        torch.cuda.reset_peak_memory_stats(setting.device)
    for _ in range(3 if on_cuda(setting) else 1):
        hr = crops(setting, batch, random)
        step(degrade_bicubic(hr), hr)
    return torch.cuda.max_memory_reserved(setting.device) / 2**30 if on_cuda(setting) else math.nan


@contextmanager
def full_fp32() -> Iterator[None]:
    """No TF32: the CPU has none either."""
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])


def loss_difference(setting: Setting) -> float:
    """Largest |device - CPU| / |CPU| over the losses of the first step in fp32, from the same weights and crops."""
    hr = crops(setting, 2, torch.Generator().manual_seed(3))
    found = []
    for device in (torch.device("cpu"), setting.device):
        here = replace(setting, device=device, vectors=setting.vectors.to(device))
        with full_fp32():
            losses = ours(here, "fp32")(degrade_bicubic(hr).to(device), hr.to(device))
        assert isinstance(losses, dict)
        found.append({name: float(value) for name, value in losses.items()})
    expected, got = found
    return max(abs(got[name] - value) / max(abs(value), 1e-6) for name, value in expected.items())


@torch.no_grad()
def picture_difference(setting: Setting, precision: Precision) -> float:
    """Largest difference of one upscaled picture, in [0, 1], from the CPU's in fp32."""
    network = Networks.new(setting.generator, setting.width).generator
    nn.init.constant_(network.conv_last.bias, 0.5)  # pyright: ignore[reportArgumentType]
    lr = textures(1, setting.crop // 4, torch.Generator().manual_seed(4))
    expected = in_precision(network, "fp32", False)(lr)
    there = in_precision(network, precision, True, str(setting.device))
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    with full_fp32():
        got = there(lr.to(setting.device, dtype, memory_format=torch.channels_last)).cpu()
    return float((got.clamp(0, 1) - expected.clamp(0, 1)).abs().max())


if __name__ == "__main__":
    main()
