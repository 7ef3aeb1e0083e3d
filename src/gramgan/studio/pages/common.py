"""What several pages ask for: pictures and their tiles, folders, jobs."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from gramgan import __version__
from gramgan.errors import UserError
from gramgan.studio.context import Studio
from gramgan.studio.pictures import READ_SUFFIXES, Picture, pictures_in
from gramgan.studio.pyramid import PYRAMID_TILE
from gramgan.studio.web import Body, PageAnswer, answered, asked, error_answer, report_page, text, texts, told
from gramgan.weights.locate import WEIGHT_SUFFIXES

_MOST_PICTURES = 5000  # that one folder may put on the page
_FRESH = {"cache-control": "no-store"}

templates = Environment(
    loader=PackageLoader("gramgan.studio"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(path: str, template: str, content: Any) -> Route:
    """A route that shows a template, filled by `content(studio)`."""

    def fill(studio: Studio, _: Body) -> PageAnswer:
        values = {"version": __version__, "here": path, "folders": [str(one) for one in studio.places.folders]}
        return HTMLResponse(templates.get_template(template).render(**values, **content(studio)))

    return asked(path, fill)


def common_routes() -> list[Route]:
    """Of all pages together."""
    return [
        told("/api/batches", lambda studio, _: {"batch": studio.uploads.batch().name}),
        Route("/api/upload", _upload, methods=["POST"]),
        told("/api/pictures", _add),
        asked("/api/pictures", lambda studio, _: {"pictures": [picture_entry(one) for one in studio.pictures.all()]}),
        told("/api/pictures/remove", _remove),
        told("/api/folder", _folder),
        asked("/api/jobs", _jobs),
        told("/api/jobs/cancel", _cancel),
        told("/api/jobs/remove", _forget),
        asked("/api/shown/{reference}", _shape),
        asked("/api/shown/{reference}/{level:int}/{column:int}/{row:int}", _tile),
        asked("/api/thumbnail/{reference}", _thumbnail),
        asked("/pages/{job}", _page_of),
    ]


def picture_entry(picture: Picture) -> dict[str, Any]:
    """What a page gets of a picture."""
    return {
        "id": picture.id,
        "name": picture.path.name,
        "place": "uploaded" if picture.uploaded else str(picture.path.parent),
        "uploaded": picture.uploaded,
    }


async def _upload(request: Request) -> Response:
    studio: Studio = request.app.state.studio
    query = request.query_params
    announced = request.headers.get("content-length", "")
    try:
        path = await studio.uploads.store(
            query.get("batch", ""),
            query.get("name", ""),
            int(announced) if announced.isdecimal() else None,
            request.stream(),
        )
    except UserError as error:
        return error_answer(str(error), 413 if "MiB" in str(error) else 400)
    if path.suffix.lower() not in READ_SUFFIXES:
        path.unlink()
        return error_answer(f"{path.name}: is no picture by its name; give {', '.join(READ_SUFFIXES)}")
    return answered({"picture": picture_entry(studio.pictures.add(path, uploaded=True))})


def _add(studio: Studio, body: Body) -> PageAnswer:
    path = studio.places.resolve(text(body, "path"))
    found = pictures_in(path) if path.is_dir() else [studio.places.file(str(path))]
    inside = [one for one in found if studio.places.holds(one)]
    left_out = len(found) - len(inside[:_MOST_PICTURES])
    return {
        "pictures": [picture_entry(studio.pictures.add(one, uploaded=False)) for one in inside[:_MOST_PICTURES]],
        "note": f"{path}: {left_out} left out; links out of the folder, or beyond {_MOST_PICTURES}" if left_out else "",
    }


def _remove(studio: Studio, body: Body) -> PageAnswer:
    for number in texts(body, "pictures"):
        picture = studio.pictures.remove(number)
        waiting = any(
            job.about.get("picture") == number and job.state in ("waiting", "running") for job in studio.queue.all()
        )
        if picture.uploaded and not waiting:
            studio.uploads.forget(picture.path)
    return {}


def _folder(studio: Studio, body: Body) -> PageAnswer:
    if not body.get("path"):
        labels = [(one, "uploaded here" if one == studio.upload_folder else str(one)) for one in studio.places.folders]
        entries = [{"path": str(one), "label": label, "kind": "folder"} for one, label in labels]
        return {"path": "", "parent": None, "entries": entries}
    found = studio.places.listing(text(body, "path"))
    entries = [
        {"path": str(one), "label": one.name, "kind": kind} for one in found.entries if (kind := _kind(one)) is not None
    ]
    parent = "" if found.parent is None else str(found.parent)
    return {"path": str(found.folder), "parent": parent, "entries": entries, "more": found.more}


def _kind(path: Path) -> str | None:
    """What the dialog of folders calls a path; None for what no field takes."""
    suffix = path.suffix.lower()
    if suffix == ".lance":
        return "database"
    if path.is_dir():
        return "folder"
    if suffix in WEIGHT_SUFFIXES:
        return "weights"
    return "picture" if suffix in READ_SUFFIXES else None


def _jobs(studio: Studio, _: Body) -> PageAnswer:
    told_of = [job.told() for job in studio.queue.all()]
    return {"jobs": [{**one, "error": studio.plainly(one["error"])} for one in told_of]}


def _cancel(studio: Studio, body: Body) -> PageAnswer:
    for number in texts(body, "jobs"):
        studio.queue.cancel(number)
    return {}


def _forget(studio: Studio, body: Body) -> PageAnswer:
    for number in texts(body, "jobs"):
        studio.forget(number)
    return {}


def _shape(studio: Studio, body: Body) -> PageAnswer:
    shape = studio.pyramids.shape(studio.shown(body["reference"]))
    return {"width": shape.width, "height": shape.height, "levels": shape.levels, "tile": PYRAMID_TILE}


def _tile(studio: Studio, body: Body) -> PageAnswer:
    path = studio.shown(body["reference"])
    data = studio.pyramids.tile(path, body["level"], body["column"], body["row"])
    return Response(data, media_type="image/png", headers=_FRESH)


def _thumbnail(studio: Studio, body: Body) -> PageAnswer:
    data = studio.pyramids.thumbnail(studio.shown(body["reference"]))
    return Response(data, media_type="image/png", headers=_FRESH)


def _page_of(studio: Studio, body: Body) -> PageAnswer:
    job = studio.queue.get(body["job"])
    return report_page(Path(job.result.get("page", "")))
