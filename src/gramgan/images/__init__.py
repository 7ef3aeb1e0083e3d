"""Images of any size and format, as float32 `[C, H, W]` arrays in [0, 1], over libvips."""

from gramgan.images.folders import find_images
from gramgan.images.formats import IMAGE_SUFFIXES, MULTI_PAGE_SUFFIXES, WRITABLE_SUFFIXES
from gramgan.images.pages import PagesWriter
from gramgan.images.raster import MAX_PIXELS, Animation, Raster, RasterInfo, Window, read_rgb, read_rgb8
from gramgan.images.writer import RasterWriter, write_image

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "MULTI_PAGE_SUFFIXES",
    "WRITABLE_SUFFIXES",
    "Animation",
    "PagesWriter",
    "Raster",
    "RasterInfo",
    "RasterWriter",
    "Window",
    "find_images",
    "read_rgb",
    "read_rgb8",
    "write_image",
]
