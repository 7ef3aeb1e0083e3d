"""The page Train: photographs checked, runs started, watched, stopped and resumed."""

from pathlib import Path
from typing import Any

from starlette.responses import FileResponse, Response
from starlette.routing import Route

from gramgan.config import PRESETS, Config, load_config, preset_names
from gramgan.errors import UserError
from gramgan.progress import Progress
from gramgan.studio.context import Studio
from gramgan.studio.forms import training_fields
from gramgan.studio.jobs import StudioJob
from gramgan.studio.pages.common import page
from gramgan.studio.web import Body, PageAnswer, asked, report_page, text, told
from gramgan.weights.catalog import KNOWN

_KIND = "prepare"


def train_routes() -> list[Route]:
    """Of this page."""
    return [
        page("/train", "train.html", _content),
        asked("/api/preset", _preset),
        told("/api/prepare", _prepare),
        asked("/api/runs", lambda studio, _: {"runs": studio.runs.all()}),
        asked("/api/run", lambda studio, body: studio.runs.details(_run(studio, body))),
        told("/api/runs/start", _start),
        told("/api/runs/stop", _stop),
        told("/api/runs/resume", _resume),
        asked("/api/curves", _curves),
        asked("/api/sample", _sample),
        asked("/reports/runs", _report),
    ]


def _content(studio: Studio) -> dict[str, Any]:
    return {
        "presets": preset_names(),
        "about": {name: _about(name) for name in preset_names()},
        "runs": studio.runs.folder,
    }


def _about(preset: str) -> str:
    """The first sentence of the comment at the top of a preset."""
    lines = (PRESETS / f"{preset}.yaml").read_text(encoding="utf-8").splitlines()
    words: list[str] = []
    for line in lines:
        if not line.startswith("#"):
            break
        words.append(line.lstrip("# "))
    return " ".join(words).split(". ")[0].rstrip(".") + "."


def _run(studio: Studio, body: Body) -> Path:
    path = studio.places.resolve(text(body, "run"))
    if not path.is_relative_to(studio.runs.folder):
        raise UserError(f"{path}: is none of the runs in {studio.runs.folder}")
    return path


def _overrides(studio: Studio, body: Body) -> list[str]:
    """What the form says besides the preset, as `KEY=VALUE`."""
    found = []
    given = body.get("settings") or {}
    if not isinstance(given, dict):
        raise UserError("settings: are no object of names and values; load the page again")
    found += [f"{key}={value}" for key, value in given.items() if value not in (None, "")]
    if body.get("photos"):
        found.append(f"data.photos={studio.places.folder(text(body, 'photos'))}")
    if body.get("database"):
        found.append(f"texture.database={studio.places.resolve(text(body, 'database'))}")
    return found + [line.strip() for line in text(body, "more", " ").splitlines() if line.strip()]


def _preset(_: Studio, body: Body) -> PageAnswer:
    name = text(body, "preset")
    overrides = [f"texture.database={body['database']}"] if body.get("database") else []
    config = load_config(name, overrides=overrides)
    fields = [{**vars(one), "value": one.default} for one in training_fields(config)]
    return {"about": _about(name), "fields": fields, "iterations": config.stages.total}


def _prepare(studio: Studio, body: Body) -> PageAnswer:
    folder = studio.places.folder(text(body, "photos"))
    crop = load_config(text(body, "preset", "lite")).data.crop

    def work(job: StudioJob, progress: Progress) -> dict[str, Any]:
        from gramgan.prepare.report import HTML
        from gramgan.prepare.run import Wish, prepare_folder

        output = studio.pages / f"prepare-{job.id}"
        job.result = {"page": str(output / HTML)}  # written also where no photograph can be used
        done = prepare_folder(folder, output, Wish(size=crop, cut=False), on_check=progress)
        problems = [f"{check.file}: {check.problem}" for check in done.checks if check.problem]
        said = f"{done.usable} of {len(done.checks)} photographs can be used"
        return {**job.result, "said": said, "problems": problems[:20]}

    return {"job": studio.queue.add(_KIND, f"Check {folder.name}", work).id}


def _start(studio: Studio, body: Body) -> PageAnswer:
    text(body, "photos")
    overrides = _overrides(studio, body)
    config = load_config(text(body, "preset"), overrides=overrides)
    if config.uses_database and not body.get("database") and "texture.database" not in " ".join(overrides):
        raise UserError(
            f"preset {config.preset}: needs a texture database; choose one, or set texture: candidates to local"
        )
    for path in _paths(config):
        studio.places.resolve(str(path))
    return {"run": str(studio.runs.start(text(body, "name"), config, overrides))}


def _paths(config: Config) -> list[Path | str]:
    """Every file and folder that a training with these settings would read."""
    generator, data = config.generator, config.data
    weights = [spec for spec in generator.weights if spec not in KNOWN]
    others = [data.low, data.validation, config.discriminator.start]
    databases = [entry.path for entry in config.texture.databases] if config.uses_database else []
    return [data.photos, *weights, *(path for path in others if path is not None), *databases]


def _stop(studio: Studio, body: Body) -> PageAnswer:
    studio.runs.stop(_run(studio, body))
    return {}


def _resume(studio: Studio, body: Body) -> PageAnswer:
    studio.runs.resume(_run(studio, body))
    return {}


def _curves(studio: Studio, body: Body) -> PageAnswer:
    folders = [_run(studio, {"run": one}) for one in text(body, "runs").split("\n")]
    return Response(studio.runs.curves(folders), media_type="image/svg+xml", headers={"cache-control": "no-store"})


def _sample(studio: Studio, body: Body) -> PageAnswer:
    return FileResponse(studio.runs.sample(_run(studio, body), text(body, "image"), text(body, "file")))


def _report(studio: Studio, body: Body) -> PageAnswer:
    from gramgan.reports.run import write_run_report
    from gramgan.reports.side_by_side import write_side_by_side

    folders = [_run(studio, {"run": one}) for one in text(body, "runs").split("\n")]
    path = studio.pages / "runs.html"
    if len(folders) == 1:
        write_run_report(folders[0], path)
    else:
        write_side_by_side(folders, path)
    return report_page(path)
