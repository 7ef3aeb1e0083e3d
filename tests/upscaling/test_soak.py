"""A large TIFF through the command line: in bounded memory, killed half-way and continued, as in one go.

The large one is 10,000×10,000 pixels of 16-bit RGB (40,000×40,000 as BigTIFF, 9.6 GB of samples), through a generator
that is small to save time; it needs 25 GB of disk. The small one is the same in seconds.
"""

import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile

from gramgan.images import Raster
from gramgan.networks.build import load_generator
from gramgan.upscaling.engine import Upscaler

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")

MEMORY = 1.5 * 2**30


@dataclass
class Ended:
    """A command line that has ended or was killed: most bytes that were resident at once, and what it said."""

    returncode: int
    peak: int
    output: str


def waves(side: int, path: Path) -> None:
    """16-bit RGB `side`×`side`, different everywhere, made without holding it in memory."""
    place = pyvips.Image.xyz(side, side)
    grey = (place[0] * 0.7 + place[1] * 0.013).sin() * 15000 + (place[1] * 0.9).cos() * 15000 + 32000
    colours = grey.bandjoin([grey * 0.9, 65535 - grey]).cast("ushort").copy(interpretation="rgb16")
    colours.tiffsave(str(path), compression="deflate", predictor="horizontal")


def upscale(folder: Path, target: str, *options: str, kill_at: int | None = None) -> Ended:
    """`gramgan upscale in.tif`, killed once the journal names `kill_at` windows."""
    command = [sys.executable, "-c", "import sys; from gramgan.cli.app import run; sys.exit(run(sys.argv[1:]))"]
    command += ["upscale", "in.tif", "-o", target, "--model", "small.safetensors", "--backend", "torch"]
    # What the network makes is compared with; a network of random weights is nothing to hold to its input.
    command += ["--precision", "fp32", "--device", "cpu", "--no-consistency", *options]
    journal, peak = folder / f".{target}.journal", 0
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        said: list[str] = []
        assert process.stdout is not None
        reader = threading.Thread(target=lambda stream: said.extend(stream), args=(process.stdout,))
        reader.start()
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max(peak, *(int(line.split()[1]) * 1024 for line in status.splitlines() if "VmHWM" in line), 0)
            if kill_at is not None and journal.exists() and journal.read_bytes().count(b"window") >= kill_at:
                process.kill()
                process.wait()
            time.sleep(0.02)
        reader.join()
    return Ended(process.returncode, peak, "".join(said))


def killed_and_continued(folder: Path, kill_at: int, *options: str) -> Ended:
    """The job in two parts; the second one's end is returned."""
    begun = upscale(folder, "out.tif", *options, kill_at=kill_at)
    assert begun.returncode < 0, begun.output
    assert not (folder / "out.tif").exists()
    assert begun.peak < MEMORY
    finished = (folder / ".out.tif.journal").read_bytes().count(b"window")
    with (folder / ".out.tif.part").open("rb") as file:
        first = file.read(1000)
    assert finished >= kill_at
    assert any(first)
    ended = upscale(folder, "out.tif", *options)
    assert ended.returncode == 0, ended.output
    assert ended.peak < MEMORY
    assert not list(folder.glob(".out.tif*"))
    return ended


def test_killed_and_continued_is_as_in_one_go(tmp_path: Path, small_generator: Path) -> None:
    waves(600, tmp_path / "in.tif")  # some seconds of work: the journal is written once a second at most
    killed_and_continued(tmp_path, 4, "--tile", "32")
    upscaler = Upscaler.for_generator(load_generator(small_generator), "fp32", "cpu", tile=32)
    whole = upscaler.upscale_array(Raster.open(tmp_path / "in.tif").read()).transpose(1, 2, 0)
    result = tifffile.imread(tmp_path / "out.tif")
    assert result.shape == (2400, 2400, 3)
    assert result.dtype == np.uint16
    assert result.std() > 100
    np.testing.assert_allclose(result / 65535, whole, atol=1e-4)


@pytest.mark.slow
def test_ten_thousand_pixels_a_side(tmp_path: Path, small_generator: Path) -> None:
    side = 10_000
    waves(side, tmp_path / "in.tif")
    ended = killed_and_continued(tmp_path, 200)
    print(f"peak of memory {ended.peak / 2**30:.2f} GiB")
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        page = file.pages.first
        assert file.is_bigtiff
        assert page.shape == (4 * side, 4 * side, 3)
        assert page.dtype == np.uint16
    # A strip of the source alone comes out as the same rows of the large one, on both sides of where it was killed.
    result = pyvips.Image.new_from_file(str(tmp_path / "out.tif"))
    source = pyvips.Image.new_from_file(str(tmp_path / "in.tif"))
    for top in (0, side // 2, side - 400):
        source.crop(0, top, 900, 400).tiffsave(str(tmp_path / "in.tif.crop.tif"))
        (tmp_path / "part").mkdir(exist_ok=True)
        (tmp_path / "in.tif.crop.tif").replace(tmp_path / "part" / "in.tif")
        (tmp_path / "part" / "small.safetensors").write_bytes(small_generator.read_bytes())
        assert upscale(tmp_path / "part", "out.tif").returncode == 0
        part = tifffile.imread(tmp_path / "part" / "out.tif")[200:1400, :3200].astype(int)
        same = result.crop(0, 4 * top + 200, 3200, 1200).numpy().astype(int)
        assert np.abs(part - same).max() <= 65535 / 255
