"""`gramgan collect`."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

_SHOWN = 10  # lines about files left out; all of them are in left-out.csv


def collect(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to fill; what is in it already stays.")] = Path(
        "downloaded_images"
    ),
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FOLDER", help="Take the photographs of this folder (default: sample photographs)."
        ),
    ] = None,
    min_size: Annotated[
        int, typer.Option("--min-size", min=1, help="Leave out images with fewer pixels than this in either direction.")
    ] = 192,
    licence: Annotated[
        str | None, typer.Option("--licence", help="With --from: the licence of these photographs, for the manifest.")
    ] = None,
    allow_huge: Annotated[
        bool, typer.Option("--allow-huge", help="With --from: accept images above 256 megapixels.")
    ] = False,
) -> None:
    """Fill a folder with photographs to train on, and list their sources and licences in manifest.csv."""
    from gramgan.cli.console import progress_bar, say
    from gramgan.collect import collect_folder, collect_samples
    from gramgan.errors import UserError

    if source is None and licence is not None:
        raise UserError("--licence: the sample photographs have their own licences; use it together with --from")
    with progress_bar("collecting") as progress:
        if source is None:
            result = collect_samples(output, min_size=min_size, progress=progress)
        else:
            result = collect_folder(
                source,
                output,
                min_size=min_size,
                licence=licence or "not stated",
                allow_huge=allow_huge,
                progress=progress,
            )
    for one in result.left_out[:_SHOWN]:
        say(f"left out: {one.file}: {one.reason}")
    if len(result.left_out) > _SHOWN:
        say(f"left out: {len(result.left_out) - _SHOWN} more, listed in {output / 'left-out.csv'}")
    sides = Counter(entry.split for entry in result.entries)
    say(
        f"{len(result.entries)} photographs ({result.new} new, {len(result.left_out)} left out): "
        f"{sides['train']} to train on, {sides['holdout']} to judge by"
    )
    say(f"photographs: {output}, listed with their licences in {output / 'manifest.csv'}")
