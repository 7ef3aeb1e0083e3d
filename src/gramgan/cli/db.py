"""`gramgan db`: build, change and inspect texture databases."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gramgan.cli import db_browse, db_search
from gramgan.cli.console import plain, progress_bar, say
from gramgan.cli.options import Application, Ray, team_on
from gramgan.errors import UserError

if TYPE_CHECKING:
    from gramgan.texture.database import DatabaseInfo, TextureDatabase
    from gramgan.texture.verify import Problem

db_app = Application(help="Texture databases: real patches that a generator learns from.", no_args_is_help=True)

_DATABASE = typer.Argument(help="A texture database, NAME.lance.", show_default=False)
_DOMAIN = "What the photographs show: photo, satellite, medical, art, face, fabric, industrial, or a word of yours."
_LICENCE = "Licence of photographs that no manifest tells about."
_FLAT = "Largest share of patches without texture."
_WARP = "Share of patches that are slightly warped."

Database = Annotated[Path, _DATABASE]


class AddScale(StrEnum):
    """What to do with a database of another scale."""

    same = "same"
    first = "first"


class MergedScale(StrEnum):
    """Which scale a merged database has."""

    same = "same"
    first = "first"
    new = "new"


@db_app.command()
def build(
    photos: Annotated[Path, typer.Argument(help="Folder of photographs; of those in a manifest, the training part.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The table to make, NAME.lance.")] = Path(
        "texture.lance"
    ),
    patches: Annotated[int, typer.Option(min=1, help="How many patches in all.")] = 200_000,
    descriptor: Annotated[str, typer.Option(help="rgb, rgb-centred or rgb-gradient.")] = "rgb",
    k: Annotated[int, typer.Option("--k", min=2, max=128, help="Patch side in pixels.")] = 4,
    flat_share: Annotated[float, typer.Option(min=0, max=1, help=_FLAT)] = 0.1,
    warp_share: Annotated[float, typer.Option(min=0, max=1, help=_WARP)] = 0.1,
    domain: Annotated[str, typer.Option(help=_DOMAIN)] = "photo",
    licence: Annotated[str, typer.Option(help=_LICENCE)] = "unknown",
    seed: Annotated[int, typer.Option(min=0, help="Two builds with the same photographs and seed are equal.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing table.")] = False,
    ray: Ray = None,
) -> None:
    """Build a texture database from a folder of photographs."""
    from gramgan.texture.descriptors import DESCRIPTORS

    if descriptor not in DESCRIPTORS:
        raise UserError(f"--descriptor {descriptor}: unknown; choose one of {', '.join(DESCRIPTORS)}")
    with team_on(ray) as team:  # before the rest is imported: its workers begin meanwhile
        from gramgan.collect import split
        from gramgan.texture.database import TextureDatabase, sources_of

        training, _ = split(photos)
        sources = sources_of(photos, training, licence=licence, domain=_word("--domain", domain))
        with progress_bar("photographs") as progress:
            database = TextureDatabase.build(
                output,
                sources,
                patches=patches,
                descriptor=descriptor,
                k=k,
                flat_share=flat_share,
                warp_share=warp_share,
                seed=seed,
                overwrite=overwrite,
                progress=progress,
                team=team,
            )
    used = len(database.info().by_source)
    say(f"{len(database):,} patches of {used} of {len(sources)} photographs: {output}")
    if len(database) < patches:
        say(f"{patches:,} were asked for; the photographs hold no more different ones with texture in equal parts")


@db_app.command()
def add(
    path: Database,
    what: Annotated[
        Path, typer.Argument(help="Folder of photographs, or another database.", metavar="PHOTOS", show_default=False)
    ],
    patches: Annotated[
        int | None,
        typer.Option(min=1, help="How many patches in all; none: as many from each photograph as the others gave."),
    ] = None,
    flat_share: Annotated[float | None, typer.Option(min=0, max=1, help=_FLAT)] = None,
    warp_share: Annotated[float | None, typer.Option(min=0, max=1, help=_WARP)] = None,
    domain: Annotated[str, typer.Option(help=_DOMAIN)] = "photo",
    licence: Annotated[str, typer.Option(help=_LICENCE)] = "unknown",
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the drawing; none: that of the build.")] = None,
    scale: Annotated[
        AddScale, typer.Option(help="same: another database must have the same scale; first: this one's is kept.")
    ] = AddScale.same,
    ray: Ray = None,
) -> None:
    """Add photographs, or another database's patches, as a new version; existing patches stay as they are."""
    from gramgan.collect import split
    from gramgan.texture.database import TextureDatabase, sources_of

    before = TextureDatabase.open(path)
    if what.suffix in (".lance", ".safetensors"):
        if ray is not None:
            raise UserError("--ray: a database's patches are only copied; leave it out")
        after = before.add_database(TextureDatabase.open(what), any_scale=scale is AddScale.first)
    else:
        training, _ = split(what)
        sources = sources_of(what, training, licence=licence, domain=_word("--domain", domain))
        with team_on(ray) as team, progress_bar("photographs") as progress:
            after = before.add(
                sources,
                patches=patches,
                flat_share=flat_share,
                warp_share=warp_share,
                seed=seed,
                progress=progress,
                team=team,
            )
    say(f"{len(after) - len(before):,} patches added: {path} holds {len(after):,} in version {after.version}")


