"""Does a database of real textures help a training when it is asked what HR does not say? Equal budget, one start.

    python studies/texture_training.py run [--regimes degraded unpaired] [--arms …] [--seeds 0 1 2]
    python studies/texture_training.py table [--page docs/explanation/texture-study.md]

SPAN learns from the same start for the same number of steps with the same crops in the same order; what differs is what
the database is asked and who hears the answer. Crops are of CID22 and of four materials of scikit-image, the database
is of other photographs of CID22 and of other parts of those materials, and judged are the photographs of
`photo_heldout.txt` and still other parts of the materials. How a place is looked up: `texture_evidence.py`.

    degraded   LR as cameras make it: blurred, noisy, JPEG; the start is SPAN after L_C alone on such crops
    clean      LR by MATLAB's bicubic; the start is SPAN as its authors published it
    unpaired   likewise, but no training step knows the truth: L_C becomes agreement with LR, D's real crops are others

Each addition is weighted so that at the start its gradient with respect to SR is `SHARE` times as long as L_C's; those
named "drawn" get patches drawn at random in place of the retrieved ones. What is finished is in a JSON file of its own
and is not done again. Scores are those of the averaged weights at the end, and of weights half-way and three quarters
on the way from the start to them, so that results can be compared at the same PSNR-Y. The last line has the changes
against `base`.
"""

import argparse
import json
import logging
import shutil
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ablation import SMALL_VALIDATION
from gramgan.config import load_config
from gramgan.degradation import Degradation
from gramgan.degradation.base import seed_of, to_8_bits
from gramgan.degradation.bicubic import Bicubic
from gramgan.degradation.photo import Faults, Photo
from gramgan.evaluation.statistics import Mean, mean_with_interval
from gramgan.files import ensure_folder, write_text
from gramgan.images import write_image
from gramgan.metrics import Dists, Lpips, StLpips, TextureDistance
from gramgan.metrics.psnr import psnr_y
from gramgan.networks.build import load_generator
from gramgan.networks.trunks import load_trunk
from gramgan.training.folder import BEST_GENERATOR
from gramgan.training.run import train
from gramgan.weights.catalog import fetch_weights
from gramgan.weights.interpolate import interpolate
from photo import SHARED, as_tensor
from photo_generator import held_out
from texture_evidence import CROP, Bank, Enlarge, Judge, Pool, Shallow, Step, consistency, drawn_crops
from texture_memory import materials
from texture_study import fill

ROOT = Path(__file__).resolve().parents[1]
SPAN = "span-x4"
MATERIALS = ("brick", "grass", "gravel", "tissue")
PHOTOGRAPHS = 72
"""Of CID22, in the database and as many to train on."""
CROPS, REAL = 800, 400
MATERIAL_CROPS = 0.25
SIDE, JUDGED = 256, 192
"""Of a quarter of a material, and of what is judged."""
BATCH = 4
PRETRAIN, WARM, STEPS = 200, 40, 100
SHARE, AGREEMENT = 2.0, 3.0
STRENGTHS = (0.5, 0.75, 1.0)
FULL = "1.0"
DECIMALS = {"texture_distance": 3, "psnr_y": 2, "st_lpips": 3, "lpips_alex": 3, "dists": 3}
METRICS = tuple(DECIMALS)
AT_EVERY_STRENGTH = METRICS[:3]
_PSNR = 1
BURST = 3.5
"""dB that a picture loses more than the median one: its network burst, which says nothing of the formulation."""
DOMAINS = ("photographs", "materials")
FAULTS = Faults(
    clean=0,
    blur=1,
    sigma=(0.6, 1.4),
    ring=0,
    larger=0,
    smaller=0,
    aliased=0,
    noise=1,
    grain=(1.0, 5.0),
    denoised=0,
    sharpened=0,
    compressed=1,
    quality=(60, 92),
    again=0,
)
"""The middle of the profile `photo`: each fault always there and mild, no change of size."""

Row = dict[str, Any]
"""What is written down of one arm: its scores by strength, domain and metric."""

