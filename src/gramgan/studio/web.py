"""Requests and answers: what is the same for every page."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from gramgan.errors import UserError
from gramgan.studio.context import Studio

Body = dict[str, Any]
PageAnswer = dict[str, Any] | Response
Action = Callable[[Studio, Body], PageAnswer]

_MOST = 2**20  # bytes of a request that is no upload
REPORT_POLICY = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'self'"
"""For pages of `gramgan.reports`: they need no script and get none."""

_log = logging.getLogger(__name__)


def asked(path: str, action: Action) -> Route:
    """A route that reads: `action` gets the parts of the path and of the query."""

    async def answer(request: Request) -> Response:
        return await _answered(request, action, {**request.query_params, **request.path_params})

    return Route(path, answer, methods=["GET"])


def told(path: str, action: Action) -> Route:
    """A route that changes something: `action` gets the JSON object that was sent, and the parts of the path."""

    async def answer(request: Request) -> Response:
        data = b""
        async for part in request.stream():
            data += part
            if len(data) > _MOST:
                return error_answer("this request is too large", 413)
        try:
            body = json.loads(data or b"{}")
        except ValueError:
            body = None
        if not isinstance(body, dict):
            return error_answer("this request is no JSON object", 400)
        return await _answered(request, action, {**body, **request.path_params})

    return Route(path, answer, methods=["POST"])


def answered(content: dict[str, Any], status: int = 200) -> Response:
    """JSON in ASCII: a file's name may hold bytes that are no text, and has to come back as it went."""
    headers = {"cache-control": "no-store"}
    return Response(json.dumps(content), status, headers, media_type="application/json")


def error_answer(message: str, status: int = 400) -> Response:
    """An error in one line."""
    return answered({"error": message}, status)


def as_download(path: Path) -> Response:
    """A file to be kept under its own name."""
    name = os.fsencode(path.name).decode("utf-8", "replace")
    return FileResponse(path, filename=name, media_type="application/octet-stream")


def text(body: Body, name: str, default: str | None = None) -> str:
    """A text that was sent.

    Raises:
        UserError: it is missing or no text.
    """
    value = body.get(name, default)
    if value == "" and default is not None:
        return default
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{name}: is missing; fill it in")
    return value


def texts(body: Body, name: str) -> list[str]:
    """Several texts that were sent, none if they are missing.

    Raises:
        UserError: it is no list of texts.
    """
    value = body.get(name) or []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise UserError(f"{name}: is no list of texts; load the page again")
    return value


def whole_number_of(body: Body, name: str, default: int, low: int, high: int) -> int:
    """A whole number that was sent.

    Raises:
        UserError: it is no whole number, or out of bounds.
    """
    value = body.get(name)
    if value is None or value == "":
        return default
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise UserError(f"{name} {value!r}: is not a whole number; correct it") from None
    if not low <= number <= high:
        raise UserError(f"{name}: {number} is outside of {low} to {high}")
    return number


def flag(body: Body, name: str) -> bool:
    """Whether something was ticked."""
    return body.get(name) is True


def report_page(path: Path) -> Response:
    """A page of `gramgan.reports`, in a sandbox."""
    if not path.is_file():
        raise UserError(f"{path.name}: is not there any more; make it again")
    return FileResponse(path, media_type="text/html", headers={"content-security-policy": REPORT_POLICY})


async def _answered(request: Request, action: Action, body: Body) -> Response:
    studio: Studio = request.app.state.studio
    try:
        answer = await run_in_threadpool(action, studio, body)
    except UserError as error:
        return error_answer(studio.plainly(str(error)))
    except IndexError:
        return error_answer("there is no such part", 404)
    except OSError as error:
        _log.exception("%s: not answered", request.url.path)
        return error_answer(f"a file cannot be read ({error.strerror or error}); load the page again")
    return answer if isinstance(answer, Response) else answered(answer)
