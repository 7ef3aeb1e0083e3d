"""What this machine is, found out without any framework: keys of what is measured once and remembered."""

import ctypes.util
import os
import platform
import sys
from pathlib import Path

from gramgan.installed import package_version

_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA; Windows' GPUs under Linux; AMD


def processor_name() -> str:
    """Such as `Intel(R) Xeon(R) Platinum 8488C`."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def processor_key() -> str:
    """The processor's name and the instruction sets that the system lets programs use."""
    return f"{processor_name()} {_cpuinfo('flags') or _cpuinfo('Features')}"


def bf16_instructions() -> str:
    """Which instruction set computes bf16 on this processor: `AMX`, `AVX-512`, `NEON`, or "" where none is reported."""
    flags = set((_cpuinfo("flags") or _cpuinfo("Features")).split())
    known = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512", "bf16": "NEON"}
    return next((name for flag, name in known.items() if flag in flags), "")


def threads() -> int:
    """How many threads a computation may take: `OMP_NUM_THREADS` where it is set, else the processors given to us."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def may_have_accelerator() -> bool:
    """Whether torch may find a GPU here: False is certain, True is worth asking torch itself."""
    if package_version("torch").endswith("+cpu"):
        return False
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if sys.platform == "win32":
        return ctypes.util.find_library("nvcuda") is not None
    return any(Path(driver).exists() for driver in _DRIVERS)


def _cpuinfo(key: str) -> str:
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
    return ""