log = logging.getLogger("texture_training")


@dataclass(frozen=True)
class Regime:
    """How LR is made, the weight of L_G, and whether a training knows the truths."""

    degradation: Degradation
    adversarial: float = 0.03
    adapted: bool = False
    truths: bool = True

    def degrade(self, hr: Tensor, seed: int) -> Tensor:
        """LR of images that share a seed."""
        return self.degradation(hr, [seed] * len(hr))


REGIMES = {
    "degraded": Regime(Photo(FAULTS), adapted=True),
    "unpaired": Regime(Bicubic(), adversarial=0.12, truths=False),
    "clean": Regime(Bicubic()),
}


@dataclass(frozen=True)
class Arm:
    """One formulation: which addition, how much of it is HR's own, whether answers are drawn, and how strong L_G is."""

    title: str
    addition: str = ""
    hr: float = 0.0
    drawn: bool = False
    judged: float = 1.0

    @property
    def needs_truths(self) -> bool:
        """Whether it looks at HR."""
        return self.hr > 0 or self.addition == "best"


ARMS = {
    "base": Arm("no database (`base`)"),
    "judged": Arm("no database, L_G four times as strong", judged=4.0),
    "best": Arm("L_PT to the best of 8", "best"),
    "best-drawn": Arm("… of 8 drawn", "best", drawn=True),
    "sliced": Arm("sliced distance to 8", "sliced"),
    "sliced-drawn": Arm("… to 8 drawn", "sliced", drawn=True),
    "sliced-both": Arm("sliced distance to 8 and to HR", "sliced", hr=0.5),
    "sliced-both-drawn": Arm("… to 8 drawn and to HR", "sliced", hr=0.5, drawn=True),
    "sliced-hr": Arm("no database, sliced distance to HR", "sliced", hr=1.0),
    "evidence": Arm("D sees 8 beside", "evidence"),
    "evidence-drawn": Arm("… 8 drawn", "evidence", drawn=True),
    "gram": Arm("Gram matrices of shallow features, best of 8, HR not asked", "gram"),
    "gram-drawn": Arm("… of 8 drawn", "gram", drawn=True),
}


def arms_of(regime: str) -> dict[str, Arm]:
    """Those that the regime allows."""
    return {name: arm for name, arm in ARMS.items() if REGIMES[regime].truths or not arm.needs_truths}


def opened(path: Path) -> Tensor:
    with Image.open(path) as image:
        return as_tensor(image.convert("RGB"))