@db_app.command()
def remove(
    path: Database,
    domain: Annotated[list[str] | None, typer.Option(help="Patches of this domain; may be repeated.")] = None,
    source: Annotated[list[str] | None, typer.Option(help="Patches of this photograph; may be repeated.")] = None,
    licence: Annotated[list[str] | None, typer.Option(help="Patches with this licence; may be repeated.")] = None,
) -> None:
    """Remove patches by domain, photograph or licence, as a new version; several conditions must all hold."""
    before = _opened(path)
    after = before.remove(domains=domain or (), sources=source or (), licences=licence or ())
    say(f"{len(before) - len(after):,} patches removed: {path} holds {len(after):,} in version {after.version}")
    say(f"older versions still hold them; to remove them from the disk: gramgan db versions {path} --clean")


@db_app.command()
def merge(
    databases: Annotated[list[Path], typer.Argument(help="Two or more texture databases.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The table to make, NAME.lance.")],
    scale: Annotated[
        MergedScale,
        typer.Option(
            help="Scale of the vectors' components: same, all databases must have one; first, that of the "
            "first; new, a new estimate."
        ),
    ] = MergedScale.same,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing table.")] = False,
) -> None:
    """Merge several texture databases into one; a patch that two of them hold is taken once."""
    from gramgan.texture.database import TextureDatabase

    opened = [TextureDatabase.open(path) for path in databases]
    with progress_bar("databases") as progress:
        merged = TextureDatabase.merge(output, opened, scale=scale.value, overwrite=overwrite, progress=progress)
    say(f"{len(merged):,} patches of {len(opened)} databases: {output}")


@db_app.command()
def info(
    path: Annotated[Path, typer.Argument(help="NAME.lance, or a snapshot NAME.safetensors.", show_default=False)],
    version: Annotated[int | None, typer.Option(min=1, help="Version of the database; none: the newest.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the shares of domains and licences into this PNG, SVG or PDF too.")
    ] = None,
) -> None:
    """Show what a texture database holds, and under which licences."""
    found = _opened(path, version).info()
    descriptor = found.descriptor
    say(f"{found.path}: {found.patches:,} patches of {descriptor.k}x{descriptor.k}, descriptor {descriptor.name}")
    say(f"version {found.version}, {found.bytes_on_disk / 2**20:.1f} MiB on disk, {len(found.by_source)} photographs")
    say(f"identity {found.identity}, {found.warped / found.patches:.1%} of the patches slightly warped")
    _show_mixture(found)
    if picture is not None:
        from gramgan.reports.mixture import save_mixture

        save_mixture(found, picture)
        say(f"picture: {picture}")


