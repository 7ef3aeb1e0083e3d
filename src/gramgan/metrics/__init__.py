"""Full-reference scores of super-resolved images `[B, 3, H, W]` in [0, 1], one number per image: `[B]`."""

from gramgan.metrics.colour import colour_drift
from gramgan.metrics.consistency import lr_psnr
from gramgan.metrics.dists import Dists
from gramgan.metrics.dss import dss
from gramgan.metrics.gram import gram_distance
from gramgan.metrics.lpips import Lpips
from gramgan.metrics.psnr import psnr, psnr_y
from gramgan.metrics.ssim import ssim, ssim_y
from gramgan.metrics.st_lpips import StLpips
from gramgan.metrics.texture_distance import TextureDistance

__all__ = [
    "Dists",
    "Lpips",
    "StLpips",
    "TextureDistance",
    "colour_drift",
    "dss",
    "gram_distance",
    "lr_psnr",
    "psnr",
    "psnr_y",
    "ssim",
    "ssim_y",
]
