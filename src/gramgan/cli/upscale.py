"""`gramgan upscale`: make pictures four times larger."""

from pathlib import Path
from typing import Annotated

import typer


def upscale(
    inputs: Annotated[
        list[Path],
        typer.Argument(help="Image files, and folders that are searched with all their subfolders.", metavar="INPUT"),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="For one input file: a file whose suffix chooses the format. Otherwise, or without a suffix: a folder "
            "where results keep their names and places in the tree and are PNG, or TIFF if the input is.",
            metavar="OUT",
            show_default=False,
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(help="Known weights (`gramgan weights list`) or a weight file.", metavar="NAME|PATH"),
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(
            help="Side of a tile in input pixels; smaller takes less memory. (default: 256)", show_default=False
        ),
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option(
            help="Context around a tile in input pixels. (default: what the weights need)", show_default=False
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="fp32, bf16 or fp16; auto takes what is fast and right on this machine.")
    ] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    form: Annotated[
        str | None,
        typer.Option("--format", help="Format of the results: png, jpg, webp or tiff.", metavar="FORMAT"),
    ] = None,
    allow_huge: Annotated[
        bool, typer.Option("--allow-huge", help="Read images above the size limit, if you trust them.")
    ] = False,
) -> None:
    """Make pictures four times larger, with synthesised texture.

    Depth, transparency, colour profile and EXIF are kept. An input is never overwritten. Exit code 1: some pictures of
    several could not be done (they are listed at the end).
    """
    import sys
    import time

    from gramgan.cli.console import progress_bar, say
    from gramgan.errors import UserError
    from gramgan.upscaling.jobs import plan_jobs

    start = time.perf_counter()
    jobs = plan_jobs(inputs, output, form)

    from gramgan.networks.build import load_generator
    from gramgan.upscaling.engine import DEFAULT_MODEL, Upscaler

    generator = load_generator(DEFAULT_MODEL if model is None else model)
    if model is None:
        say(f"No --model given: using {DEFAULT_MODEL} ({generator.card.licence}) until Gram-GAN ships its own.")
    upscaler = Upscaler(generator, precision, tile, overlap, device)

    alone = len(jobs) == 1 and inputs[0] == jobs[0].source
    failures: list[UserError] = []
    for number, job in enumerate(jobs, start=1):
        description = job.source.name if alone else f"[{number}/{len(jobs)}] {job.source.name}"
        try:
            with progress_bar(description) as progress:
                upscaler.upscale_file(job.source, job.target, progress, allow_huge=allow_huge)
        except UserError as error:
            if alone:
                raise
            failures.append(error)

    seconds = time.perf_counter() - start
    for error in failures:
        print(f"failed: {error}", file=sys.stderr)
    done = len(jobs) - len(failures)
    if alone:
        say(f"{jobs[0].target}: done in {seconds:.1f} s")
    else:
        failed = f", {len(failures)} failed (listed above)" if failures else ""
        say(f"{output}: {done} of {len(jobs)} pictures done in {seconds:.1f} s{failed}")
    if failures:
        raise typer.Exit(1)
