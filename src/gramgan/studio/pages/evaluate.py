"""The page Evaluate: models, or finished results, scored side by side."""

from typing import Any

from starlette.responses import FileResponse
from starlette.routing import Route

from gramgan.errors import UserError
from gramgan.progress import Progress
from gramgan.studio.context import Studio
from gramgan.studio.forms import generators_here
from gramgan.studio.jobs import StudioJob
from gramgan.studio.pages.common import page
from gramgan.studio.web import Body, PageAnswer, asked, text, texts, told
from gramgan.weights.catalog import KNOWN

_KIND = "evaluate"
# As in `gramgan.evaluation` and `gramgan.degradation`, which import torch: a page need not wait for that.
_BICUBIC = "bicubic"
_CHOICES = {"protocols": ("sr-y-crop", "rgb-crop", "rgb"), "degradations": ("bicubic", "realphoto", "satellite")}
_STRIP_SIDE = 96
_PICTURES = 6


def evaluate_routes() -> list[Route]:
    """Of this page."""
    return [
        page("/evaluate", "evaluate.html", lambda _: {"models": (_BICUBIC, *generators_here()), **_CHOICES}),
        told("/api/evaluate", _evaluate),
        asked("/scores/{job}", _scores),
    ]


def _evaluate(studio: Studio, body: Body) -> PageAnswer:
    truth = studio.places.folder(text(body, "truth"))
    low = studio.places.folder(text(body, "low")) if body.get("low") else None
    names = texts(body, "models")
    unknown = [name for name in names if name != _BICUBIC and name not in KNOWN]
    if unknown:
        raise UserError(f"{unknown[0]}: no such model; load the page again")
    models = [*names, *([str(studio.places.file(text(body, "weights")))] if body.get("weights") else [])]
    results = [studio.places.folder(one) for one in texts(body, "results") if one.strip()]
    if len(models) + len(results) < 2:
        raise UserError("only one to score; choose two models or folders of results, so that there is a comparison")
    protocol, degradation = text(body, "protocol", "sr-y-crop"), text(body, "degradation", "bicubic")

    def work(job: StudioJob, progress: Progress) -> dict[str, Any]:
        from gramgan.evaluation.compare import evaluate
        from gramgan.reports.evaluation import evaluation_page

        report = evaluate(
            models,
            truth,
            low,
            results=results,
            protocol=protocol,
            degradation=degradation,
            strip_side=_STRIP_SIDE,
            progress=progress,
        )
        page, table = studio.pages / f"scores-{job.id}.html", studio.pages / f"scores-{job.id}.csv"
        evaluation_page(report, compare=True, pictures=_PICTURES).save(page)
        report.to_csv(table)
        return {"page": str(page), "table": str(table), "said": f"{len(report.models)} on {truth.name}"}

    return {"job": studio.queue.add(_KIND, f"Score on {truth.name}", work).id}


def _scores(studio: Studio, body: Body) -> PageAnswer:
    job = studio.queue.get(body["job"])
    if not job.result.get("table"):
        raise UserError(f"{job.title}: has no scores")
    return FileResponse(job.result["table"], filename="scores.csv", media_type="text/csv")
