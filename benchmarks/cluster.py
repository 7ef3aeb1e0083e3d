"""What a Ray cluster costs, and what it gains: commands with `--ray` beside the same commands without.

Two jobs: 200 small pictures enlarged (crops of photographs), and a texture database of a million patches. Results must
be the same to the last bit, or the benchmark ends.

*Overhead* is what one worker of one thread takes above the plain command on one thread, from the command's start to its
end, the workers' start and loading of weights included. The cluster runs already, as it does for its users; what its
own start takes is `start_s`, and `overhead_with_start` counts it to the command. Of seconds and of processor time (the
command's and the cluster's, so that other programs on the machine matter less) it is the smallest of the rounds.

*Scaling* is the work of two such workers through that of one: results a second from the time on when all workers are at
work. It needs two free processors: the load average is printed, and on a machine that others use it says little.

    python benchmarks/cluster.py [--pictures 200] [--side 96] [--patches 1000000] [--rounds 3] [--photos FOLDER]
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from gramgan.cluster import RayTeam, connect
from gramgan.images import find_images, read_rgb, write_image
from gramgan.texture.database import TextureDatabase, sources_of
from gramgan.upscaling.jobs import plan_jobs
from gramgan.upscaling.settings import Settings
from gramgan.upscaling.spread import PictureWork

PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "photos"
NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 200 << 20}
HOW = Settings(model="gramgan-x4-lite", backend="torch", precision="fp32")
COLUMNS = ("patch_id", "patch", "gram", "x", "y", "scale", "count", "warped")
LOOK = 0.2  # seconds from one look at the cluster's processor time to the next
BEGUN = 5  # a fifth of the results is waited for before scaling is timed: all workers are at work then


@dataclass(frozen=True)
class Job:
    """A command without its output and `--ray`; what it makes of `size` things, as bytes that can be compared."""

    name: str
    words: tuple[str, ...]
    output: str
    size: int
    made: Callable[[Path], object]


@dataclass(frozen=True)
class Cost:
    """Of a command: seconds, and seconds of processors."""

    wall: float
    processor: float


def main() -> None:
    arguments = parse()
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0", "OMP_NUM_THREADS": "1"}
    warnings.filterwarnings("ignore", "lance is not fork-safe")  # no process is forked to go on with Lance
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        crops = cut(arguments.photos, folder / "crops", arguments.pictures, arguments.side)
        how = [word for option in ("model", "backend", "precision") for word in (f"--{option}", getattr(HOW, option))]
        build = ("db", "build", str(arguments.photos), "--patches", str(arguments.patches))
        jobs = [
            Job("upscale", ("upscale", str(crops), *how), "results", arguments.pictures, files),
            Job("build", build, "t.lance", arguments.patches, rows),
        ]
        costs: dict[tuple[str, bool], list[Cost]] = {}
        rates: dict[tuple[str, int], list[float]] = {}
        first: dict[str, object] = {}
        start = time.perf_counter()
        cluster = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
        start_s = time.perf_counter() - start
        try:
            for number in range(1, arguments.rounds + 1):
                for job in jobs:
                    for address in (None, str(cluster.address)):
                        out = folder / "out"
                        cost = measured(job, out, address)
                        made = job.made(out / job.output)
                        if made != first.setdefault(job.name, made):
                            sys.exit(f"{job.name}: a worker made something else than the plain command")
                        shutil.rmtree(out)
                        costs.setdefault((job.name, address is not None), []).append(cost)
                        tell(number, f"{job.name}, {'one worker' if address else 'plain'}: {cost.wall:.1f} s", cost)
                for workers in (1, 2):
                    second = cluster.add_node(**NODE) if workers == 2 else None
                    with connect(str(cluster.address)) as team:
                        for job, rate in working(team, crops, arguments.photos, arguments.patches, folder / "out"):
                            rates.setdefault((job, workers), []).append(rate)
                            tell(number, f"{job}, {workers} at work: {rate:.3g} a second")
                    shutil.rmtree(folder / "out")
                    if second is not None:
                        cluster.remove_node(second)
        finally:
            cluster.shutdown()
    report(jobs, costs, {key: max(each) for key, each in rates.items()}, start_s)


def tell(number: int, what: str, cost: Cost | None = None) -> None:
    processor = f", {cost.processor:.1f} s of processors" if cost else ""
    print(f"round {number}: {what}{processor} (load {os.getloadavg()[0]:.1f})", flush=True)


def report(
    jobs: list[Job], costs: dict[tuple[str, bool], list[Cost]], rates: dict[tuple[str, int], float], start_s: float
) -> None:
    keys = {"start_s": f"{start_s:.1f}"}
    for job in jobs:
        plain, ray = costs[job.name, False], costs[job.name, True]
        wall = [min(one.wall for one in each) for each in (plain, ray)]
        processor = [min(one.processor for one in each) for each in (plain, ray)]
        keys |= {
            f"{job.name}_overhead": f"{wall[1] / wall[0] - 1:.3f}",
            f"{job.name}_overhead_processor": f"{processor[1] / processor[0] - 1:.3f}",
            f"{job.name}_overhead_with_start": f"{(wall[1] + start_s) / wall[0] - 1:.3f}",
            f"{job.name}_scaling": f"{rates[job.name, 2] / rates[job.name, 1]:.2f}",
            f"{job.name}_per_s": f"{rates[job.name, 1]:.3g}",
        }
        print(
            f"{job.name}: plain {wall[0]:.1f} s, one worker {wall[1]:.1f} s; processors {processor[0]:.1f} s, ", end=""
        )
        print(f"{processor[1]:.1f} s; one worker {rates[job.name, 1]:.3g} a second, two {rates[job.name, 2]:.3g}")
    print("result:", " ".join(f"{name}={value}" for name, value in keys.items()))


def measured(job: Job, out: Path, address: str | None) -> Cost:
    """What a command costs, the cluster's part included."""
    out.mkdir()
    where = [] if address is None else ["--ray", address]
    words = [sys.executable, "-m", "gramgan", *job.words, "-o", str(out / job.output), *where]
    before, own = of_cluster(), of_commands()
    seen = dict(before)
    start = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            seen |= of_cluster(process.pid)
            time.sleep(LOOK)
        wall = time.perf_counter() - start
    if process.returncode:
        sys.exit(f"{job.name}: exit code {process.returncode}")
    theirs = sum(seconds - before.get(pid, 0.0) for pid, seconds in seen.items()) if address else 0.0
    return Cost(wall, of_commands() - own + theirs)


