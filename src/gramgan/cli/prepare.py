"""`gramgan prepare`."""

from pathlib import Path
from typing import Annotated

import typer

from gramgan.cli.console import complain, progress_bar, say
from gramgan.cli.options import Ray, team_on
from gramgan.errors import UserError

_SHOWN = 10  # lines about files with a problem; all of them are in the report


def prepare(
    folder: Annotated[
        Path, typer.Argument(help="Folder with photographs; nothing in it is changed.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the report and the sub-images.", show_default=False)
    ],
    size: Annotated[
        int, typer.Option("--size", min=16, help="Side of a sub-image in pixels; the paper trains on crops of 192.")
    ] = 480,
    step: Annotated[
        int | None,
        typer.Option(
            "--step", min=1, help="Distance from one sub-image to the next in pixels (default: half the size)."
        ),
    ] = None,
    shrink: Annotated[
        list[int] | None,
        typer.Option(
            "--shrink",
            min=1,
            max=8,
            metavar="N",
            help="Shrink the photographs N times before cutting, which makes soft ones sharp (1: as they are, the "
            "default). May be repeated: with 1 and 2 both are cut.",
        ),
    ] = None,
    benchmark: Annotated[
        list[Path] | None,
        typer.Option(
            "--benchmark",
            metavar="FOLDER",
            help="Folder of images that you will judge by: photographs that look like one of them are left out. "
            "May be repeated.",
        ),
    ] = None,
    shards: Annotated[
        bool, typer.Option("--shards", help="Write WebDataset shards (train-000000.tar, …) instead of files.")
    ] = False,
    shard_size: Annotated[
        int | None, typer.Option("--shard-size", min=1, help="Sub-images in each shard (default: 256).")
    ] = None,
    check_only: Annotated[bool, typer.Option("--check-only", help="Write the report and cut nothing.")] = False,
    max_blur: Annotated[
        float | None,
        typer.Option("--max-blur", min=0, max=1, help="Leave out photographs of more blur than this; 0.6, say."),
    ] = None,
    max_blockiness: Annotated[
        float | None,
        typer.Option(
            "--max-blockiness", min=1, help="Leave out photographs with stronger JPEG blocks than this; 3, say."
        ),
    ] = None,
    licence: Annotated[
        str, typer.Option("--licence", help="Licence of photographs that no manifest lists.")
    ] = "not stated",
    bands: Annotated[
        list[str] | None,
        typer.Option(
            "--bands",
            metavar="R,G,B|N",
            help="Cut windows of scientific files instead (GeoTIFF, DICOM, OME, ImageJ): these bands as red, green and "
            "blue, or one by itself. May be repeated; without it, what each file says.",
        ),
    ] = None,
    radiometry: Annotated[
        str | None,
        typer.Option(
            "--radiometry",
            metavar="NAME|LOW,HIGH",
            help="For scientific files: which values are black and white, as for `gramgan upscale`.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, help="How many files are worked on at the same time (default: one for each processor)."
        ),
    ] = None,
    allow_huge: Annotated[bool, typer.Option("--allow-huge", help="Accept images above 256 megapixels.")] = False,
    ray: Ray = None,
) -> None:
    """Check a folder of photographs, report on each file, and cut them into sub-images to train on."""
    from gramgan.prepare.run import Wish
    from gramgan.prepare.run import prepare_folder as run
    from gramgan.prepare.shards import SUB_IMAGES_IN_A_SHARD
    from gramgan.team import Threads

    if shard_size is not None and not shards:
        raise UserError("--shard-size: it belongs to --shards; add that, or leave it out")
    if shards and check_only:
        raise UserError("--shards: --check-only cuts nothing; leave one of them out")
    if workers and ray is not None:
        raise UserError("--workers: the cluster says how many there are; leave it or --ray out")
    if bands or radiometry is not None:
        others = {"--benchmark": benchmark, "--shards": shards, "--check-only": check_only, "--max-blur": max_blur}
        others |= {"--max-blockiness": max_blockiness, "--workers": workers, "--shrink": shrink, "--ray": ray}
        for name, value in others.items():
            if value:
                raise UserError(
                    f"{name}: it is for photographs; cut the windows first, then prepare their folder with it"
                )
        _windows(folder, output, bands or [], radiometry, size, step or size, licence, allow_huge)
        return
    wish = Wish(
        size=size,
        step=step or max(1, size // 2),
        shrink=tuple(shrink or [1]),
        shard=(shard_size or SUB_IMAGES_IN_A_SHARD) if shards else None,
        cut=not check_only,
        max_blur=max_blur,
        max_blockiness=max_blockiness,
        licence=licence,
        allow_huge=allow_huge,
    )
    with team_on(ray) as team, progress_bar("checking, cutting") as progress:
        result = run(
            folder,
            output,
            wish,
            benchmarks=benchmark or [],
            team=team or (Threads(workers) if workers else None),
            on_check=progress,
            on_cut=progress,
        )
    problems = [check for check in result.checks if check.problem]
    for check in problems[:_SHOWN]:
        say(f"not used: {check.file}: {check.problem}")
    if len(problems) > _SHOWN:
        say(f"not used: {len(problems) - _SHOWN} more, listed in the report")
    odd = [(check.file, note) for check in result.checks if not check.problem for note in check.odd]
    for file, note in odd[:_SHOWN]:
        say(f"used, but: {file}: {note}")
    if len(odd) > _SHOWN:
        say(f"used, but: {len(odd) - _SHOWN} notes more, in the report")
    say(f"files: {len(result.checks)}; usable photographs: {result.usable}")
    if result.shards:
        say(f"sub-images: {result.sub_images} in {result.shards} shards in {output}")
    elif not check_only:
        say(f"sub-images: {result.sub_images} in {output}, listed with their licences in {output / 'manifest.csv'}")
    say(f"report: {result.report}")
    if result.failures:
        complain(f"{len(result.failures)} could not be cut; the same command again does what is missing")
        raise typer.Exit(1)


def _windows(
    folder: Path,
    output: Path,
    bands: list[str],
    radiometry: str | None,
    size: int,
    step: int,
    licence: str,
    allow_huge: bool,
) -> None:
    from gramgan.scientific.bands import parse_bands
    from gramgan.scientific.base import Reading
    from gramgan.scientific.radiometry import parse_radiometry
    from gramgan.scientific.training import cut_windows

    reading = Reading(parse_bands(bands), parse_radiometry(radiometry))
    with progress_bar("cutting windows") as progress:
        cut = cut_windows(
            folder, output, reading, size=size, step=step, licence=licence, allow_huge=allow_huge, progress=progress
        )
    left_out = f"{cut.with_holes} with holes, {cut.without_texture} without texture"
    say(f"windows: {cut.windows} in {output}; left out: {left_out}")
