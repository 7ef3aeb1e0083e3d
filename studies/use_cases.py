"""A worked example for each field of docs/tutorials: from files of a field to a generator that has seen its texture.

    python studies/use_cases.py --start runs/lite/gramgan_G_best.safetensors --art FOLDER [--only NAME ...]
        [--folder runs/use-cases] [--pages docs/tutorials]

For each field: files to train on and a picture that is held out (another one, or another part of the same); the
commands of its page, `gramgan collect --from` or `gramgan prepare`, `gramgan db build`, `gramgan train`, with a small
generator and few steps; then bicubic enlargement (the peer), the generator at its start and the one that was trained,
scored on the held-out picture. With --pages a picture goes into docs/images/fields, and the table into
own-domain.md.

The files come with scikit-image and matplotlib, but for the paintings: --art names a folder of them (written with
those of the story of "The Battle for Wesnoth", Debian package wesnoth-1.16-data). A third of the first is held out.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import rasterio
import skimage.data
import tifffile
from affine import Affine
from PIL import Image

from gramgan.evaluation.compare import evaluate
from gramgan.evaluation.entrants import BICUBIC
from gramgan.evaluation.report import EvaluationReport
from gramgan.files import write_bytes
from gramgan.reports.evaluation import strips_picture
from gramgan.reports.pixels import to_png
from texture_study import fill

ROOT = Path(__file__).resolve().parents[1]
SCIKIT_IMAGE = Path(skimage.data.__file__).parent
MATPLOTLIB = Path(matplotlib.get_data_path()) / "sample_data"
STRIP_SIDE = 96
METRICS = ("psnr_y", "st_lpips", "gram_distance")


@dataclass(frozen=True)
class Example:
    """A field: its page, the word for its domain, how its files are made, and the options of its commands.

    `make` writes the files to train on into its first folder and the held-out picture into the second.
    """

    page: str
    domain: str
    make: Callable[[Path, Path, Path | None], None]
    prepare: tuple[str, ...] = ()
    """Options of `gramgan prepare`; none: pictures, which `gramgan collect --from` takes."""
    database: tuple[str, ...] = ("--descriptor", "rgb-gradient")


def parted(image: np.ndarray, share: float = 0.25) -> tuple[np.ndarray, np.ndarray]:
    """The upper part of `[H, W, …]` to train on and the lower to hold out, 16 pixels apart."""
    cut = round(image.shape[0] * (1 - share) / 4) * 4
    return image[: cut - 16], image[cut:]


def save(path: Path, image: np.ndarray) -> None:
    Image.fromarray(image).save(path)


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def satellite(train: Path, held: Path, _: Path | None) -> None:
    """The surface of the Moon from orbit, as one band of 16 bits with a place."""
    seen, unseen = parted(np.asarray(Image.open(SCIKIT_IMAGE / "moon.png").convert("L")))
    place = {"crs": "EPSG:32633", "transform": Affine(10, 0, 399960, 0, -10, 5800020)}
    stored = 1000 + 36 * seen.astype(np.uint16)
    height, width = seen.shape
    with rasterio.open(
        train / "moon.tif", "w", driver="GTiff", count=1, height=height, width=width, dtype="uint16", **place
    ) as file:
        file.write(stored[None])
    save(held / "moon.png", unseen)


def medical(train: Path, held: Path, _: Path | None) -> None:
    """Colonic glands under the microscope, as OME-TIFF."""
    seen, unseen = parted(read(SCIKIT_IMAGE / "ihc.png"))
    metadata = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.5}
    tifffile.imwrite(train / "glands.ome.tif", seen, ome=True, photometric="rgb", metadata=metadata)
    save(held / "glands.png", unseen)


def art(train: Path, held: Path, paintings: Path | None) -> None:
    assert paintings is not None
    files = sorted(path for path in paintings.rglob("*") if path.suffix.lower() in (".jpg", ".png", ".webp"))
    for number, path in enumerate(files):
        image = read(path)
        if number == 0:
            image, unseen = parted(image, 1 / 3)
            save(held / f"{path.stem}.png", unseen)
        save(train / f"{path.stem}.png", image)


def fabric_and_faces(train: Path, held: Path, _: Path | None) -> None:
    """An astronaut in her suit, and an admiral in her uniform."""
    save(train / "astronaut.png", read(SCIKIT_IMAGE / "astronaut.png"))
    admiral = read(MATPLOTLIB / "grace_hopper.jpg")
    save(held / "admiral.png", admiral[: admiral.shape[0] // 4 * 4, : admiral.shape[1] // 4 * 4])


def industrial(train: Path, held: Path, _: Path | None) -> None:
    """A brick wall and gravel, as line cameras see such surfaces: grey."""
    for name in ("brick", "gravel"):
        seen, unseen = parted(np.asarray(Image.open(SCIKIT_IMAGE / f"{name}.png").convert("L")))
        save(train / f"{name}.png", seen)
        save(held / f"{name}.png", unseen)


EXAMPLES = {
    "satellite": Example(
        "satellite", "moon", satellite, ("--bands", "1", "--radiometry", "percentile", "--size", "192")
    ),
    "medical": Example("medical", "tissue", medical, ("--size", "192")),
    "art": Example("art", "painting", art, database=("--descriptor", "rgb-gradient", "--k", "8")),
    "fabric-and-faces": Example("fabric-and-faces", "people", fabric_and_faces),
    "industrial": Example("industrial", "surface", industrial),
}


def gramgan(*arguments: str | Path) -> None:
    print("$ gramgan", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "gramgan", *map(str, arguments)], check=True)


def work(example: Example, folder: Path, start: Path, paintings: Path | None, steps: int) -> EvaluationReport:
    """Files, database, training and scores of one field; everything of it lies in `folder`."""
    files, held, photos, run = (folder / each for each in ("files", "held", "photos", "run"))
    database = folder / "textures.lance"
    for each in (files, held):
        each.mkdir(parents=True, exist_ok=True)
    example.make(files, held, paintings)
    if example.prepare:
        gramgan("prepare", files, "-o", photos, *example.prepare)
    else:
        gramgan("collect", "--from", files, "-o", photos)
    gramgan("db", "build", photos, "-o", database, "--domain", example.domain, "--patches", "50000", *example.database)
    texture = dict(zip(example.database[::2], example.database[1::2], strict=True))
    settings = {
        "generator.start": start,
        "generator.from_nearest": "false",
        "data.validation": held,
        "texture.candidates": "both",
        "texture.descriptor": texture["--descriptor"],
        "texture.k": texture.get("--k", "4"),
        "stages.pretrain": 0,
        "stages.warm_discriminator": steps // 5,
        "stages.adversarial": steps,
        "schedule.restart_every": steps,
        "schedule.warmup": 10,
        "log.validate_every": steps,
        "log.every": 10,
    }
    overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    gramgan("train", "--preset", "lite", "--photos", photos, "--database", database, "-o", run, *overrides)
    named = folder / "small generator.safetensors", folder / f"trained on {example.domain}.safetensors"
    shutil.copy(start, named[0])
    shutil.copy(run / "gramgan_G_best.safetensors", named[1])
    # The networks alone: back-projection, which their cards ask for, would hide a part of what each has learned.
    return evaluate([BICUBIC, *named], held, device="cpu", precision="fp32", consistency=False, strip_side=STRIP_SIDE)


def table(reports: dict[str, EvaluationReport]) -> str:
    metrics = [metric for metric in next(iter(reports.values())).metrics if metric.name in METRICS]
    lines = [
        f"| field | generator | {' | '.join(metric.heading for metric in metrics)} |",
        "| --- " * (len(metrics) + 2) + "|",
    ]
    for name, report in reports.items():
        for label, model in zip(("bicubic", "small generator", "trained on the field"), report.models, strict=True):
            mean = model.mean()
            cells = (f"{mean[metric.name]:.{metric.decimals}f}" for metric in metrics)
            lines.append(f"| {name} | {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, required=True, help="a small generator, of the preset lite")
    parser.add_argument("--art", type=Path, help="folder of paintings; without it that field is left out")
    parser.add_argument("--only", nargs="+", choices=list(EXAMPLES), default=list(EXAMPLES))
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "use-cases")
    parser.add_argument("--steps", type=int, default=100, help="of the adversarial stage")
    parser.add_argument("--pages", type=Path, help="docs/tutorials, for pictures and the table")
    arguments = parser.parse_args()

    reports = {}
    for name in arguments.only:
        if name == "art" and arguments.art is None:
            print("art: left out, --art names no folder of paintings")
            continue
        folder = arguments.folder / name
        if folder.exists():
            parser.error(f"{folder}: holds an earlier example; delete it or choose another --folder")
        report = work(EXAMPLES[name], folder, arguments.start, arguments.art, arguments.steps)
        reports[name] = report
        write_bytes(folder / "crops.png", to_png(strips_picture(report, report.strips[:2])))
        if arguments.pages:
            target = arguments.pages.parent / "images" / "fields" / f"{EXAMPLES[name].page}.png"
            write_bytes(target, (folder / "crops.png").read_bytes())
    text = table(reports)
    print(text)
    if arguments.pages:
        fill(arguments.pages / "own-domain.md", "examples", text)
    values = [
        f"{name.replace('-', '_')}_{label}_{metric}={model.mean()[metric]:.4f}"
        for name, report in reports.items()
        for label, model in zip(("bicubic", "start", "trained"), report.models, strict=True)
        for metric in METRICS
    ]
    print(f"result: {' '.join(values)}")


if __name__ == "__main__":
    main()
