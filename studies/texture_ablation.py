"""Does L_PT, and does its database, change what a generator learns? Equal budget, same start, same crops.

Every configuration trains the RealSR generator (`realsr-df2k`) for the same number of adversarial steps with the same
warmed-up discriminator, the same crops in the same order, and the losses of the preset `quick`; only the source of
L_PT's targets differs. So that no descriptor wins by a larger weight, η₁ is chosen for each configuration: at the start
L_PT's gradient with respect to the generator's parameters is as long as that of all other losses together (mean over
the same calibration batches). The control `hr` has α : β = 1 : 0 and HR's own patches among the candidates, so that its
target is the HR patch itself: a plain Gram distance to HR.

    python studies/texture_ablation.py run [--seeds 0 1 2] [--steps 40]
    python studies/texture_ablation.py domains                   `fabric` against `photo` textures
    python studies/texture_ablation.py table                     Markdown tables of what is there

The first two warm the discriminator up themselves, once (`--discriminator` names another). Configurations that are in
the results file are not run again: stop it and start it as you like. Without an argument it prints the tables. The last
line's delta_* are `database` less `local`, means over descriptors and seeds.
"""

import argparse
import logging
import math
import re
import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ablation import DISCRIMINATOR, SMALL_VALIDATION, Told, spread, trained
from gramgan.collect import split
from gramgan.config import Config, load_config
from gramgan.degradation.bicubic import degrade_bicubic
from gramgan.evaluation.compare import evaluate
from gramgan.evaluation.entrants import open_entrant
from gramgan.evaluation.protocols import SR_Y_CROP4
from gramgan.files import ensure_folder
from gramgan.hardware.device import resolve_device
from gramgan.images import find_images, read_rgb, write_image
from gramgan.images.pairing import truths as truths_of
from gramgan.ops.luma import luma_full
from gramgan.ops.resize import matlab_bicubic_down
from gramgan.texture.database import Source, TextureDatabase, sources_of
from gramgan.texture.descriptors import DESCRIPTORS, Descriptor, DescriptorName
from gramgan.training.build import Parts, build_training, resolve
from gramgan.training.folder import BEST_DISCRIMINATOR, BEST_GENERATOR, read_log
from gramgan.training.schedule import set_learning_rate
from peers import START
from texture_study import Results

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
CROP, BATCH = 128, 8
RATE, RATE_DISCRIMINATOR, WARMUP, MINIMUM, EMA = 4e-5, 1e-4, 5, 1e-6, 0.9
WARM_DISCRIMINATOR = 150
CALIBRATION_CROPS, CALIBRATION_BATCHES = 1_000_000, 2  # the first is a number that no run gets to
NAMES = ("none", "database", "local", "both", "hr")
SHARE = 1.0  # length of L_PT's gradient over that of all other losses together, at the start
# Nobody among the shared photographs and the samples shows a textile. `fabric` here are close, even surfaces that
# repeat: brick and grass (scikit-image), weathered wood, a leaf's ribs and moss; held out: gravel, planks and bark.
FABRIC_SAMPLES = ("brick.png", "grass.png")  # of scikit-image
FABRIC_PHOTOS = ("wood.jpg", "blinds.jpg", "onestandsout.jpg")
HELD_OUT_FABRIC = (  # name, file, left and top of a square of HELD_OUT_SIDE pixels
    ("gravel", "gravel.png", 0, 0),
    ("planks", "bythewater.jpg", 700, 720),
    ("bark", "kleiber-by-lukas-baubkus.jpg", 300, 300),
)
HELD_OUT_SIDE = 512

log = logging.getLogger("texture_ablation")


@dataclass(frozen=True)
class Setup:
    """One configuration: where L_PT's targets come from. `candidates` None: no L_PT."""

    name: str
    candidates: str | None
    descriptor: DescriptorName = "rgb"
    alpha: float = 1.0
    beta: float = 1.0
    warp: float = 0.003
    database: str = "photos"
    k: int = 4

    @property
    def label(self) -> str:
        """Unique among setups."""
        if self.candidates is None:
            return self.name
        ratio = "" if (self.alpha, self.beta) == (1, 1) or self.name == "hr" else f" {self.alpha:g}:{self.beta:g}"
        side = "" if self.k == 4 else f" k = {self.k}"
        return f"{self.name} {self.descriptor}{side}{ratio}"


