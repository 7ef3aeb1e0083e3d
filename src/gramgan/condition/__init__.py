"""What a picture has been through: noise, JPEG, softness. Measured from the picture, or from samples of a large one."""

from gramgan.condition.measuring import measure, of_file, of_raster
from gramgan.condition.record import Condition, Jpeg, Noise, Softness

__all__ = ["Condition", "Jpeg", "Noise", "Softness", "measure", "of_file", "of_raster"]
