"""Does the texture database matter? What L_PT's targets are, for databases of 10 thousand to 10 million patches.

Held-out photographs are shrunk and enlarged again by the generator `realsr-df2k`: e is the SR image, g the HR one. For
every descriptor, k = 4 and 8 and α : β from 1 : 0 to 0 : 1, each patch looks for its target p* in random subsets of a
database built from the other photographs, all searches exact, and, for comparison, among the `local` candidates.
Distances are between standardised Gram vectors; "gap" is the distance between e and g. Measured, over all patches:

    to_query   mean distance of p* from its query q over half the mean gap: what runs log as target_ratio
    to_hr      mean distance of p* from g over the mean gap; above 1 the target is farther from the truth than SR is
    to_sr      mean distance of p* from e over the mean gap
    farther    share of patches whose target is farther from g than e is
    entries    share of L_PT's terms (the entries of the Gram matrices) that push their entry of G(e) in another
               direction than the same term of a plain Gram distance to HR, ‖G(e) - G(g)‖₁, does; an L1 norm's
               gradient is its terms' signs and nothing else
    turned     share of the gradient's energy, taken on the pixels of e patch by patch, that does not lie along the
               plain Gram distance's gradient: Σ ‖v‖² (1 - max(0, cos)²) / Σ ‖v‖²; 0: the same direction everywhere,
               the database is a no-op; 1: nothing in common
    opposed    share of patches whose gradient points away from where the plain Gram distance pulls (cos < 0)

    python studies/texture_study.py run [--patches 10000000] [--only rgb:4 rgb-centred:8]
    python studies/texture_study.py figures      curves, and what the chosen patches look like
    python studies/texture_study.py table        Markdown tables of what is there

What is in the results file is not computed again. Without an argument the tables are printed. The last line's values
are those at α : β = 1 : 1 and k = 4 for the largest database there.
"""

import argparse
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gramgan.collect import split
from gramgan.degradation.bicubic import degrade_bicubic
from gramgan.files import atomic_path, ensure_folder, write_bytes, write_text
from gramgan.images import read_rgb, write_image
from gramgan.networks.build import load_generator
from gramgan.ops.luma import luma_full
from gramgan.ops.patches import cut_patches
from gramgan.reports.pixels import to_png
from gramgan.reports.plots import PALETTE
from gramgan.reports.strips import Panel, comparison
from gramgan.texture.candidates import LocalSource, combined_query
from gramgan.texture.database import TextureDatabase, sources_of
from gramgan.texture.descriptors import DESCRIPTORS, Descriptor, DescriptorName
from gramgan.texture.search import build_index

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ROOT.parent / "shared" / "photos"
GENERATOR = "realsr-df2k"
CROP, CENTRE = 192, 64  # SR and local candidates are of the crop, queries of its centre
CROPS = 3  # of each held-out photograph
TRIED = 24  # crops of each among which the most textured one is found, for the pictures
SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
PIECE = 1_000_000  # vectors searched at a time
RATIOS = ((1, 0), (3, 1), (1, 1), (1, 3), (0, 1))
SIDES = (4, 8)
TEXTURED = 0.02  # standard deviation of HR luma in a patch from which it is textured
LOCAL = "local"
SHOWN = ((1, 1), (0, 1))  # ratios whose targets are shown

log = logging.getLogger("texture_study")


@dataclass(frozen=True)
class Images:
    """`hr` and `sr` `[B, 3, CROP, CROP]` in [0, 1]; the last one is for pictures alone."""

    hr: Tensor
    sr: Tensor

    @property
    def centres(self) -> tuple[Tensor, Tensor]:
        """Centres of HR and SR `[B, 3, CENTRE, CENTRE]`."""
        margin = (CROP - CENTRE) // 2
        inner = slice(margin, margin + CENTRE)
        return self.hr[..., inner, inner], self.sr[..., inner, inner]


@dataclass(frozen=True)
class Case:
    """Descriptor, patches and queries of one (descriptor, k): Gram vectors `[B, N, D]`."""

    descriptor: Descriptor
    hr: Tensor
    sr: Tensor
    gram_hr: Tensor
    gram_sr: Tensor

    def queries(self) -> Tensor:
        """For each ratio: `[R, B, N, D]`."""
        return torch.stack([combined_query(self.gram_hr, self.gram_sr, *ratio) for ratio in RATIOS])


