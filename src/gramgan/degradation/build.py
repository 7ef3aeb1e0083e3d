"""The one place that puts degradations together."""

from typing import Literal, get_args

from gramgan.degradation.base import Degradation
from gramgan.degradation.bicubic import Bicubic
from gramgan.degradation.photo import Photo
from gramgan.degradation.realphoto import RealPhoto
from gramgan.degradation.satellite import Satellite
from gramgan.errors import UserError
from gramgan.ops.bicubic import SCALE

Profile = Literal["bicubic", "photo", "realphoto", "satellite"]

PROFILES: tuple[Profile, ...] = get_args(Profile)


def build_degradation(name: str, scale: int = SCALE) -> Degradation:
    """The degradation of a profile, for LR `scale` times smaller than HR; numbers: `docs/explanation/degradations.md`.

    Raises:
        UserError: there is no such profile.
    """
    match name:
        case "bicubic":
            return Bicubic(scale)
        case "photo":
            return Photo(scale=scale)
        case "realphoto":
            return RealPhoto(scale=scale)
        case "satellite":
            return Satellite(scale=scale)
    raise UserError(f"degradation {name}: there is no such profile; choose one of {', '.join(PROFILES)}")
