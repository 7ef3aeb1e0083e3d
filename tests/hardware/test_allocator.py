"""Pages that were freed serve again, in huge pages where there are such; a user's own choice is left alone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")

# Allocates and frees 64 MB again and again; shows what is in effect and how many page faults a round took.
ROUNDS = """
import resource, threading
import numpy as np
from gramgan.hardware.allocator import keep_memory

def rounds():
    for _ in range(4):
        np.ones(8_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        np.ones(8_000_000)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 4)

if {keep}: print(keep_memory())
rounds()
thread = threading.Thread(target=rounds)
thread.start()
thread.join()
"""


def run(script: str, **environment: str) -> list[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    inherited["NUMPY_MADVISE_HUGEPAGE"] = "0"  # NumPy asks for huge pages itself; torch does not
    command = [sys.executable, "-c", script]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=inherited | environment)
    return shown.stdout.splitlines()


def test_freed_pages_serve_again_in_every_thread() -> None:
    stock = run(ROUNDS.format(keep=False))
    assert int(stock[0]) > 10_000  # 64 MB in pages of 4 KiB: else there is nothing to gain, and nothing tested
    effect, *faults = run(ROUNDS.format(keep=True))
    assert effect.startswith("kept, in ")
    assert all(int(count) < 100 for count in faults)


@pytest.mark.parametrize(
    ("name", "value"), [("MALLOC_ARENA_MAX", "2"), ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=4194304")]
)
def test_what_a_user_has_set_is_left_alone(name: str, value: str) -> None:
    effect, *_ = run(ROUNDS.format(keep=True), **{name: value})
    assert effect == f"left alone, for {name} is set"


def test_another_allocator_is_left_alone(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    source, library = tmp_path / "own.c", tmp_path / "own.so"
    source.write_text(
        "extern void *__libc_malloc(unsigned long); void *malloc(unsigned long n) { return __libc_malloc(n); }"
    )
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    effect, *_ = run(ROUNDS.format(keep=True), LD_PRELOAD=str(library))
    assert effect == "the allocator is not glibc's: as it is"


@pytest.mark.parametrize("choice", ["always madvise [never]", None])
def test_without_huge_pages_memory_is_kept_all_the_same(choice: str | None, tmp_path: Path) -> None:
    file = tmp_path / "enabled"
    if choice is not None:
        file.write_text(choice)
    patched = "from pathlib import Path; from gramgan.hardware import allocator\n"
    patched += f"allocator._HUGE_PAGES = Path({str(file)!r})\n"
    effect, *faults = run(patched + ROUNDS.format(keep=True))
    assert effect == "kept, in small pages: the system offers no huge ones"
    assert all(int(count) < 100 for count in faults)


def test_limited_addresses_are_not_set_aside() -> None:
    limited = "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))\n"
    effect, *_ = run(limited + ROUNDS.format(keep=True), OPENBLAS_NUM_THREADS="1")
    assert effect == "kept, in small pages, for the process's addresses are limited"


def test_what_is_kept_can_be_used() -> None:
    script = """
import numpy as np
from gramgan.hardware import allocator, memory
allocator.available_bytes = lambda: 0
print(allocator.usable_bytes())
allocator.keep_memory()
array = np.ones(25_000_000)
print(allocator.usable_bytes())
del array
print(allocator.usable_bytes())
"""
    before, while_used, after = map(int, run(script))
    assert before == 0
    assert while_used < 50_000_000
    assert 190_000_000 < after < 300_000_000


@pytest.mark.parametrize(
    "start",
    [
        "from gramgan.upscaling.model import open_model; open_model('no-such-weights')",
        "import gramgan; gramgan.train(gramgan.config.load_config('quick'), '/dev/null')",
        "import gramgan; gramgan.evaluate('bicubic', '/no/such/folder')",
        "from gramgan.cli.app import run; sys.exit(run(['runs', '/no/such/folder']))",
        "from gramgan.data.worker import main; main()",
    ],
)
def test_whatever_computes_keeps_memory(start: str) -> None:
    """Each fails, or has nothing to do, and has kept memory before."""
    script = "import sys, atexit; from gramgan.hardware.allocator import keep_memory; import gramgan.config\n"
    script += "atexit.register(lambda: print('called', keep_memory.cache_info().currsize, file=sys.stderr))\n"
    done = subprocess.run(
        [sys.executable, "-c", script + start], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert done.stderr.splitlines()[-1] == "called 1", done.stderr
