"""Fuzz targets: every reader over damaged and hostile files, in a process that may open no connection."""

import json
import platform
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("resource", reason="memory is measured on POSIX alone")

import fuzzing

from gramgan.errors import UserError
from gramgan.images import Raster

FEW, MANY = 50, 2000

HOSTILE = (
    "scientific/test_dicom_odd.py",
    "scientific/test_microscopy_odd.py",
    "scientific/test_sidecars.py",
    "upscaling/test_mutations.py",
    "upscaling/test_foreign_networks.py",
    "upscaling/test_odd_names.py",
    "upscaling/test_odd_jpegs.py",
    "upscaling/test_odd_pngs.py",
    "upscaling/test_odd_tiffs.py",
    "upscaling/test_odd_others.py",
    "images/test_raster.py",
    "data/test_shards.py",
    "weights/test_formats.py",
)
"""Tests that make hostile files of their own."""

SANDBOX = """
import sys, pytest, uuid
sys.path.insert(0, sys.argv.pop(1))
import fuzzing
uuid._node, uuid._generate_time_safe = 1, None  # tifffile's writer asks for the address of a network card
class Sandbox:
    def pytest_collection_modifyitems(self, items):  # a listening server of the test's own is a connection too
        items[:] = [item for item in items if "server" not in item.fixturenames]
        fuzzing.no_network()
sys.exit(pytest.main(sys.argv[1:], plugins=[Sandbox()]))
"""


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


def _attack(folder: Path, count: int, *readers: str) -> dict[str, Any]:
    done = _python(fuzzing.__file__, str(folder), str(count), *readers)
    assert done.returncode == 0, done.stderr[-3000:]  # its last line says at which file the process was ended
    return json.loads(done.stdout)


def _holds(found: dict[str, Any], count: int) -> None:
    assert found["wrong"] == []
    assert found["read"] + found["refused"] == count
    assert min(found["read"], found["refused"]) > 0  # the damage is neither harmless nor plain
    assert found["slowest"] < fuzzing.SECONDS
    assert found["grown"] < 2**30


@pytest.fixture(scope="module")
def attack_of_few(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return _attack(tmp_path_factory.mktemp("few"), FEW)


@pytest.mark.parametrize("reader", fuzzing.READERS)
def test_a_few_damaged_files(attack_of_few: dict[str, Any], reader: str) -> None:
    _holds(attack_of_few[reader], FEW)


@pytest.mark.slow
@pytest.mark.parametrize("reader", fuzzing.READERS)
def test_many_damaged_files(tmp_path: Path, reader: str) -> None:
    _holds(_attack(tmp_path, MANY, reader)[reader], MANY)


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="the kernel's filter is written for Linux on x86-64",
)
@pytest.mark.parametrize("call", ["socket.socket()", "socket.create_connection(('203.0.113.1', 80))", "socket.AF_INET"])
def test_the_network_sandbox_ends_what_asks_for_a_connection(call: str) -> None:
    code = "import sys, socket; sys.path[:0] = sys.argv[1:]; import fuzzing; fuzzing.no_network(); "
    done = _python("-c", code + call, str(Path(fuzzing.__file__).parent))
    assert done.returncode == (0 if call == "socket.AF_INET" else -signal.SIGSYS), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("module", HOSTILE)
def test_hostile_files_of_every_module_ask_for_no_connection(module: str) -> None:
    path = Path(__file__).parent / module
    assert path.is_file()
    chosen = ["-q", "-p", "no:cacheprovider", "-m", "not slow", str(path)]
    done = _python("-c", SANDBOX, str(Path(fuzzing.__file__).parent), *chosen)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.parametrize("length", range(4, 16))
@pytest.mark.parametrize("head", [b"II*\0\x08\0\0\0", b"MM\0+\0\x08\0\0\0\0\0\0\0\0\0\x10"])
def test_a_tiff_that_ends_within_its_header(tmp_path: Path, head: bytes, length: int) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(head[:length])
    with pytest.raises(UserError, match=r"a\.tif: ") as caught:
        Raster.open(path)
    assert "\n" not in str(caught.value)
