"""`gramgan evaluate`: score models, or finished results, on a folder of true images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gramgan.evaluation.compare import EvaluationReport


def evaluate(
    hr_folder: Annotated[Path, typer.Argument(help="Folder of the true, high-resolution images.", show_default=False)],
    lr: Annotated[
        Path | None,
        typer.Option(
            "--lr",
            help="Folder of the low-resolution images. Left out: the files in HR_FOLDER whose names say LR, or else "
            "they are made from the true images by MATLAB's bicubic.",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="A name of `gramgan weights list`, a weight file, or `bicubic`; may be repeated. Left out together "
            "with --results: `bicubic` and the default model.",
        ),
    ] = None,
    results: Annotated[
        list[Path] | None,
        typer.Option("--results", help="Folder of images that some program has enlarged already; may be repeated."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for scores.csv and scores.json.")] = Path(
        "evaluation"
    ),
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[
        str, typer.Option("--precision", help="Of the generators: auto, fp32, bf16 or fp16.")
    ] = "auto",
) -> None:
    """Score models: PSNR-Y, SSIM-Y, Gram distance and ST-LPIPS, for each image and on average."""
    from typing import cast

    from gramgan.cli.console import progress_bar, say
    from gramgan.evaluation import compare
    from gramgan.files import ensure_folder
    from gramgan.upscaling.models import DEFAULT_MODEL

    models = list(model or [])
    if not models and not results:
        models = [compare.BICUBIC, DEFAULT_MODEL]
        say(f"no --model was given: scoring {compare.BICUBIC} and {DEFAULT_MODEL}")
    ensure_folder(output)
    with progress_bar("scoring") as progress:
        report = compare.evaluate(
            models,
            hr_folder,
            lr,
            results=results or [],
            device=device,
            precision=cast(compare.PrecisionChoice, precision),  # the engine refuses any other
            progress=progress,
        )
    report.to_csv(output / "scores.csv")
    report.to_json(output / "scores.json")
    _print_table(report)
    say(f"scores written to {output / 'scores.csv'} and {output / 'scores.json'}")


def _print_table(report: "EvaluationReport") -> None:
    import shutil
    import sys

    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    table.add_column("model", no_wrap=True)
    table.add_column("image", no_wrap=True)
    for metric in report.metrics:
        arrow = "↑" if metric.higher_is_better else "↓"
        unit = f" [{metric.unit}]" if metric.unit else ""
        table.add_column(f"{metric.name}{unit} {arrow}".replace("[", r"\["), justify="right", no_wrap=True)
    for scored in report.models:
        for row in scored.images:
            table.add_row(scored.name, row.image, *_cells(report, row.scores))
        mean = f"mean of {len(scored.images)}"
        table.add_row(scored.name, mean, *_cells(report, scored.mean()), style="bold", end_section=True)
    # A pipe has no width: give every line its room instead of folding it at 80 columns.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 220
    console = Console(width=width, highlight=False)
    console.print(table)
    console.print(
        f"protocol {report.protocol.name}: {report.protocol.luma}, {report.protocol.crop} border pixels cropped"
    )


def _cells(report: "EvaluationReport", scores: dict[str, float]) -> list[str]:
    return [f"{scores[metric.name]:.{2 if metric.unit == 'dB' else 4}f}" for metric in report.metrics]
