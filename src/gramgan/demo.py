"""The main job on sample photographs: enlarge one, then build a database, train, upscale, score, and report it all.

What is trained is the small generator, from the package's own pixel-loss weights: in a minute its texture can be seen
to come. Beside its results stand those of the generator that ships.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gramgan.collect import collect_samples, read_manifest, split
from gramgan.config import Config, load_config
from gramgan.config.losses import LOSS_NAMES
from gramgan.degradation.bicubic import degrade_bicubic
from gramgan.errors import UserError
from gramgan.evaluation.compare import evaluate
from gramgan.evaluation.crops import most_textured
from gramgan.evaluation.report import EvaluationReport
from gramgan.files import ensure_folder, write_bytes
from gramgan.images import Raster, read_rgb, write_image
from gramgan.ops.bicubic import SCALE
from gramgan.ops.patches import patch_grid
from gramgan.ops.resize import bicubic_up
from gramgan.progress import Progress
from gramgan.reports.page import Column, Page
from gramgan.reports.pixels import to_png
from gramgan.reports.plots import loss_curves
from gramgan.reports.strips import Panel, comparison, patch_gallery
from gramgan.texture.candidates import DatabaseSource, combined_query
from gramgan.texture.database import TextureDatabase, sources_of
from gramgan.texture.mask import texture_mask
from gramgan.training.checkpoint import checkpoints
from gramgan.training.folder import read_log
from gramgan.training.loop import Observer
from gramgan.training.run import train
from gramgan.upscaling.api import Upscaling, upscale
from gramgan.upscaling.model import DEFAULT_MODEL
from gramgan.upscaling.settings import Settings
from gramgan.weights.catalog import KNOWN, fetch_weights, is_cached

WEIGHTS = ("st-lpips-alex", "st-lpips-vgg16")
PATCHES = 200_000
START = "gramgan-x4-lite-psnr"
SETTINGS = (
    f"generator={{start: {START}, network: span, nf: 48, nb: 6, consistent: true}}",
    "data.crop=128",
    "stages.adversarial=75",
    "schedule.restart_every=75",
    "log.validate_every=75",
)
"""What the demo's trainings have otherwise than the preset `quick`, whose losses they have."""

BICUBIC, STARTED, PIXEL, GRAMGAN, SHIPPED = "bicubic", "start", "L_C alone", "five losses", DEFAULT_MODEL
_FOLDERS = {
    BICUBIC: "bicubic",
    STARTED: "start",
    PIXEL: "pixel-loss-alone",
    GRAMGAN: "gram-gan",
    SHIPPED: SHIPPED,
}
_CROP = 192
_SHOWN_PATCHES = 12


@dataclass(frozen=True)
class Screen:
    """How the demo tells what it is doing: lines of text, progress bars, an observer of trainings."""

    say: Callable[[str], None]
    bar: Callable[[str], AbstractContextManager[Progress]]
    training: Callable[[], AbstractContextManager[Observer]]


@dataclass(frozen=True)
class DemoResult:
    """Where the results are, the mean scores by model, and seconds by piece of work."""

    report: Path
    picture: Path
    scores: dict[str, dict[str, float]]
    seconds: dict[str, float]