def load_images(photos: Path) -> Images:
    """Crops of the held-out photographs, and what the generator makes of their quarter."""
    random = np.random.default_rng(0)
    crops, textured = [], []
    for path in split(photos)[1]:
        photograph = torch.from_numpy(read_rgb(path))
        tried = []
        for _ in range(TRIED):
            y, x = (int(random.integers(0, side - CROP + 1)) for side in photograph.shape[-2:])
            tried.append(photograph[:, y : y + CROP, x : x + CROP])
        crops += tried[:CROPS]
        textured.append(max(tried, key=texture_energy))
    hr = torch.stack([*crops, max(textured, key=texture_energy)])
    network = load_generator(GENERATOR).network
    with torch.no_grad():
        sr = torch.cat([network(degrade_bicubic(part)).clamp(0, 1) for part in hr.split(1)])
    return Images(hr, sr)


def texture_energy(crop: Tensor) -> float:
    """Mean standard deviation of luma in the 4×4 patches of the centre of `[3, CROP, CROP]`."""
    margin = (CROP - CENTRE) // 2
    return float(luma_deviation(crop[None, :, margin:-margin, margin:-margin], 4).mean())


def luma_deviation(images: Tensor, k: int) -> Tensor:
    """Standard deviation of luma in every k×k patch: `[B, N]`."""
    return cut_patches(luma_full(images), k, k).std(dim=-1, correction=0).squeeze(2)


def make_case(images: Images, descriptor: Descriptor) -> Case:
    hr, sr = images.centres
    return Case(descriptor, hr, sr, descriptor.encode(hr), descriptor.encode(sr))


def nearest_by_size(vectors: np.ndarray, queries: Tensor, sizes: Iterable[int]) -> dict[int, tuple[Tensor, Tensor]]:
    """Nearest vectors among the first n, for each n of `sizes` (ascending): n → (vectors `[Q, D]`, rows `[Q]`)."""
    best = torch.full((len(queries),), torch.inf)
    row = torch.zeros(len(queries), dtype=torch.int64)
    chosen = torch.zeros_like(queries)
    found = {}
    done = 0
    for size in sizes:
        while done < size:
            piece = torch.from_numpy(vectors[done : min(done + PIECE, size)])
            distance, position = build_index(piece).query(queries)
            nearer = distance < best
            best = torch.where(nearer, distance, best)
            row = torch.where(nearer, position + done, row)
            chosen[nearer] = piece[position[nearer]]
            done += len(piece)
        found[size] = chosen.clone(), row.clone()
    return found


def measure(case: Case, ratio: tuple[int, int], gram: Tensor, which: Tensor) -> dict[str, float]:
    """What the module's text lists, for targets `gram` `[B, N, D]`, over the patches `which` `[B, N]` (bool)."""
    query = combined_query(case.gram_hr, case.gram_sr, *ratio)
    gap = (case.gram_sr - case.gram_hr).norm(dim=-1)
    to_query, to_hr, to_sr = ((gram - other).norm(dim=-1) for other in (query, case.gram_hr, case.gram_sr))
    own, plain = pixel_gradient(case, gram), pixel_gradient(case, case.gram_hr)
    product, energy = (own * plain).sum(-1), own.square().sum(-1)
    cosine = product / (own.norm(dim=-1) * plain.norm(dim=-1)).clamp_min(1e-20)
    turned = energy * (1 - cosine.clamp_min(0).square())
    # The L1 norm's weight of each entry: what a difference of 1 there is worth.
    weight = case.descriptor.matrix_l1(torch.eye(case.descriptor.dimension)).expand_as(gram)[which]
    other_sign = (torch.sign(case.gram_sr - gram) != torch.sign(case.gram_sr - case.gram_hr))[which]
    mean_gap = gap[which].mean()
    values = {
        "to_query": 2 * to_query[which].mean() / mean_gap,
        "to_hr": to_hr[which].mean() / mean_gap,
        "to_sr": to_sr[which].mean() / mean_gap,
        "farther": (to_hr > gap)[which].float().mean(),
        "entries": (weight * other_sign).sum() / weight.sum(),
        "turned": turned[which].sum() / energy[which].sum().clamp_min(1e-20),
        "opposed": (cosine < 0)[which].float().mean(),
    }
    return {name: round(float(value), 5) for name, value in values.items()}


def pixel_gradient(case: Case, gram: Tensor) -> Tensor:
    """Gradient of L_PT with targets `gram` with respect to SR's pixels, cut into patches: `[B, N, 3 k²]`."""
    sr = case.sr.clone().requires_grad_()
    case.descriptor.matrix_l1(case.descriptor.encode(sr) - gram).sum().backward()
    assert sr.grad is not None
    return cut_patches(sr.grad, case.descriptor.k, case.descriptor.k).flatten(2)


