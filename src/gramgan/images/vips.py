"""libvips without a cache of operations, and what it says of errors.

Every module takes `pyvips` from here, so that the setting holds wherever it is used first.
"""

import re

import pyvips

# The one setting that an import makes for the whole process: a cached reader would keep its file open, and outlive one
# that is overwritten. libvips has no such setting for a single operation.
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
