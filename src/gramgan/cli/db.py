"""`gramgan db`: build texture databases and look into them."""

from pathlib import Path
from typing import Annotated

import typer

from gramgan.cli.console import progress_bar, say

app = typer.Typer(help="Texture databases: real patches that a generator learns from.", no_args_is_help=True)


@app.command()
def build(
    photos: Annotated[Path, typer.Argument(help="Folder of photographs; a manifest's training part is used.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The table to make, NAME.lance.")] = Path(
        "texture.lance"
    ),
    patches: Annotated[int, typer.Option(min=1, help="How many patches in all.")] = 200_000,
    descriptor: Annotated[str, typer.Option(help="rgb, rgb-centred or rgb-gradient.")] = "rgb",
    k: Annotated[int, typer.Option("--k", min=2, max=32, help="Patch side in pixels.")] = 4,
    flat_share: Annotated[float, typer.Option(min=0, max=1, help="Largest share of patches without texture.")] = 0.1,
    domain: Annotated[str, typer.Option(help="What the photographs show: photo, satellite, medical, art, …")] = "photo",
    licence: Annotated[str, typer.Option(help="Licence of photographs that no manifest tells about.")] = "unknown",
    seed: Annotated[int, typer.Option(min=0, help="Two builds with the same photographs and seed are equal.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a table that is there.")] = False,
) -> None:
    """Build a texture database from a folder of photographs."""
    from gramgan.collect import split
    from gramgan.errors import UserError
    from gramgan.texture.database import TextureDatabase, sources_of
    from gramgan.texture.descriptors import DESCRIPTORS

    if descriptor not in DESCRIPTORS:
        raise UserError(f"--descriptor {descriptor}: unknown; choose one of {', '.join(DESCRIPTORS)}")
    training, _ = split(photos)
    sources = sources_of(photos, training, licence=licence, domain=domain)
    with progress_bar("photographs") as progress:
        database = TextureDatabase.build(
            output,
            sources,
            patches=patches,
            descriptor=descriptor,
            k=k,
            flat_share=flat_share,
            seed=seed,
            overwrite=overwrite,
            progress=progress,
        )
    used = len(database.info().by_source)
    say(f"{len(database):,} patches of {used} of {len(sources)} photographs: {output}")


@app.command()
def info(path: Annotated[Path, typer.Argument(help="A table, NAME.lance.")]) -> None:
    """What a texture database holds, and under which licences."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from gramgan.texture.database import TextureDatabase

    found = TextureDatabase.open(path).info()
    descriptor = found.descriptor
    say(f"{found.path}: {found.patches:,} patches of {descriptor.k}x{descriptor.k}, descriptor {descriptor.name}")
    say(f"version {found.version}, {found.bytes_on_disk / 2**20:.1f} MiB on disk, {len(found.by_source)} photographs")
    for title, counts in (
        ("domain", found.by_domain),
        ("licence", found.by_licence),
        ("scale", found.by_scale),
        ("photograph", found.by_source),
    ):
        table = Table(title, "patches", "share")
        for name, number in counts.items():
            table.add_row(Text(name), f"{number:,}", f"{number / found.patches:.1%}")
        Console().print(table)
