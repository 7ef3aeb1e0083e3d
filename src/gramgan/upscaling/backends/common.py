"""What all backends say and assume alike."""

from gramgan.errors import UserError
from gramgan.hardware.precision import Precision

_LIVE_MAPS = 3  # of nf channels, enlarged, in the last stage: convolution in and out, and a reordered copy


def bytes_per_pixel(nf: int, precision: Precision, scale: int = 4) -> int:
    """About the memory that a low-resolution pixel needs in a generator of `nf` channels: its last stage, enlarged."""
    return _LIVE_MAPS * scale**2 * nf * (4 if precision == "fp32" else 2)


def rerun_message(weights: str, precision: Precision) -> str:
    """What the log says before a tile is computed again in fp32."""
    return f"{weights}: not finite in {precision} on this tile; computing it again in fp32"


def never_finite(weights: str) -> UserError:
    """The error for weights that give no finite result in fp32 either."""
    return UserError(f"{weights}: these weights give values that are not finite; they are damaged, use others")


def one_line(error: Exception) -> str:
    """The end of a framework's message, which may have many lines."""
    return " ".join(str(error).split())[-120:]