def of_commands() -> float:
    """Processor time of the commands that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def of_cluster(command: int | None = None) -> dict[int, float]:
    """Processor time of each process of the cluster: those below this one but for the `command`."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        try:
            if process.pid != command:
                times = process.cpu_times()
                found[process.pid] = times.user + times.system
        except psutil.Error:
            continue
    return found


def working(team: RayTeam, crops: Path, photos: Path, patches: int, out: Path) -> Iterator[tuple[str, float]]:
    """Of each job, how many things a second the workers do once all are at work."""
    jobs = plan_jobs([crops], out / "results")
    times = [time.perf_counter() for _ in team.arriving(PictureWork(HOW), jobs)]
    yield "upscale", rate(times)
    times.clear()
    sources = sources_of(photos, find_images(photos))

    def note(done: int, total: int) -> None:
        times.append(time.perf_counter())

    TextureDatabase.build(out / "t.lance", sources, patches=patches, team=team, progress=note)
    yield "build", rate(times) * patches / len(sources)


def rate(times: list[float]) -> float:
    """Results a second, of those after the first ones."""
    begun = len(times) // BEGUN
    return (len(times) - 1 - begun) / (times[-1] - times[begun])


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
    parser.add_argument("--side", type=int, default=96, help="of a small picture, in pixels")
    parser.add_argument("--patches", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
