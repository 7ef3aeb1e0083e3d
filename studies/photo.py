"""Pictures as people have them: what `gramgan upscale` makes of photographs that were not shrunk cleanly.

    python studies/photo.py [--model NAME_OR_FILE ...] [--quick] [--device cuda]
        [--page docs/explanation/photographs.md]

Truths are Set5, Set14 and the photographs of `photo_heldout.txt`, which no training of ours sees; of each the middle,
384 pixels a side at most. Low-resolution pictures of seven kinds are made from them with Pillow, SciPy and
scikit-image, none of which makes a training's degradations, and stored as the JPEG or WebP files that people have:

    camera     shrunk; noise that grows with light on a Bayer mosaic, demosaiced; sharpened; JPEG 90, 4:2:0
    jpeg       shrunk; JPEG 50, 4:2:0
    noisy      shrunk; Gaussian noise of 10 grey levels; JPEG 60
    web        halved, JPEG 70; halved again, JPEG 75
    reupload   shrunk; JPEG 80; WebP 55
    messenger  blurred a little, shrunk too far, enlarged by a quarter as a screen does; JPEG 40
    night      shrunk; a sensor's noise in little light, smeared by a median as phones do, sharpened; JPEG 85

Seeds are fixed: every run makes the same files. Each is enlarged as `gramgan upscale` does it, from file to file, by
Real-ESRGAN x4plus, RealSR DF2K, gramgan-x4 and whatever --model names, with and without consistency, and by the program
as it comes; and by bicubic interpolation. Scores are those of `gramgan evaluate`. On two CPU cores --quick takes about
a quarter of an hour, everything several times as long; on a GPU everything takes minutes.
"""

import argparse
import io
import logging
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from scipy import ndimage
from skimage import transform

from gramgan.evaluation.compare import evaluate
from gramgan.evaluation.entrants import BICUBIC
from gramgan.evaluation.protocols import Metric
from gramgan.evaluation.report import EvaluationReport, ModelScores, with_interval
from gramgan.few import evenly_spread
from gramgan.files import write_bytes, write_text
from gramgan.metrics.texture_distance import noise_level
from gramgan.reports.evaluation import strips_picture
from gramgan.reports.pixels import to_webp
from gramgan.upscaling.api import Upscaling
from gramgan.upscaling.settings import Settings
from gramgan.weights.catalog import fetch_weights

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
HELD_OUT = Path(__file__).with_name("photo_heldout.txt")
PEERS = ("real-esrgan-x4plus", "realsr-df2k", "gramgan-x4")
REFERENCE = "real-esrgan-x4plus"
AS_IT_COMES = "gramgan upscale"
SCALE = 4
SIDE = 384
STRIP_SIDE = 64
QUICK = 8
COLUMNS = ("psnr_y", "st_lpips", "lpips_alex", "dists", "texture_distance", "texture_distance_textured")
BY_KIND = ("psnr_y", "st_lpips", "texture_distance_textured")

log = logging.getLogger("photo")

Kind = Callable[[Image.Image, np.random.Generator], tuple[bytes, str]]
"""A truth → the file of its low-resolution picture, and that file's suffix."""


def truths() -> dict[str, Image.Image]:
    """The truths by name: RGB, sides that are multiples of 8 pixels."""
    files = [path for folder in ("Set5", "Set14") for path in sorted((SHARED / "benchmarks" / folder).glob("*HR.png"))]
    lines = HELD_OUT.read_text(encoding="utf-8").splitlines()
    files += [SHARED / line for line in lines if line and not line.startswith("#")]
    found = {}
    for path in files:
        with Image.open(path) as image:
            rgb = image.convert("RGB")
        width, height = (min(side, SIDE) // 8 * 8 for side in rgb.size)
        left, top = (rgb.width - width) // 2, (rgb.height - height) // 2
        found[f"{path.parent.name}-{path.stem.removesuffix('_SRF_4_HR')}"] = rgb.crop(
            (left, top, left + width, top + height)
        )
    return found


def as_tensor(image: Image.Image) -> torch.Tensor:
    """Float32 `[1, 3, H, W]` in [0, 1]."""
    return torch.from_numpy(np.array(image, np.float32) / 255).permute(2, 0, 1)[None].contiguous()


def shrunk(image: Image.Image, factor: float = SCALE, how: int = Image.Resampling.LANCZOS) -> Image.Image:
    return image.resize((round(image.width / factor), round(image.height / factor)), how)


def jpeg(image: Image.Image, quality: int, subsampling: str = "4:2:0") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def reopened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def linear(image: Image.Image) -> np.ndarray:
    """Light, `[H, W, 3]` in [0, 1]."""
    return np.power(np.asarray(image, np.float64) / 255, 2.2)


def encoded(light: np.ndarray) -> Image.Image:
    return to_image(255 * np.power(light.clip(0, 1), 1 / 2.2))


def to_image(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))