def statistics_of(case: Case, gram: Tensor, ratio: tuple[int, int]) -> dict[str, dict[str, float]]:
    """`measure` over all patches, and over the textured ones, but for those of the picture."""
    counted = torch.ones(case.gram_hr.shape[:2], dtype=torch.bool)
    counted[-1] = False
    textured = counted & (luma_deviation(case.hr, case.descriptor.k) >= TEXTURED)
    return {"all": measure(case, ratio, gram, counted), "textured": measure(case, ratio, gram, textured)}


def study(name: DescriptorName, k: int, images: Images, arguments: argparse.Namespace, results: "Results") -> None:
    """All sizes and ratios of one descriptor and k."""
    sizes = [size for size in SIZES if size <= arguments.patches]
    wanted = [size for size in sizes if results.find(descriptor=name, k=k, size=size) is None]
    if not wanted:
        return
    path = arguments.folder / f"{name}-{k}-{arguments.patches}.lance"
    if not path.exists():
        log.info("%s k=%d: building a database of %d patches", name, k, arguments.patches)
        sources = sources_of(arguments.photos, split(arguments.photos)[0])
        TextureDatabase.build(path, sources, patches=arguments.patches, descriptor=name, k=k)
    database = TextureDatabase.open(path)
    case = make_case(images, database.descriptor)
    vectors, ids = database.vectors(), database.patch_ids()
    order = np.random.default_rng(0).permutation(len(ids))
    vectors, ids = vectors[order], ids[order]
    limits = {size: min(size, len(ids)) for size in sizes}
    log.info("%s k=%d: searching %d patches", name, k, len(ids))
    queries = case.queries()
    found = nearest_by_size(vectors, queries.flatten(0, 2), [limits[size] for size in sizes])
    for size in wanted:
        gram, rows = found[limits[size]]
        gram, rows = gram.view_as(queries), rows.view(queries.shape[:3])
        for number, ratio in enumerate(RATIOS):
            row = {"descriptor": name, "k": k, "size": size, "patches": limits[size], "ratio": ratio}
            results.add(row | statistics_of(case, gram[number], ratio))
            if ratio in SHOWN:
                pixels = patch_pixels(database, ids[rows[number, -1].numpy()])
                save_mosaic(arguments.folder / "mosaics" / f"{name}-{k}-{size}-{ratio[0]}-{ratio[1]}.png", pixels)
        log.info("%s k=%d, %d patches: %s", name, k, size, results.find(descriptor=name, k=k, size=size, ratio=(1, 1)))
    if results.find(descriptor=name, k=k, size=LOCAL) is None:
        local(case, images, results)
    if not arguments.keep:
        shutil.rmtree(path)


def local(case: Case, images: Images, results: "Results") -> None:
    """The same for the `local` candidates of each crop."""
    name, k = case.descriptor.name, case.descriptor.k
    for ratio, query in zip(RATIOS, case.queries(), strict=True):
        source = LocalSource(case.descriptor, torch.Generator().manual_seed(0))
        gram = torch.cat([source.targets(query[i : i + 1], images.hr[i : i + 1]).gram for i in range(len(query))])
        row = {"descriptor": name, "k": k, "size": LOCAL, "patches": 0, "ratio": ratio}
        results.add(row | statistics_of(case, gram, ratio))


def patch_pixels(database: TextureDatabase, ids: np.ndarray) -> Tensor:
    """Pixels of patches in the order asked for: `[N, k, k, 3]` uint8."""
    return torch.from_numpy(np.stack([row["patch"] for row in database.rows(ids.tolist())]))


def save_mosaic(path: Path, pixels: Tensor) -> None:
    """The patches `[N, k, k, 3]` of a square image put side by side."""
    side, k = round(len(pixels) ** 0.5), pixels.shape[1]
    image = pixels.view(side, side, k, k, 3).permute(4, 0, 2, 1, 3).reshape(3, side * k, side * k)
    write_image(path, image.float().div(255).numpy())


