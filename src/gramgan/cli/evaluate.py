"""`gramgan evaluate`: score models, or finished results, on a folder of true images."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from gramgan.cli import completion
from gramgan.cli.console import complain, plain, progress_bar, say, wide_console
from gramgan.cli.options import Ray, team_on
from gramgan.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from gramgan.evaluation.report import EvaluationReport

_STRIP_SIDE = 96


def evaluate(
    hr_folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="HR_FOLDER",
            help="Folder of the true, high-resolution images; several, such as Set14 BSD100 Urban100 Manga109, are "
            "scored one after the other.",
            show_default=False,
        ),
    ],
    lr: Annotated[
        Path | None,
        typer.Option(
            "--lr",
            help="Folder of the low-resolution images, for one HR_FOLDER. Without it: the files in HR_FOLDER whose "
            "names say LR, or images made from the true ones (--degradation).",
        ),
    ] = None,
    lr_name: Annotated[
        str | None,
        typer.Option(
            "--lr-name",
            metavar="TEMPLATE",
            help="What the LR image of {stem} is called, without its suffix, if its name does not say it: "
            '"small_{stem}". The usual names (a.png and ax4.png, a_HR and a_LR4, …) need none.',
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            autocompletion=completion.generators,
            help="A name of `gramgan weights list`, a weight file, or `bicubic`; may be repeated. Without it and "
            "--results: `bicubic` and the default model.",
        ),
    ] = None,
    results: Annotated[
        list[Path] | None,
        typer.Option("--results", help="Folder of images that any program has enlarged; may be repeated."),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Compare every other model or folder with the first, image by image: mean difference with its "
            "interval, wins and losses, and the pictures that differ most.",
        ),
    ] = False,
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            help="sr-y-crop: PSNR and SSIM on MATLAB's Y without as many border pixels as the scale says, 4 for x4, as "
            "papers report them; rgb-crop: on RGB; rgb: on RGB and the whole image.",
        ),
    ] = "sr-y-crop",
    scale: Annotated[
        int | None,
        typer.Option(
            "--scale",
            min=1,
            metavar="N",
            help="How many times larger the truth is than LR, where no model says it: for bicubic and --results alone. "
            "(default: 4)",
            show_default=False,
        ),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            "--also", help="lpips-vgg adds LPIPS with VGG-16, which takes as long as all other metrics together."
        ),
    ] = None,
    pictures: Annotated[
        int, typer.Option("--pictures", min=0, help="Largest number of images that the page shows; 0: none.")
    ] = 6,
    consistency: Annotated[
        bool | None,
        typer.Option(
            "--consistency/--no-consistency",
            help="Back-project the results of generators, as `gramgan upscale` does. (default: as their cards say)",
            show_default=False,
        ),
    ] = None,
    degradation: Annotated[
        str,
        typer.Option(
            "--degradation",
            help="How missing LR images are made: bicubic (MATLAB's), photo, realphoto or satellite; the same for "
            "all models and runs.",
        ),
    ] = "bicubic",
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Folder for scores.csv, .json and .md and report.html; with several HR_FOLDERs, one subfolder for "
            "each.",
        ),
    ] = Path("evaluation"),
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[
        str, typer.Option("--precision", help="Precision of the generators: auto, fp32, bf16 or fp16.")
    ] = "auto",
    ray: Ray = None,
) -> None:
    """Score models or finished results: fidelity, perception, consistency and colour, per image and on average."""
    from gramgan.evaluation.compare import evaluate
    from gramgan.evaluation.entrants import BICUBIC, PrecisionChoice
    from gramgan.files import ensure_folder
    from gramgan.images.pairing import truths
    from gramgan.reports.evaluation import evaluation_page
    from gramgan.upscaling.model import DEFAULT_MODEL

    models = list(model or [])
    if not models and not results:
        models = [BICUBIC, DEFAULT_MODEL]
        say(f"no --model was given: scoring {BICUBIC} and {DEFAULT_MODEL}")
    if compare and len(models) + len(results or []) < 2:
        raise UserError("--compare: there is only one to score; give another --model or --results")
    if len(hr_folders) > 1 and (lr is not None or results):
        raise UserError("several folders of truths: --lr and --results belong to one; score each folder by itself")
    for folder in hr_folders:
        truths(folder)  # a wrong name must not show after an hour
    ensure_folder(output)
    reports = []
    with team_on(ray, device) as team:
        for folder, place in zip(hr_folders, _places(hr_folders, output), strict=True):
            with progress_bar(f"scoring {folder}" if len(hr_folders) > 1 else "scoring") as progress:
                report = evaluate(
                    models,
                    folder,
                    lr,
                    results=results or [],
                    protocol=protocol,
                    scale=scale,
                    also=also or [],
                    device=device,
                    precision=cast(PrecisionChoice, precision),  # the engine refuses any other
                    consistency=consistency,
                    degradation=degradation,
                    lr_name=lr_name,
                    strip_side=_STRIP_SIDE if pictures else 0,
                    progress=progress,
                    team=team,
                )
            reports.append(report)
            report.to_csv(place / "scores.csv")
            report.to_json(place / "scores.json")
            report.to_markdown(place / "scores.md", compare=compare)
            if compare:
                report.comparisons_to_csv(place / "comparison.csv")
            evaluation_page(report, compare=compare, pictures=pictures).save(place / "report.html")
            _print(report, compare)
            comparison = ["comparison.csv"] if compare else []
            written = ["scores.csv", "scores.json", "scores.md", *comparison, "report.html"]
            for each in report.left_out:
                complain(f"left out for all models: {each.why}")
            say(f"written to {place}: {', '.join(written)}")
    if len(reports) > 1:
        _print_summary(reports, hr_folders)
    if any(report.left_out for report in reports):
        raise typer.Exit(1)


def _places(hr_folders: list[Path], output: Path) -> list[Path]:
    """Where each folder's scores go: `output` for one, else folders in it, called by the ends of the truths' paths.

    Raises:
        UserError: a folder is given twice.
    """
    paths = [folder.resolve() for folder in hr_folders]
    twice = next((path for i, path in enumerate(paths) if path in paths[:i]), None)
    if twice is not None:
        raise UserError(f"{twice}: given twice; leave one out")
    if len(paths) == 1:
        return [output]
    length = 1
    while len({path.parts[-length:] for path in paths}) < len(paths):
        length += 1
    return [output / "-".join(path.parts[-length:]).strip("/\\") for path in paths]


def _print(report: "EvaluationReport", compare: bool) -> None:
    console = wide_console()
    _print_scores(console, report)
    if compare:
        _print_comparisons(console, report)
    console.print(f"protocol {report.protocol.name}: {report.protocol.description}")
    console.print(f"LR images: {report.low_resolution}", markup=False)


def _table(left: Iterable[str], right: Iterable[str]) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in left:
        table.add_column(plain(title), no_wrap=True)
    for title in right:
        table.add_column(plain(title), justify="right", no_wrap=True)
    return table


def _print_scores(console: "Console", report: "EvaluationReport") -> None:
    from gramgan.evaluation.report import with_interval

    table = _table(("model", "image"), (metric.heading for metric in report.metrics))
    for scored in report.models:
        for row in scored.images:
            cells = (f"{row.scores[metric.name]:.{metric.decimals}f}" for metric in report.metrics)
            table.add_row(plain(scored.name), plain(row.image), *cells)
        means = scored.means()
        cells = (with_interval(means[metric.name], metric) for metric in report.metrics)
        table.add_row(plain(scored.name), f"mean of {len(scored.images)}", *cells, style="bold", end_section=True)
    console.print(table)


def _print_summary(reports: "list[EvaluationReport]", hr_folders: list[Path]) -> None:
    """The means of every model on every folder, one metric after the other."""
    console = wide_console()
    table = _table(("metric", "model"), map(str, hr_folders))
    for metric in reports[0].metrics:
        for i, model in enumerate(reports[0].models):
            means = (report.models[i].mean()[metric.name] for report in reports)
            cells = (f"{mean:.{metric.decimals}f}" for mean in means)
            table.add_row(plain(metric.heading), plain(model.name), *cells, end_section=i == len(reports[0].models) - 1)
    console.print("\nmeans on every folder")
    console.print(table)


def _print_comparisons(console: "Console", report: "EvaluationReport") -> None:
    from gramgan.evaluation.report import with_interval

    for each in report.comparisons():
        console.print(f"\n{plain(f'{each.other.name} minus {each.first.name}, image by image')}")
        table = _table(("metric",), ("mean difference", "wins", "losses", "ties"))
        for metric in report.metrics:
            pair = each.differences[metric.name]
            counts = map(str, (pair.wins, pair.losses, pair.ties))
            difference = with_interval(pair.difference, metric, signed=True)
            table.add_row(plain(metric.heading), difference, *counts, style="bold" if pair.is_clear else "")
        console.print(table)
