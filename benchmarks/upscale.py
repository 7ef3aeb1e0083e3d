"""Upscaling as Gram-GAN does it and as Real-ESRGAN does it on a CPU, in one run and with the same weights.

Ours is the product's own path: the program `gramgan upscale`, from file to file, in a process of its own, start-up
included, with what it chooses by itself. The peer is the plain network of Real-ESRGAN on a CPU: torch, fp32, eager,
contiguous, with the system's allocator as it is, in its tiling loop (a core of `--tile` pixels with `--overlap` pixels
around it, cut off at the picture's border), reading and writing the same kind of file, without the time to start Python
and load the weights.

Inputs are photographs of 0.1, 0.5 and 2 megapixels. `network` compares the two networks alone on one tile of 128x128.
Loss: where a photograph four times as large is at hand (0.1 MP), the PSNR of both results against it; otherwise what
the difference of the two networks' results would cost a result 26 dB from the truth. `lite` is the small generator of
the package, against the same peer with its weights: speed only.

    python benchmarks/upscale.py [--sizes 0.1 0.5 2] [--weights NAME] [--tile 512] [--overlap N]
                                 [--peer-tiles N] [--no-lite] [--no-untiled] [--photos FOLDER]

The whole run takes the peer about a quarter of an hour. `--peer-tiles N` times only the peer's first N tiles of each
picture and scales by pixels; the loss is then that of these tiles. The untiled peer runs where its memory is below
8 GiB. The last line's speedup is the lowest of the end-to-end ratios at 0.5 MP and above (and the network's, where 0.1
MP is measured); processor_speedup is the same in seconds of the processor, which other programs on the machine disturb
less; psnr_loss_db the largest loss; startup_s the median time of the program for a picture of 64x64 pixels with a warm
cache.
"""

import argparse
import math
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gramgan.images import find_images, read_rgb8, write_image
from gramgan.networks.build import Generator, load_generator
from gramgan.ops.resize import matlab_bicubic_down
from gramgan.upscaling.model import open_model

PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "photos"
LITE = "gramgan-x4-lite-psnr"
TYPICAL = 26.0  # dB
UNTILED_BYTES = 8 << 30
UNTILED_BYTES_PER_PIXEL = 3 * 16 * 64 * 4
SIDE = 128
RUNS = 3
TURNS = 5  # of our backends on a tile, before they are measured


@dataclass
class Run:
    """One picture with one generator: seconds of both, and what ours loses (NaN: not measured)."""

    ours: "Seconds"
    peer: "Seconds"
    untiled: float
    loss: float

    @property
    def speedup(self) -> float:
        """End to end."""
        return self.peer.clock / self.ours.clock

    @property
    def processor_speedup(self) -> float:
        """The same in seconds of the processor."""
        return self.peer.processor / self.ours.processor


@dataclass
class Seconds:
    """By the clock, and of the processor (all threads)."""

    clock: float
    processor: float


Windows = list[tuple[slice, slice]]
"""(rows, columns) of a result."""


def picture(photos: list[np.ndarray], megapixels: float) -> tuple[np.ndarray, np.ndarray | None]:
    """An input uint8 `[3, H, W]` in 4:3, and the photograph that it was made from, where one is large enough."""
    height = round(math.sqrt(megapixels * 1e6 * 3 / 4) / 4) * 4
    width = height * 4 // 3
    for photo in photos:
        if photo.shape[1] >= 4 * height and photo.shape[2] >= 4 * width:
            hr = photo[:, : 4 * height, : 4 * width]
            lr = matlab_bicubic_down(torch.from_numpy(hr)[None].float() / 255)[0]
            return (lr * 255).round().byte().numpy(), hr
    # No photograph has as many pixels as 2 MP in 4:3: the largest, continued by its mirror image.
    photo = max(photos, key=lambda one: one.shape[1] * one.shape[2])
    missing = [max(0, wanted - there) for wanted, there in zip((height, width), photo.shape[1:], strict=True)]
    grown = np.pad(photo, ((0, 0), (0, missing[0]), (0, missing[1])), "reflect")
    return np.ascontiguousarray(grown[:, :height, :width]), None