def setups() -> list[Setup]:
    """The ablation: no L_PT, and each source of targets with each descriptor."""
    found = [Setup("none", None)]
    for name in NAMES[1:]:
        for descriptor in DESCRIPTORS:
            if name == "hr":
                found.append(Setup(name, "local", descriptor, alpha=1, beta=0, warp=0))
            else:
                found.append(Setup(name, name, descriptor))
    # The study's middle way: targets nearer to HR than SR is, yet not those of a plain Gram distance.
    return [*found, Setup("database", "database", "rgb-centred", k=8)]


def settings(
    setup: Setup,
    arguments: argparse.Namespace,
    *,
    seed: int,
    texture: float,
    others: bool = True,
    more: Mapping[str, object] = MappingProxyType({}),
) -> Config:
    """A run's settings: those of `quick`, with L_PT's source and weight from the setup, and `more`."""
    changes: dict[str, object] = {
        "data.photos": arguments.photos,
        "data.crop": CROP,
        "train.memory_format": "channels_last",
        "generator.start": START,
        "discriminator.start": arguments.discriminator or "null",
        "texture.candidates": setup.candidates or "local",
        "texture.descriptor": setup.descriptor,
        "texture.k": setup.k,
        "texture.alpha": setup.alpha,
        "texture.beta": setup.beta,
        "texture.warp": setup.warp,
        "losses.texture": texture,
        "stages.warm_discriminator": 0,
        "stages.adversarial": arguments.steps,
        "schedule.rate": RATE,
        "schedule.rate_discriminator": RATE_DISCRIMINATOR,
        "train.batch_size": BATCH,
        "train.seed": seed,
        "train.ema_decay": EMA,
        "train.precision": arguments.precision,
    }
    if setup.candidates in ("database", "both"):
        changes["texture.database"] = database_path(arguments.folder, setup)
    else:
        changes["texture.database"] = "null"
    if not others:
        changes |= {f"losses.{name}": 0 for name in ("disc_perceptual", "perceptual", "adversarial", "pixel")}
    changes |= more
    return resolve(load_config("quick", overrides=[f"{key}={value}" for key, value in changes.items()]))


def warm_up_discriminator(arguments: argparse.Namespace) -> None:
    """Train the discriminator that all configurations begin with, if none was named and it is not there yet."""
    if arguments.discriminator is None:
        folder = arguments.folder / DISCRIMINATOR
        end = WARM_DISCRIMINATOR + 1  # a run that leaves no generator is none: one step of G ends it
        stages = {"stages.warm_discriminator": WARM_DISCRIMINATOR, "stages.adversarial": 1}
        logs = {"log.validate_every": end, "log.validation_crop": SMALL_VALIDATION}
        config = settings(Setup("none", None), arguments, seed=0, texture=0.0, more=stages | logs)
        if not trained(folder, config, Told(DISCRIMINATOR)):
            raise SystemExit(f"{folder}: the discriminator is not finished; start the same command again")
        arguments.discriminator = folder / f"{BEST_DISCRIMINATOR}.safetensors"


def database_path(folder: Path, setup: Setup) -> Path:
    side = "" if setup.k == 4 else f"-{setup.k}"
    return folder / f"{setup.database}-{setup.descriptor}{side}.lance"


def ensure_database(folder: Path, setup: Setup, sources: list[Source], patches: int) -> None:
    """Build the setup's database if it is not there."""
    path = database_path(folder, setup)
    if setup.candidates in ("database", "both") and not path.exists():
        log.info("building %s", path)
        TextureDatabase.build(path, sources, patches=patches, descriptor=setup.descriptor, k=setup.k)


