"""What is each loss worth? The shipped generator's training with losses left out: same start, data, order and steps.

Every row trains RealSR's generator (`realsr-df2k`) as the preset `reference` says, from the same crops in the same
order, for the same number of steps, at the same learning rate. A loss that a row has keeps the weight of the preset; a
row leaves out what it does not name. Rows with a discriminator begin with the same one, warmed up against the resting
start. The weights scored are the average (EMA) at the end: none is chosen by a validation.

    python studies/ablation.py run [--rows pixel perceptual …] [--seeds 0] [--steps 220]
    python studies/ablation.py table [--page docs/explanation/ablation.md]

`run` goes on where it was stopped; `table` scores what is finished on Set5 and Set14 (protocol `sr-y-crop4`, fp32), the
networks alone and back-projected (`gramgan upscale --consistency`), and writes the tables, with a picture whose crops
nobody chose: five images of each set, evenly spread over their names, and of each the most textured square of the
truth, as in `studies/peers.py`. The last line has the means of each row.

A full training takes about 20 minutes on one core that has bf16, and three times that on one that has not.
"""

import argparse
import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from gramgan.collect import split
from gramgan.config import Config, load_config
from gramgan.evaluation.compare import evaluate
from gramgan.evaluation.entrants import Entrant, open_entrant
from gramgan.evaluation.report import EvaluationReport, ModelScores
from gramgan.few import evenly_spread
from gramgan.files import ensure_folder, write_bytes
from gramgan.hardware.device import resolve_device
from gramgan.ops.resize import back_project
from gramgan.reports.evaluation import strips_picture
from gramgan.reports.pixels import to_png, to_webp
from gramgan.texture.database import TextureDatabase, sources_of
from gramgan.training.folder import BEST_DISCRIMINATOR, BEST_GENERATOR, Record, is_run
from gramgan.training.loop import Observer
from gramgan.training.run import Unwatched, train
from gramgan.weights.catalog import fetch_weights
from peers import PROJECTED, SETS, START, STRIP_SIDE, STRIPS, key
from texture_study import fill

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ROOT.parent / "shared" / "photos"
PRESET = "reference"
PATCHES = 300_000
METRICS = ("psnr_y", "st_lpips", "dss", "gram_distance")
PICTURED = ("pixel", "esrgan", "five", "reference")
PICTURED_PROJECTED = ("esrgan", "reference")
DUELS = ("psnr_y", "st_lpips")  # in which each row is set against `esrgan`, image by image
SMALL_VALIDATION = 192  # so that no run measures its tiles' overlap, which takes minutes and which nothing here reads
FINISHED = "finished"  # an empty file in the folder of a training that came to its end
DISCRIMINATOR = "discriminator"  # the run whose discriminator all rows begin with

log = logging.getLogger("ablation")


@dataclass(frozen=True)
class Row:
    """One training: the losses that it has, and whether D sees all of the image or its textured part."""

    title: str
    losses: tuple[str, ...]
    masked: bool = False

    def settings(self, preset: Config) -> dict[str, object]:
        """What differs from the preset."""
        changes: dict[str, object] = {f"losses.{name}": 0 for name in preset.losses.weights if name not in self.losses}
        if "teacher" not in self.losses:
            changes["generator.teacher"] = "null"
        if not self.masked:
            changes["mask.threshold"] = 0
        return changes


CONTENT = ("pixel", "perceptual")
ESRGAN = (*CONTENT, "adversarial")
FIVE = (*ESRGAN, "disc_perceptual", "texture")
OWN = ("consistency", "teacher")
ROWS = {
    "pixel": Row("L_C", ("pixel",)),
    "perceptual": Row("L_C + L_P", CONTENT),
    "esrgan": Row("L_C + L_P + L_G (as ESRGAN)", ESRGAN),
    "mask": Row("… + mask", ESRGAN, masked=True),
    "disc-perceptual": Row("… + L_DP", (*ESRGAN, "disc_perceptual")),
    "texture": Row("… + L_PT", (*ESRGAN, "texture")),
    "five": Row("… + mask + L_DP + L_PT: all five", FIVE, masked=True),
    "esrgan-own": Row("L_C + L_P + L_G, consistency, teacher", (*ESRGAN, *OWN)),
    "reference": Row("all five, consistency, teacher: `reference`", (*FIVE, *OWN), masked=True),
}


class Told(Unwatched):
    """An observer that logs what a run writes down."""

    def __init__(self, name: str) -> None:
        self._name = name

    def record(self, record: Record) -> None:
        """A record was written to the log."""
        if "losses" in record:
            losses = "  ".join(f"{name} {value:.4g}" for name, value in record["losses"].items())
            log.info("%s: %d of its steps: %s", self._name, record["iteration"], losses)


