"""How the weights beside `gramgan-x4` were made, again: one training after the other, each from what the last one left.

    python studies/small_models.py [--photos PHOTOS] [--folder runs/small-models] [--only NAME ...]

    psnr            gramgan-x4-psnr: the network of gramgan-x4 with L_C alone, from RealSR's weights
    lite-psnr       the small network with L_C alone, from nearest-neighbour enlargement
    lite-distilled  gramgan-x4-lite-psnr: it goes on, half towards HR and half towards what `psnr` makes of LR
    lite            gramgan-x4-lite: Gram-GAN's losses and consistency on top
    discriminator   gramgan-x4-D: warmed up against gramgan-x4 at rest, for whoever fine-tunes that

The photographs are shrunk two and three times before cutting (`gramgan prepare`): at their own size they are soft
(docs/reference/gramgan-x4.md has the difference that it makes).

It goes on where it was stopped: an hour and three quarters on one core that has bf16. Each is written to FOLDER in
half precision, under the name that it ships by; generators are scored on Set5 and Set14 where those are at hand.
Trainings on another machine give other last digits. Crops that nobody chose are in FOLDER too (see `studies/peers.py`).
`gramgan-x4-photo` has a recipe of its own, photo_generator.py. The last line has the scores.
"""

import argparse
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ablation import PHOTOS, Told, trained
from gramgan.config import load_config
from gramgan.evaluation.compare import evaluate
from gramgan.evaluation.entrants import BICUBIC
from gramgan.evaluation.report import EvaluationReport
from gramgan.few import evenly_spread
from gramgan.files import ensure_folder, write_bytes
from gramgan.hardware.device import resolve_device
from gramgan.prepare.run import Wish, prepare
from gramgan.reports.evaluation import strips_picture
from gramgan.reports.pixels import to_webp
from gramgan.training.folder import BEST_DISCRIMINATOR, BEST_GENERATOR
from gramgan.upscaling.export import export_generator
from gramgan.upscaling.model import DEFAULT_MODEL
from gramgan.weights.catalog import fetch_weights
from gramgan.weights.formats import read_weights, write_safetensors
from peers import SETS, START, STRIP_SIDE, STRIPS, key, table

ROOT = Path(__file__).resolve().parents[1]
SHARP = Wish(size=256, step=192, shrink=(2, 3))
WITHOUT_DISCRIMINATOR = {
    **{f"losses.{name}": 0 for name in ("texture", "disc_perceptual", "perceptual", "adversarial")},
    "stages.warm_discriminator": 0,
}


@dataclass(frozen=True)
class Training:
    """One of them: its preset, what differs from that, and the earlier ones that it starts and learns from."""

    preset: str
    changes: dict[str, object]
    start: str = ""
    teacher: str = ""
    ships_as: str = ""
    kept: str = BEST_GENERATOR


TRAININGS = {
    "psnr": Training(
        "reference",
        {
            **WITHOUT_DISCRIMINATOR,
            "generator.teacher": "null",
            "losses.teacher": 0,
            "texture.candidates": "local",
            "texture.database": "null",
            "stages.pretrain": 600,
            "stages.adversarial": 0,
            "schedule.rate_pretrain": 1e-4,
            "schedule.restart_every": 600,
            "train.ema_decay": 0.99,
            "log.validate_every": 200,
        },
        ships_as="gramgan-x4-psnr",
    ),
    "lite-psnr": Training(
        "lite",
        {
            **WITHOUT_DISCRIMINATOR,
            "stages.pretrain": 14_000,
            "stages.adversarial": 0,
            "schedule.rate_pretrain": 1e-3,
            "schedule.restart_every": 14_000,
            "train.ema_decay": 0.999,
            "log.validation_images": 12,
            "log.validate_every": 2_000,
        },
    ),
    "lite-distilled": Training(
        "lite",
        {
            **WITHOUT_DISCRIMINATOR,
            "losses.teacher": 0.5,
            "losses.pixel": 0.5,
            "stages.pretrain": 0,
            "stages.adversarial": 1_500,
            "schedule.rate": 3e-4,
            "schedule.restart_every": 1_500,
            "train.ema_decay": 0.995,
            "log.validation_images": 12,
            "log.validate_every": 500,
        },
        start="lite-psnr",
        teacher="psnr",
        ships_as="gramgan-x4-lite-psnr",
    ),
    "lite": Training(
        "lite",
        {
            "losses.texture": 0.03,
            "losses.disc_perceptual": 0.3,
            "losses.perceptual": 0.6,
            "losses.adversarial": 0.02,
            "losses.pixel": 0.5,
            "losses.consistency": 1.0,  # without it, fine stripes got strongly coloured fringes
            "stages.pretrain": 0,
            "stages.warm_discriminator": 200,
            "stages.adversarial": 800,
            "schedule.rate": 3e-5,
            "schedule.restart_every": 800,
            "log.validation_images": 12,
        },
        start="lite-distilled",
        ships_as="gramgan-x4-lite",
    ),
    "discriminator": Training(
        # Not of `finetune`, whose spectral normalisation left D undecided after 300 steps; without, it began to know SR
        # after 60.
        "reference",
        {
            "generator.start": DEFAULT_MODEL,
            "generator.teacher": "null",
            "losses.teacher": 0,
            "texture.candidates": "local",
            "texture.database": "null",
            "stages.warm_discriminator": 250,
            "stages.adversarial": 1,  # as a run that leaves no generator is none; the validation after it keeps D
            "schedule.restart_every": 1,
            "log.validate_every": 251,
            "log.validation_images": 1,
        },
        ships_as="gramgan-x4-D",
        kept=BEST_DISCRIMINATOR,
    ),
}