def gradient_norm(config: Config) -> float:
    """Mean norm over the calibration batches of the losses' gradient with respect to the generator's parameters."""
    parts = build_training(config)
    parts.source.position = CALIBRATION_CROPS
    norms = []
    with kept_gradients(parts) as squares:
        for _ in range(CALIBRATION_BATCHES):
            squares.clear()
            hr = parts.source.next().images.contiguous(memory_format=torch.channels_last)
            parts.step.adversarial(degrade_bicubic(hr), hr)
            norms.append(math.sqrt(sum(squares)))
    return statistics.mean(norms)


@contextmanager
def kept_gradients(parts: Parts) -> Iterator[list[float]]:
    """Squared norm of every generator parameter's gradient as it is computed, while no network moves."""
    squares: list[float] = []
    for optimizer in (parts.generator_optimizer, parts.discriminator_optimizer):
        if optimizer is not None:
            set_learning_rate(optimizer, 0.0)
    hooks = [
        parameter.register_post_accumulate_grad_hook(lambda p: squares.append(float(p.grad.float().square().sum())))
        for parameter in parts.generator.parameters()
    ]
    try:
        yield squares
    finally:
        for hook in hooks:
            hook.remove()


def calibrated(setup: Setup, arguments: argparse.Namespace, results: Results) -> float:
    """η₁ that makes L_PT's gradient `SHARE` times as long as that of the other losses together; 0 without L_PT."""
    if setup.candidates is None:
        return 0.0

    def norm(label: str, config: Config) -> float:
        row = results.find(event="calibration", label=label)
        if row is None:
            row = {"event": "calibration", "label": label, "gradient_norm": gradient_norm(config)}
            results.add(row)
            log.info("calibration: %s: gradient norm %.4g", label, row["gradient_norm"])
        return row["gradient_norm"]

    others = norm("all other losses", settings(Setup("none", None), arguments, seed=0, texture=0.0))
    own = norm(f"{setup.label} {setup.database}", settings(setup, arguments, seed=0, texture=1.0, others=False))
    return SHARE * others / own


def run(setup: Setup, seed: int, arguments: argparse.Namespace, results: Results, part: str, truths: Path) -> None:
    """Train one configuration, score it on the folder `truths`, and append the outcome."""
    texture = calibrated(setup, arguments, results)
    course = {"warmup": WARMUP, "minimum": MINIMUM, "restart_every": arguments.steps}
    log_every = {
        "every": min(10, arguments.steps),
        "validate_every": arguments.steps,
        "validation_crop": SMALL_VALIDATION,
    }
    more: dict[str, object] = {f"schedule.{key}": value for key, value in course.items()}
    more |= {f"log.{key}": value for key, value in log_every.items()}
    name = re.sub(r"[^\w-]+", "-", f"{setup.label} {setup.database} {seed}")
    folder = arguments.folder / "runs" / f"{part}-{name}-{arguments.steps}"
    if not trained(folder, settings(setup, arguments, seed=seed, texture=texture, more=more), Told(name)):
        raise SystemExit(f"{folder}: stopped; start the same command again")
    steps = [record for record in read_log(folder) if record["event"] == "step"]  # each the mean of ten
    database = [record.get("database", {}) for record in steps]
    row = {
        "event": "run",
        "part": part,
        "label": setup.label,
        "name": setup.name,
        "descriptor": setup.descriptor if setup.candidates else None,
        "k": setup.k,
        "alpha": setup.alpha,
        "beta": setup.beta,
        "database": setup.database if setup.candidates in ("database", "both") else None,
        "seed": seed,
        "steps": arguments.steps,
        "eta_texture": texture,
        "target_ratio_last": database[-1].get("target_ratio", math.nan),
        "from_database": statistics.mean(each.get("database_share", 0.0) for each in database),
        "losses_first": steps[0]["losses"],
        "losses_last": steps[-1]["losses"],
        "seconds_per_step": statistics.mean(1 / record["iterations_per_second"] for record in steps),
        "scores": scored(
            folder / f"{BEST_GENERATOR}.safetensors", arguments, truths, arguments.folder / "pictures" / part / name
        ),
    }
    results.add(row)
    log.info("%s seed %d: %s", setup.label, seed, mean_scores(row))


