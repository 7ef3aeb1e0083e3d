"""libvips without a cache of operations, and what it says of errors.

Every module takes `pyvips` from here, so that the setting holds wherever it is used first.
"""

import os
import re
from pathlib import Path
from typing import cast

import pyvips

# Two settings that an import makes for the whole process. A cached reader would keep its file open, and outlive one
# that is overwritten; libvips has no such setting for a single operation.
pyvips.cache_set_max(0)


def _decoded(text: object) -> str:
    data = pyvips.ffi.string(text) if text != pyvips.ffi.NULL else b""
    return data.decode("utf-8", "backslashreplace") if isinstance(data, bytes) else str(data)


# And libvips repeats files' names in what it says of errors. pyvips takes that for UTF-8, fails on any other name, and
# on all errors after that.
pyvips.error._to_string = _decoded

_PREFIX = re.compile(r"^[\w./\\-]+: ")
_CODE = re.compile(r" ?\(\d+\.\d+\)$")
_EMPTY = re.compile(r"(unable to (call \w+|write to \w+|read pixels|open source for input)|\w+ error|\(\d+\.\d+\))")


def vips_reason(error: pyvips.Error) -> str:
    """The last telling line of libvips' account of an error, without the names of its inner functions."""
    lines = [_PREFIX.sub("", line.strip()) for line in str(error).splitlines()]
    telling = [line for line in lines if line and not _EMPTY.fullmatch(line)]
    return _CODE.sub("", telling[-1]) if telling else "its data cannot be decoded"


def name_for(path: Path | str) -> str:
    """A path for libvips, in the bytes that it has: pyvips would encode a text in UTF-8, which not every name is in."""
    return cast(str, os.fsencode(path))


__all__ = ["name_for", "pyvips", "vips_reason"]
