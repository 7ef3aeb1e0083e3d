"""Exact nearest neighbours among Gram vectors: ours, a flat Faiss index and SciPy's kd-tree, in one run.

A database of 200,000 patches from some photographs, and as queries what a training step asks for: all 4x4 patches of 16
crops of 192x192 pixels from other photographs, halfway between the crop and its bicubically enlarged quarter. Runs are
interleaved and medians taken. Correctness: the largest excess of a returned neighbour's distance over the true minimum,
both in float64, the minimum by brute force, for 2,048 random queries.

What would need more than 10 s is timed on every eighth query (marked *), where its time for one query does not depend
on their number: the trees, and our use of Faiss by differences. The peer, Faiss as it comes, is always asked all.

    python benchmarks/texture_search.py [--patches 200000] [--rounds 5] [--photos FOLDER]

The last line's speedup is that of `auto` over Faiss for `rgb`; its max_excess is over every backend and descriptor.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import faiss
import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor

from gramgan.images import find_images, read_rgb8
from gramgan.ops.resize import bicubic_up, matlab_bicubic_down
from gramgan.texture.candidates import combined_query
from gramgan.texture.descriptors import DESCRIPTORS, Descriptor, DescriptorName
from gramgan.texture.sampling import photograph_key, sample_patches
from gramgan.texture.search import SearchBackend, build_index

PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "photos"
CROP, CROPS = 192, 16
SUBSET = 8  # slow methods, and the check, get every eighth query
SLOW = 10.0  # seconds; what has run that long is not repeated
CHECKED = 2048
OURS: tuple[SearchBackend, ...] = ("kdtree", "blocked", "faiss-flat")

Query = Callable[[Tensor], Tensor]
"""Queries `[M, D]` to rows `[M]`."""


@dataclass
class Method:
    """One way to search, and what was measured of it; `steady`: a query costs the same among many and among few."""

    name: str
    build: Callable[[Tensor], Query]
    steady: bool = False
    build_seconds: float = 0.0
    subset: bool = False
    seconds: list[float] = field(default_factory=list)
    rows: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    excess: float = 0.0

    def rate(self, queries: int) -> float:
        """Queries a second, the median of all runs."""
        return queries / (SUBSET if self.subset else 1) / statistics.median(self.seconds)


def ours(backend: SearchBackend) -> Callable[[Tensor], Query]:
    def build(vectors: Tensor) -> Query:
        index = build_index(vectors, backend)
        return lambda queries: index.query(queries)[1]

    return build


def flat_faiss(vectors: Tensor) -> Query:
    index = faiss.IndexFlatL2(vectors.shape[1])
    index.add(vectors.numpy())  # pyright: ignore[reportCallIssue]
    return lambda queries: torch.from_numpy(index.search(queries.numpy(), 1)[1][:, 0])  # pyright: ignore[reportCallIssue]


def scipy_tree(vectors: Tensor) -> Query:
    tree = KDTree(vectors.numpy())
    threads = torch.get_num_threads()
    return lambda queries: torch.from_numpy(tree.query(queries.numpy(), workers=threads)[1])


def photographs(folder: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """uint8 `[3, H, W]` for the database, and others for the queries; synthetic where there is no such folder."""
    if not folder.is_dir():
        print(f"{folder} is not there: synthetic textures")
        random = torch.Generator().manual_seed(0)
        images = [synthetic(random) for _ in range(32)]
    else:
        paths = find_images(folder)
        print(f"{len(paths)} photographs of {folder}")
        images = [read_rgb8(path) for path in paths]
    for_queries = max(1, len(images) // 4)
    return images[:-for_queries], images[-for_queries:]


def synthetic(random: torch.Generator, side: int = 768) -> np.ndarray:
    """Noise of several scales and strengths around a colour."""
    image = torch.rand(1, 3, 1, 1, generator=random)
    for step in (1, 4, 16, 64):
        noise = torch.randn(1, 3, side // step, side // step, generator=random)
        strength = 0.15 * torch.rand(1, generator=random) ** 2
        image = image + strength * torch.nn.functional.interpolate(noise, (side, side), mode="bicubic")
    return image[0].clamp(0, 1).mul(255).round().byte().numpy()


def database(images: list[np.ndarray], patches: int, name: DescriptorName) -> tuple[Tensor, Descriptor]:
    """Standardised vectors `[patches, D]`, and the descriptor with their scale."""
    share = round(1.1 * patches / len(images))  # some photographs give fewer
    parts = [
        sample_patches(image, share, key=photograph_key(image), descriptor=name, k=4, flat_share=0.1, seed=0).gram
        for image in images
    ]
    grams = np.random.default_rng(0).permutation(np.concatenate(parts))[:patches]
    scale = grams.std(axis=0)
    return torch.from_numpy(grams / scale), Descriptor(name, 4, tuple(scale.tolist()))


def crops(images: list[np.ndarray]) -> Tensor:
    """HR crops `[16, 3, 192, 192]`."""
    random = np.random.default_rng(1)
    cut = []
    for number in range(CROPS):
        image = images[number % len(images)]
        y, x = (int(random.integers(0, side - CROP + 1)) for side in image.shape[1:])
        cut.append(image[:, y : y + CROP, x : x + CROP])
    return torch.from_numpy(np.stack(cut)).float() / 255


def smallest_distances(vectors: Tensor, queries: Tensor) -> Tensor:
    """Brute force by differences in float64: `[M]`."""
    block = 65_536
    nearest = torch.full((len(queries),), torch.inf, dtype=torch.float64)
    for part in vectors.double().split(block):
        for start in range(0, len(queries), 64):
            found = torch.cdist(queries[start : start + 64].double(), part, compute_mode="donot_use_mm_for_euclid_dist")
            nearest[start : start + 64] = torch.minimum(nearest[start : start + 64], found.amin(dim=1))
    return nearest


def timed(query: Query, queries: Tensor) -> tuple[Tensor, float]:
    started = time.perf_counter()
    rows = query(queries)
    return rows, time.perf_counter() - started


def measure(methods: list[Method], vectors: Tensor, queries: Tensor, rounds: int) -> None:
    """Fill in what `methods` measure, one run of each after the other, again and again."""
    running: dict[str, Query] = {}
    for method in methods:
        started = time.perf_counter()
        running[method.name] = method.build(vectors)
        method.build_seconds = time.perf_counter() - started
        if method.steady:
            method.subset = timed(running[method.name], queries[::SUBSET])[1] * SUBSET > SLOW
    for number in range(rounds):
        for method in methods:
            if number == 0 or sum(method.seconds) < SLOW:
                asked = queries[::SUBSET] if method.subset else queries
                method.rows, seconds = timed(running[method.name], asked)
                method.seconds.append(seconds)
    # The checked queries are all in the subset if it has enough of them, so that one brute force serves every method.
    checked = torch.randperm(len(queries[::SUBSET]), generator=torch.Generator().manual_seed(2))[:CHECKED]
    smallest = smallest_distances(vectors, queries[::SUBSET][checked])
    for method in methods:
        rows = (method.rows if method.subset else method.rows[::SUBSET])[checked]
        distance = (vectors[rows].double() - queries[::SUBSET][checked].double()).norm(dim=1)
        method.excess = float((distance - smallest).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    arguments = parser.parse_args()

    faiss.omp_set_num_threads(torch.get_num_threads())
    print(f"{torch.get_num_threads()} threads for torch, Faiss and SciPy; pykdtree takes OpenMP's default")
    for_database, for_queries = photographs(arguments.photos)
    hr = crops(for_queries)
    sr = bicubic_up(matlab_bicubic_down(hr))
    speedup, max_excess = 0.0, 0.0
    for name in DESCRIPTORS:
        vectors, descriptor = database(for_database, arguments.patches, name)
        queries = combined_query(descriptor.encode(hr), descriptor.encode(sr), 1, 1).flatten(0, 1)
        chosen = build_index(vectors[:1]).name
        shipped = [Method(backend, ours(backend), steady=backend != "blocked") for backend in OURS]
        peer = Method("Faiss flat", flat_faiss)
        methods = [peer, *shipped[:2], Method("SciPy KDTree", scipy_tree, steady=True)]
        measure(methods, vectors, queries, arguments.rounds)
        measure(shipped[2:], vectors, queries, 1)
        print(f"\n{name}: {len(queries):,} queries, {len(vectors):,} vectors of {vectors.shape[1]} dimensions")
        print(f"  {'':16} {'build':>8} {'queries/s':>11} {'x Faiss':>8} {'excess':>9}")
        for method in [*methods, *shipped[2:]]:
            rate = method.rate(len(queries))
            print(
                f"  {method.name:16} {method.build_seconds:6.2f} s {rate:10,.0f}{'*' if method.subset else ' '} "
                f"{rate / peer.rate(len(queries)):8.2f} {method.excess:9.1e}{'  auto' if method.name == chosen else ''}"
            )
            if name == "rgb" and method.name == chosen:
                speedup = rate / peer.rate(len(queries))
        max_excess = max([max_excess, *(method.excess for method in shipped)])
    print(f"\nresult: speedup={speedup:.2f} max_excess={max_excess:.1e}")


if __name__ == "__main__":
    main()
