"""HR to LR, batched, on the device."""

from gramgan.degradation.base import Degradation, seed_of
from gramgan.degradation.build import PROFILES, Profile, build_degradation
from gramgan.ops.bicubic import SCALE

__all__ = ["PROFILES", "SCALE", "Degradation", "Profile", "build_degradation", "seed_of"]
