"""libvips set up for this package: quiet, and without a cache that would outlive an overwritten file.

Every module takes `pyvips` from here, so that the settings hold wherever it is used first.
"""

import logging
import os
import re

# libvips warns of unknown TIFF tags and odd EXIF entries, which no user can act on; errors are raised. pyvips sends
# warnings to `logging`, but takes its handler away at exit, before the last images are freed: libvips itself has to be
# told too, and it looks only when it starts.
os.environ.setdefault("VIPS_WARNING", "1")

import pyvips

logging.getLogger("pyvips").setLevel(logging.ERROR)
pyvips.cache_set_max(0)

_PREFIX = re.compile(r"^[\w./\\-]+: ")
_CODE = re.compile(r" ?\(\d+\.\d+\)$")
_EMPTY = re.compile(r"(unable to (call \w+|write to \w+|read pixels|open source for input)|\w+ error|\(\d+\.\d+\))")


def reason(error: pyvips.Error) -> str:
    """The last telling line of libvips' account of an error, without the names of its inner functions."""
    lines = [_PREFIX.sub("", line.strip()) for line in str(error).splitlines()]
    telling = [line for line in lines if line and not _EMPTY.fullmatch(line)]
    return _CODE.sub("", telling[-1]) if telling else "its data cannot be decoded"


__all__ = ["pyvips", "reason"]