def sensor(light: np.ndarray, gain: float, read_noise: float, random: np.random.Generator) -> np.ndarray:
    """What a sensor with a Bayer mosaic makes of light: noise of variance gain·light + read_noise², demosaiced."""
    noisy = light + random.normal(size=light.shape) * np.sqrt(gain * light + read_noise**2)
    rows, columns = np.indices(light.shape[:2])
    masks = [(rows % 2 == 0) & (columns % 2 == 0), (rows + columns) % 2 == 1, (rows % 2 == 1) & (columns % 2 == 1)]
    kernel = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4
    channels = []
    for channel, mask in enumerate(masks):
        weights = ndimage.convolve(mask.astype(float), kernel, mode="mirror")
        channels.append(ndimage.convolve(noisy[..., channel] * mask, kernel, mode="mirror") / weights)
    return np.stack(channels, axis=2)


def camera(image: Image.Image, random: np.random.Generator) -> tuple[bytes, str]:
    # The mosaic is twice as fine as the picture, as phones combine their pixels: else demosaicing is most of the blur.
    light = sensor(linear(shrunk(image, 2, Image.Resampling.BOX)), 0.004, 0.006, random)
    small = shrunk(encoded(light), 2, Image.Resampling.LANCZOS)
    return jpeg(small.filter(ImageFilter.UnsharpMask(radius=1, percent=60, threshold=1)), 90), ".jpg"


def plain_jpeg(image: Image.Image, random: np.random.Generator) -> tuple[bytes, str]:
    return jpeg(shrunk(image), 50), ".jpg"


def noisy(image: Image.Image, random: np.random.Generator) -> tuple[bytes, str]:
    small = np.asarray(shrunk(image, how=Image.Resampling.BOX), np.float64)
    return jpeg(to_image(small + random.normal(0, 10, small.shape)), 60), ".jpg"


def web(image: Image.Image, random: np.random.Generator) -> tuple[bytes, str]:
    return jpeg(shrunk(reopened(jpeg(shrunk(image, 2), 70)), 2), 75), ".jpg"


def reupload(image: Image.Image, random: np.random.Generator) -> tuple[bytes, str]:
    buffer = io.BytesIO()
    reopened(jpeg(shrunk(image, how=Image.Resampling.BICUBIC), 80)).save(buffer, "WEBP", quality=55, method=4)
    return buffer.getvalue(), ".webp"


