"""The one place that puts degradations together."""

from typing import Literal, get_args

from gramgan.degradation.base import Degradation
from gramgan.degradation.bicubic import Bicubic
from gramgan.degradation.photo import Photo
from gramgan.degradation.realphoto import RealPhoto
from gramgan.degradation.satellite import Satellite
from gramgan.errors import UserError

Profile = Literal["bicubic", "photo", "realphoto", "satellite"]

PROFILES: tuple[Profile, ...] = get_args(Profile)


def build(name: str) -> Degradation:
    """The degradation of a profile, with the numbers of `docs/degradations.md`.

    Raises:
        UserError: there is no such profile.
    """
    match name:
        case "bicubic":
            return Bicubic()
        case "photo":
            return Photo()
        case "realphoto":
            return RealPhoto()
        case "satellite":
            return Satellite()
    raise UserError(f"degradation {name}: there is no such profile; choose one of {', '.join(PROFILES)}")
