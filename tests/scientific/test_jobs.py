"""From the command line: options that fit, jobs that were killed, and damaged files."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rasterio", reason="rasterio is not installed: pip install 'gramgan[geo]'")
pytest.importorskip("pydicom", reason="pydicom is not installed: pip install 'gramgan[medical]'")

import pydicom
import rasterio
import tifffile
from affine import Affine

from gramgan.cli.app import run
from gramgan.errors import UserError
from gramgan.images import write_image
from gramgan.networks.build import load_generator
from gramgan.weights.formats import write_safetensors

Enlarge = Callable[..., Path]
Scene = Callable[..., np.ndarray]

DICOM = Path(pydicom.__file__).parent / "data" / "test_files"
COUNT = 100  # damaged files of each kind
MEMORY = 1.5 * 2**30


def raster(path: Path, values: np.ndarray, **profile: Any) -> Path:
    bands, height, width = values.shape
    settings = {"crs": "EPSG:32633", "transform": Affine(10, 0, 399960, 0, -10, 5800020), **profile}
    with rasterio.open(
        path, "w", driver="GTiff", count=bands, height=height, width=width, dtype=values.dtype, **settings
    ) as file:
        file.write(values)
    return path


def command(small_generator: Path, *arguments: str) -> list[str]:
    settings = ["--model", str(small_generator), "--backend", "torch", "--precision", "fp32", "--device", "cpu"]
    return ["upscale", *arguments, *settings]


def test_options(
    tmp_path: Path,
    small_generator: Path,
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    raster(tmp_path / "in.tif", scene(4, 24, 30, 0, 10000).astype(np.uint16), nodata=0)
    options = ["--bands", "3,2,1", "--bands", "4", "--radiometry", "sentinel-2", "--cog"]
    assert run(command(small_generator, "in.tif", "-o", "out.tif", *options)) == 0
    with rasterio.open("out.tif") as file:
        assert file.tags()["GRAMGAN_BANDS"] == "3,2,1 4"
        assert file.tags()["GRAMGAN_RANGES"].startswith("1:1000,11000 ")
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    capsys.readouterr()
    for arguments, message in (
        (["in.tif", "-o", "out.tif", "--bands", "1,2"], "bands '1,2': the network takes one band or three"),
        (["in.tif", "-o", "out.tif", "--bands", "1", "--bands", "1,2,3"], "bands: band 1 is named twice"),
        (["in.tif", "-o", "out.tif", "--radiometry", "best"], "radiometry 'best': unknown"),
        (["in.tif", "-o", "out.tif", "--radiometry", "5,5"], "radiometry '5,5': black and white must be two different"),
        (["in.tif", "-o", "out.tif", "--bands", "1", "--plain"], "bands: has no effect together with --plain"),
        (["in.tif", "-o", "out.tif", "--cog", "--plain"], "cog: has no effect together with --plain"),
        (["picture.png", "-o", "out.png", "--cog"], "picture.png: --cog has no effect on an ordinary picture"),
        (["in.tif", "-o", "out.tif", "--plain"], "convert it to RGB"),
        (["in.tif", "-o", "out.tif", "--icc", "srgb"], "in.tif: icc srgb would change its values"),
    ):
        assert run(command(small_generator, *arguments)) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_weights_that_learned_from_bands(
    tmp_path: Path,
    small_generator: Path,
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    generator = load_generator(small_generator)
    card = generator.card.model_copy(update={"settings": {"bands": "3,2,1", "radiometry": "sentinel-2"}})
    write_safetensors(small_generator, generator.network.state_dict(), card)
    raster(tmp_path / "in.tif", scene(4, 24, 30, 0, 10000).astype(np.uint16), nodata=0)
    raster(tmp_path / "two.tif", scene(2, 24, 30, 0, 10000).astype(np.uint16), nodata=0)
    write_image(tmp_path / "picture.png", np.zeros((3, 8, 8), np.float32))
    assert run(command(small_generator, "in.tif", "-o", "out.tif")) == 0
    with rasterio.open("out.tif") as file:
        assert file.tags()["GRAMGAN_BANDS"] == "3,2,1 4"
        assert file.tags()["GRAMGAN_RANGES"].startswith("1:1000,11000 ")
    for arguments, message in (
        (["in.tif", "--radiometry", "minmax"], "radiometry minmax: small was trained with sentinel-2"),
        (["in.tif", "--bands", "4"], "bands 4: small was trained with 3,2,1"),
        (["two.tif"], "two.tif: there is no band 3, it has 2"),
        (["picture.png"], "picture.png: an ordinary picture, and small learned from scientific files (sentinel-2)"),
    ):
        assert run(command(small_generator, *arguments, "-o", f"no{Path(arguments[0]).suffix}")) == 2
        assert message in capsys.readouterr().err
    assert run(command(small_generator, "picture.png", "-o", "plain.png", "--plain")) == 0


def damaged(original: bytes, number: int) -> bytes:
    rng = np.random.default_rng(number)
    data = bytearray(original)
    match number % 4:
        case 0:
            return bytes(data[: int(rng.integers(10, len(data)))])
        case 1:  # the header and what it points at
            for _ in range(3):
                data[int(rng.integers(4, min(len(data), 700)))] = int(rng.integers(256))
        case 2:
            for _ in range(20):
                data[int(rng.integers(4, len(data)))] = int(rng.integers(256))
        case _:
            start = int(rng.integers(4, len(data)))
            data[start : start + 40] = rng.integers(0, 256, 40, dtype=np.uint8).tobytes()
    return bytes(data)


def good(folder: Path, kind: str, scene: Scene) -> Iterator[tuple[str, bytes]]:
    if kind == "dicom":
        for name in ("CT_small.dcm", "SC_rgb_small_odd.dcm", "MR_small_jpeg_ls_lossless.dcm", "SC_rgb_rle_2frame.dcm"):
            yield ".dcm", (DICOM / name).read_bytes()
        return
    values = scene(4, 40, 50, 0, 60000).astype(np.uint16)
    if kind == "microscopy":
        kinds: tuple[dict[str, Any], ...] = ({"ome": True}, {"ome": True, "compression": "zlib"}, {"imagej": True})
        for number, options in enumerate(kinds):
            path = folder / f"{number}.tif"
            tifffile.imwrite(path, values, photometric="minisblack", metadata={"axes": "ZYX"}, **options)
            yield ".tif", path.read_bytes()
        return
    for number, profile in enumerate(
        (
            {"compress": "deflate", "nodata": 0, "tiled": True, "blockxsize": 16, "blockysize": 16},
            {"compress": "lzw", "interleave": "band"},
            {},
            {"compress": "zstd", "bigtiff": "yes"},
        )
    ):
        yield ".tif", raster(folder / f"{number}.tif", values, **profile).read_bytes()


@pytest.mark.parametrize("kind", ["geotiff", "dicom", "microscopy"])
def test_damaged_files(
    tmp_path: Path, enlarge: Enlarge, scene: Scene, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good").mkdir()
    originals = list(good(tmp_path / "good", kind, scene))
    done = refused = 0
    for number in range(COUNT):
        suffix, data = originals[number // 4 % len(originals)]
        source = tmp_path / f"{number}{suffix}"
        source.write_bytes(damaged(data, number))
        before = sorted(tmp_path.iterdir())
        target = tmp_path / f"out{suffix}"
        try:
            enlarge(source, target)
            done += 1
            assert sorted(tmp_path.iterdir()) == sorted([*before, target])
            target.unlink()
        except UserError as error:
            refused += 1
            assert str(error).startswith(str(source))
            assert "\n" not in str(error)
            assert sorted(tmp_path.iterdir()) == before
        source.unlink()
    assert done + refused == COUNT
    assert min(done, refused) > COUNT / 6
    assert capfd.readouterr() == ("", "")


def upscale(folder: Path, small_generator: Path, *options: str, kill_at: int | None = None) -> tuple[int, int, str]:
    """Exit code, most bytes resident at once and output; killed once the journal has `kill_at` windows."""
    arguments = command(small_generator, "in.tif", "-o", "out.tif", *options)
    program = "import sys; from gramgan.cli.app import run; sys.exit(run(sys.argv[1:]))"
    journal, peak, said = folder / ".out.tif.pass1.journal", 0, []
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # a network this small only waits for other threads
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        reader = threading.Thread(target=lambda stream: said.extend(stream), args=(process.stdout,))
        reader.start()
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            if status.exists():
                peak = max(
                    [
                        peak,
                        *(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if "VmHWM" in line),
                    ]
                )
            if kill_at is not None and journal.exists() and journal.read_bytes().count(b"window") >= kill_at:
                process.kill()
            time.sleep(0.02)
        reader.join()
    return process.returncode, peak, "".join(said)


def test_killed_and_continued(
    tmp_path: Path, small_generator: Path, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = scene(4, 330, 330, 100, 9000).astype(np.uint16)  # some seconds: the journal waits for one
    values[:, 100:140, 120:200] = 0
    raster(tmp_path / "in.tif", values, nodata=0)
    options = ["--bands", "3,2,1", "--radiometry", "reflectance", "--tile", "24", "--no-consistency"]
    code, _, said = upscale(tmp_path, small_generator, *options, kill_at=10)
    assert code < 0, said
    assert not (tmp_path / "out.tif").exists()
    assert (tmp_path / ".out.tif.pass1.journal").read_bytes().count(b"window") >= 10
    assert upscale(tmp_path, small_generator, *options)[0] == 0
    (tmp_path / "out.tif").rename(tmp_path / "continued.tif")
    monkeypatch.chdir(tmp_path)
    assert run(command(small_generator, "in.tif", "-o", "out.tif", *options)) == 0
    with rasterio.open(tmp_path / "out.tif") as whole, rasterio.open(tmp_path / "continued.tif") as continued:
        difference = np.abs(whole.read().astype(int) - continued.read())
    assert difference.max() <= 1  # rounding: batches of tiles are others
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "continued.tif",
        "in.tif",
        "out.tif",
        "small.safetensors",
    ]


@pytest.mark.slow
def test_ten_thousand_pixels_a_side(tmp_path: Path, small_generator: Path) -> None:
    """Four bands of 16 bits with holes, 40,000 pixels a side in the result; it needs 40 GB of disk."""
    if not Path("/proc/self/status").exists():
        pytest.skip("memory is read from /proc")
    side = 10_000
    profile = {"crs": "EPSG:32633", "transform": Affine(9.999999999999998, 0, 399960.1234567891, 0, -10, 5800020.98765)}
    with rasterio.open(
        tmp_path / "in.tif",
        "w",
        driver="GTiff",
        count=4,
        height=side,
        width=side,
        dtype="uint16",
        nodata=0,
        tiled=True,
        compress="deflate",
        **profile,
    ) as file:
        x = np.arange(side)
        for top in range(0, side, 500):
            y = np.arange(top, top + 500)[:, None]
            wave = np.sin(x / 9 + y / 700) * np.cos(y / 11)
            strip = np.stack([3000 + 2000 * wave + 300 * band for band in range(4)]).astype(np.uint16)
            strip[:, (np.sin(x / 301) * np.sin(y / 257) > 0.9)] = 0
            file.write(strip, window=rasterio.windows.Window(0, top, side, 500))  # pyright: ignore
    options = ["--bands", "3,2,1", "--radiometry", "reflectance"]
    begun = upscale(tmp_path, small_generator, *options, kill_at=200)
    assert begun[0] < 0, begun[2]
    ended = upscale(tmp_path, small_generator, *options)
    assert ended[0] == 0, ended[2]
    print(f"peak of memory {max(begun[1], ended[1]) / 2**30:.2f} GiB")
    assert max(begun[1], ended[1]) < MEMORY
    with rasterio.open(tmp_path / "in.tif") as source, rasterio.open(tmp_path / "out.tif") as result:
        assert result.shape == (4 * side, 4 * side)
        assert result.bounds == source.bounds
        for top in (0, side // 2, side - 100):
            window = rasterio.windows.Window(2000, top, 400, 100)  # pyright: ignore
            large = rasterio.windows.Window(8000, 4 * top, 1600, 400)  # pyright: ignore
            holes = source.read_masks(1, window=window) == 0
            np.testing.assert_array_equal(result.read_masks(1, window=large) == 0, holes.repeat(4, 0).repeat(4, 1))
    if shutil.which("gdalinfo"):
        corners = [
            subprocess.run(["gdalinfo", str(tmp_path / name)], check=True, capture_output=True, text=True).stdout
            for name in ("in.tif", "out.tif")
        ]
        assert len({text[text.index("Upper Left") : text.index("Center")] for text in corners}) == 1
