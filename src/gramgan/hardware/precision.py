"""The names of the precisions. Imports no framework."""

from typing import Literal, cast, get_args

from gramgan.errors import UserError

Precision = Literal["fp32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def check_precision(precision: str) -> Precision | None:
    """`precision` itself, or None for `auto`.

    Raises:
        UserError: anything else.
    """
    if precision == "auto":
        return None
    if precision not in PRECISIONS:
        raise UserError(f"precision {precision!r}: unknown; use auto, {', '.join(PRECISIONS)}")
    return cast(Precision, precision)