class Results:
    """A JSON-lines file, one line for each measurement; a line that a crash tore is taken out and measured again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        whole = text[: text.rfind("\n") + 1]
        self._repaired = whole if whole != text else None  # not written before there is something to add
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in whole.splitlines()]

    def add(self, row: dict[str, Any]) -> None:
        """Append a line; it is on the disk when this returns."""
        line = json.dumps(row)
        if self._repaired is not None:
            write_text(self.path, self._repaired)
            self._repaired = None
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows.append(json.loads(line))

    def find(self, **wanted: Any) -> dict[str, Any] | None:
        """The last row with these values."""
        wanted = json.loads(json.dumps(wanted))
        found = [row for row in self.rows if all(row.get(key) == value for key, value in wanted.items())]
        return found[-1] if found else None


def curves(results: Results, path: Path) -> None:
    """How far targets lie and how far they turn the gradient, over the size of the database and over α : β."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(9.5, 6.4), layout="constrained")
    styles = {4: "-", 8: "--"}
    for (name, colour), (k, style) in product(zip(DESCRIPTORS, PALETTE, strict=False), styles.items()):
        label = f"{name}, k = {k}"
        line: dict[str, Any] = {"color": colour, "linestyle": style, "marker": "o", "markersize": 3.5}
        by_size = [row for size in SIZES if (row := results.find(descriptor=name, k=k, size=size, ratio=(1, 1)))]
        for column, value in enumerate(("to_query", "turned")):
            axes[0][column].plot(
                [row["patches"] for row in by_size], [row["all"][value] for row in by_size], label=label, **line
            )
        size = max((row["size"] for row in by_size), default=0)
        by_ratio = [results.find(descriptor=name, k=k, size=size, ratio=ratio) for ratio in RATIOS]
        for column, value in enumerate(("to_hr", "turned")):
            values = [row["all"][value] if row else float("nan") for row in by_ratio]
            axes[1][column].plot([b / (a + b) for a, b in RATIOS], values, label=label, **line)
    for axis, title in zip(
        axes.flat,
        (
            "target from its query / half the gap, α = β",
            "gradient turned from a plain Gram distance, α = β",
            "target from HR / gap, largest database",
            "gradient turned from a plain Gram distance, largest database",
        ),
        strict=True,
    ):
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
    for axis in axes[0]:
        axis.set_xscale("log")
        axis.set_xlabel("patches in the database")
    axes[0][0].set_yscale("log")
    for axis in axes[1]:
        axis.set_xticks([b / (a + b) for a, b in RATIOS], [f"{a} : {b}" for a, b in RATIOS])
        axis.set_xlabel("α : β")
    axes[0][0].axhline(1, color="grey", linewidth=0.8)
    axes[1][0].axhline(1, color="grey", linewidth=0.8)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    plt.close(figure)


def chosen(folder: Path, path: Path) -> None:
    """One crop: HR, SR, and the chosen patches of each descriptor side by side in their places, α = β."""
    hr, sr = (read_rgb(folder / f"{name}.png") for name in ("hr", "sr"))
    rows = []
    for k in SIDES:
        panels = [Panel(hr, "HR", f"k = {k}"), Panel(sr, "SR")]
        for name in DESCRIPTORS:
            there = [size for size in SIZES if (folder / f"{name}-{k}-{size}-1-1.png").is_file()]
            panels += [
                Panel(read_rgb(folder / f"{name}-{k}-{size}-1-1.png"), name, f"{size_name(size)} patches")
                for size in sorted({*there[:1], *there[-1:]})
            ]
        rows.append(panels)
    write_bytes(path, to_png(comparison(rows, zoom=3)))


def size_name(size: int | str) -> str:
    return size if isinstance(size, str) else f"{size // 1000:,} k" if size < 1_000_000 else f"{size // 1_000_000} M"


def summary(results: Results, subset: str = "all") -> tuple[str, str]:
    """Markdown: to_query and turned over sizes at α = β; to_hr, to_sr and turned over α : β for 1 M patches."""

    def cell(row: dict[str, Any] | None, *columns: str) -> str:
        if row is None:
            return ""
        return ", ".join(f"{row[subset][c]:.2f}" if c.startswith("to") else f"{row[subset][c]:.0%}" for c in columns)

    def table(title: str, heads: list[str], find: Callable[[str, int], list[Any]], *columns: str) -> str:
        lines = [f"| {title} | {' | '.join(heads)} |", "| --- " * (len(heads) + 1) + "|"]
        for k, name in product(SIDES, DESCRIPTORS):
            lines.append(f"| `{name}`, k = {k} | {' | '.join(cell(row, *columns) for row in find(name, k))} |")
        return "\n".join(lines)

    sizes: list[int | str] = [LOCAL, *SIZES]
    by_size = table(
        "to_query, turned",
        [size_name(size) for size in sizes],
        lambda name, k: [results.find(descriptor=name, k=k, size=size, ratio=(1, 1)) for size in sizes],
        "to_query",
        "turned",
    )
    by_ratio = table(
        "to_hr, to_sr, turned",
        [f"{a} : {b}" for a, b in RATIOS],
        lambda name, k: [results.find(descriptor=name, k=k, size=1_000_000, ratio=ratio) for ratio in RATIOS],
        "to_hr",
        "to_sr",
        "turned",
    )
    return by_size, by_ratio


