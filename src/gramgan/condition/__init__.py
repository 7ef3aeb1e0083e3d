"""What a picture has been through: noise, JPEG, softness. Measured from the picture, or from samples of a large one."""

from gramgan.condition.measuring import measure, of_file, of_raster
from gramgan.condition.noise_map import noise_map
from gramgan.condition.record import Condition, Jpeg, Noise, Softness

__all__ = ["Condition", "Jpeg", "Noise", "Softness", "measure", "noise_map", "of_file", "of_raster"]