def run_demo(
    folder: Path, photos: Path, watch: Screen, overrides: Sequence[str] = (), shipped: str = SHIPPED
) -> DemoResult:
    """Do the main job in `folder`, with sample photographs in `photos` (collected if the folder is not there).

    `overrides` change the trainings' settings, as `gramgan train --set` does. The first picture is there before
    anything is fetched or trained: `first-picture.png`, a photograph enlarged by the generator that ships, `shipped`.

    Raises:
        UserError: sample photographs or weights cannot be had, `folder` holds an earlier demo or cannot be written to.
    """
    if any(checkpoints(folder / name / "checkpoints") for name in ("gram-gan", "pixel-loss-alone")):
        raise UserError(f"{folder}: holds an earlier demo; delete it or choose another folder with --output")
    ensure_folder(folder)
    clock = _Clock(watch.say)
    with clock("collecting sample photographs"):
        _collect(photos, watch)
    with clock(f"a photograph four times larger, by {SHIPPED}"), watch.bar("upscaling") as progress:
        first = min(split(photos)[1], key=_pixels)
        upscale(first, folder / "first-picture.png", model=shipped, progress=progress)
    watch.say(f"   the first picture: {folder / 'first-picture.png'}, made from {first}")
    with clock("fetching the weights that judge"):
        _fetch(watch)
    with clock("building the texture database"), watch.bar("texture database") as progress:
        database = _build_database(folder / "texture.lance", photos, progress)
    places = {"data.photos": str(photos), "texture.database": str(database.path)}
    five_losses = load_config(
        "quick", overrides=[*SETTINGS, *(f"{key}={json.dumps(value)}" for key, value in places.items()), *overrides]
    )
    start = five_losses.generator.start
    assert start is not None  # the settings name one
    with clock("training with all five losses"), watch.training() as observer:
        ours = _trained(five_losses, folder / "gram-gan", observer)
    with clock("the same budget with L_C alone"), watch.training() as observer:
        plain = _trained(_pixel_loss_alone(five_losses), folder / "pixel-loss-alone", observer)
    with clock("upscaling photographs that were not trained on"), watch.bar("upscaling") as progress:
        models = {STARTED: start, PIXEL: str(plain), GRAMGAN: str(ours), SHIPPED: shipped}
        _upscale(folder / "pictures", split(photos)[1], models, progress)
    with clock("scoring"), watch.bar("scoring") as progress:
        pictures = folder / "pictures"
        scores = evaluate(
            [], pictures / "truth", results=[pictures / name for name in _FOLDERS.values()], progress=progress
        )
    with clock("writing the report"):
        picture, page = _report(folder, photos, five_losses, database, scores, clock.seconds)
    means = {label: scores.models[i].mean() for i, label in enumerate(_FOLDERS)}
    return DemoResult(page, picture, means, clock.seconds)


class _Clock:
    def __init__(self, say: Callable[[str], None]) -> None:
        self.seconds: dict[str, float] = {}
        self._say = say

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        self._say(f"{len(self.seconds) + 1}. {what}")
        started = time.perf_counter()
        yield
        self.seconds[what] = time.perf_counter() - started


def _collect(photos: Path, watch: Screen) -> None:
    if read_manifest(photos) is None:
        with watch.bar("photographs") as progress:
            collect_samples(photos, progress=progress)


def _fetch(watch: Screen) -> None:
    for name in WEIGHTS:
        if not is_cached(KNOWN[name]):
            with watch.bar(name) as progress:
                fetch_weights(name, progress)


def _pixels(photo: Path) -> int:
    info = Raster.open(photo).info
    return info.width * info.height


def _build_database(path: Path, photos: Path, progress: Progress) -> TextureDatabase:
    sources = sources_of(photos, split(photos)[0])
    texture = load_config("quick").texture
    return TextureDatabase.build(
        path, sources, patches=PATCHES, descriptor=texture.descriptor, k=texture.k, overwrite=True, progress=progress
    )


def _trained(config: Config, folder: Path, observer: Observer) -> Path:
    result = train(config, folder, observer=observer)
    if not result.finished or result.best is None:
        raise UserError(f"{folder}: the demo was stopped; delete {folder.parent} to start it again")
    return result.best


def _pixel_loss_alone(config: Config) -> Config:
    """The same data, start, iterations, batch and rate, with L_C as the only loss."""
    only = dict.fromkeys(LOSS_NAMES, 0.0) | {"pixel": 1.0}
    return config.model_copy(
        update={
            "losses": config.losses.model_copy(update=only),
            "stages": config.stages.model_copy(update={"warm_discriminator": 0}),
            "log": config.log.model_copy(update={"best_by": "psnr_y"}),
        }
    )


