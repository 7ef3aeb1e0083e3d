"""Texture databases of 0.2, 1 and 10 million patches: how fast they build, open and answer, and what a step waits.

For every descriptor and size a database is built from photographs (in a process of its own, whose peak memory is
taken), opened for training with its index, and asked what a training asks: all 4x4 patches of 16 crops of 192x192
pixels from other photographs, 36,864 queries halfway between the crop and its bicubically enlarged quarter. A flat
Faiss index and SciPy's kd-tree answer the same queries in the same run, or a sample of them (marked *) where all would
take long. Correctness: the largest excess of our distances over brute force in float64, for 128 of the queries.

The queries' time is set against one step of the full-size training (23 blocks, 48→192, all five losses, the probe's
precision), measured between them in the same run. At batch 8 such a step asks half as many queries as are asked here.

    python benchmarks/texture_database.py [--sizes 200000 1000000 10000000] [--descriptors rgb rgb-centred rgb-gradient]
        [--photos FOLDER] [--folder FOLDER] [--batch 8] [--rounds 3]

The last line is that of the largest size: the lowest build rate (patches/s) and the highest peak (GiB) of rgb and
rgb-centred, the longest time to open (s) and the largest share of a step that the queries take.
"""

import argparse
import json
import logging
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor

from gramgan.config import Config
from gramgan.hardware.probe import probe_training
from gramgan.images import find_images, read_rgb8
from gramgan.ops.resize import bicubic_up, matlab_bicubic_down
from gramgan.texture.candidates import DatabaseSource, LocalSource, combined_query
from gramgan.texture.database import TextureDatabase, sources_of
from gramgan.texture.descriptors import DESCRIPTORS, Descriptor, DescriptorName
from gramgan.training.assemble import assemble, new_networks
from texture_search import PHOTOS, crops, smallest_distances
from train_step import textures

SIZES = (200_000, 1_000_000, 10_000_000)
REQUIRED: tuple[DescriptorName, ...] = ("rgb", "rgb-centred")  # whose figures are in the last line
HELD_OUT = 4  # every fourth photograph is for queries
CHECKED = 128
WORK = 3e11  # components that a flat index may compare: some 5 s; for more it gets FEW queries
FEW = 1024  # fewer would keep Faiss from its matrix products
TREE_WORK = 20.0  # seconds that SciPy's tree may take


@dataclass(frozen=True)
class Figures:
    """What was measured of one database; rates per second, None where a peer was left out."""

    descriptor: DescriptorName
    patches: int
    build_rate: float
    peak_gib: float
    open_s: float
    name: str
    recall: float
    rate: float
    flat_rate: float
    flat_sampled: bool
    tree_rate: float
    tree_sampled: bool
    excess: float
    step_share: float


def photographs(folder: Path) -> tuple[list[Path], list[Path]]:
    """Photographs for databases, and others for queries."""
    paths = find_images(folder)
    held_out = paths[::HELD_OUT]
    return [path for path in paths if path not in held_out], held_out


def build_in_child(path: Path, photos: Path, descriptor: str, patches: int) -> tuple[float, float]:
    """Patches a second, and peak memory in GiB, of a build in a process of its own."""
    command = [sys.executable, __file__, "--build", str(path), descriptor, str(patches), "--photos", str(photos)]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return answer["patches"] / answer["seconds"], answer["peak_gib"]


def build_here(path: Path, photos: Path, descriptor: DescriptorName, patches: int) -> None:
    sources = sources_of(photos, photographs(photos)[0])
    started = time.perf_counter()
    database = TextureDatabase.build(path, sources, patches=patches, descriptor=descriptor, overwrite=True)
    seconds = time.perf_counter() - started
    print(json.dumps({"patches": len(database), "seconds": seconds, "peak_gib": peak_memory() / 2**30}))


def peak_memory() -> int:
    """Most bytes that this process ever held."""
    status = Path("/proc/self/status")
    if status.exists():  # resource's figure begins with that of the process that started this one
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def full_step(batch: int) -> Callable[[], object]:
    """One adversarial step of the full-size training with targets from the photographs themselves."""
    random = torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    verdict = probe_training("cpu")
    layout = torch.channels_last if verdict.channels_last else torch.contiguous_format
    settled = {"device": "cpu", "precision": verdict.precision}
    settled["memory_format"] = "channels_last" if verdict.channels_last else "contiguous"
    config = Config.model_validate({"train": settled})
    step = assemble(config, new_networks(config), LocalSource(Descriptor.default("rgb"), random)).step
    hr = textures(batch, 192, random)
    lr, hr = (x.contiguous(memory_format=layout) for x in (matlab_bicubic_down(hr), hr))
    return lambda: step.adversarial(lr, hr)


