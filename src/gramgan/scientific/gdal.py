"""Rasterio set up for this package: quiet, and with a cache of fixed size.

Every module takes `rasterio` from here, so that the settings hold wherever it is used first.
"""

import logging
import os
import warnings

# GDAL would take 5 % of the machine's memory. It reads the setting when it is first used, in every thread.
os.environ.setdefault("GDAL_CACHEMAX", "192")

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError

# A raster without a place on Earth is a raster like any other.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
logging.getLogger("rasterio").setLevel(logging.CRITICAL + 1)  # what fails is raised as well

GDAL_ERRORS = (RasterioError, CPLE_BaseError)
"""Everything that rasterio raises for a file; the second comes through where it wraps nothing around GDAL's own."""


def reason(error: BaseException) -> str:
    """What GDAL says is wrong: the first error of the chain, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(getattr(error, "errmsg", "") or error)
    return " ".join(text.split())[:300] or type(error).__name__


__all__ = ["GDAL_ERRORS", "rasterio", "reason"]
