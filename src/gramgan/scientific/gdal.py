"""GDAL while this package uses it, and what it says of errors."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError

_CACHE = 192 << 20  # bytes; GDAL would take 5 % of the machine's memory

ALONE = {
    # What a shell or the host program has set decides nothing.
    "GDAL_PAM_ENABLED": "YES",
    "GDAL_GEOREF_SOURCES": "PAM,INTERNAL,TABFILE,WORLDFILE",
    "GDAL_DISABLE_READDIR_ON_OPEN": "FALSE",
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "none",
}
"""GDAL's options for reading a file that is `sidecars.shown_alone`, whatever it points at."""

GDAL_ERRORS = (RasterioError, CPLE_BaseError, UnicodeDecodeError)
"""Everything that rasterio raises for a file: also GDAL's own error where nothing is wrapped around it, and what it
raises for texts that are not UTF-8."""


@contextlib.contextmanager
def session(**options: Any) -> Iterator[None]:
    """GDAL with a cache of fixed size and these options, for as long as the block lasts."""
    with rasterio.Env(GDAL_CACHEMAX=_CACHE, **options):
        yield


@contextlib.contextmanager
def placed_or_not() -> Iterator[None]:
    """No warning, while a file is opened, that a raster has no place on Earth: it is a raster like any other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def gdal_reason(error: BaseException) -> str:
    """What GDAL says is wrong: the first error of the chain, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(getattr(error, "errmsg", "") or error)
    return " ".join(text.split())[:300] or type(error).__name__
