"""Tells glibc's allocator to keep freed pages for the next computation. Imports no framework.

By default glibc maps every large array afresh and gives it back when it is freed. A network's activations are such
arrays: one picture then costs a hundred thousand page faults, each of which the kernel answers with a zeroed page. Here
large arrays come from the heap, which is kept, and its room is set aside once, in huge pages where the system has them.
"""

import ctypes
import functools
import os
import sys
from pathlib import Path

from gramgan.hardware.memory import available_bytes

# Parameters of mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_NEVER = -1
_KEPT = "kept"
_PAD = 64 << 20  # how much more than asked for the heap grows at a time
_HUGE_PAGE = 2 << 20
_MADV_HUGEPAGE = 14
_RESERVE = 16 << 30  # of addresses: memory is taken where they are written to
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_SMAPS = Path("/proc/self/smaps")
_OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")


@functools.cache
def keep_memory() -> str:
    """Let this process keep the memory that its computations free, in huge pages where the system offers them.

    To be called where a program begins to compute; later calls do nothing. Only glibc's own allocator is touched, and
    only where the user has not set it: not with another one preloaded, nor with `MALLOC_…` or a malloc tunable in the
    environment. Threads share one arena, so that what one has freed serves all. The process keeps at most what it had
    at its peak.

    Returns:
        What is in effect, in words, for `doctor`.
    """
    if not sys.platform.startswith("linux"):
        return "the system's allocator, as it is"
    theirs = _set_by_user()
    if theirs:
        return f"left alone, for {theirs}"
    libc = _glibc()
    if libc is None:
        return "the allocator is not glibc's: as it is"
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, _PAD), (_ARENA_MAX, 1))
    if not all(libc.mallopt(parameter, value) for parameter, value in settings):
        return "glibc refuses to keep memory: as it is"
    return f"{_KEPT}, {_with_huge_pages(libc)}"


def usable_bytes() -> int:
    """Main memory that a new computation of this process can take, in bytes.

    What the system has (`available_bytes`), and what the process keeps without using it: that counts as taken there.
    """
    if not keep_memory.cache_info().currsize or not keep_memory().startswith(_KEPT):
        return available_bytes()
    libc = _glibc()
    if libc is None or not hasattr(libc, "mallinfo2"):  # glibc before 2.33
        return available_bytes()
    libc.mallinfo2.restype = _MallInfo
    return available_bytes() + max(0, _resident_heap() - libc.mallinfo2().uordblks)


class _MallInfo(ctypes.Structure):
    """struct mallinfo2 of malloc.h."""

    _fields_ = (
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks")),
        *((name, ctypes.c_size_t) for name in ("uordblks", "fordblks", "keepcost")),
    )


def _set_by_user() -> str:
    """What in the environment says how memory is to be allocated; "" if nothing does."""
    if "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", ""):
        return "GLIBC_TUNABLES is set"
    return next((f"{name} is set" for name in os.environ if name.startswith("MALLOC_")), "")


def _glibc() -> ctypes.CDLL | None:
    """The C library, where it is glibc and this process's `malloc` is its own."""
    if not (os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else ""):
        return None
    try:
        process, libc = ctypes.CDLL(None, use_errno=True), ctypes.CDLL("libc.so.6", use_errno=True)
    except OSError:
        return None
    used, own = (ctypes.cast(library.malloc, ctypes.c_void_p).value for library in (process, libc))
    return libc if used == own else None


def _with_huge_pages(libc: ctypes.CDLL) -> str:
    """Set the heap's room aside and ask for huge pages there; says what came of it."""
    choice = _selected(_HUGE_PAGES)
    if choice == "always":
        return "in huge pages (the system's choice)"
    if choice != "madvise":
        return "in small pages: the system offers no huge ones"
    if _addresses_are_limited():
        return "in small pages, for the process's addresses are limited"
    # A heap that has grown by brk(2) has no huge pages unless asked for, and what it grows by later would have none. So
    # it grows now by all that it may need: a large block, freed at once, leaves its addresses at the heap's end.
    size = min(_RESERVE, available_bytes()) // _HUGE_PAGE * _HUGE_PAGE
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes, libc.sbrk.restype = [ctypes.c_void_p], ctypes.c_void_p
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    block = libc.malloc(size)
    end = libc.sbrk(ctypes.c_ssize_t(0))
    libc.free(block)
    if not block or not block < end:  # no room: glibc has mapped it elsewhere, or not at all
        return "in small pages: the heap has no room"
    first = -(-block // _HUGE_PAGE) * _HUGE_PAGE
    if libc.madvise(first, (end - first) // _HUGE_PAGE * _HUGE_PAGE, _MADV_HUGEPAGE):
        return f"in small pages ({os.strerror(ctypes.get_errno())})"
    return f"in huge pages up to {size / 2**30:.0f} GiB"


def _addresses_are_limited() -> bool:
    """Whether room that is only set aside counts: by `ulimit` or because the system promises no more than it has."""
    import resource  # POSIX only

    limits = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    return any(limit != resource.RLIM_INFINITY for limit in limits) or _text(_OVERCOMMIT) == "2"


def _resident_heap() -> int:
    """Bytes of the heap that are in main memory."""
    total, inside = 0, False
    with _SMAPS.open() as file:
        for line in file:
            head = line.split(maxsplit=1)[0]
            if not head.endswith(":"):  # a mapping's first line
                if total and not line.endswith("[heap]\n"):
                    break  # the heap's mappings lie side by side, before all libraries
                inside = line.endswith("[heap]\n")
            elif inside and head == "Rss:":
                total += int(line.split()[1]) << 10
    return total


def _selected(path: Path) -> str:
    """The choice in brackets of a file such as `always [madvise] never`; "" where there is none."""
    return _text(path).partition("[")[2].partition("]")[0]


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
