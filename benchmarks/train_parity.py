"""Does bf16 cost quality? The same short trainings in fp32 and in bf16, compared on a benchmark set.

A lite generator (nf 32, nb 4, gc 16) learns L_C alone from noise; for each seed both precisions start from the same
weights and see the same crops. The averaged weights are scored with PSNR on MATLAB's Y, 4 border pixels cropped, in
fp32.

    python benchmarks/train_parity.py --photos FOLDER --set Set5 [--steps 500] [--seeds 0 1 2] [--batch 4] [--crop 64]

The last line has the mean over seeds of PSNR in bf16 less PSNR in fp32, and the largest difference of one seed. Minutes
on two cores without bf16 matrix instructions.
"""

import argparse
import logging
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

from gramgan.config import Config
from gramgan.data.items import items_of
from gramgan.data.resident import ResidentPhotos
from gramgan.data.source import Demand
from gramgan.degradation.bicubic import degrade_bicubic
from gramgan.hardware.precision import Precision
from gramgan.hardware.processor import processor_name
from gramgan.images import find_images, read_rgb
from gramgan.images.pairing import truths
from gramgan.metrics.psnr import psnr_y
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.training.assemble import Networks, assemble
from gramgan.training.schedule import learning_rate, set_learning_rate

RATE = 2e-4  # the presets' own for L_C


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of photographs to train on")
    parser.add_argument("--set", type=Path, required=True, help="folder of HR images to score on, such as Set5")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--crop", type=int, default=64, help="side of HR crops")
    parser.add_argument("--nf", type=int, default=32)
    parser.add_argument("--nb", type=int, default=4)
    parser.add_argument("--gc", type=int, default=16)
    arguments = parser.parse_args()

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    generator = RRDBConfig(arguments.nf, arguments.nb, arguments.gc)
    truth = [whole(torch.from_numpy(read_rgb(path)).unsqueeze(0)) for path in truths(arguments.set)]
    print(f"{processor_name()}, {torch.get_num_threads()} threads; {len(truth)} images of {arguments.set.name}")
    differences = []
    for seed in arguments.seeds:
        demand = Demand(crop=arguments.crop, batch=arguments.batch, seed=seed)
        scores: dict[Precision, float] = {}
        for precision in ("fp32", "bf16"):
            source = ResidentPhotos(items_of(find_images(arguments.photos)), demand)
            started = time.perf_counter()
            network = trained(generator, source, precision, seed, arguments.steps)
            scores[precision] = score(network, truth)
            print(
                f"seed {seed} {precision}: {scores[precision]:.3f} dB, {time.perf_counter() - started:.0f} s",
                flush=True,
            )
        differences.append(scores["bf16"] - scores["fp32"])
    mean, largest = statistics.fmean(differences), max(map(abs, differences))
    print(f"result: steps={arguments.steps} seeds={len(differences)} mean_db={mean:+.4f} largest_db={largest:.4f}")


def trained(generator: RRDBConfig, source: ResidentPhotos, precision: Precision, seed: int, steps: int) -> RRDBNet:
    """The averaged weights after `steps` steps of L_C."""
    torch.manual_seed(seed)
    settled = {"device": "cpu", "precision": precision, "memory_format": "channels_last", "ema_decay": 0.99}
    config = Config.model_validate({"train": settled, "schedule": {"rate": RATE}})
    parts = assemble(config, Networks(RRDBNet(generator)))
    for number in range(steps):
        rate = learning_rate(number, RATE, warmup=min(50, steps), period=steps, minimum=0)
        set_learning_rate(parts.generator_optimizer, rate)
        hr = source.next().images.contiguous(memory_format=torch.channels_last)
        parts.step.pretrain(degrade_bicubic(hr), hr)
        parts.ema.update_parameters(parts.generator)
    assert isinstance(parts.ema.module, RRDBNet)
    return parts.ema.module.eval()


@torch.no_grad()
def score(network: RRDBNet, truth: list[Tensor]) -> float:
    """Mean PSNR in dB."""
    return statistics.fmean(float(psnr_y(network(degrade_bicubic(hr)).clamp(0, 1), hr)) for hr in truth)


def whole(hr: Tensor) -> Tensor:
    """`hr` without what does not divide by 4."""
    height, width = (side // 4 * 4 for side in hr.shape[-2:])
    return hr[..., :height, :width]


if __name__ == "__main__":
    main()