def seconds_of(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def flat_rate(vectors: np.ndarray, queries: np.ndarray) -> tuple[float, bool]:
    """Queries a second of a flat Faiss index as it comes, and whether they were a sample."""
    index = faiss.IndexFlatL2(vectors.shape[1])
    index.add(vectors)  # pyright: ignore[reportCallIssue]
    asked = queries if len(queries) * vectors.size <= WORK else queries[:: len(queries) // FEW]
    return len(asked) / seconds_of(lambda: index.search(asked, 1)), len(asked) < len(queries)  # pyright: ignore[reportCallIssue]


def tree_rate(vectors: np.ndarray, queries: np.ndarray) -> tuple[float, bool]:
    """The same of SciPy's kd-tree."""
    tree = KDTree(vectors)
    threads = torch.get_num_threads()
    few = queries[:: max(1, len(queries) // 256)]
    needed = seconds_of(lambda: tree.query(few, workers=threads)) / len(few)
    asked = queries[:: max(1, round(needed * len(queries) / TREE_WORK))]
    return len(asked) / seconds_of(lambda: tree.query(asked, workers=threads)), len(asked) < len(queries)


def measure(
    path: Path, photos: Path, name: DescriptorName, patches: int, hr: Tensor, step: Callable[[], object], rounds: int
) -> Figures:
    build_rate, peak = build_in_child(path, photos, name, patches)
    started = time.perf_counter()
    database = TextureDatabase.open(path)
    source = DatabaseSource(database)
    open_s = time.perf_counter() - started

    descriptor = database.descriptor
    sr = bicubic_up(matlab_bicubic_down(hr))
    queries = combined_query(descriptor.encode(hr), descriptor.encode(sr), 1, 1).flatten(0, 1)
    index = source.index
    index.query(queries)  # warm-up
    asked, steps = [], []
    for _ in range(rounds):
        asked.append(seconds_of(lambda: index.query(queries)))
        steps.append(seconds_of(step))
    vectors = torch.from_numpy(database.vectors())
    some = queries[:: len(queries) // CHECKED]
    excess = float((index.query(some)[0] - smallest_distances(vectors, some)).abs().max())
    recall, index_name = index.recall, index.name
    flat, flat_sampled = flat_rate(vectors.numpy(), queries.numpy())
    tree, tree_sampled = tree_rate(vectors.numpy(), queries.numpy())
    seconds = statistics.median(asked)
    return Figures(
        descriptor=name,
        patches=len(vectors),
        build_rate=build_rate,
        peak_gib=peak,
        open_s=open_s,
        name=index_name,
        recall=recall,
        rate=len(queries) / seconds,
        flat_rate=flat,
        flat_sampled=flat_sampled,
        tree_rate=tree,
        tree_sampled=tree_sampled,
        excess=excess,
        step_share=seconds / statistics.median(steps),
    )


def show(figures: Figures) -> None:
    flat, tree = ("*" if sampled else " " for sampled in (figures.flat_sampled, figures.tree_sampled))
    print(
        f"{figures.descriptor:12} {figures.patches:10,} {figures.build_rate:9,.0f}/s {figures.peak_gib:5.2f} "
        f"{figures.open_s:7.2f} s {figures.name:>10} {figures.recall:6.3f} {figures.rate:10,.0f}/s "
        f"{figures.step_share:7.1%} {figures.flat_rate:10,.0f}/s{flat} {figures.tree_rate:9,.0f}/s{tree} "
        f"{figures.rate / figures.flat_rate:7.1f} {figures.rate / figures.tree_rate:7.1f} {figures.excess:8.1e}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--descriptors", nargs="+", choices=DESCRIPTORS, default=DESCRIPTORS)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--folder", type=Path, help="where the databases are built; default: a temporary folder")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--build", nargs=3, metavar=("PATH", "DESCRIPTOR", "PATCHES"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    if arguments.build:
        path, descriptor, patches = arguments.build
        build_here(Path(path), arguments.photos, descriptor, int(patches))
        return

    threads = torch.get_num_threads()
    faiss.omp_set_num_threads(threads)
    held_out = [read_rgb8(path) for path in photographs(arguments.photos)[1]]
    hr = crops(held_out)
    step = full_step(arguments.batch)
    step()  # warm-up
    print(
        f"{threads} threads; 36,864 queries against one step at batch {arguments.batch}; * on a sample of the queries"
    )
    print(
        f"{'':12} {'patches':>10} {'build':>11} {'GiB':>5} {'open':>9} {'index':>10} {'recall':>6} {'queries':>12} "
        f"{'of step':>7} {'flat Faiss':>12}  {'SciPy':>11}  {'x flat':>7} {'x SciPy':>7} {'excess':>8}"
    )
    found = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for name in arguments.descriptors:
            for size in sorted(arguments.sizes):
                path = Path(folder) / "texture.lance"
                found.append(measure(path, arguments.photos, name, size, hr, step, arguments.rounds))
                show(found[-1])
    most = max(figures.patches for figures in found)
    largest = [f for f in found if f.descriptor in REQUIRED and f.patches > 0.9 * most] or found
    rate, peak = min(f.build_rate for f in largest), max(f.peak_gib for f in largest)
    opened, share = max(f.open_s for f in largest), max(f.step_share for f in largest)
    print(f"\nresult: build_rate={rate:.0f} peak_gib={peak:.2f} open_s={opened:.2f} step_share={share:.4f}")


if __name__ == "__main__":
    main()
