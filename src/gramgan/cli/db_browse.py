"""`gramgan db browse`: a page that shows what a texture database holds."""

from pathlib import Path
from typing import Annotated

import typer

from gramgan.cli.console import progress_bar, say


def browse(
    database: Annotated[Path, typer.Argument(help="A texture database, NAME.lance.", show_default=False)],
    run: Annotated[
        Path | None, typer.Option("--run", help="Folder of a training run: show which patches it used, and how often.")
    ] = None,
    photos: Annotated[
        list[Path] | None,
        typer.Option(
            "--photos",
            help="Folder with the database's photographs, to show where patches come from; may be repeated. A run's "
            "own folder is looked into as well.",
        ),
    ] = None,
    version: Annotated[int | None, typer.Option(min=1, help="Version of the database; none: the newest.")] = None,
    map_picture: Annotated[
        Path | None, typer.Option("--map", help="Write the map of texture space as a PNG file too.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.")] = Path("database.html"),
) -> None:
    """Write a page that shows a texture database: a map of its textures, domains, photographs, licences, use."""
    from gramgan.reports.database import write_database_page
    from gramgan.texture.database import TextureDatabase
    from gramgan.texture.origins import Photographs

    opened = TextureDatabase.open(database, version)
    folders = list(photos or [])
    if run is not None:
        folders += _folder_of(run, folders)
    with progress_bar("photographs") as progress:
        write_database_page(
            opened, output, run=run, photographs=Photographs(folders), map_picture=map_picture, progress=progress
        )
    say(f"written: {output}" + (f" and {map_picture}" if map_picture else ""))


def _folder_of(run: Path, known: list[Path]) -> list[Path]:
    """The folder that a run's photographs came from, if it is still there."""
    from gramgan.config import load_config
    from gramgan.training.folder import settings_path

    folder = load_config(file=settings_path(run)).data.photos
    return [folder] if folder.is_dir() and folder not in known else []
