"""The settings of the program's own processes: the command line's, and those that it starts.

None of it is set by an import: in a process that belongs to somebody else, its logs, warnings and caches are theirs.
"""

import logging
import os

_LIBRARIES = {"pyvips": logging.ERROR, **dict.fromkeys(("pydicom", "rasterio", "tifffile"), logging.CRITICAL + 1)}
"""Logger → what is still said: nobody who enlarges a file can act on their warnings, and what fails is raised."""

_ENVIRONMENT = {
    # pyvips takes its handler away at exit, before the last images are freed: libvips has to be told as well.
    "VIPS_WARNING": "1",
    # GDAL would take 5 % of the machine's memory; in MB.
    "GDAL_CACHEMAX": "192",
    # Ray prints what its nodes say of themselves to standard output, where results go.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Workers of a cluster that we start are as urgent as any process; by Ray's default every other one comes first.
    "RAY_worker_niceness": "0",
}

_beside = 1


def set_up(beside: int = 1) -> None:
    """Quieten the libraries that read pictures and bound their caches; call it before any of them is imported.

    `beside`: how many processes like this one share the machine's memory.
    """
    global _beside
    _beside = beside
    for name, level in _LIBRARIES.items():
        logging.getLogger(name).setLevel(level)
    os.environ.update(environment())


def sharers() -> int:
    """How many processes like this one share the machine's memory, itself included."""
    return _beside


def environment() -> dict[str, str]:
    """The variables of a process that is started here; what the user has set stays."""
    return _ENVIRONMENT | os.environ