def scored(
    weights: str | Path, arguments: argparse.Namespace, truths: Path, pictures: Path
) -> dict[str, dict[str, float]]:
    """Scores by image name under the protocol `sr-y-crop4`, with the Gram distance of each descriptor."""
    enlarge = open_entrant(weights, resolve_device("auto"), arguments.precision, consistency=False).enlarge
    assert enlarge is not None
    distances = {}
    for path in truths_of(truths):
        hr = SR_Y_CROP4.quantise(SR_Y_CROP4.crop_to_scale(torch.from_numpy(read_rgb(path))[None]))
        sr = SR_Y_CROP4.quantise(enlarge(matlab_bicubic_down(hr)))
        distances[path.stem] = gram_distances(sr, hr)
        write_image(pictures / f"{path.stem}.png", sr[0].numpy())
    report = evaluate([], truths, results=[pictures], protocol=SR_Y_CROP4)
    return {
        Path(image.image).stem: image.scores | distances[Path(image.image).stem] for image in report.models[0].images
    }


@torch.no_grad()
def gram_distances(sr: Tensor, hr: Tensor) -> dict[str, float]:
    """Mean distance of the standardised Gram vectors of SR and HR patches (k = 4), by descriptor (shipped scale)."""
    distances = {}
    for name in DESCRIPTORS:
        descriptor = Descriptor.default(name)
        distances[f"gram_{name}"] = float((descriptor.encode(sr) - descriptor.encode(hr)).norm(dim=-1).mean())
    return distances


def mean_scores(row: dict[str, Any]) -> dict[str, float]:
    """Means over images."""
    return {metric: across_seeds([row], metric)[0] for metric in next(iter(row["scores"].values()))}


def ablation(arguments: argparse.Namespace, results: Results) -> None:
    """All configurations of one seed, then of the next."""
    sources = sources_of(arguments.photos, split(arguments.photos)[0])
    for seed in arguments.seeds:
        for setup in setups():
            if setup.name not in arguments.names:
                continue
            if results.find(event="run", part="ablation", label=setup.label, seed=seed, steps=arguments.steps) is None:
                ensure_database(arguments.folder, setup, sources, arguments.patches)
                run(setup, seed, arguments, results, "ablation", arguments.set14)


def domain_folders(arguments: argparse.Namespace) -> tuple[Path, dict[str, list[Path]], Path]:
    """Folder to train on, photographs of each domain's database, and the folder of each domain's held-out textures.

    Nothing of a photograph that is judged on is in a database or in a training crop; the crops are the same for both.
    """
    import skimage  # an extra, for this part alone

    samples = Path(skimage.__file__).parent / "data"
    photographs = find_images(arguments.photos)
    judged = [arguments.photos / file for _, file, _, _ in HELD_OUT_FABRIC]
    training = ensure_folder(arguments.folder / "domain-photographs")
    for path in photographs:
        if path not in judged and not (training / path.name).exists():
            (training / path.name).symlink_to(path.resolve())
    train, held_out = split(training)
    sources = {
        "fabric": [samples / name for name in FABRIC_SAMPLES] + [training / name for name in FABRIC_PHOTOS],
        "photo": [path for path in train if path.name not in FABRIC_PHOTOS],
    }
    cut = ensure_folder(arguments.folder / "domain-truths")
    squares = [("fabric", name, path, (x, y)) for name, path, x, y in HELD_OUT_FABRIC]
    squares += [("photo", path.stem, str(path), None) for path in held_out]
    for domain, name, file, corner in squares:
        path = cut / f"{domain}-{name}.png"
        if not path.exists():
            image = read_rgb(next(p for p in (arguments.photos / file, samples / file) if p.is_file()))
            x, y = corner or most_textured(image)
            write_image(path, image[:, y : y + HELD_OUT_SIDE, x : x + HELD_OUT_SIDE])
    return training, sources, cut


