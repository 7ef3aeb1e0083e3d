"""Training crops and their low-resolution counterparts, from the package.

photos = ResidentPhotos(items_of(find_images("downloaded_images")), Demand(crop=192, batch=16))
hr = photos.next().images  # [16, 3, 192, 192] in [0, 1]; others with every call
lr = degrade_bicubic(hr)  # [16, 3, 48, 48]
"""

from gramgan.collect import split
from gramgan.data.items import items_of
from gramgan.data.resident import ResidentPhotos
from gramgan.data.source import Demand
from gramgan.degradation.bicubic import degrade_bicubic
from gramgan.images import find_images, read_rgb, read_rgb8
from gramgan.ops.bicubic import SCALE

__all__ = [
    "SCALE",
    "Demand",
    "ResidentPhotos",
    "degrade_bicubic",
    "find_images",
    "items_of",
    "read_rgb",
    "read_rgb8",
    "split",
]
