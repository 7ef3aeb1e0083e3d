"""`gramgan db search`: the real textures nearest to spots of an image."""

from pathlib import Path
from typing import Annotated

import typer

from gramgan.cli.console import plain, progress_bar, say
from gramgan.errors import UserError


def search(
    database: Annotated[Path, typer.Argument(help="A texture database, NAME.lance.", show_default=False)],
    image: Annotated[Path, typer.Option("--image", help="The image to find textures for; with --sr, the true one.")],
    at: Annotated[
        list[str] | None,
        typer.Option("--at", metavar="X,Y", help="A pixel of the image to look at; may be repeated."),
    ] = None,
    spots: Annotated[
        int, typer.Option(min=1, max=200, help="Without --at: how many textured spots to choose, spread out.")
    ] = 12,
    neighbours: Annotated[int, typer.Option(min=1, max=50, help="How many textures to show for each spot.")] = 5,
    sr: Annotated[
        Path | None,
        typer.Option(
            "--sr", help="A generator's result of the same size, to show where training would have pulled it."
        ),
    ] = None,
    alpha: Annotated[float, typer.Option(min=0, help="With --sr: α, how much the texture should resemble IMAGE.")] = 1,
    beta: Annotated[float, typer.Option(min=0, help="With --sr: β, how much it should resemble the result.")] = 1,
    photos: Annotated[
        list[Path] | None,
        typer.Option(
            "--photos",
            help="Folder with the database's photographs, to show where textures come from; may be repeated.",
        ),
    ] = None,
    version: Annotated[int | None, typer.Option(min=1, help="Version of the database; none: the newest.")] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The page to write, and a PNG of the same name beside it.")
    ] = Path("textures.html"),
) -> None:
    """Show the real textures nearest to spots of an image, with their photographs and licences."""
    from rich.console import Console
    from rich.table import Table

    from gramgan.reports.explain import write_search_page
    from gramgan.texture.database import TextureDatabase
    from gramgan.texture.origins import Photographs

    positions = [_position(text) for text in at or []]
    opened = TextureDatabase.open(database, version)
    with progress_bar("photographs") as progress:
        page = write_search_page(
            opened,
            image,
            output,
            at=positions,
            spots=spots,
            neighbours=neighbours,
            sr=sr,
            alpha=alpha,
            beta=beta,
            photographs=Photographs(photos or []),
            progress=progress,
        )
    table = Table("spot", "at", "distance", "of a random one", "photograph", "licence")
    for number, spot in enumerate(page.spots, start=1):
        first = spot.matches[0]
        table.add_row(
            str(number),
            f"{spot.x},{spot.y}",
            f"{first.distance:.3g}",
            f"{first.relative:.1%}",
            plain(first.name),
            plain(first.licence),
        )
    Console().print(table)
    say(f"written: {page.html} and {page.picture}")


def _position(text: str) -> tuple[int, int]:
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise UserError(f"--at {text}: expected X,Y in whole pixels from the upper left corner, for example 120,45")
    return int(parts[0]), int(parts[1])