@db_app.command()
def verify(
    path: Database,
    version: Annotated[int | None, typer.Option(min=1, help="Version of the database; none: the newest.")] = None,
    drop_damaged: Annotated[
        bool, typer.Option("--drop-damaged", help="Make a new version without the damaged fragments.")
    ] = False,
) -> None:
    """Check everything in a texture database: checksums, vectors, patch ids."""
    database = _opened(path, version)
    with progress_bar("fragments") as progress:
        report = database.verify(progress)
    if report.clean:
        fragments = f"{report.fragments} fragment{'' if report.fragments == 1 else 's'}"
        say(f"{path}: version {report.version} is whole: {report.patches:,} patches in {fragments}")
        return
    problems = "; ".join(_problem(problem) for problem in report.problems)
    if not (drop_damaged and report.damaged):
        way = (
            f"go on without what is damaged: gramgan db verify {path} --drop-damaged"
            if report.damaged
            else "build it again: gramgan db build"
        )
        raise UserError(f"{path}: {problems}; {report.patches:,} patches can be read, {way}")
    after = database.drop_fragments(report.damaged)
    say(f"{path}: {problems}")
    say(f"version {after.version} has {len(after):,} patches without them")


@db_app.command()
def versions(
    path: Database,
    tag: Annotated[str | None, typer.Option(help="Keep a version from clean-up under this name.")] = None,
    version: Annotated[int | None, typer.Option(min=1, help="Which version --tag is for; none: the newest.")] = None,
    untag: Annotated[str | None, typer.Option(help="Remove this name from its version.")] = None,
    clean: Annotated[
        bool, typer.Option("--clean", help="Remove all old versions without a tag, and what crashes left behind.")
    ] = False,
    keep: Annotated[int, typer.Option(min=1, help="How many of the newest versions --clean keeps.")] = 1,
) -> None:
    """Show, tag and clean up the versions of a texture database. A training run tags the version that it uses."""
    from rich.console import Console
    from rich.table import Table

    database = _opened(path, version)
    if untag is not None:
        database.untag(untag)
    if tag is not None:
        database.tag(database.version, tag)
    if clean:
        cleaned = database.cleanup(keep)
        say(f"{cleaned.versions} versions and {cleaned.bytes / 2**20:.1f} MiB removed")
    table = Table("version", "made (UTC)", "patches", "tags")
    for one in database.versions():
        table.add_row(str(one.number), f"{one.time:%Y-%m-%d %H:%M:%S}", f"{one.patches:,}", plain(", ".join(one.tags)))
    Console().print(table)


@db_app.command()
def snapshot(
    path: Database,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write, NAME.safetensors.")],
    version: Annotated[int | None, typer.Option(min=1, help="Version of the database; none: the newest.")] = None,
    pixels: Annotated[
        bool,
        typer.Option("--pixels/--no-pixels", help="Store the patches too; reports show them, searching does without."),
    ] = True,
) -> None:
    """Write one version into one file, for searching and training where Lance is not installed."""
    taken = _opened(path, version).snapshot(output, patches=pixels)
    size = output.stat().st_size / 2**20
    say(f"{output}: {len(taken):,} patches of version {taken.version}, {size:.1f} MiB; opens like a table")


db_app.command()(db_browse.browse)
db_app.command()(db_search.search)


def _opened(path: Path, version: int | None = None) -> "TextureDatabase":
    from gramgan.texture.database import TextureDatabase

    return TextureDatabase.open(path, version)


def _show_mixture(found: "DatabaseInfo") -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for title, counts in (
        ("domain", found.by_domain),
        ("licence", found.by_licence),
        ("scale", found.by_scale),
        ("photograph", found.by_source),
    ):
        table = Table(title, "patches", "share", *(["licences"] if title == "domain" else []))
        for name, number in counts.items():
            row = [plain(name), f"{number:,}", f"{number / found.patches:.1%}"]
            if title == "domain":
                row.append(plain(", ".join(found.licences_by_domain[name])))
            table.add_row(*row)
        console.print(table)
    say(f"Whoever passes this database on passes on pixels under: {', '.join(sorted(found.by_licence))}")
    if "unknown" in found.by_licence:
        say("Of patches under 'unknown' nobody has said that they may be passed on.")


def _problem(problem: "Problem") -> str:
    return problem.text if problem.fragment is None else f"fragment {problem.fragment}: {problem.text}"


def _word(option: str, text: str) -> str:
    if not text.strip():
        raise UserError(f"{option}: is empty; give a word")
    return text.strip()