def _upscale(folder: Path, held_out: list[Path], models: dict[str, str], progress: Progress) -> None:
    """Write truth, low resolution, bicubic and every model's result as PNG into folders below `folder`."""
    total, done = len(held_out) * (1 + len(models)), 0
    for photo in held_out:
        hr = torch.from_numpy(read_rgb(photo)).unsqueeze(0)
        hr = hr[..., : hr.shape[-2] // SCALE * SCALE, : hr.shape[-1] // SCALE * SCALE]
        lr = degrade_bicubic(hr)
        for name, image in (("truth", hr), ("low-resolution", lr), (_FOLDERS[BICUBIC], bicubic_up(lr))):
            write_image(folder / name / f"{photo.stem}.png", image[0].numpy())
        done += 1
        progress(done, total)
    for label, spec in models.items():
        upscaling = Upscaling(Settings(model=spec))
        for photo in held_out:
            target = folder / _FOLDERS[label] / f"{photo.stem}.png"
            ensure_folder(target.parent)
            upscaling.file(folder / "low-resolution" / f"{photo.stem}.png", target)
            done += 1
            progress(done, total)


def _report(
    folder: Path,
    photos: Path,
    config: Config,
    database: TextureDatabase,
    scores: EvaluationReport,
    seconds: dict[str, float],
) -> tuple[Path, Path]:
    names = [Path(row.image).stem for row in scores.models[0].images]
    strip = to_png(comparison([_row(folder / "pictures", name, scores, i) for i, name in enumerate(names)], zoom=2))
    picture = folder / "comparison.png"
    write_bytes(picture, strip)

    page = Page("Gram-GAN demo")
    page.text(
        f"A small generator was trained twice from the same weights ({STARTED}: {config.generator.start}), on the same "
        f"photographs and for the same number of steps: once with Gram-GAN's {GRAMGAN}, once with the pixel loss "
        f"{PIXEL}. Below are photographs that neither was trained on, and what the generator that ships, {SHIPPED}, "
        "makes of them."
    )
    page.image(strip, "Each row: the most textured part of a held-out photograph, every pixel shown as 2×2.")
    page.table(
        ["", *(Column(m.name, ".4g", "high" if m.higher_is_better else "low") for m in scores.metrics)],
        [[label, *scores.models[i].mean().values()] for i, label in enumerate(_FOLDERS)],
        f"Means over {len(names)} held-out photographs, protocol {scores.protocol.name}; ST-LPIPS is perceptual.",
    )
    steps = config.stages.adversarial
    page.note(
        f"What {steps} steps can show: that the whole chain works, that every loss moves, and that texture comes from "
        "the supervision: ST-LPIPS falls, PSNR pays for it, while L_C alone gains nothing more from its start. What "
        f"they cannot show is a full training's texture: for that look at the column of {SHIPPED}, which has "
        "twenty times as many parameters."
    )
    page.heading("Training")
    records = {name: read_log(folder / name) for name in ("gram-gan", "pixel-loss-alone")}
    page.figure(
        loss_curves(records["gram-gan"], {PIXEL: records["pixel-loss-alone"]}, name=GRAMGAN),
        "Losses and statistics of both runs.",
    )
    _explain_ratio(page, records["gram-gan"])
    page.heading("Which texture each patch was shown")
    page.text(
        "For every 4×4 patch the search takes the Gram matrix half-way between the generator's patch and "
        "the truth, and finds the real texture nearest to it. Shown are patches of the first photograph, "
        "the truth, and the patch of the database that was chosen, with the photograph it comes from. The "
        f"descriptor is {config.texture.descriptor}."
    )
    page.image(_chosen_patches(folder, config, database, names[0]))
    page.heading("The mask")
    page.text("The discriminator sees an image only where it has texture; elsewhere it would learn about flat areas.")
    page.gallery(_masks(folder / "pictures" / "truth", names, config))
    page.heading("What it was made from")
    entries = read_manifest(photos) or []
    page.table(
        ["photograph", "title", "author", "licence", "used for"],
        [[e.file, e.title, e.author, e.licence, "training" if e.split == "train" else "judging"] for e in entries],
    )
    page.table(["piece of work", Column("seconds", ".0f")], [[what, value] for what, value in seconds.items()])
    page.note(
        "Upscaled texture is invented: plausible, not measured. It is no evidence of what was in front of the camera."
    )
    page.save(folder / "report.html")
    return picture, folder / "report.html"


def _row(pictures: Path, name: str, scores: EvaluationReport, number: int) -> list[Panel]:
    truth = read_rgb(pictures / "truth" / f"{name}.png")
    top, left = most_textured(truth, _CROP)
    low = read_rgb(pictures / "low-resolution" / f"{name}.png")
    side = _CROP // SCALE
    panels = [
        Panel(low[:, top // SCALE : top // SCALE + side, left // SCALE : left // SCALE + side], "low resolution", name)
    ]
    for i, (label, where) in enumerate(_FOLDERS.items()):
        image = read_rgb(pictures / where / f"{name}.png")[:, top : top + _CROP, left : left + _CROP]
        values = scores.models[i].images[number].scores
        panels.append(Panel(image, label, f"{values['psnr_y']:.2f} dB · ST-LPIPS {values['st_lpips']:.3f}"))
    panels.append(Panel(truth[:, top : top + _CROP, left : left + _CROP], "truth"))
    return panels


def _explain_ratio(page: Page, records: list[dict]) -> None:
    ratios = [r["database"]["target_ratio"] for r in records if "target_ratio" in r.get("database", {})]
    if ratios:
        page.text(
            "target_ratio is how far the chosen textures lie from where the search looked, over half the distance "
            f"between the generator's patches and the truth: {ratios[-1]:.2f} at the end. Well above 1 the database is "
            "too sparse; near 0 the target is as good as the query itself, and the texture loss acts like a Gram "
            "distance to the truth."
        )


def _chosen_patches(folder: Path, config: Config, database: TextureDatabase, name: str) -> np.ndarray:
    pictures = folder / "pictures"
    sr, hr = (
        torch.from_numpy(read_rgb(pictures / where / f"{name}.png")).unsqueeze(0)
        for where in (_FOLDERS[GRAMGAN], "truth")
    )
    descriptor, k = database.descriptor, database.descriptor.k
    gram_sr, gram_hr = descriptor.encode(sr), descriptor.encode(hr)
    # The patches whose texture differs most between SR and HR, spread over the image: there the search matters.
    gap = (gram_sr - gram_hr).norm(dim=-1)[0]
    numbers = torch.stack([part[0] + part[1].argmax() for part in _stretches(gap, _SHOWN_PATCHES)])
    query = combined_query(gram_hr[:, numbers], gram_sr[:, numbers], config.texture.alpha, config.texture.beta)
    targets = DatabaseSource(database, config.texture.search).targets(query, hr)
    rows = database.rows(targets.patch_id.flatten().tolist())
    columns = patch_grid(hr.shape[-2], hr.shape[-1], k, k)[1]
    spots = [(int(n) // columns * k, int(n) % columns * k) for n in numbers]
    cut = [[image[0, :, y : y + k, x : x + k].numpy() for y, x in spots] for image in (sr, hr)]
    captions = [row["source_id"].split("#")[0] for row in rows]
    return patch_gallery(cut[0], cut[1], [row["patch"] for row in rows], captions)


def _stretches(values: torch.Tensor, number: int) -> list[tuple[int, torch.Tensor]]:
    size = len(values) // number
    return [(i * size, values[i * size : (i + 1) * size]) for i in range(number)]


def _masks(truth: Path, names: list[str], config: Config) -> list[tuple[np.ndarray, str]]:
    shown = []
    for name in names:
        image = torch.from_numpy(read_rgb(truth / f"{name}.png")).unsqueeze(0)
        mask = texture_mask(image, config.mask.threshold, config.mask.window)
        dimmed = image * (0.15 + 0.85 * mask)
        shown.append((dimmed[0].numpy(), f"{name}: {float(mask.mean()):.0%} has texture, the rest is dark"))
    return shown
