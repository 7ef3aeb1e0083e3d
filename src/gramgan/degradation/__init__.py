"""HR to LR, batched, on the device."""

from gramgan.degradation.base import SCALE, Degradation, seed_of
from gramgan.degradation.build import PROFILES, Profile, build_degradation

__all__ = ["PROFILES", "SCALE", "Degradation", "Profile", "build_degradation", "seed_of"]
