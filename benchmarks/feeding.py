"""How fast training crops come in: from memory, and streamed from JPEG files, sub-images and shards.

One crop of 192×192 out of each decoded image. Photographs of about 2 megapixels, streamed by two workers into batches
on the CPU, are compared with the decoder's own ceiling (the same decodes of the same crops by two processes or two
threads that do nothing else, whichever is faster) and with a plain Pillow loader (torch's DataLoader, two workers, each
image decoded and cropped). They take turns. Feeding from memory is compared with a full-size training step with all
five losses at batch 2.

    python benchmarks/feeding.py [--photos FOLDER] [--rounds 5] [--crops 160]

The last line: device_share is the share of a step that feeding from memory takes, stream_crops_per_s the rate of
streamed sub-images or shards, the lower one, decoder_share the streamed photographs' rate over the ceiling, and
pil_crops_per_s the Pillow loader's on the same photographs.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from gramgan.config import load_config
from gramgan.data.cutting import cut_crop
from gramgan.data.items import Item, items_of
from gramgan.data.order import Order
from gramgan.data.resident import ResidentPhotos
from gramgan.data.shards import shard_items
from gramgan.data.source import Demand
from gramgan.data.stream import StreamedImages
from gramgan.data.throughput import SUB_IMAGE, prepared_samples
from gramgan.hardware.probe import probe_training
from gramgan.images import find_images
from gramgan.training.fitting import measure_step

PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "photos"
CROP, BATCH, WORKERS = 192, 16, 2
PART = 4  # crops
STEP_BATCH = 2


class PillowCrops(Dataset[torch.Tensor]):
    """What a plain loader does for a crop."""

    def __init__(self, items: list[Item], order: Order, numbers: range) -> None:
        self._items, self._order, self._numbers = items, order, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> torch.Tensor:
        draw = self._order.draw(self._numbers[index])
        with Image.open(self._items[draw.item].high.path) as image:
            rgb = image.convert("RGB")
            y, x = draw.corner(rgb.height, rgb.width, CROP)
            pixels = np.asarray(rgb.crop((x, y, x + CROP, y + CROP)))
        turned = np.ascontiguousarray(draw.turned(pixels.transpose(2, 0, 1)))
        return torch.from_numpy(turned).float() / 255


class Crops:
    """The same crops of `items`, cut in several ways; every way gives its crops per second."""

    def __init__(self, items: list[Item], crops: int) -> None:
        self._items, self._order, self._count = items, Order(len(items), 0), crops
        self._pool = multiprocessing.get_context("spawn").Pool(WORKERS)
        self._stream = StreamedImages(items, Demand(CROP, BATCH), workers=WORKERS)
        for _ in range(4):  # the workers have started
            self._stream.next()

    def close(self) -> None:
        """End the workers."""
        self._stream.close()
        self._pool.terminate()

    def streamed(self) -> float:
        """Ours; between rounds the workers have nothing to do, and what they decoded ahead is taken first."""
        for _ in range(4):
            self._stream.next()
        return rate(self._count, lambda: drain(self._stream.next() for _ in range(self._count // BATCH)))

    def ceiling(self) -> float:
        """The decodes alone, by processes or by threads; who is done with a few crops takes the next ones."""
        parts = [(self._items, range(start, start + PART)) for start in range(0, self._count, PART)]

        def by_processes() -> None:
            self._pool.starmap(decode, parts, chunksize=1)

        def by_threads() -> None:
            with ThreadPoolExecutor(WORKERS) as pool:
                drain(pool.map(decode, *zip(*parts, strict=True)))

        return max(rate(self._count, by_processes), rate(self._count, by_threads))

    def pillow(self) -> float:
        """The peer; begins when what was decoded ahead has been taken, as ours does."""
        numbers = range(self._count + 5 * BATCH)
        crops = PillowCrops(self._items, self._order, numbers)
        loader = iter(DataLoader(crops, batch_size=BATCH, num_workers=WORKERS, multiprocessing_context="spawn"))
        for _ in range(5):
            next(loader)
        return rate(self._count, lambda: drain(loader))


def decode(items: list[Item], numbers: range) -> None:
    order = Order(len(items), 0)
    for number in numbers:
        cut_crop(items[(draw := order.draw(number)).item], draw, CROP, augment=False)


def drain(batches: Iterable[object]) -> None:
    for _ in batches:
        pass


def rate(count: int, work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return count / (time.perf_counter() - started)


def streamed_rates(items: list[Item], crops: int, rounds: int) -> float:
    ways = Crops(items, crops)
    try:
        return statistics.median(ways.streamed() for _ in range(rounds))
    finally:
        ways.close()


def device_share(items: list[Item]) -> tuple[float, float, float]:
    """(share, seconds of feeding, seconds of a step) at batch 2."""
    source = ResidentPhotos(items[:8], Demand(CROP, STEP_BATCH))
    drain(source.next() for _ in range(20))
    repeats = 200
    feeding = 1 / rate(repeats, lambda: drain(source.next() for _ in range(repeats)))
    verdict = probe_training("cpu")
    settings = [
        "train.device=cpu",
        f"train.batch_size={STEP_BATCH}",
        f"train.precision={verdict.precision}",
        f"train.memory_format={'channels_last' if verdict.channels_last else 'contiguous'}",
    ]
    step = measure_step(load_config("paper", overrides=settings), crops=STEP_BATCH * (CROP // 64) ** 2)
    return feeding / step, feeding, step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--crops", type=int, default=320, help="decoded in each round, a multiple of 16")
    arguments = parser.parse_args()
    items = items_of(find_images(arguments.photos))

    ways = Crops(items, arguments.crops)
    rates: dict[str, list[float]] = {"streamed": [], "ceiling": [], "pillow": []}
    try:
        ways.streamed()  # untimed: all workers have started then, and the files are in the system's cache
        ways.ceiling()
        for _ in range(arguments.rounds):
            rates["streamed"].append(ways.streamed())
            rates["ceiling"].append(ways.ceiling())
            rates["pillow"].append(ways.pillow())
    finally:
        ways.close()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    shares = [ours / best for ours, best in zip(rates["streamed"], rates["ceiling"], strict=True)]
    print(f"{len(items)} photographs, one crop of {CROP}x{CROP} each, {WORKERS} workers, {arguments.rounds} rounds:")
    print(f"  decoder alone   {medians['ceiling']:7.1f} crops/s")
    print(f"  streamed        {medians['streamed']:7.1f} crops/s, {statistics.median(shares):.0%} of it")
    print(f"  Pillow loader   {medians['pillow']:7.1f} crops/s, ours {medians['streamed'] / medians['pillow']:.2f}x")

    with tempfile.TemporaryDirectory() as folder:
        files, shard = prepared_samples(items, Path(folder))
        sub_images = streamed_rates(items_of(files), 4 * arguments.crops, arguments.rounds)
        shards = streamed_rates(shard_items([shard]), 4 * arguments.crops, arguments.rounds)
    print(f"  sub-images of {SUB_IMAGE}x{SUB_IMAGE} {sub_images:5.0f} crops/s; from shards {shards:.0f} crops/s")

    share, feeding, step = device_share(items)
    print(f"  from memory     {1000 * feeding:.2f} ms for batch {STEP_BATCH}, a full-size step takes {step:.2f} s")
    print(
        f"result: device_share={share:.4f} stream_crops_per_s={min(sub_images, shards):.0f} "
        f"decoder_share={statistics.median(shares):.3f} pil_crops_per_s={medians['pillow']:.0f}"
    )


if __name__ == "__main__":
    main()