def run(arguments: argparse.Namespace) -> dict[str, Path]:
    """Train what is wanted and not there yet, in the order of `TRAININGS`; the files that ship, by training."""
    for name in (START, "st-lpips-alex", "st-lpips-vgg16"):
        fetch_weights(name)
    sharp = arguments.folder / "sharp"
    prepare(arguments.photos, sharp, SHARP)

    def best(name: str) -> Path:
        return arguments.folder / name / f"{BEST_GENERATOR}.safetensors"

    files = {}
    for name, training in TRAININGS.items():
        if name not in arguments.only:
            continue
        changes = {"data.photos": sharp, **training.changes}
        if training.start:
            changes |= {"generator.start": best(training.start), "generator.from_nearest": False}
        if training.teacher:
            changes["generator.teacher"] = best(training.teacher)
        config = load_config(training.preset, overrides=[f"{setting}={value}" for setting, value in changes.items()])
        if not trained(arguments.folder / name, config, Told(name)):
            break
        if training.ships_as:
            files[name] = arguments.folder / f"{training.ships_as}.safetensors"
            ship(arguments.folder / name / f"{training.kept}.safetensors", files[name], training)
    return files


def ship(source: Path, target: Path, training: Training) -> None:
    """Write what a training kept in half precision, under the name that it ships by."""
    name, licence = training.ships_as, "Apache-2.0"
    if training.kept == BEST_GENERATOR:
        export_generator(source, target, half=True, name=name, licence=licence)
        return
    weights = read_weights(source)
    assert weights.card is not None
    card = weights.card.model_copy(update={"name": name, "licence": licence})
    write_safetensors(target, weights.state, card, half=True)


def scored(files: Mapping[str, Path], folder: Path) -> EvaluationReport | None:
    """The generators among `files` on the images of `folder`; None if there is none."""
    generators = [path for name, path in files.items() if name != "discriminator"]
    if not generators:
        return None
    models = [BICUBIC, *generators]
    return evaluate(models, folder, device=resolve_device("auto"), precision="fp32", strip_side=STRIP_SIDE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "small-models", help="runs and results")
    parser.add_argument("--only", nargs="+", choices=TRAININGS, default=list(TRAININGS), help="of these trainings")
    parser.add_argument("--sets", type=Path, nargs="*", default=SETS, help="folders to score on")
    arguments = parser.parse_args()

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    ensure_folder(arguments.folder)
    files = run(arguments)
    values = []
    for folder in filter(Path.is_dir, arguments.sets):
        report, of = scored(files, folder), key(folder.name)
        if report is None:
            continue
        print(f"\n{table(report)}")
        picture = strips_picture(report, evenly_spread(report.strips, STRIPS))
        write_bytes(arguments.folder / f"{of}.webp", to_webp(picture))
        for model in report.models:
            mean = model.mean()
            values += [f"{of}_{key(model.name)}_{name}={mean[name]:.4f}" for name in ("psnr_y", "st_lpips")]
    print(f"result: files={len(files)} {' '.join(values)}")


if __name__ == "__main__":
    main()