def settings(arguments: argparse.Namespace, changes: Mapping[str, object]) -> Config:
    """The preset with `changes` and this machine's files."""
    changes = {
        "data.photos": arguments.photos,
        "texture.database": arguments.folder / "texture.lance",
        "log.validation_crop": SMALL_VALIDATION,
        **changes,
    }
    return load_config(PRESET, overrides=[f"{name}={value}" for name, value in changes.items()])


def trained(folder: Path, config: Config, observer: Observer) -> bool:
    """Train, or go on, until the run is finished; False if somebody stopped it."""
    if (folder / FINISHED).exists():
        return True
    finished = train(config, folder, resume=is_run(folder), observer=observer).finished
    if finished:
        write_bytes(folder / FINISHED, b"")
    return finished


def run(arguments: argparse.Namespace) -> None:
    """Train every row that is wanted and not there yet, one seed after the other."""
    for name in (START, "st-lpips-alex", "st-lpips-vgg16"):
        fetch_weights(name)
    database = arguments.folder / "texture.lance"
    if not database.exists():
        log.info("building %s", database)
        sources = sources_of(arguments.photos, split(arguments.photos)[0])
        TextureDatabase.build(database, sources, patches=PATCHES)
    first = arguments.folder / DISCRIMINATOR
    # One step of G ends the warm-up, as a run that leaves no generator is none; the validation after it keeps D.
    end = load_config(PRESET).stages.warm_discriminator + 1
    warm = {"stages.adversarial": 1, "schedule.restart_every": 1, "log.validate_every": end}
    if not trained(first, settings(arguments, warm), Told(DISCRIMINATOR)):
        return
    for seed in arguments.seeds:
        for name in arguments.rows:
            changes: dict[str, object] = {
                **ROWS[name].settings(load_config(PRESET)),
                "stages.warm_discriminator": 0,
                "stages.adversarial": arguments.steps,
                "schedule.restart_every": arguments.steps,
                "log.validate_every": arguments.steps,
                "train.seed": seed,
            }
            if "adversarial" in ROWS[name].losses:
                changes["discriminator.start"] = first / f"{BEST_DISCRIMINATOR}.safetensors"
            if not trained(run_folder(arguments, name, seed), settings(arguments, changes), Told(f"{name} {seed}")):
                return


def run_folder(arguments: argparse.Namespace, name: str, seed: int) -> Path:
    return arguments.folder / f"{name}-{arguments.steps}-{seed}"


Scores = dict[str, dict[int, ModelScores]]
"""Row → seed → scores."""


def score(arguments: argparse.Namespace, truths: Path) -> tuple[EvaluationReport, Scores, Scores]:
    """Everything scored as a report with pictures; out of it the networks alone, and their results back-projected."""
    device = resolve_device(arguments.device)
    found = {(START, 0): Path(START)} | {
        (name, seed): folder / f"{BEST_GENERATOR}.safetensors"
        for name in ROWS
        for seed in arguments.seeds
        for folder in (run_folder(arguments, name, seed),)
        if (folder / FINISHED).exists()
    }
    entrants: list[Entrant] = []
    for (name, seed), weights in found.items():
        network = open_entrant(str(weights), device, "fp32", consistency=False)
        entrants += alone_and_projected(network if name == START else replace(network, name=f"{name}-{seed}"))
    report = evaluate(entrants, truths, device=device, strip_side=STRIP_SIDE)
    alone: Scores = {}
    projected: Scores = {}
    for number, (name, seed) in enumerate(found):
        alone.setdefault(name, {})[seed] = report.models[2 * number]
        projected.setdefault(name, {})[seed] = report.models[2 * number + 1]
    return report, alone, projected


def alone_and_projected(network: Entrant) -> list[Entrant]:
    """A generator and the same with its results back-projected; it runs once for both."""
    last: dict[str, Tensor] = {}

    def once(low: Tensor) -> Tensor:
        assert network.enlarge is not None
        if last.get("low") is not low:
            last.update(low=low, sr=network.enlarge(low))
        return last["sr"]

    def projected(low: Tensor) -> Tensor:
        return back_project(low, once(low))

    name = f"{network.name} {PROJECTED}"
    return [
        replace(network, enlarge=once),
        replace(network, name=name, source=name, enlarge=projected, back_projected=True),
    ]


