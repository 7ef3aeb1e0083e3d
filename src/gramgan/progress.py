"""How long work tells its caller how far it is."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with (done, total) counts; `total` stays the same during one piece of work."""


def silent(done: int, total: int) -> None:
    """A `Progress` that shows nothing."""
