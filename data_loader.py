"""Training crops and their low-resolution counterparts, from the package.

photos = ResidentPhotos(find_images("downloaded_images"), crop=192)
hr = photos.sample(16, torch.Generator().manual_seed(0))  # [16, 3, 192, 192] in [0, 1]
lr = degrade_bicubic(hr)  # [16, 3, 48, 48]
"""

from gramgan.collect import split
from gramgan.data.resident import ResidentPhotos
from gramgan.degradation.bicubic import SCALE, degrade_bicubic
from gramgan.images import find_images, read_rgb, read_rgb8

__all__ = ["SCALE", "ResidentPhotos", "degrade_bicubic", "find_images", "read_rgb", "read_rgb8", "split"]
