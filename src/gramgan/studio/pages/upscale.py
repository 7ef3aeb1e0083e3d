"""The page Upscale: pictures, what they would become, results."""

import os
import tempfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

from starlette.background import BackgroundTask
from starlette.responses import FileResponse
from starlette.routing import Route

from gramgan.errors import UserError
from gramgan.studio.context import Studio
from gramgan.studio.enlarging import KIND, result_of
from gramgan.studio.forms import SHOWN_FIRST, upscaling_fields, upscaling_settings
from gramgan.studio.jobs import StudioJob
from gramgan.studio.pages.common import page
from gramgan.studio.pictures import picture_facts, plan
from gramgan.studio.web import Body, PageAnswer, as_download, asked, flag, text, texts, told
from gramgan.upscaling.jobs import RESULT_SUFFIXES
from gramgan.upscaling.settings import Settings


def upscale_routes() -> list[Route]:
    """Of this page."""
    return [
        page("/", "upscale.html", _content),
        told("/api/plan", _plan),
        told("/api/upscale", _upscale),
        asked("/results/{job}", _result),
        asked("/results", _results),
    ]


def _content(_: Studio) -> dict[str, Any]:
    found = upscaling_fields()
    rest: dict[str, list[Any]] = {}
    for one in found:
        if one.name not in SHOWN_FIRST:
            rest.setdefault(one.group or "Weights", []).append(one)
    return {
        "first": sorted((one for one in found if one.name in SHOWN_FIRST), key=lambda one: SHOWN_FIRST.index(one.name)),
        "rest": rest,
        "formats": list(RESULT_SUFFIXES),
    }


def _settings(studio: Studio, body: Body) -> Settings:
    given = body.get("settings") or {}
    if not isinstance(given, dict):
        raise UserError("settings: are no object of names and values; load the page again")
    return upscaling_settings(given, studio.places)


def _plan(studio: Studio, body: Body) -> PageAnswer:
    """What is in one picture, and what enlarging it would come to; an error of the settings leaves the former."""
    picture = studio.pictures.get(text(body, "picture"))
    facts = picture_facts(picture)
    found = {"facts": facts.words, "width": facts.width, "height": facts.height}
    try:
        settings = _settings(studio, body)
        planned = plan(picture, settings, studio.pace)
        return {**found, "plan": planned, "measuring": studio.enlarging.measure(planned["spec"], settings)}
    except UserError as error:
        return {**found, "plan": None, "error": studio.plainly(str(error))}


def _upscale(studio: Studio, body: Body) -> PageAnswer:
    settings = _settings(studio, body)
    form = text(body, "format", "") if body.get("format") else None
    jobs, errors = [], []
    for number in texts(body, "pictures"):
        try:
            picture = studio.pictures.get(number)
            jobs.append(studio.enlarging.add(picture, settings, form, beside=flag(body, "beside")).id)
        except UserError as error:
            errors.append(studio.plainly(str(error)))
    if errors and not jobs:
        raise UserError(errors[0] + (f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""))
    return {"jobs": jobs, "errors": errors}


def _result(studio: Studio, body: Body) -> PageAnswer:
    return as_download(result_of(studio.queue.get(body["job"])))


def _results(studio: Studio, _: Body) -> PageAnswer:
    """Every result of this page in one archive."""
    done = [job for job in studio.queue.all() if job.kind == KIND and job.state == "done"]
    if not done:
        raise UserError("there is no result yet")
    handle, name = tempfile.mkstemp(suffix=".zip", dir=studio.pages)
    archive = Path(name)
    with open(handle, "wb") as file, zipfile.ZipFile(file, "w") as packed:  # noqa: PTH123 (a descriptor)
        for job, called in zip(done, _names(done), strict=True):
            packed.write(result_of(job), called)
    leave = BackgroundTask(archive.unlink, missing_ok=True)
    return FileResponse(archive, filename="gramgan-results.zip", media_type="application/zip", background=leave)


def _names(done: list[StudioJob]) -> list[str]:
    """The results' names, each once."""
    names = [os.fsencode(result_of(job).name).decode("utf-8", "replace") for job in done]
    counts = Counter(names)
    return [name if counts[name] == 1 else f"{job.id} {name}" for job, name in zip(done, names, strict=True)]