def spread(values: Sequence[float], decimals: int) -> str:
    """Mean, with the standard deviation where there are several."""
    text = f"{statistics.mean(values):.{decimals}f}"
    return f"{text} ± {statistics.stdev(values):.{decimals}f}" if len(values) > 1 else text


def table(report: EvaluationReport, scores: Scores, title: str) -> str:
    """Markdown: means over images and seeds; beside them the wins over the row `esrgan`, image by image."""
    metrics = [metric for metric in report.metrics if metric.name in METRICS]
    duelled = " | ".join(f"wins : losses in {metric.title}" for metric in metrics if metric.name in DUELS)
    lines = [
        f"| {title} | seeds | {' | '.join(metric.heading for metric in metrics)} | {duelled} |",
        "| --- " * (len(metrics) + 3 + duelled.count("|")) + "|",
    ]
    for row, models in scores.items():
        cells = [spread([model.mean()[m.name] for model in models.values()], m.decimals) for m in metrics]
        what, seeds = (ROWS[row].title, str(len(models))) if row in ROWS else (f"the start, `{START}`", "")
        lines.append(f"| {what} | {seeds} | {' | '.join([*cells, *duels(report, scores, row)])} |")
    return "\n".join(lines)


def duels(report: EvaluationReport, scores: Scores, row: str) -> list[str]:
    """`wins : losses` of a row's first seed against `esrgan`'s in each of `DUELS`; empty texts without a pair."""
    names = [metric.name for metric in report.metrics if metric.name in DUELS]
    if row == "esrgan" or "esrgan" not in scores:
        return ["" for _ in names]
    ours, theirs = (next(iter(scores[name].values())) for name in (row, "esrgan"))
    pairs = report.against(theirs, ours).differences
    return [f"{pairs[name].wins} : {pairs[name].losses}" for name in names]


def shown(report: EvaluationReport, alone: Scores, projected: Scores) -> EvaluationReport:
    """The report with what the picture has room for: the first seed of a few rows, and two of them back-projected."""
    models = [next(iter(seeds.values())) for row, seeds in alone.items() if row in (START, *PICTURED)]
    models += [next(iter(projected[row].values())) for row in PICTURED_PROJECTED if row in projected]
    return replace(report, models=tuple(models))


def weights_table(preset: Config) -> str:
    """Markdown: the weight of each loss that has one."""
    weights = {name: weight for name, weight in preset.losses.weights.items() if weight}
    return "\n".join(
        [f"| {' | '.join(weights)} |", "| --- " * len(weights) + "|", f"| {' | '.join(map(str, weights.values()))} |"]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("run", "table"), default="table")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "ablation", help="database and runs")
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--sets", type=Path, nargs="+", default=SETS, help="folders to score on")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="for run: only these")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=load_config(PRESET).stages.adversarial)
    parser.add_argument("--page", type=Path, help="for table: docs/explanation/ablation.md, to fill in")
    parser.add_argument("--device", default="auto", help="for table")
    arguments = parser.parse_args()

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    ensure_folder(arguments.folder)
    if arguments.what == "run":
        run(arguments)
        wanted = [run_folder(arguments, name, seed) for name in arguments.rows for seed in arguments.seeds]
        print(f"result: rows={len(wanted)} finished={sum((folder / FINISHED).exists() for folder in wanted)}")
        return
    parts, values = [weights_table(load_config(PRESET))], []
    for folder in arguments.sets:
        report, alone, projected = score(arguments, folder)
        name = folder.resolve().name
        parts.append(table(report, alone, f"{name}, {arguments.steps} steps"))
        parts.append(table(report, projected, f"{name}, the same {PROJECTED}"))
        picture = strips_picture(shown(report, alone, projected), evenly_spread(report.strips, STRIPS))
        write_bytes(arguments.folder / f"{key(name)}.png", to_png(picture))
        if arguments.page:
            target = f"../images/ablation-{key(name)}.webp"
            write_bytes(arguments.page.parent / target, to_webp(picture))
            parts.append(f"![{name}, crops of the start, of some rows and of the truth]({target})")
        for suffix, scores in (("", alone), ("_projected", projected)):
            for row, models in scores.items():
                for metric in ("psnr_y", "st_lpips", "dss"):
                    mean = statistics.mean(model.mean()[metric] for model in models.values())
                    values.append(f"{key(name)}_{key(row)}{suffix}_{metric}={mean:.4f}")
    text = "\n\n".join(parts)
    print(f"\n{text}\n")
    if arguments.page:
        fill(arguments.page, "ablation", text)
    print(f"result: {' '.join(values)}")


if __name__ == "__main__":
    main()
