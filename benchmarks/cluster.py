"""What a Ray cluster costs, and what it gains: whole commands with `--ray` beside the same commands without.

Two jobs: 200 small pictures enlarged (crops of photographs), and a texture database of a million patches. Each is done
by the plain command on one thread, by a cluster of one node with one worker of one thread, and by the same with a
second such node, in turns; each time is the shortest of the rounds, from the command's start to its end, start-up and
the workers' loading of weights included. The cluster itself runs already, as it does for its users.

Overhead is one worker's time above the plain command's. Scaling is one worker's time through that of two. Results must
be the same to the last bit, or the benchmark ends. Two free processors are needed: the load average is printed beside
the times, and on a machine that others use the ratios say little.

    python benchmarks/cluster.py [--pictures 200] [--side 128] [--patches 1000000] [--rounds 3] [--photos FOLDER]

The last line has the higher overhead of the two jobs and the lower scaling, and the rates of one worker:
pictures and patches a second.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gramgan.images import find_images, read_rgb, write_image
from gramgan.texture.database import TextureDatabase

PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "photos"
NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 200 << 20}
HOW = ("--model", "gramgan-x4-lite", "--backend", "torch", "--precision", "fp32")
COLUMNS = ("patch_id", "patch", "gram", "x", "y", "scale", "count", "warped")


@dataclass(frozen=True)
class Job:
    """A command without its output and `--ray`; what it makes of `size` things, as bytes that can be compared."""

    name: str
    words: tuple[str, ...]
    output: str
    size: int
    made: Callable[[Path], object]


def main() -> None:
    arguments = parse()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory() as folder:
        crops = cut(arguments.photos, Path(folder) / "crops", arguments.pictures, arguments.side)
        build = ("db", "build", str(arguments.photos), "--patches", str(arguments.patches))
        jobs = [
            Job("upscale", ("upscale", str(crops), *HOW), "results", arguments.pictures, files),
            Job("build", build, "t.lance", arguments.patches, rows),
        ]
        times: dict[tuple[str, int], list[float]] = {}
        first: dict[str, object] = {}
        cluster = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
        try:
            for number in range(arguments.rounds):
                for workers in (0, 1, 2):
                    second = cluster.add_node(**NODE) if workers == 2 else None
                    for job in jobs:
                        out = Path(folder) / "out"
                        seconds = measured(job, out, cluster.address if workers else None)
                        times.setdefault((job.name, workers), []).append(seconds)
                        made = job.made(out / job.output)
                        if made != first.setdefault(job.name, made):
                            sys.exit(f"{job.name}: {workers} workers made something else than the plain command")
                        print(
                            f"round {number + 1}: {job.name}, {workers or 'no'} workers: {seconds:.1f} s "
                            f"(load {os.getloadavg()[0]:.1f})",
                            flush=True,
                        )
                        shutil.rmtree(out)
                    if second is not None:
                        cluster.remove_node(second)
        finally:
            cluster.shutdown()
    report(jobs, {key: min(each) for key, each in times.items()})


def report(jobs: list[Job], best: dict[tuple[str, int], float]) -> None:
    overheads = {job.name: best[job.name, 1] / best[job.name, 0] - 1 for job in jobs}
    scalings = {job.name: best[job.name, 1] / best[job.name, 2] for job in jobs}
    for job in jobs:
        print(
            f"{job.name}: plain {best[job.name, 0]:.1f} s, one worker {best[job.name, 1]:.1f} s, two "
            f"{best[job.name, 2]:.1f} s: overhead {overheads[job.name]:+.1%}, scaling {scalings[job.name]:.2f}"
        )
    rates = " ".join(f"{job.name}_per_s={job.size / best[job.name, 1]:.3g}" for job in jobs)
    print(f"result: overhead={max(overheads.values()):.3f} scaling={min(scalings.values()):.2f} {rates}")


def measured(job: Job, out: Path, address: str | None) -> float:
    out.mkdir()
    where = [] if address is None else ["--ray", address]
    words = [sys.executable, "-m", "gramgan", *job.words, "-o", str(out / job.output), *where]
    start = time.perf_counter()
    subprocess.run(words, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def cut(photos: Path, folder: Path, count: int, side: int) -> Path:
    """Crops of photographs, one of each in turn."""
    folder.mkdir()
    paths = find_images(photos)
    for number in range(count):
        image = read_rgb(paths[number % len(paths)])
        place = number // len(paths) * side
        top, left = place % (image.shape[1] - side), place % (image.shape[2] - side)
        write_image(folder / f"{number:04}.png", image[:, top : top + side, left : left + side])
    return folder


def files(folder: Path) -> object:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rows(path: Path) -> object:
    database = TextureDatabase.open(path)
    return [database.numbers(column).tobytes() for column in COLUMNS]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--side", type=int, default=128, help="of a small picture, in pixels")
    parser.add_argument("--patches", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