def peer_tiles(
    network: Generator, lr: Tensor, tile: int, overlap: int, limit: int | None
) -> tuple[Tensor, float, Windows]:
    """Real-ESRGAN's loop; the result `[1, 3, 4H, 4W]`, the share of the work that was done (1: all), and where."""
    height, width = lr.shape[2:]
    result = torch.zeros(1, 3, 4 * height, 4 * width)
    boxes = []
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(top + tile, height), min(left + tile, width)
            rows = (max(top - overlap, 0), min(bottom + overlap, height))
            columns = (max(left - overlap, 0), min(right + overlap, width))
            boxes.append(((top, bottom, left, right), (*rows, *columns)))
    area = [(y1 - y0) * (x1 - x0) for _, (y0, y1, x0, x1) in boxes]
    for (top, bottom, left, right), (y0, y1, x0, x1) in boxes[:limit]:
        enlarged = network(lr[:, :, y0:y1, x0:x1])
        inner = enlarged[:, :, 4 * (top - y0) : 4 * (bottom - y0), 4 * (left - x0) : 4 * (right - x0)]
        result[:, :, 4 * top : 4 * bottom, 4 * left : 4 * right] = inner
    done = [(slice(4 * top, 4 * bottom), slice(4 * left, 4 * right)) for (top, bottom, left, right), _ in boxes[:limit]]
    return result, sum(area[:limit]) / sum(area), done


def peer_file(
    network: Generator, source: Path, target: Path, tile: int, overlap: int, limit: int | None
) -> tuple[Seconds, Windows]:
    """Seconds from file to file, and which windows were computed."""
    start, used = time.perf_counter(), time.process_time()
    lr = torch.from_numpy(read_rgb8(source))[None].float() / 255
    read = time.perf_counter() - start, time.process_time() - used
    start, used = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        result, share, done = peer_tiles(network, lr, tile, overlap, limit)
    computed = (time.perf_counter() - start) / share, (time.process_time() - used) / share
    start, used = time.perf_counter(), time.process_time()
    write_image(target, result[0].clamp(0, 1).numpy(), bits=8)
    written = time.perf_counter() - start, time.process_time() - used
    clock, processor = map(sum, zip(read, computed, written, strict=True))
    return Seconds(clock, processor), done


def our_file(
    source: Path, target: Path, model: str, tile: int | None = None, overlap: int | None = None, *options: str
) -> Seconds:
    """Seconds of the program from file to file, start-up included; None: as it chooses."""
    command = [str(Path(sys.executable).with_name("gramgan")), "upscale", str(source), "-o", str(target)]
    command += ["--model", model, *options]
    for option, value in (("--tile", tile), ("--overlap", overlap)):
        command += [] if value is None else [option, str(value)]
    start, before = time.perf_counter(), os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return Seconds(time.perf_counter() - start, used)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Of uint8 images, all channels."""
    error = np.square(a.astype(np.float64) - b).mean()
    return 10 * math.log10(255**2 / error) if error else math.inf


def loss(ours: np.ndarray, peers: np.ndarray, hr: np.ndarray | None, where: Windows) -> float:
    """dB that our result is farther from the truth than the peer's, in some windows."""

    def seen(image: np.ndarray) -> np.ndarray:
        return np.concatenate([image[:, rows, columns].ravel() for rows, columns in where])

    if hr is not None:
        return psnr(seen(peers), seen(hr)) - psnr(seen(ours), seen(hr))
    between = 10 ** (-psnr(seen(ours), seen(peers)) / 10)
    return 10 * math.log10(1 + between / 10 ** (-TYPICAL / 10))


def our_network(model: str, tile: np.ndarray, pipe: Connection) -> None:
    """A process that runs our network on a tile whenever something comes, and tells the seconds; None ends it."""
    backend = open_model(model).backend
    while pipe.recv() is not None:
        start = time.perf_counter()
        backend.run(tile)
        pipe.send(time.perf_counter() - start)


def network_ratio(network: Generator, model: str) -> float:
    """The peer's network over ours on one tile, medians of runs that take turns.

    Ours has a process of its own, so that the peer's allocator stays as the system has it. Its first runs are those in
    which its backends are compared and have their turns.
    """
    tile = np.random.default_rng(0).random((1, 3, SIDE, SIDE), dtype=np.float32)
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=our_network, args=(model, tile, theirs), daemon=True)
    process.start()
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    for number in range(RUNS + TURNS):
        pipe.send(tile.shape)
        ours = pipe.recv()
        if number < TURNS:
            continue
        start = time.perf_counter()
        with torch.inference_mode():
            network(torch.from_numpy(tile))
        seconds["ours"].append(ours)
        seconds["peer"].append(time.perf_counter() - start)
    pipe.send(None)
    process.join()
    return statistics.median(seconds["peer"]) / statistics.median(seconds["ours"])