def messenger(image: Image.Image, random: np.random.Generator) -> tuple[bytes, str]:
    soft = ndimage.gaussian_filter(np.asarray(image, np.float64) / 255, (1.5, 1.5, 0))
    height, width = (side // SCALE for side in soft.shape[:2])
    small = transform.resize(soft, (round(height / 1.25), round(width / 1.25), 3), order=1, anti_aliasing=True)
    return jpeg(to_image(255 * np.asarray(transform.resize(small, (height, width, 3), order=1))), 40), ".jpg"


def night(image: Image.Image, random: np.random.Generator) -> tuple[bytes, str]:
    light = sensor(linear(shrunk(image, 2, Image.Resampling.BOX)), 0.02, 0.03, random)
    small = shrunk(encoded(light), 2, Image.Resampling.BOX)
    # Phones smear colour wide and brightness a little.
    y, cb, cr = small.convert("YCbCr").split()
    y = Image.blend(y, y.filter(ImageFilter.MedianFilter(3)), 0.7)
    cb, cr = (each.filter(ImageFilter.GaussianBlur(1.5)) for each in (cb, cr))
    smeared = Image.merge("YCbCr", (y, cb, cr)).convert("RGB")
    return jpeg(smeared.filter(ImageFilter.UnsharpMask(radius=1.5, percent=80, threshold=0)), 85), ".jpg"


KINDS: dict[str, Kind] = {
    "camera": camera,
    "jpeg": plain_jpeg,
    "noisy": noisy,
    "web": web,
    "reupload": reupload,
    "messenger": messenger,
    "night": night,
}


def make(images: dict[str, Image.Image], kind: str, folder: Path) -> tuple[Path, Path]:
    """The folders of truths and of low-resolution pictures of one kind, freshly written."""
    high, low = folder / "truths", folder / kind / "low"
    for name, image in images.items():
        if not (high / f"{name}.png").is_file():
            buffer = io.BytesIO()
            image.save(buffer, "PNG", compress_level=1)
            write_bytes(high / f"{name}.png", buffer.getvalue())
        data, suffix = KINDS[kind](image, np.random.default_rng(zlib.crc32(f"{kind} {name}".encode())))
        write_bytes(low / f"{name}{suffix}", data)
    return high, low


@dataclass(frozen=True)
class Contestant:
    """A generator (None: what the program takes by itself), with or without consistency (None: as it comes)."""

    name: str
    model: str | None
    consistency: bool | None


def contestants(models: Sequence[str]) -> list[Contestant]:
    found = []
    for model in dict.fromkeys((*PEERS, *models)):
        name = Path(model).stem if Path(model).is_file() else model
        found += [Contestant(name, model, False), Contestant(f"{name} consistent", model, True)]
    return [*found, Contestant(AS_IT_COMES, None, None)]


def enlarge_all(one: Contestant, folder: Path, kinds: Sequence[str], device: str) -> None:
    """Enlarge every low-resolution picture of `kinds` as `gramgan upscale` does, from file to file."""
    upscaling = Upscaling(Settings(model=one.model, consistency=one.consistency, device=device))
    for kind in kinds:
        for source in sorted((folder / kind / "low").iterdir()):
            upscaling.file(source, folder / kind / one.name / f"{source.stem}.png")


def together(reports: dict[str, EvaluationReport]) -> list[ModelScores]:
    """Each model's scores of all kinds in one."""
    first, *_ = reports.values()
    return [
        replace(
            model,
            images=tuple(
                replace(row, image=f"{kind} {row.image}")
                for kind, report in reports.items()
                for row in report.models[i].images
            ),
        )
        for i, model in enumerate(first.models)
    ]


def table(metrics: Sequence[Metric], models: Sequence[ModelScores]) -> str:
    """Means with intervals, the best of each column in bold."""
    lines = [
        f"| all kinds | {' | '.join(metric.heading for metric in metrics)} |",
        f"| --- {'| --- ' * len(metrics)}|",
    ]
    for model in models:
        cells = []
        for metric in metrics:
            values = [other.means()[metric.name].value for other in models]
            mean = model.means()[metric.name]
            best = max(values) if metric.higher_is_better else min(values)
            text = with_interval(mean, metric)
            cells.append(f"**{text}**" if mean.value == best else text)
        lines.append(f"| {model.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def kinds_table(metrics: Sequence[Metric], reports: dict[str, EvaluationReport]) -> str:
    """The metrics of each model and kind, such as `24.35 / .2488`."""
    first, *_ = reports.values()
    lines = [
        f"| {' / '.join(metric.title for metric in metrics)} | {' | '.join(reports)} |",
        f"| --- {'| --- ' * len(reports)}|",
    ]
    for i, model in enumerate(first.models):
        cells = []
        for report in reports.values():
            mean = report.models[i].mean()
            cells.append(" / ".join(f"{mean[metric.name]:.{metric.decimals}f}" for metric in metrics))
        lines.append(f"| {model.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def duel(report: EvaluationReport, models: Sequence[ModelScores], name: str) -> str:
    """What `name` does against the reference over all pictures, in one sentence."""
    by_name = {model.name: model for model in models}
    found = report.against(by_name[REFERENCE], by_name[name]).differences
    parts = [
        f"{metric.title} {with_interval(found[metric.name].difference, metric, signed=True)} "
        f"({found[metric.name].wins} of {len(by_name[name].images)} pictures better)"
        for metric in report.metrics
        if metric.name in COLUMNS
    ]
    return f"`{name}` minus `{REFERENCE}`, picture by picture: {'; '.join(parts)}."


def page_text(
    reports: dict[str, EvaluationReport],
    models: Sequence[ModelScores],
    noise: float,
    count: int,
    pictures: str,
    command: str,
) -> str:
    first, *_ = reports.values()
    columns = [metric for name in COLUMNS for metric in first.metrics if metric.name == name]
    by_kind = [metric for name in BY_KIND for metric in first.metrics if metric.name == name]
    assert __doc__ is not None
    kinds = "\n".join(
        f"- **{name}**: {' '.join(text.split())}"
        for line in __doc__.split("people have:\n")[1].split("\n\nSeeds")[0].strip().splitlines()
        for name, text in [line.split(maxsplit=1)]
    )
    ours = [model.name for model in models if model.name not in (REFERENCE, BICUBIC)]
    hashes = "\n".join(f"- {m.name}: {m.weights_sha256[:16]}" for m in first.metrics if m.weights_sha256)
    return f"""# Photographs as people have them

`{command}`: {count} truths (Set5, Set14, and photographs that no training saw, listed in
`studies/photo_heldout.txt`), the middle {SIDE} pixels of each, times {len(reports)} kinds of low-resolution picture:

{kinds}

They are made with Pillow, SciPy and scikit-image and stored as files; none of that code makes a training's
degradations. Every file is enlarged as `gramgan upscale` does it. "consistent" is with `--consistency`,
`{AS_IT_COMES}` is the program as it comes. Protocol `{first.protocol.name}`; ± is the 95 % interval over pictures.
Texture distance: see [Metrics](metrics.md); 0 is the truth itself, and two samples of one texture are
{noise:.3f} apart.

{table(columns, models)}

By kind:

{kinds_table(by_kind, reports)}

{chr(10).join("- " + duel(first, models, name) for name in ours)}

![One picture of each kind]({pictures})

One picture of each kind, the next truth for each, and of it the square with the most texture
(`gramgan.evaluation.crops`): nobody chose them. Beginnings of the SHA-256 of the metrics' weights:

{hashes}

## Real pictures

Twelve pictures without a truth, as they lie in scikit-image, scikit-learn and Matplotlib (`gramgan collect` names their
authors and licences), and three of CID22 and gb82; the most textured square of each, chosen by a rule
(`python studies/photo_real.py FOLDER`):

![Bicubic, Real-ESRGAN, gramgan upscale](../images/photographs-real.jpg)
"""


def picture_of(reports: dict[str, EvaluationReport], shown: Sequence[str]) -> np.ndarray:
    """A row for each kind: low resolution, the models `shown`, truth; the truths are spread over the set."""
    rows = []
    first, *_ = reports.values()
    chosen = evenly_spread(range(len(first.strips)), len(reports))
    parts = []
    for number, (kind, report) in zip(chosen, reports.items(), strict=True):
        strip = report.strips[number]
        strip = replace(strip, results={name: strip.results[name] for name in shown})
        models = tuple(model for model in report.models if model.name in shown)
        parts.append(strips_picture(replace(report, models=models), [strip]))
        rows.append(kind)
    width = max(part.shape[1] for part in parts)
    return np.concatenate(
        [np.pad(part, ((0, 0), (0, width - part.shape[1]), (0, 0)), constant_values=255) for part in parts]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", default=[], help="a name or a weight file; may be repeated")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} truths, evenly spread, instead of all")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "photo")
    parser.add_argument("--page", type=Path, help="write docs/explanation/photographs.md and its picture")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    log.setLevel(logging.INFO)
    begin = time.monotonic()
    for name in (*PEERS[:2], "st-lpips-alex", "lpips-alex", "dists"):
        fetch_weights(name)

    images = truths()
    if arguments.quick:
        images = {name: images[name] for name in evenly_spread(sorted(images), QUICK)}
    # Another run may have had other truths: its folder must not mix with this one's.
    folder = arguments.output / f"{len(images)}-truths"
    for kind in arguments.kinds:
        make(images, kind, folder)
    everyone = contestants(arguments.model)
    for one in everyone:
        start = time.monotonic()
        enlarge_all(one, folder, arguments.kinds, arguments.device)
        log.info("enlarged by %s in %.0f s", one.name, time.monotonic() - start)

    reports = {}
    for kind in arguments.kinds:
        results = [folder / kind / one.name for one in everyone]
        reports[kind] = evaluate(
            BICUBIC,
            folder / "truths",
            folder / kind / "low",
            results=results,
            device=arguments.device,
            strip_side=STRIP_SIDE,
        )
        reports[kind].to_csv(folder / f"{kind}.csv")
        log.info("scored %s", kind)
    first, *_ = reports.values()
    models = together(reports)
    columns = [metric for name in COLUMNS for metric in first.metrics if metric.name == name]
    noise = float(np.mean([float(noise_level(as_tensor(image))) for image in images.values()]))
    print(table(columns, models), "\n")
    print(kinds_table([metric for metric in first.metrics if metric.name in BY_KIND], reports), "\n")
    for model in models:
        if model.name not in (REFERENCE, BICUBIC):
            print(duel(first, models, model.name))
    ours = [Path(model).stem if Path(model).is_file() else model for model in arguments.model] or ["gramgan-x4"]
    shown = [BICUBIC, REFERENCE, ours[-1], AS_IT_COMES]
    picture = to_webp(picture_of(reports, shown))
    write_bytes(folder / "crops.webp", picture)
    if arguments.page:
        name = "../images/photographs.webp"
        write_bytes(arguments.page.parent / name, picture)
        command = " ".join(["python studies/photo.py", *sys.argv[1:]])
        write_text(arguments.page, page_text(reports, models, noise, len(images), name, command))
    values = [
        f"truths={len(images)} kinds={len(reports)} noise_level={noise:.4f} seconds={time.monotonic() - begin:.0f}"
    ]
    for model in models:
        key = model.name.lower().replace("-", "_").replace(" ", "_")
        values += [f"{key}_{metric.name}={model.mean()[metric.name]:.4f}" for metric in columns]
    print(f"result: {' '.join(values)}")


if __name__ == "__main__":
    main()
