"""How the weights beside `gramgan-x4` were made, again: one training after the other, each from what the last one left.

    python studies/small_models.py [--photos PHOTOS] [--folder runs/small-models] [--only NAME ...]

    psnr           gramgan-x4-psnr: the network of gramgan-x4 with L_C alone, from RealSR's weights
    lite-first     SPAN from its authors' weights (gramgan-x4-lite-psnr is a copy of them), towards DISTS, LPIPS and D
    lite-second    it goes on, more slowly
    lite-third     it goes on, with less of L_C
    lite           gramgan-x4-lite: it goes on, with next to no L_C
    discriminator  gramgan-x4-D: warmed up against gramgan-x4 at rest, for whoever fine-tunes that

The photographs are shrunk two and three times before cutting (`gramgan prepare`): at their own size they are soft
(docs/reference/gramgan-x4.md has the difference that it makes). Those of --sharp, which the small network sees too, are
cut as they are, without the ones that `photo_heldout.txt` holds out: it is validated on these.

It goes on where it was stopped: an hour and three quarters on one core that has bf16. Each is written to FOLDER in
half precision, under the name that it ships by; generators are scored on Set5 and Set14 where those are at hand.
Trainings on another machine give other last digits. Crops that nobody chose are in FOLDER too (see `studies/peers.py`).
`gramgan-x4-photo` has a recipe of its own, photo_generator.py. The last line has the scores.
"""

import argparse
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ablation import PHOTOS, Told, trained
from gramgan.collect.manifest import known_licences
from gramgan.config import load_config
from gramgan.evaluation.compare import evaluate
from gramgan.evaluation.entrants import BICUBIC
from gramgan.evaluation.report import EvaluationReport
from gramgan.few import evenly_spread
from gramgan.files import ensure_folder, write_bytes, write_text
from gramgan.hardware.device import resolve_device
from gramgan.images import find_images
from gramgan.networks.build import load_generator
from gramgan.prepare.run import Wish, prepare_folder
from gramgan.reports.evaluation import strips_picture
from gramgan.reports.pixels import to_webp
from gramgan.training.folder import BEST_DISCRIMINATOR, BEST_GENERATOR
from gramgan.upscaling.model import DEFAULT_MODEL
from gramgan.weights.catalog import fetch_weights
from gramgan.weights.formats import read_weights, write_safetensors
from peers import SETS, START, STRIP_SIDE, STRIPS, key, table
from photo_generator import copy_photographs, held_out

ROOT = Path(__file__).resolve().parents[1]
SHRUNK = Wish(size=256, step=192, shrink=(2, 3))
AS_THEY_ARE = Wish(size=256, step=256)
SHARP = [PHOTOS.parent / name for name in ("cid22", "gb82")]
SPAN: dict[str, object] = {
    "generator": "{network: span, nf: 48, nb: 6, start: span-x4, consistent: true}",
    "discriminator": "{kind: unet, width: 32, spectral_norm: true}",
    **{f"losses.{name}": 0 for name in ("texture", "disc_perceptual", "perceptual")},
    "losses.dists": 1.0,
    "losses.lpips": 1.0,
    "losses.adversarial": 0.005,
    "losses.consistency": 1.0,
    "stages.pretrain": 0,
    "schedule.warmup": 100,
    "train.ema_decay": 0.995,
    "train.clip_discriminator": 0.5,
    "log.validate_every": 100,
    "log.validation_images": 10,
    "log.best_by": "lpips_alex",
}
"""What all trainings of the small network share, other than preset `lite`."""

WITHOUT_DISCRIMINATOR = {
    **{f"losses.{name}": 0 for name in ("texture", "disc_perceptual", "perceptual", "adversarial")},
    "stages.warm_discriminator": 0,
}


