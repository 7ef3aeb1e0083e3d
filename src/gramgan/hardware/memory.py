"""How much memory is free: what decides the size of tiles.

psutil knows the systems; control groups and a process's own limit, which it does not look at, are read here.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from gramgan import own_process

_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int:
    """Main memory that this process can take without making the system swap, in bytes.

    What the system reports as available; on Linux the least of that, of what the control groups (containers) still
    allow, and of the process's own limit of address space. Where several workers of ours share the machine, it is this
    one's part.
    """
    limits: list[int | None] = [psutil.virtual_memory().available]
    if sys.platform == "linux":
        limits += [*_cgroup_free(), _address_space_free()]
    return max(min(limit for limit in limits if limit is not None), 0) // own_process.sharers()


def _cgroup_free() -> list[int]:
    """What the control group of this process and those above it still allow; none if there is no limit."""
    membership = _PROC / "self" / "cgroup"
    if not membership.is_file():
        return []
    free = []
    for line in membership.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            version = _Version2(_CGROUP)
        elif "memory" in controllers.split(","):
            version = _Version1(_CGROUP / "memory")
        else:
            continue
        group = version.mount / path.lstrip("/")
        for folder in (group, *group.parents):
            limit, used = _number(folder / version.limit), _number(folder / version.used)
            if limit is not None and used is not None:
                free.append(limit - used + _reclaimable(folder, version.inactive))
            if folder == version.mount:
                break
    return free


@dataclass(frozen=True)
class _Version2:
    """Where the second version of control groups keeps its figures (in files below `mount`)."""

    mount: Path
    limit: str = "memory.max"
    used: str = "memory.current"
    inactive: str = "inactive_file"


@dataclass(frozen=True)
class _Version1(_Version2):
    """The same for the first version, whose limit is a huge number where there is none."""

    limit: str = "memory.limit_in_bytes"
    used: str = "memory.usage_in_bytes"
    inactive: str = "total_inactive_file"


def _reclaimable(folder: Path, key: str) -> int:
    """Bytes of file cache that the kernel gives back when a program asks for memory."""
    try:
        match = re.search(rf"^{key} (\d+)$", (folder / "memory.stat").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(match[1]) if match else 0


def _number(path: Path) -> int | None:
    """The number in a file; None if the file is not there or says `max`."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _address_space_free() -> int | None:
    """What `ulimit -v` leaves."""
    import resource  # POSIX only

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit - psutil.Process().memory_info().vms
