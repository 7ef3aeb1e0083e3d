"""How much memory is free: what decides the size of tiles."""

import ctypes
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_KIB = 1024
_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int:
    """Main memory that this process can take without making the system swap, in bytes.

    On Linux the least of what the kernel calls available, what the control groups (containers) still allow, and the
    process's own limit of address space; on Windows and macOS what the system reports as available. Where nothing can
    be read, half of the machine's memory.
    """
    if sys.platform == "win32":
        return _windows_available()
    if sys.platform == "darwin":
        return _macos_available()
    limits = [_meminfo_available(), *_cgroup_free(), _address_space_free()]
    known = [limit for limit in limits if limit is not None]
    return max(min(known), 0) if known else _half_of_all()


def _meminfo_available() -> int | None:
    meminfo = _PROC / "meminfo"
    if not meminfo.is_file():
        return None
    match = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo.read_text(), re.MULTILINE)
    return int(match[1]) * _KIB if match else None


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
    statm = _PROC / "self" / "statm"
    if limit == resource.RLIM_INFINITY or not statm.is_file():
        return None
    return limit - int(statm.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _macos_available() -> int:
    report = subprocess.run(["/usr/bin/vm_stat"], capture_output=True, text=True, check=False).stdout
    size = re.search(r"page size of (\d+) bytes", report)
    pages = re.findall(r"^Pages (?:free|inactive|speculative|purgeable):\s+(\d+)\.", report, re.MULTILINE)
    return int(size[1]) * sum(map(int, pages)) if size and pages else _half_of_all()


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of the Windows API."""

    _fields_ = (
        ("dwLength", ctypes.c_ulong),
        ("dwMemoryLoad", ctypes.c_ulong),
        ("ullTotalPhys", ctypes.c_ulonglong),
        ("ullAvailPhys", ctypes.c_ulonglong),
        ("ullTotalPageFile", ctypes.c_ulonglong),
        ("ullAvailPageFile", ctypes.c_ulonglong),
        ("ullTotalVirtual", ctypes.c_ulonglong),
        ("ullAvailVirtual", ctypes.c_ulonglong),
        ("ullAvailExtendedVirtual", ctypes.c_ulonglong),
    )


def _windows_available() -> int:
    status = _MemoryStatus(dwLength=ctypes.sizeof(_MemoryStatus))
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):  # pyright: ignore[reportAttributeAccessIssue]
        raise ctypes.WinError()  # pyright: ignore[reportAttributeAccessIssue]
    return status.ullAvailPhys


def _half_of_all() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