@dataclass(frozen=True)
class Training:
    """One of them: its preset, what differs from that, the one that it starts from, and whether its D goes on too."""

    preset: str
    changes: dict[str, object]
    start: str = ""
    goes_on: bool = False
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
    "lite-first": Training(
        "lite",
        {
            **SPAN,
            "losses.artifact": 1.0,
            "stages.warm_discriminator": 20,
            "stages.adversarial": 280,
            "schedule.rate": 2e-4,
            "schedule.rate_discriminator": 2e-4,
            "schedule.restart_every": 4_000,
        },
    ),
    "lite-second": Training(  # at twice the rate it ran away after 50 further steps
        "lite",
        {
            **SPAN,
            "train.clip": 2.0,
            "stages.warm_discriminator": 50,
            "stages.adversarial": 450,
            "schedule.rate": 1e-4,
            "schedule.rate_discriminator": 1e-4,
            "schedule.restart_every": 2_600,
        },
        start="lite-first",
    ),
    "lite-third": Training(
        "lite",
        {
            **SPAN,
            "losses.pixel": 0.5,
            "losses.consistency": 0.5,
            "train.clip": 2.0,
            "train.ema_decay": 0.998,
            "stages.warm_discriminator": 0,
            "stages.adversarial": 400,
            "schedule.rate": 1e-4,
            "schedule.rate_discriminator": 1e-4,
            "schedule.restart_every": 1_300,
        },
        start="lite-second",
        goes_on=True,
    ),
    "lite": Training(
        "lite",
        {
            **SPAN,
            "losses.pixel": 0.05,
            "losses.consistency": 0.1,
            "losses.adversarial": 0.01,
            "losses.lpips": 1.5,
            "train.clip": 2.0,
            "train.ema_decay": 0.998,
            "stages.warm_discriminator": 0,
            "stages.adversarial": 900,
            "schedule.rate": 1e-4,
            "schedule.rate_discriminator": 1e-4,
            "schedule.restart_every": 900,
            "schedule.warmup": 40,
        },
        start="lite-third",
        goes_on=True,
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
    for name in (START, "span-x4", "st-lpips-alex", "st-lpips-vgg16", "lpips-alex", "dists-vgg16", "vgg16"):
        fetch_weights(name)
    shrunk = arguments.folder / "shrunk"
    prepare_folder(arguments.photos, shrunk, SHRUNK)

    def best(name: str) -> Path:
        return arguments.folder / name / f"{BEST_GENERATOR}.safetensors"

    files = {}
    if "lite" in arguments.only:
        files["lite-psnr"] = arguments.folder / "gramgan-x4-lite-psnr.safetensors"
        ship_start(files["lite-psnr"])
    for name, training in TRAININGS.items():
        if name not in arguments.only:
            continue
        changes = {"data.photos": shrunk, **training.changes}
        if training.changes.get("generator") == SPAN["generator"]:
            changes |= {"data.photos": together(arguments, shrunk), "data.validation": arguments.folder / "held-out"}
        if training.start:
            changes["generator.start"] = best(training.start)
        if training.goes_on:
            changes["discriminator.start"] = arguments.folder / training.start / f"{BEST_DISCRIMINATOR}.safetensors"
        config = load_config(training.preset, overrides=[f"{setting}={value}" for setting, value in changes.items()])
        if not trained(arguments.folder / name, config, Told(name)):
            break
        if training.ships_as:
            files[name] = arguments.folder / f"{training.ships_as}.safetensors"
            ship(arguments.folder / name / f"{training.kept}.safetensors", files[name], training)
    return files


def together(arguments: argparse.Namespace, shrunk: Path) -> Path:
    """A folder with the shrunk photographs and the sharp ones, each with the licence that its manifest names.

    What is held out of the sharp ones comes to `held-out`.
    """
    folder = arguments.folder / "together"
    if folder.is_dir():
        return folder
    copies, cut = copy_photographs(arguments.sharp, arguments.folder / "copies"), [shrunk]
    for source in sorted(copies.iterdir()):
        cut.append(arguments.folder / "sharp" / source.name)
        prepare_folder(source, cut[-1], AS_THEY_ARE, benchmarks=[folder for folder in SETS if folder.is_dir()])
    licences = {path: licence for each in cut for path, licence in known_licences(each).items()}
    rows = [f"{path.name},{licence}" for path, licence in licences.items()]
    for path in licences:
        ensure_folder(folder)
        shutil.copyfile(path, folder / path.name)
    write_text(folder / "manifest.csv", "\n".join(["file,licence", *rows, ""]))
    for source in arguments.sharp:
        for path in find_images(source):
            if path.resolve().as_posix().endswith(held_out()):
                ensure_folder(arguments.folder / "held-out")
                shutil.copyfile(path, arguments.folder / "held-out" / path.name)
    return folder


def ship_start(target: Path) -> None:
    """SPAN's weights as they are, under the name that they ship by: what --strength goes to from gramgan-x4-lite."""
    start = load_generator("span-x4")
    card = start.card.model_copy(update={"name": target.stem, "consistent": True})
    write_safetensors(target, start.network.state_dict(), card, half=True)


def ship(source: Path, target: Path, training: Training) -> None:
    """Write what a training kept in half precision, under the name that it ships by."""
    name, licence = training.ships_as, "Apache-2.0"
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
    parser.add_argument("--sharp", type=Path, nargs="*", default=SHARP, help="folders of photographs used as they are")
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
