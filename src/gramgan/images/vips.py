"""libvips set up for this package: quiet, and without a cache that would outlive an overwritten file.

Every module takes `pyvips` from here, so that the settings hold wherever it is used first.
"""

import logging

import pyvips

# libvips warns of unknown TIFF tags and odd EXIF entries, which no user can act on; errors are raised.
logging.getLogger("pyvips").setLevel(logging.ERROR)
pyvips.cache_set_max(0)


def reason(error: pyvips.Error) -> str:
    """The last line of libvips' account of an error, without the name of its inner function."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    name, colon, rest = lines[-1].partition(": ")
    return rest if colon and " " not in name else lines[-1]


__all__ = ["pyvips", "reason"]
