"""The free memory is the least of what the system, the container and the process's own limit allow."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from gramgan.hardware import memory

GIB = 2**30


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system with 8 GiB available, without containers."""
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    cgroup.mkdir()
    monkeypatch.setattr(memory, "_PROC", proc)
    monkeypatch.setattr(memory, "_CGROUP", cgroup)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=8 * GIB))
    return tmp_path


def limit(folder: Path, version: int, most: int | str, used: int, cache: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = {1: ("memory.limit_in_bytes", "memory.usage_in_bytes"), 2: ("memory.max", "memory.current")}[version]
    (folder / names[0]).write_text(f"{most}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {cache}\ntotal_inactive_file {cache}\n")


def test_here_it_is_a_sensible_figure() -> None:
    assert 50 * 2**20 < memory.available_bytes() < 2**45


def test_without_limits_it_is_what_the_kernel_says(system: Path) -> None:
    assert memory.available_bytes() == 8 * GIB


def test_elsewhere_it_is_what_the_system_says(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (system / "proc" / "self" / "cgroup").write_text("0::/\n")
    limit(system / "cgroup", 2, 2 * GIB, 1 * GIB)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert memory.available_bytes() == 8 * GIB


def test_the_limit_of_a_container_counts_less_the_cache(system: Path) -> None:
    (system / "proc" / "self" / "cgroup").write_text("0::/box/inner\n")
    limit(system / "cgroup" / "box" / "inner", 2, "max", 1 * GIB)
    assert memory.available_bytes() == 8 * GIB
    limit(system / "cgroup" / "box", 2, 4 * GIB, 3 * GIB, cache=GIB // 2)
    assert memory.available_bytes() == GIB + GIB // 2


def test_the_first_version_of_control_groups(system: Path) -> None:
    (system / "proc" / "self" / "cgroup").write_text("12:cpu,cpuacct:/x\n4:memory:/box\n0::/\n")
    limit(system / "cgroup" / "memory" / "box", 1, 2**63 - 4096, 1 * GIB)
    limit(system / "cgroup" / "memory", 1, 2**63 - 4096, 9 * GIB)
    assert memory.available_bytes() == 8 * GIB
    limit(system / "cgroup" / "memory" / "box", 1, 2 * GIB, 1 * GIB)
    assert memory.available_bytes() == 1 * GIB


def test_a_container_that_is_over_its_limit_has_none(system: Path) -> None:
    (system / "proc" / "self" / "cgroup").write_text("0::/\n")
    limit(system / "cgroup", 2, 2 * GIB, 3 * GIB)
    assert memory.available_bytes() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -v")
def test_the_limit_of_the_process_counts() -> None:
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31));"
        "from gramgan.hardware.memory import available_bytes; print(available_bytes())"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert 0 < int(shown) < 2**31
