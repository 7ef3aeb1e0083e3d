"""The page Textures: databases built and extended, looked at as a whole and from one spot of a picture."""

import base64
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.routing import Route

from gramgan.errors import UserError
from gramgan.progress import Progress
from gramgan.studio.context import Studio
from gramgan.studio.jobs import StudioJob
from gramgan.studio.pages.common import page
from gramgan.studio.web import Body, PageAnswer, asked, text, told, whole_number_of

_KIND = "textures"
_SUFFIXES = (".lance", ".safetensors")
_PATCHES = 20_000
_NEIGHBOURS = 5
_LARGEST_PIXELS = 64_000_000  # of a picture that is searched from: it is decoded whole at every click


def textures_routes() -> list[Route]:
    """Of this page."""
    return [
        page("/textures", "textures.html", lambda _: {"patches": _PATCHES}),
        asked("/api/databases", _databases),
        told("/api/databases/build", _build),
        told("/api/databases/add", _add),
        told("/api/databases/show", _show),
        told("/api/spot", _spot),
    ]


def _databases(studio: Studio, _: Body) -> PageAnswer:
    found = []
    for path in studio.places.find([".lance"]):
        from gramgan.texture.database import TextureDatabase  # torch and lance, for which an empty list need not wait

        try:
            database = TextureDatabase.open(path)
            about = f"{len(database):,} patches, descriptor {database.descriptor.name}, version {database.version}"
        except UserError as error:
            about = str(error)
        found.append({"path": str(path), "name": path.name, "about": about})
    return {"databases": found}


def _build(studio: Studio, body: Body) -> PageAnswer:
    from gramgan.texture.descriptors import DESCRIPTORS

    photos = studio.places.folder(text(body, "photos"))
    name = text(body, "name")
    target = studio.runs.folder / f"{name.removesuffix('.lance')}.lance"
    if Path(name).name != name or name.startswith("."):
        raise UserError(f"{name!r}: is no name for a database; leave out slashes and a dot in front")
    if target.exists():
        raise UserError(f"{target}: is there already; choose another name, or add to it")
    descriptor = text(body, "descriptor", "rgb")
    if descriptor not in DESCRIPTORS:
        raise UserError(f"descriptor {descriptor}: unknown; choose one of {', '.join(DESCRIPTORS)}")
    patches = whole_number_of(body, "patches", _PATCHES, 1, 50_000_000)

    def work(_: StudioJob, progress: Progress) -> dict[str, Any]:
        from gramgan.texture.database import TextureDatabase

        sources = _sources(photos, body)
        made = TextureDatabase.build(target, sources, patches=patches, descriptor=descriptor, progress=progress)
        return {"path": str(target), "said": f"{len(made):,} patches of {len(made.info().by_source)} photographs"}

    def clean(_: StudioJob) -> None:
        shutil.rmtree(target, ignore_errors=True)

    return {"job": studio.queue.add(_KIND, f"Build {target.name}", work, clean=clean).id}


def _add(studio: Studio, body: Body) -> PageAnswer:
    path = _database(studio, body)
    photos = studio.places.folder(text(body, "photos"))

    def work(_: StudioJob, progress: Progress) -> dict[str, Any]:
        from gramgan.texture.database import TextureDatabase

        before = TextureDatabase.open(path)
        after = before.add(_sources(photos, body), progress=progress)
        said = f"{len(after) - len(before):,} patches added: {len(after):,} in version {after.version}"
        return {"path": str(path), "said": said}

    return {"job": studio.queue.add(_KIND, f"Add to {path.name}", work).id}


def _show(studio: Studio, body: Body) -> PageAnswer:
    path = _database(studio, body)
    photographs = _photographs(studio, body)

    def work(job: StudioJob, progress: Progress) -> dict[str, Any]:
        from gramgan.reports.database import write_database_page
        from gramgan.texture.database import TextureDatabase

        page = studio.pages / f"database-{job.id}.html"
        write_database_page(TextureDatabase.open(path), page, photographs=photographs(), progress=progress)
        return {"page": str(page), "path": str(path), "said": path.name}

    return {"job": studio.queue.add(_KIND, f"Map of {path.name}", work).id}


def _spot(studio: Studio, body: Body) -> PageAnswer:
    """The real textures nearest to a pixel of a picture."""
    from gramgan.images import Raster
    from gramgan.reports.explain import textures_at
    from gramgan.reports.pixels import to_png
    from gramgan.texture.database import TextureDatabase

    path = _database(studio, body)
    picture = studio.shown(text(body, "picture"))
    info = Raster.open(picture).info
    if info.width * info.height > _LARGEST_PIXELS:
        raise UserError(f"{picture.name}: is too large to be searched from click by click; use `gramgan db search`")
    at = (whole_number_of(body, "x", 0, 0, info.width - 1), whole_number_of(body, "y", 0, 0, info.height - 1))
    photographs = _photographs(studio, body)()
    spot, textures = textures_at(TextureDatabase.open(path), picture, at, _NEIGHBOURS, photographs)
    matches = [
        {
            "photograph": match.name,
            "author": photographs.author(match.photograph),
            "licence": match.licence,
            "domain": match.domain,
            "distance": f"{match.distance:.3g}",
            "relative": f"{match.relative:.1%}",
            "at": f"{match.x}, {match.y}",
            "image": "data:image/png;base64," + base64.b64encode(to_png(texture)).decode("ascii"),
        }
        for match, texture in zip(spot.matches, textures, strict=True)
    ]
    return {"x": spot.x, "y": spot.y, "matches": matches}


def _database(studio: Studio, body: Body) -> Path:
    path = studio.places.resolve(text(body, "database"))
    if path.suffix not in _SUFFIXES or not path.exists():
        raise UserError(f"{path}: is no texture database; choose one of the list")
    return path


def _photographs(studio: Studio, body: Body) -> Callable[[], Any]:
    """Opens the folder with the database's photographs, if one was given."""
    folders = [studio.places.folder(text(body, "photos"))] if body.get("photos") else []

    def opened() -> Any:
        from gramgan.texture.origins import Photographs

        return Photographs(folders)

    return opened


def _sources(photos: Path, body: Body) -> list[Any]:
    from gramgan.collect import split
    from gramgan.texture.database import sources_of

    training, _ = split(photos)
    licence, domain = text(body, "licence", "unknown").strip(), text(body, "domain", "photo").strip()
    return sources_of(photos, training, licence=licence, domain=domain)