def tables(results: Results, subset: str = "all") -> str:
    """Markdown: one table for α : β = 1 : 1 over sizes, one for the largest database over ratios."""
    columns = ("to_query", "to_hr", "to_sr", "farther", "entries", "turned", "opposed")
    lines = []

    def table(title: str, rows: list[tuple[str, dict[str, Any]]]) -> None:
        lines.extend(("", title, "", "| | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)))
        for label, row in rows:
            values = row[subset]
            cells = (f"{values[c]:.2f}" if c.startswith("to") else f"{100 * values[c]:.1f} %" for c in columns)
            lines.append(f"| {label} | " + " | ".join(cells) + " |")

    keys = [(name, k) for name in DESCRIPTORS for k in SIDES]
    sizes: list[int | str] = [LOCAL, *SIZES]
    for name, k in keys:
        rows = [(size, results.find(descriptor=name, k=k, size=size, ratio=(1, 1))) for size in sizes]
        present = [(size_name(size), row) for size, row in rows if row is not None]
        if present:
            table(f"`{name}`, k = {k}, α : β = 1 : 1, {subset} patches", present)
    for name, k in keys:
        there = [size for size in SIZES if results.find(descriptor=name, k=k, size=size) is not None]
        if there:
            rows = [(f"{a} : {b}", results.find(descriptor=name, k=k, size=there[-1], ratio=(a, b))) for a, b in RATIOS]
            title = f"`{name}`, k = {k}, {size_name(there[-1])} patches, {subset} patches of the queries"
            table(title, [(label, row) for label, row in rows if row is not None])
    return "\n".join(lines)


def fill(page: Path, name: str, text: str) -> None:
    """Put `text` between the comments `<!-- name -->` and `<!-- /name -->` of a Markdown page."""
    opening, closing = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(opening)
    _, closed, after = rest.partition(closing)
    if not (found and closed):
        raise ValueError(f"{page} has no {opening} … {closing}")
    write_text(page, f"{before}{opening}\n\n{text.strip()}\n\n{closing}{after}")


def result_line(results: Results) -> str:
    """Ratio and turned share at k = 4 and α = β for the largest database of each descriptor."""
    values = []
    for name in DESCRIPTORS:
        rows = [row for size in SIZES if (row := results.find(descriptor=name, k=4, size=size, ratio=(1, 1)))]
        if rows:
            key = name.replace("-", "_")
            values.append(
                f"{key}_to_query={rows[-1]['all']['to_query']:.3f} {key}_turned={rows[-1]['all']['turned']:.3f}"
            )
    return f"result: {' '.join(values) or 'rows=0'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("run", "figures", "table"), default="table")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "texture-study", help="results and databases")
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--patches", type=int, default=1_000_000, help="size of the largest database")
    parser.add_argument("--only", nargs="+", help="such as rgb:4; default: every descriptor with k = 4 and 8")
    parser.add_argument("--page", type=Path, help="put the first table into it, docs/explanation/texture-study.md")
    parser.add_argument("--keep", action="store_true", help="keep the databases")
    arguments = parser.parse_args()

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    ensure_folder(arguments.folder / "mosaics")
    results = Results(arguments.folder / "results.jsonl")
    if arguments.what == "run":
        images = load_images(arguments.photos)
        for file, image in zip(("hr", "sr"), images.centres, strict=True):
            write_image(arguments.folder / "mosaics" / f"{file}.png", image[-1].numpy())
        for k, name in product(SIDES, DESCRIPTORS):
            if not arguments.only or f"{name}:{k}" in arguments.only:
                study(name, k, images, arguments, results)
    if arguments.what == "figures":
        curves(results, arguments.folder / "curves.png")
        chosen(arguments.folder / "mosaics", arguments.folder / "chosen.png")
    for subset in ("all", "textured"):
        by_size, by_ratio = summary(results, subset)
        print(f"\n{subset} patches\n\n{by_size}\n\n{by_ratio}\n{tables(results, subset)}")
        if arguments.page and subset == "all":
            fill(arguments.page, "sizes", by_size)
    print(result_line(results))


if __name__ == "__main__":
    main()
