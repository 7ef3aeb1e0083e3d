"""What all backends say and assume alike."""

import logging
from collections.abc import Callable

import numpy as np

from gramgan.errors import UserError
from gramgan.hardware.precision import Precision

_log = logging.getLogger(__name__)

_LIVE_MAPS = 3  # of nf channels, enlarged, in the last stage: convolution in and out, and a reordered copy


def bytes_per_pixel(nf: int, precision: Precision, scale: int = 4) -> int:
    """About the memory that a low-resolution pixel needs in a generator of `nf` channels: its last stage, enlarged."""
    return _LIVE_MAPS * scale**2 * nf * (4 if precision == "fp32" else 2)


def finite(
    run: Callable[[np.ndarray, Precision], np.ndarray | None], tiles: np.ndarray, precision: Precision, weights: str
) -> np.ndarray:
    """What `run` makes of `tiles`; where that is None, for it is not finite, what it makes of them in fp32.

    Raises:
        UserError: that is not finite either.
    """
    result = run(tiles, precision)
    if result is None and precision != "fp32":
        _log.warning("%s: not finite in %s on this tile; computing it again in fp32", weights, precision)
        result = run(tiles, "fp32")
    if result is None:
        raise never_finite(weights)
    return result


def never_finite(weights: str) -> UserError:
    """The error for weights that give no finite result in fp32 either."""
    return UserError(f"{weights}: these weights give values that are not finite; they are damaged, use others")


def one_line(error: Exception) -> str:
    """The end of a framework's message, which may have many lines."""
    return " ".join(str(error).split())[-120:]