def measure(
    network: Generator, model: str, source: Path, hr: np.ndarray | None, arguments: argparse.Namespace, overlap: int
) -> Run:
    folder = source.parent
    ours = our_file(source, folder / "ours.png", model, arguments.tile, overlap)
    peer, done = peer_file(network, source, folder / "peer.png", arguments.tile, overlap, arguments.peer_tiles)
    lost = math.nan
    if model == arguments.weights:
        if hr is None:  # what the program mends in a result is a difference from the peer's, and no loss
            our_file(source, folder / "ours.png", model, arguments.tile, overlap, "--no-consistency")
        lost = loss(read_rgb8(folder / "ours.png"), read_rgb8(folder / "peer.png"), hr, done)
    untiled = math.nan
    pixels = int(np.prod(read_rgb8(source).shape[1:]))
    if not arguments.no_untiled and arguments.peer_tiles is None and pixels * UNTILED_BYTES_PER_PIXEL < UNTILED_BYTES:
        untiled = peer_file(network, source, folder / "peer.png", max(read_rgb8(source).shape), 0, None)[0].clock
    return Run(ours, peer, untiled, lost)


def startup(folder: Path, model: str) -> float:
    """Median seconds of the program for 64x64 pixels, after one run that fills the cache."""
    source = folder / "small.png"
    write_image(source, np.random.default_rng(0).random((3, 64, 64), dtype=np.float32), bits=8)
    seconds = [our_file(source, folder / "small_4.png", model, 256, 64) for _ in range(RUNS + 1)]
    return statistics.median(each.clock for each in seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.1, 0.5, 2.0], metavar="MP")
    parser.add_argument("--weights", default="real-esrgan-x4plus", help="of both; the peer's own")
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--overlap", type=int, default=None, help="default: what the weights' card says")
    parser.add_argument("--peer-tiles", type=int, default=None)
    parser.add_argument("--no-lite", action="store_true")
    parser.add_argument("--no-untiled", action="store_true")
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    arguments = parser.parse_args()
    if not arguments.photos.is_dir():
        sys.exit(f"{arguments.photos}: no such folder; give photographs with --photos")
    photos = [read_rgb8(path) for path in find_images(arguments.photos)[:8]]
    full = load_generator(arguments.weights)
    overlap = full.card.overlap if arguments.overlap is None else arguments.overlap
    print(f"{arguments.weights}, core {arguments.tile}, overlap {overlap}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        networks = [(full.network, arguments.weights)]
        if not arguments.no_lite:
            networks.append((load_generator(LITE).network, LITE))
        columns: list[list[Run]] = []
        ratios = []
        started = startup(folder, arguments.weights)
        for network, model in networks:
            ratios.append(network_ratio(network, model))
            runs = []
            for megapixels in arguments.sizes:
                lr, hr = picture(photos, megapixels)
                write_image(folder / "input.png", lr.astype(np.float32) / 255, bits=8)
                run = measure(network, model, folder / "input.png", hr, arguments, overlap)
                runs.append(run)
                print(
                    f"{Path(model).stem} {lr.shape[2]}x{lr.shape[1]}: {run.ours.clock:.2f} s, peer "
                    f"{run.peer.clock:.2f} s: {run.speedup:.2f}x, of the processor {run.processor_speedup:.2f}x "
                    f"(untiled peer {run.untiled / run.ours.clock:.2f}x), loss {run.loss:.4f} dB",
                    flush=True,
                )
            columns.append(runs)
    large = [run for run, size in zip(columns[0], arguments.sizes, strict=True) if size >= 0.5]
    speedup = min((run.speedup for run in large), default=ratios[0])
    of_processor = min(run.processor_speedup for run in large or columns[0])
    losses = [run.loss for run in columns[0] if not math.isnan(run.loss)]
    lite = ""
    if not arguments.no_lite:
        lite = f" lite_speedup={min(run.speedup for run in columns[1]):.2f} lite_network={ratios[1]:.2f}"
    print(
        f"result: speedup={speedup:.2f} processor_speedup={of_processor:.2f} psnr_loss_db={max(losses):.4f} "
        f"startup_s={started:.2f} network_speedup={ratios[0]:.2f}{lite}"
    )


if __name__ == "__main__":
    main()