def most_textured(image: np.ndarray) -> tuple[int, int]:
    """Left and top of the square of HELD_OUT_SIDE pixels in which luma deviates most within 4x4 patches."""
    luma = luma_full(torch.from_numpy(image)[None])
    deviation = F.avg_pool2d(luma.square(), 4) - F.avg_pool2d(luma, 4).square()
    energy = F.avg_pool2d(deviation.clamp_min(0).sqrt(), HELD_OUT_SIDE // 4, stride=16)[0, 0]
    row, column = divmod(int(energy.argmax()), energy.shape[1])
    return column * 64, row * 64


def domains(arguments: argparse.Namespace, results: Results) -> None:
    """Two generators, trained with a `fabric` and with a `photo` database, on held-out textures of both domains."""
    training, paths, truths = domain_folders(arguments)
    arguments.photos = training
    start_row(arguments, results, "domains", truths)
    for seed in arguments.seeds:
        for domain, photographs in paths.items():
            setup = Setup(
                "database", "database", arguments.descriptor, arguments.alpha, arguments.beta, database=domain
            )
            wanted = {"label": setup.label, "database": domain, "seed": seed, "steps": arguments.steps}
            if results.find(event="run", part="domains", **wanted) is None:
                sources = [Source(path, domain=domain) for path in photographs]
                ensure_database(arguments.folder, setup, sources, arguments.patches)
                run(setup, seed, arguments, results, "domains", truths)


def start_row(arguments: argparse.Namespace, results: Results, part: str, truths: Path) -> None:
    """Score the generator that all configurations start from."""
    if results.find(event="start", part=part) is None:
        scores = scored(START, arguments, truths, arguments.folder / "pictures" / part / "start")
        results.add({"event": "start", "part": part, "scores": scores})


COLUMNS = {  # metric → (heading, decimals)
    "psnr_y": ("PSNR-Y", 2),
    "st_lpips": ("ST-LPIPS", 4),
    "gram_distance": ("Gram distance", 4),
    "gram_rgb-centred": ("… `rgb-centred`", 3),
    "gram_rgb-gradient": ("… `rgb-gradient`", 3),
}


def across_seeds(rows: list[dict[str, Any]], metric: str, images: str = "") -> list[float]:
    """Mean of a metric over the images whose names begin with `images`, for each row (seed)."""
    return [
        statistics.mean(scores[metric] for name, scores in row["scores"].items() if name.startswith(images))
        for row in rows
    ]


def paired_difference(rows: list[dict[str, Any]], baseline: list[dict[str, Any]], metric: str) -> tuple[float, float]:
    """Mean difference to the baseline's row of the same seed, and its standard error over images.

    An image's difference is first averaged over seeds: seeds are no independent images.
    """
    of_seed = {row["seed"]: row["scores"] for row in baseline}
    by_image: dict[str, list[float]] = {}
    for row in rows:
        for name, scores in row["scores"].items():
            if row["seed"] in of_seed:
                by_image.setdefault(name, []).append(scores[metric] - of_seed[row["seed"]][name][metric])
    means = [statistics.mean(values) for values in by_image.values()]
    if not means:
        return math.nan, math.nan
    return statistics.mean(means), statistics.stdev(means) / math.sqrt(len(means)) if len(means) > 1 else math.nan


def cells(rows: list[dict[str, Any]], images: str = "") -> str:
    """Means, with the standard deviation over seeds where there are several."""
    return " | ".join(spread(across_seeds(rows, metric, images), decimals) for metric, (_, decimals) in COLUMNS.items())


def ablation_table(results: Results, steps: int) -> str:
    """One row for each configuration that has run."""

    def runs(label: str) -> list[dict[str, Any]]:
        found = {}
        for row in results.rows:
            if row["event"] == "run" and row["part"] == "ablation" and (row["label"], row["steps"]) == (label, steps):
                found[row["seed"]] = row
        return list(found.values())

    headings = " | ".join(heading for heading, _ in COLUMNS.values())
    lines = [
        f"| {steps} steps | seeds | η₁ | target / half gap | from the database | {headings} | Δ PSNR-Y | Δ ST-LPIPS |",
        "| --- |" + " --- |" * (len(COLUMNS) + 6),
    ]
    start = results.find(event="start", part="ablation")
    if start is not None:
        lines.append(f"| the start | | | | | {cells([start])} | | |")
    baseline = runs("none")
    for setup in setups():
        rows = runs(setup.label)
        if not rows:
            continue
        eta = f"{rows[0]['eta_texture']:.3g}" if setup.candidates else ""
        ratio = f"{statistics.mean(row['target_ratio_last'] for row in rows):.2f}" if setup.candidates else ""
        share = f"{statistics.mean(row['from_database'] for row in rows):.0%}" if setup.candidates else ""
        differences = ["", ""]
        if setup.candidates:
            for i, (metric, decimals) in enumerate((("psnr_y", 2), ("st_lpips", 4))):
                mean, error = paired_difference(rows, baseline, metric)
                differences[i] = f"{mean:+.{decimals}f} ± {error:.{decimals}f}"
        lines.append(
            f"| {setup.label} | {len(rows)} | {eta} | {ratio} | {share} | {cells(rows)} | {' | '.join(differences)} |"
        )
    return "\n".join(lines)


def domains_table(results: Results, steps: int) -> str:
    """Generators trained with a `fabric` and with a `photo` database, on held-out textures of each domain."""
    headings = " | ".join(heading for heading, _ in COLUMNS.values())
    lines = [f"| database, {steps} steps | judged on | seeds | {headings} |", "| --- |" + " --- |" * (len(COLUMNS) + 2)]
    start = results.find(event="start", part="domains")
    rows = [row for row in results.rows if row["event"] == "run" and row["part"] == "domains" and row["steps"] == steps]
    labels = sorted({(row["label"], row["database"]) for row in rows})
    for judged in ("fabric", "photo"):
        if start is not None:
            lines.append(f"| the start | {judged} | | {cells([start], f'{judged}-')} |")
        for label, database in labels:
            of_label = {row["seed"]: row for row in rows if (row["label"], row["database"]) == (label, database)}
            own = list(of_label.values())
            name = label.removeprefix("database ")
            lines.append(f"| `{database}`, {name} | {judged} | {len(own)} | {cells(own, f'{judged}-')} |")
    return "\n".join(lines)


def result_line(results: Results, steps: int) -> str:
    """`database` less `local`, means over descriptors and the seeds that both have."""
    rows = {
        (row["name"], row["descriptor"], row["seed"]): row
        for row in results.rows
        if row["event"] == "run" and row["part"] == "ablation" and row["steps"] == steps and row.get("k", 4) == 4
    }
    pairs = [
        (row, rows["local", descriptor, seed])
        for (name, descriptor, seed), row in rows.items()
        if name == "database" and ("local", descriptor, seed) in rows
    ]
    deltas = []
    for metric in ("psnr_y", "st_lpips", "gram_distance"):
        values = [across_seeds([a], metric)[0] - across_seeds([b], metric)[0] for a, b in pairs]
        deltas += [f"delta_{metric}={statistics.mean(values):.4f}"] if values else []
    return f"result: runs={len(rows)} {' '.join(deltas)}".rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("run", "domains", "table"), default="table")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "texture-ablation", help="databases and results")
    parser.add_argument("--photos", type=Path, default=SHARED / "photos")
    parser.add_argument("--set14", type=Path, default=SHARED / "benchmarks" / "Set14")
    parser.add_argument("--discriminator", type=Path, help="a warmed-up one, for run and domains; default: its own")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--names", nargs="+", choices=NAMES, default=NAMES, help="for run: only these")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--patches", type=int, default=200_000)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--descriptor", choices=DESCRIPTORS, default="rgb-gradient", help="for domains")
    parser.add_argument("--alpha", type=float, default=1.0, help="for domains")
    parser.add_argument("--beta", type=float, default=1.0, help="for domains")
    arguments = parser.parse_args()

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    ensure_folder(arguments.folder)
    results = Results(arguments.folder / "results.jsonl")
    if arguments.what != "table":
        warm_up_discriminator(arguments)
    if arguments.what == "run":
        start_row(arguments, results, "ablation", arguments.set14)
        ablation(arguments, results)
    elif arguments.what == "domains":
        domains(arguments, results)
    for table in (ablation_table, domains_table):
        print(f"{table(results, arguments.steps)}\n")
    print(result_line(results, arguments.steps))


if __name__ == "__main__":
    main()