def centre(image: Tensor, size: int) -> Tensor:
    top, left = ((side - size) // 2 for side in image.shape[-2:])
    return image[..., top : top + size, left : left + size]


def of_array(picture: np.ndarray) -> Tensor:
    return as_tensor(Image.fromarray(np.ascontiguousarray(picture)))


@dataclass(frozen=True)
class Pictures:
    """What is trained on, what the database is of, and what is judged; of the first two, materials come last."""

    training: list[Tensor]
    database: list[Tensor]
    judged: dict[str, dict[str, Tensor]]

    @classmethod
    def of(cls, photos: Path) -> "Pictures":
        """Photographs of CID22, every second for the database, and the quarters of the materials."""
        files = sorted(photos.glob("*.png"))
        free = [path for path in files if not path.as_posix().endswith(held_out())]
        textures = {name: materials()[name] for name in MATERIALS}
        half = SIDE  # a material's left half has two squares
        return cls(
            [opened(path) for path in free[::2][:PHOTOGRAPHS]] + [of_array(a[:half]) for a, _ in textures.values()],
            [opened(path) for path in free[1::2][:PHOTOGRAPHS]] + [of_array(a[half:]) for a, _ in textures.values()],
            {
                "photographs": {p.stem: centre(opened(p), JUDGED) for p in files if p.as_posix().endswith(held_out())},
                "materials": {name: centre(of_array(b), JUDGED) for name, (_, b) in textures.items()},
            },
        )

    def numbers(self, count: int) -> list[int]:
        """Of which picture each of `count` crops is, mixed."""
        random = np.random.default_rng(0)
        textures = round(MATERIAL_CROPS * count)
        photographs = random.integers(0, len(self.training) - len(MATERIALS), count - textures)
        others = random.integers(len(self.training) - len(MATERIALS), len(self.training), textures)
        return random.permutation(np.concatenate([photographs, others])).tolist()


def overrides(regime: Regime, arguments: argparse.Namespace, **changes: object) -> list[str]:
    """What differs from the preset `lite`."""
    losses = {
        "texture": 0,
        "disc_perceptual": 0,
        "perceptual": 0.2,
        "adversarial": regime.adversarial,
        "pixel": 1.0,
        "artifact": 1.0,
    }
    if not regime.truths:
        losses |= dict.fromkeys(("perceptual", "pixel", "artifact"), 0)
    settings: dict[str, object] = {
        "generator": f"{{network: span, nf: 48, nb: 6, start: {SPAN}}}",
        **{f"losses.{name}": weight for name, weight in losses.items()},
        "losses.relativistic": "paired" if regime.truths else "average",
        "mask.threshold": 0,
        "data.crop": CROP,
        "data.validation": arguments.folder / "validation",
        "stages.pretrain": 0,
        "stages.warm_discriminator": arguments.warm,
        "stages.adversarial": arguments.steps,
        "schedule.rate": 1e-4,
        "schedule.rate_discriminator": 2e-4,
        "schedule.rate_pretrain": 2e-4,
        "schedule.warmup": 10,
        "schedule.restart_every": 100_000,
        "train.batch_size": BATCH,
        "train.ema_decay": 0.97,
        "train.device": "cpu",
        "train.precision": "fp32",
        "train.memory_format": "channels_last",
        "train.clip": 1.0,
        "log.every": 20,
        "log.checkpoint_every": 100_000,
        "log.validation_images": 1,
        "log.validation_crop": SMALL_VALIDATION,
        "log.best_by": "psnr_y",
        **changes,
    }
    return [f"{name}={value}" for name, value in settings.items()]


@dataclass(frozen=True)
class Setting:
    """All that the trainings of one regime share."""

    regime: Regime
    start: Path
    shallow: Shallow
    bank: Bank
    pool: Pool
    real: Pool | None

    def step(self, arm: Arm, seed: int) -> Step:
        """The crops of one training, and what an arm may ask of the database."""
        return Step(self.bank, self.shallow, self.pool, self.real, seed=seed, drawn=arm.drawn)


def ready(name: str, pictures: Pictures, arguments: argparse.Namespace) -> Setting:
    """Start, database and crops of a regime; what was made before is read."""
    regime = REGIMES[name]
    start, file = adapted(name, pictures, arguments), arguments.folder / f"{name}.pt"
    trunk = load_trunk("st-vgg16", layers=["conv3_3"])
    shallow = Shallow(trunk, [centre(each, SIDE) for each in pictures.database[::6]])
    if not file.is_file():
        enlarge = load_generator(start).network.eval()
        log.info("%s: looking at the database and the crops", name)
        bank = Bank.of(pictures.database, shallow, enlarge, regime.degrade)
        pool = Pool.of(pictures.training, pictures.numbers(CROPS), bank, shallow, enlarge, regime.degrade)
        real = None
        if not regime.truths:
            numbers = pictures.numbers(REAL)
            real = Pool.of(pictures.database, numbers, bank, shallow, enlarge, regime.degrade, of_bank=True)
        torch.save((vars(bank), vars(pool), real and vars(real)), part := file.with_suffix(".part"))
        part.rename(file)
    bank, pool, real = torch.load(file)
    return Setting(regime, start, shallow, Bank(**bank), Pool(**pool), real and Pool(**real))


def adapted(name: str, pictures: Pictures, arguments: argparse.Namespace) -> Path:
    """The start of a regime: SPAN as it is, or after L_C alone on the regime's crops."""
    regime, folder = REGIMES[name], arguments.folder / f"start-{name}"
    if not regime.adapted:
        return fetch_weights(SPAN)
    kept = arguments.folder / f"start-{name}.safetensors"
    if not kept.is_file():
        log.info("%s: the start", name)
        every = list(drawn_crops(pictures.training, pictures.numbers(CROPS), regime.degrade))

        def crops(number: int, batch: int, crop: int) -> tuple[Tensor, Tensor]:
            chosen = [every[i % len(every)] for i in range(number * batch, (number + 1) * batch)]
            return torch.cat([each.hr for each in chosen]), torch.cat([each.lr for each in chosen])

        stages = {"pretrain": arguments.pretrain, "warm_discriminator": 0, "adversarial": 0}
        changes: dict[str, object] = {f"stages.{stage}": count for stage, count in stages.items()}
        changes |= {"log.validate_every": arguments.pretrain, "train.batch_size": 2 * BATCH}
        shutil.rmtree(folder, ignore_errors=True)
        train(load_config("lite", overrides=overrides(regime, arguments, **changes)), folder, crops=crops)
        (folder / f"{BEST_GENERATOR}.safetensors").replace(kept)
    return kept


def additions(arm: Arm, step: Step) -> Callable[..., Tensor] | None:
    """The loss that an arm adds; None where it adds none."""
    match arm.addition:
        case "best":
            return step.best
        case "gram":
            return lambda sr, hr: step.gram(sr)
        case "sliced":
            return partial(step.sliced, share=arm.hr)
    return None


def weight_of(loss: Callable[..., Tensor], step: Step, enlarge: Enlarge) -> float:
    """The weight at which a loss's gradient with respect to SR is `SHARE` times as long as L_C's, at the start."""
    ratios = []
    for number in range(4):
        hr, lr = step.crops(number, BATCH, CROP)
        with torch.no_grad():
            sr = enlarge(lr)
        (gradient,) = torch.autograd.grad(loss(sr=sr.requires_grad_(), hr=hr), sr)
        ratios.append(sr.numel() ** -0.5 / float(gradient.norm()))  # every entry of L_C's is 1 / numel
    return SHARE * statistics.mean(ratios)


def run_arm(name: str, seed: int, of: Setting, scores: "Scores", folder: Path, arguments: argparse.Namespace) -> Row:
    """Train one arm and score what it leaves."""
    arm, begin = ARMS[name], time.monotonic()
    step = of.step(arm, seed)
    enlarge = load_generator(of.start).network.eval()
    losses: dict[str, tuple[Callable[..., Tensor], float]] = {}
    loss = additions(arm, step)
    if loss is not None:
        losses["asked"] = asking(loss), weight_of(loss, step, enlarge)
    if not of.regime.truths:
        losses["agreement"] = consistency, AGREEMENT
    shown = step.shown if arm.addition == "evidence" else None
    changes = {
        "generator.start": of.start,
        "losses.adversarial": arm.judged * of.regime.adversarial,
        "train.seed": seed,
        "log.validate_every": arguments.warm + arguments.steps,
    }
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(seed)
    config = load_config("lite", overrides=overrides(of.regime, arguments, **changes))
    left = train(config, folder, losses=losses, discriminator=partial(Judge, shown), crops=step.crops)
    if not left.finished:
        raise SystemExit(f"{folder}: stopped; start the same command again")
    took = time.monotonic() - begin
    file = folder / f"{BEST_GENERATOR}.safetensors"
    start, end = (load_generator(each).network.state_dict() for each in (of.start, file))
    networks = {}
    for strength in STRENGTHS:
        networks[str(strength)] = network = load_generator(of.start).network.eval()
        network.load_state_dict(interpolate(start, end, strength, (str(of.start), str(file))))
    found = scores(networks, of.regime)
    weight = losses.get("asked", (None, 0.0))[1]
    return {"weight": weight, "seconds": took, "seconds_scored": time.monotonic() - begin - took, "scores": found}


def asking(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A loss as a plain function of what the engine gives."""

    def asked(sr: Tensor, hr: Tensor) -> Tensor:
        return loss(sr=sr, hr=hr)

    return asked


def run(arguments: argparse.Namespace) -> None:
    for name in (SPAN, "st-lpips-vgg16", "st-lpips-alex", "lpips-alex", "dists-vgg16", "vgg16"):
        fetch_weights(name)
    pictures = Pictures.of(arguments.photos)
    some = pictures.training[0][..., :SMALL_VALIDATION, :SMALL_VALIDATION]
    write_image(arguments.folder / "validation" / "some.png", some[0].numpy())
    scores, prepared = Scores(pictures.judged), cache(lambda name: ready(name, pictures, arguments))
    for seed in arguments.seeds:
        for regime in arguments.regimes:
            for name in arms_of(regime):
                file = arguments.folder / "results" / f"{regime}-{name}-{seed}.json"
                if name not in arguments.arms or file.is_file():
                    continue
                of = prepared(regime)
                first = arguments.folder / "results" / f"{regime}-start.json"
                if not first.is_file():
                    enlarge = load_generator(of.start).network.eval()
                    row = {"scores": scores({FULL: enlarge}, of.regime), "known": known(of)}
                    write_text(first, json.dumps(row) + "\n")
                runs = arguments.folder / "runs" / file.stem
                row = {"steps": arguments.steps, **run_arm(name, seed, of, scores, runs, arguments)}
                write_text(file, json.dumps(row) + "\n")
                mean = {f"{d} {m}": round(statistics.mean(v[m]), 4) for d, v in row["scores"][FULL].items() for m in v}
                log.info("%s %s %d: %.0f s, %s", regime, name, seed, row["seconds"], mean)


@torch.no_grad()
def known(of: Setting) -> dict[str, float]:
    """How far the answers' shallow features are from the truth's, as sliced distances: what the database knows."""
    enlarge, found = load_generator(of.start).network.eval(), {}
    for name, drawn in (("retrieved", False), ("drawn", True)):
        step = Step(of.bank, of.shallow, of.pool, None, seed=0, drawn=drawn)
        distances: dict[str, list[float]] = {}
        for number in range(20):
            hr, lr = step.crops(number, BATCH, CROP)
            for key, value in step.distances(enlarge(lr), hr).items():
                distances.setdefault(key, []).append(float(value))
        found |= {f"{name} {key}" if key != "start" else key: statistics.mean(v) for key, v in distances.items()}
    return found


class Scores:
    """Scores of a generator on the judged pictures: by domain and metric, one number for each picture."""

    def __init__(self, judged: Mapping[str, Mapping[str, Tensor]]) -> None:
        self._judged = judged
        distance = TextureDistance()
        self._metrics: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
            "texture_distance": distance.whole,
            "psnr_y": psnr_y,
            "st_lpips": StLpips.load(),
            "lpips_alex": Lpips.load(),
            "dists": Dists.load(),
        }

    @torch.no_grad()
    def __call__(self, networks: Mapping[str, Enlarge], regime: Regime) -> dict[str, dict[str, dict[str, list[float]]]]:
        """Of networks by strength; all metrics at full strength, `AT_EVERY_STRENGTH` at others."""
        found = {strength: {domain: {} for domain in self._judged} for strength in networks}
        for domain, pictures in self._judged.items():
            for name, hr in pictures.items():
                lr = regime.degrade(hr, seed_of(name))
                for strength, enlarge in networks.items():
                    sr = to_8_bits(enlarge(lr))
                    for metric in METRICS if strength == FULL else AT_EVERY_STRENGTH:
                        value = float(self._metrics[metric](sr, hr))
                        found[strength][domain].setdefault(metric, []).append(value)
        return found


class Results:
    """What is finished of one regime: the start's scores, and rows by arm and seed."""

    def __init__(self, folder: Path, regime: str) -> None:
        def read(path: Path) -> Row:
            return json.loads(path.read_text(encoding="utf-8"))

        self.start = read(folder / f"{regime}-start.json")
        found = {name: sorted(folder.glob(f"{regime}-{name}-[0-9]*.json")) for name in ARMS}
        self.rows = {
            name: {int(path.stem.rpartition("-")[2]): read(path) for path in paths}
            for name, paths in found.items()
            if paths
        }

    def means(self, name: str, domain: str, metric: str) -> list[float]:
        """Of each seed, the mean over pictures."""
        return [statistics.mean(row["scores"][FULL][domain][metric]) for row in self.rows[name].values()]

    def unsteady(self, name: str, seed: int, domain: str) -> set[int]:
        """Numbers of pictures on which an arm's network burst, as small networks do now and then: see `BURST`."""
        psnr = (of["scores"][FULL][domain]["psnr_y"] for of in (self.rows[name][seed], self.start))
        changes = np.subtract(*psnr)
        return set(np.flatnonzero(changes < np.median(changes) - BURST).tolist())

    def at_base(self, name: str, seed: int, domain: str) -> np.ndarray:
        """Of an arm at `base`'s PSNR-Y, and of `base` itself: `AT_EVERY_STRENGTH`, `[2, 3]`.

        An arm that is farther from the truth is taken on its way back to the start. Means are over the pictures on
        which neither burst.
        """
        row, base = self.rows[name][seed], self.rows["base"][seed]
        left_out = self.unsteady(name, seed, domain) | self.unsteady("base", seed, domain)

        def means(of: Row, strength: str) -> np.ndarray:
            columns = [of["scores"][strength][domain][metric] for metric in AT_EVERY_STRENGTH]
            return np.delete(np.array(columns), list(left_out), axis=1).mean(axis=1)

        wanted = means(base, FULL)
        points = [*(means(row, str(strength)) for strength in reversed(STRENGTHS)), means(self.start, FULL)]
        point = points[0]
        for stronger, weaker in pairwise(points):
            if stronger[_PSNR] >= wanted[_PSNR]:
                break
            share = min(1.0, (wanted[_PSNR] - stronger[_PSNR]) / max(weaker[_PSNR] - stronger[_PSNR], 1e-6))
            point = stronger + share * (weaker - stronger)
            if weaker[_PSNR] >= wanted[_PSNR]:
                break
        return np.stack([point, wanted])

    def compared(self, name: str, domain: str) -> tuple[Mean, Mean, bool]:
        """At `base`'s PSNR-Y: change of texture distance as a share, that of ST-LPIPS, and whether gate A is passed."""
        seeds = sorted(self.rows[name].keys() & self.rows["base"].keys())
        found = np.stack([self.at_base(name, seed, domain) for seed in seeds])
        texture = mean_with_interval((found[:, 0, 0] / found[:, 1, 0] - 1).tolist())
        st_lpips = mean_with_interval((found[:, 0, 2] - found[:, 1, 2]).tolist())
        own, others = (mean_with_interval(found[:, which, 0].tolist()) for which in (0, 1))
        return texture, st_lpips, texture.value <= -0.1 and st_lpips.value <= 0.0005 and own.high < others.low

    def burst(self) -> tuple[int, int]:
        """How many results are those of a network that burst, and of how many."""
        pictures = [self.unsteady(name, seed, d) for d in DOMAINS for name in self.rows for seed in self.rows[name]]
        every = sum(len(values["psnr_y"]) for values in self.start["scores"][FULL].values())
        return sum(map(len, pictures)), every * len(pictures) // len(DOMAINS)


def _scaled(mean: Mean, factor: float) -> Mean:
    return Mean(factor * mean.value, factor * mean.half_width, mean.count)


def _text(mean: Mean, decimals: int, interval: bool = True) -> str:
    text = f"{mean.value:.{decimals}f}"
    return f"{text} ± {mean.half_width:.{decimals}f}" if interval and not np.isnan(mean.half_width) else text


def table(results: Results, regime: str) -> str:
    """Markdown: means of seeds with their 95 % intervals, photographs / materials."""
    changed = "at `base`'s PSNR-Y: texture distance, % | ST-LPIPS, 10⁻³"
    lines = [
        f"| {regime} | seeds | texture distance | PSNR-Y, dB | ST-LPIPS | LPIPS | DISTS | {changed} |",
        "| --- " * 9 + "|",
    ]
    start = [
        " / ".join(f"{statistics.mean(results.start['scores'][FULL][d][m]):.{digits}f}" for d in DOMAINS)
        for m, digits in DECIMALS.items()
    ]
    lines.append(f"| the start | | {' | '.join(start)} | | |")
    for name, rows in results.rows.items():
        cells = []
        for metric, digits in DECIMALS.items():
            means = [mean_with_interval(results.means(name, domain, metric)) for domain in DOMAINS]
            cells.append(" / ".join(_text(each, digits, metric in AT_EVERY_STRENGTH) for each in means))
        if name == "base" or "base" not in results.rows:
            cells += ["", ""]
        else:
            pairs = [results.compared(name, domain) for domain in DOMAINS]
            cells.append(" / ".join(_text(_scaled(texture, 100), 0) for texture, _, _ in pairs))
            cells.append(" / ".join(_text(_scaled(st_lpips, 1000), 1) for _, st_lpips, _ in pairs))
        lines.append(f"| {ARMS[name].title} | {len(rows)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def known_table(found: Mapping[str, Results]) -> str:
    """Markdown: how far answers are from the truth, as a share of how far the start is."""
    columns = ("each", "mean", "nearest")
    heads = [f"{what}, {column}" for what in ("retrieved", "drawn") for column in columns]
    lines = [f"| over the start's own | {' | '.join(heads)} |", "| --- " * (len(heads) + 1) + "|"]
    for regime, results in found.items():
        known = results.start["known"]
        cells = [f"{known[head.replace(',', '')] / known['start']:.2f}" for head in heads]
        lines.append(f"| {regime} | {' | '.join(cells)} |")
    return "\n".join(lines)


def tables(arguments: argparse.Namespace) -> None:
    """Print what is there, put it into the page if one is named, and end with the changes."""
    folder = arguments.folder / "results"
    found = {regime: Results(folder, regime) for regime in REGIMES if (folder / f"{regime}-start.json").is_file()}
    text = "\n\n".join(table(results, regime) for regime, results in found.items())
    bursts = [f"{regime} {count} of {every}" for regime in found for count, every in (found[regime].burst(),)]
    text += (
        f"\n\nA network burst (PSNR-Y {BURST} dB below its usual change) on these of the pictures: {', '.join(bursts)}."
    )
    print(f"\n{text}\n\n{known_table(found)}\n")
    if arguments.page:
        fill(arguments.page, "training", text)
    values = []
    for regime, results in found.items():
        for name in results.rows:
            if name == "base" or "base" not in results.rows:
                continue
            for domain in DOMAINS:
                texture, st_lpips, passed = results.compared(name, domain)
                key = f"{regime}_{name}_{domain}".replace("-", "_")
                values.append(f"{key}_texture={texture.value:+.3f} {key}_st_lpips={st_lpips.value:+.4f}")
                values.append(f"{key}_passed={int(passed)}")
        count, of = results.burst()
        values.append(f"{regime}_burst={count} {regime}_judged={of}")
    print(f"result: {' '.join(values)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("run", "table"), default="table")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "texture-training", help="results and runs")
    parser.add_argument("--photos", type=Path, default=SHARED / "cid22")
    parser.add_argument("--regimes", nargs="+", choices=REGIMES, default=["degraded", "unpaired"])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--pretrain", type=int, default=PRETRAIN, help="steps of L_C that make the degraded start")
    parser.add_argument("--warm", type=int, default=WARM, help="steps of D alone, first")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of both networks")
    parser.add_argument("--page", type=Path, help="for table: docs/explanation/texture-study.md, to fill in")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    ensure_folder(arguments.folder)
    if arguments.what == "run":
        run(arguments)
    tables(arguments)


if __name__ == "__main__":
    main()
