"""What the services have in common: pages of results that are asked for one after the other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gramgan.collect.found import FoundPhoto
from gramgan.errors import UserError
from gramgan.fetch import Manners, Transport, UnreachableError, read
from gramgan.files import parse_json

_ANSWER_LIMIT = 16 << 20  # bytes
_BUSY_PAUSES = 5.0  # times `Manners.pause`: five seconds

Cursor = dict[str, str]
"""Request parameters that lead to the next page."""


@dataclass(frozen=True)
class Query:
    """What is looked for: words, codes of the licences to accept, smallest width and height in pixels."""

    words: str
    accept: tuple[str, ...]
    min_size: int


@dataclass(frozen=True)
class ResultPage:
    """One page of results, the best first; `after` leads to the next one, None if it is the last."""

    found: list[FoundPhoto]
    after: Cursor | None


Ask = Callable[[str], dict[str, object]]
"""Fetches an address and returns the JSON object that stands there."""


@dataclass(frozen=True)
class Service:
    """One service.

    `page(query, cursor, ask)` brings a page; `interval` are the seconds between two of its requests; `is_busy(answer)`
    tells an answer that asks to come again after a while.
    """

    name: str
    title: str
    host: str
    interval: float
    page: Callable[[Query, Cursor, Ask], ResultPage]
    is_busy: Callable[[Mapping[str, object]], bool] = lambda answer: False


def asker(service: Service, transport: Transport | None, manners: Manners) -> Ask:
    """The `Ask` of a service that goes out by `transport`; while the service is busy it waits and asks again."""

    def ask(url: str) -> dict[str, object]:
        for _ in range(manners.attempts):
            answer = _parse(url, read(url, size_limit=_ANSWER_LIMIT, transport=transport, manners=manners))
            if not service.is_busy(answer):
                return answer
            manners.pace.wait(_BUSY_PAUSES * manners.pause)
        raise UnreachableError(f"{service.host}: it is too busy; try again later")

    return ask


def _parse(url: str, body: bytes) -> dict[str, object]:
    try:
        answer = parse_json(body)
    except ValueError:
        raise UserError(f"{url}: the answer is not JSON; try again later") from None
    if not isinstance(answer, dict):
        raise UserError(f"{url}: the answer is not of the documented form; a newer gramgan may be needed")
    return answer


def records(value: object) -> list[Mapping[str, object]]:
    """A JSON list's objects; whatever else is in it is passed over."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def text_field(record: Mapping[str, object], key: str) -> str:
    """A text field; empty if it is missing, null or something else."""
    value = record.get(key)
    return value if isinstance(value, str) else ""
