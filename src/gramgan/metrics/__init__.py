"""Full-reference scores of super-resolved images `[B, 3, H, W]` in [0, 1], one number per image: `[B]`."""

from gramgan.metrics.gram import gram_distance
from gramgan.metrics.psnr import psnr, psnr_y
from gramgan.metrics.ssim import ssim_y
from gramgan.metrics.st_lpips import StLpips

__all__ = ["StLpips", "gram_distance", "psnr", "psnr_y", "ssim_y"]
