"""`gramgan inspect`: what picture files are like."""

import json
from pathlib import Path
from typing import Annotated

import typer

from gramgan.cli.console import say
from gramgan.errors import UserError, in_one_line


def inspect(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Images, or folders with images.", show_default=False)
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for each file, with every figure and table.")
    ] = False,
    allow_huge: Annotated[bool, typer.Option("--allow-huge", help="Accept images above 256 megapixels.")] = False,
) -> None:
    """Show size, depth and profile of pictures, and their noise, JPEG quality and sharpness."""
    from gramgan.condition.inspection import inspect_file
    from gramgan.images import find_images

    failed = False
    for given in files:
        try:
            paths = find_images(given) if given.is_dir() else [given]
        except UserError as error:
            paths, failed = [], True
            say(json.dumps({"file": str(given), "error": str(error)}) if as_json else f"error: {error}")
        for path in paths:
            try:
                seen = inspect_file(path, allow_huge=allow_huge)
            except Exception as error:  # noqa: BLE001 (one odd file must not end the rest)
                failed, line = True, in_one_line(error, path)
                say(json.dumps({"file": str(path), "error": line}) if as_json else f"error: {line}")
                continue
            say(json.dumps(seen.to_dict()) if as_json else f"{path}: {seen.describe()}")
    if failed:
        raise typer.Exit(1)
