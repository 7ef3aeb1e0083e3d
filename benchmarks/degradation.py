"""What making LR images costs: each profile on a batch of HR crops against one full-size training step of that batch.

The step is the adversarial one of the preset `paper` with all five losses, in the precision that the probe finds best
here; crops and weights are random, which does not change what anything costs. JPEG is compared with Pillow's on the
same crops, one after another.

    python benchmarks/degradation.py [--batch 8] [--side 192] [--rounds 5] [--device cpu]

The last line's shares are degradation over step, both in the same run; jpeg_ratio is Pillow's time over ours.
"""

import argparse
import io
import logging
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from gramgan.config import Config, load_config
from gramgan.degradation import PROFILES, build_degradation
from gramgan.degradation.bicubic import degrade_bicubic
from gramgan.degradation.jpeg import Coding, jpeg
from gramgan.hardware.probe import probe_training
from gramgan.texture.candidates import LocalSource
from gramgan.texture.descriptors import Descriptor
from gramgan.training.assemble import assemble, new_networks

QUALITY = 60


def crops(batch: int, side: int, device: str) -> torch.Tensor:
    """Smooth noise with some detail: `[batch, 3, side, side]`."""
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(batch, 3, side // 8, side // 8, generator=random)
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")
    return (0.8 * smooth + 0.2 * torch.rand(batch, 3, side, side, generator=random)).clamp(0, 1).to(device)


def full_size_step(config: Config, hr: torch.Tensor, device: str) -> Callable[[], object]:
    """The adversarial step of `config` on these crops."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    verdict = probe_training(device)
    layout = torch.channels_last if verdict.channels_last else torch.contiguous_format
    settled = {"device": device, "precision": verdict.precision}
    settled["memory_format"] = "channels_last" if verdict.channels_last else "contiguous"
    config = config.model_copy(update={"train": config.train.model_copy(update=settled)})
    torch.manual_seed(0)
    source = LocalSource(Descriptor.default("rgb"), torch.Generator().manual_seed(0))
    step = assemble(config, new_networks(config), source).step
    lr, hr = (x.contiguous(memory_format=layout) for x in (degrade_bicubic(hr), hr))
    print(f"threads {torch.get_num_threads()}, precision {verdict.precision}, channels_last {verdict.channels_last}")
    return lambda: step.adversarial(lr, hr).losses["total"].item()


def seconds_of(run: Callable[[], object], device: str) -> float:
    started = time.perf_counter()
    run()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - started


def through_pillow(pictures: list[np.ndarray]) -> None:
    for picture in pictures:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=QUALITY, subsampling="4:2:0")
        Image.open(file).load()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--side", type=int, default=192, help="HR crop side")
    parser.add_argument("--rounds", type=int, default=10, help="batches of each profile, each with seeds of its own")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()

    batch, device = arguments.batch, arguments.device
    hr = crops(batch, arguments.side, device)
    degradations = {name: build_degradation(name) for name in PROFILES}
    times: dict[str, list[float]] = {name: [] for name in PROFILES}
    for degradation in degradations.values():
        degradation(hr, range(batch))  # warm-up
    for number in range(arguments.rounds):
        seeds = range(number * batch, (number + 1) * batch)
        for name, degradation in degradations.items():
            times[name].append(seconds_of(lambda degradation=degradation, seeds=seeds: degradation(hr, seeds), device))
    pictures = [image.mul(255).byte().cpu().numpy().transpose(1, 2, 0).copy() for image in hr]
    codings = [Coding(QUALITY)] * batch
    ours = statistics.median(seconds_of(lambda: jpeg(list(hr), codings), device) for _ in range(arguments.rounds))
    pillow = statistics.median(seconds_of(lambda: through_pillow(pictures), "cpu") for _ in range(arguments.rounds))

    step = full_size_step(load_config("paper"), hr, device)
    step()  # warm-up
    whole = statistics.median(seconds_of(step, device) for _ in range(2))
    print(f"{batch} crops of {arguments.side}×{arguments.side}: training step {whole:.2f} s")
    shares = {name: statistics.median(seconds) / whole for name, seconds in times.items()}
    for name, seconds in times.items():
        print(f"  {name:10} {1e3 * statistics.median(seconds):7.1f} ms, slowest {1e3 * max(seconds):7.1f} ms")
    print(f"  JPEG: ours {1e3 * ours:.1f} ms, Pillow's {1e3 * pillow:.1f} ms")
    listed = " ".join(f"{name}_share={value:.4f}" for name, value in shares.items())
    print(f"result: {listed} jpeg_ratio={pillow / ours:.2f}")


if __name__ == "__main__":
    main()
