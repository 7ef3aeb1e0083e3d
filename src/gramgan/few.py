"""A few out of many, for whatever cannot be shown or scored as a whole."""

from collections.abc import Sequence
from typing import TypeVar

_T = TypeVar("_T")


def evenly_spread(many: Sequence[_T], limit: int) -> list[_T]:
    """At most `limit` of them in their order, the first and the last among them (with a limit of 1 the first)."""
    if len(many) <= limit:
        return list(many)
    return [many[round(i * (len(many) - 1) / max(limit - 1, 1))] for i in range(limit)]
