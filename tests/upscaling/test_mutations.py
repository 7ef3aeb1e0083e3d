"""300 damaged files, made from good ones of every format: each is upscaled or refused in one line, and nothing else."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from nearest import Nearest
from PIL import Image, ImageCms

import gramgan
from gramgan.errors import UserError
from gramgan.images import write_image
from gramgan.images.formats import vips_reader
from gramgan.upscaling.api import Upscaling
from gramgan.upscaling.model import OpenModel
from gramgan.upscaling.settings import Settings
from gramgan.weights.card import Card

COUNT = 300
SECONDS = 20  # for one file, on a busy machine; the usual is 0.02
PIXELS = 1_000_000  # a header that claims more is refused here as one of 256 megapixels is


def good_files(folder: Path) -> list[tuple[str, bytes]]:
    """One file of every kind that is read, with metadata where there is room for it."""
    rng = np.random.default_rng(3)

    def smooth(channels: int) -> np.ndarray:
        corners = rng.integers(0, 256, (5, 6, channels), dtype=np.uint8).squeeze()
        return np.asarray(Image.fromarray(corners).resize((48, 40)))

    rgb, rgba, grey = smooth(3), smooth(4), smooth(1)
    frames = [Image.fromarray(frame.copy()) for frame in (rgb, rgb[::-1], rgb[:, ::-1])]
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "On the beach"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    exif.get_ifd(0x8825)[2] = (48.0, 8.0, 15.5)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name in ("a.jpg", "a.png", "a.webp", "a.avif"):
        frames[0].save(folder / name, exif=exif, icc_profile=profile)
    frames[0].save(folder / "lzw.tif", compression="tiff_lzw", exif=exif, icc_profile=profile)
    frames[0].save(folder / "progressive.jpg", progressive=True)
    frames[0].convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(grey).save(folder / "grey.jpg")
    Image.fromarray(rgba).save(folder / "alpha.png")
    frames[0].quantize(32).save(folder / "palette.png")
    Image.fromarray(rgba).save(folder / "lossless.webp", lossless=True)
    for name in ("animated.webp", "animated.gif"):
        frames[0].save(folder / name, save_all=True, append_images=frames[1:], duration=[50, 60, 70])
    Image.fromarray(grey).save(folder / "one.gif")
    frames[0].save(folder / "jpeg.tif", compression="jpeg")
    Image.fromarray(grey).convert("1").save(folder / "group4.tif", compression="group4")
    tifffile.imwrite(folder / "plain.tif", rgb, photometric="rgb")
    tifffile.imwrite(folder / "pages.tif", np.stack([rgb, rgb[::-1]]), photometric="rgb", compression="zlib")
    tifffile.imwrite(folder / "big.tif", grey.astype(np.uint16) * 257, bigtiff=True, tile=(16, 16))
    floats = rgba.transpose(2, 0, 1) / np.float32(255)
    write_image(folder / "deep.png", floats[:3], bits=16)
    write_image(folder / "deep.avif", floats, bits=16)
    write_image(folder / "float.tif", floats, bits=32)
    return [(path.name, path.read_bytes()) for path in sorted(folder.iterdir())]


def mutated(data: bytes, seed: int) -> bytes:
    """Flipped bits, a cut, edits of the header, a run of zeros, or bytes that are lost or doubled."""
    rng = np.random.default_rng(seed)
    result, size = bytearray(data), len(data)
    start = int(rng.integers(0, size))
    match seed % 5:
        case 0:
            for _ in range(int(rng.integers(1, 12))):
                result[int(rng.integers(0, size))] ^= 1 << int(rng.integers(0, 8))
        case 1:
            del result[int(rng.integers(1, size)) :]
        case 2:
            for _ in range(int(rng.integers(1, 5))):
                result[int(rng.integers(4, min(size, 200)))] = int(rng.choice([0, 1, 127, 128, 255]))
        case 3:
            end = min(size, start + int(rng.integers(4, 200)))
            result[start:end] = bytes(end - start)
        case _:
            part = result[start : start + int(rng.integers(1, 64))]
            result[start : start + len(part)] = b"" if rng.random() < 0.5 else part + part
    return bytes(result)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of `COUNT` damaged files."""
    files = good_files(tmp_path_factory.mktemp("good"))
    assert {Path(name).suffix for name, _ in files} == {".jpg", ".png", ".webp", ".avif", ".gif", ".tif"}
    folder = tmp_path_factory.mktemp("damaged")
    for seed in range(COUNT):
        name, data = files[seed % len(files)]
        (folder / f"{seed:03}-{name}").write_bytes(mutated(data, seed))
    return folder


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(vips_reader, "MAX_PIXELS", PIXELS)
    yield


def test_one_line_or_a_whole_result(
    damaged: Path, tmp_path: Path, small_limit: None, capfd: pytest.CaptureFixture[str]
) -> None:
    card = Card(name="nearest", architecture={"network": "rrdb"}, licence="CC0-1.0", overlap=4)
    upscaling = Upscaling(Settings(), OpenModel(Nearest(), card, "nearest", "0"))
    done = refused = 0
    for source in sorted(damaged.iterdir()):
        suffix = source.suffix if seed_of(source) % 2 else ".png"
        target = tmp_path / f"out{suffix}"
        start = time.perf_counter()
        try:
            upscaling.file(source, target)
        except UserError as error:
            refused += 1
            assert str(source) in str(error), source
            assert "\n" not in str(error), source
            assert 0 < len(str(error)) - len(str(source)) < 250, error
            assert list(tmp_path.iterdir()) == [], source
        else:
            done += 1
            with Image.open(target) if suffix != ".tif" else tifffile.TiffFile(target):
                pass
            assert list(tmp_path.iterdir()) == [target], source
            target.unlink()
        assert time.perf_counter() - start < SECONDS, source
    assert done + refused == COUNT
    assert min(done, refused) > COUNT / 6  # the damage is neither harmless nor plain
    assert capfd.readouterr() == ("", "")  # libvips and its libraries say nothing on their own


@pytest.mark.slow  # each of them alone is in the test before
def test_the_folder_job_lists_them_and_goes_on(damaged: Path, weights: Path, tmp_path: Path) -> None:
    command = "import sys; from gramgan.images.formats import vips_reader; vips_reader.MAX_PIXELS = int(sys.argv[1]); "
    command += "from gramgan.cli.app import run; sys.exit(run(sys.argv[2:]))"
    out = tmp_path / "out"
    arguments = [str(PIXELS), "upscale", str(damaged), "-o", str(out), "--model", str(weights), "--backend", "torch"]
    finished = subprocess.run(
        [sys.executable, "-c", command, *arguments, "--precision", "fp32", "--device", "cpu"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={
            "PATH": "",
            "PYTHONPATH": str(Path(gramgan.__file__).parents[1]),
            "GRAMGAN_CACHE": str(tmp_path / "cache"),
            "OMP_NUM_THREADS": "1",
            "HOME": str(tmp_path),
            "VIPS_WARNING": "1",  # as the program sets it where it is the first to import libvips
        },
    )
    assert finished.returncode == 1, finished.stderr
    failed = [line for line in finished.stderr.splitlines() if line.startswith("failed: ")]
    results = [path for path in out.rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert len(failed) + len(results) == COUNT
    names = {path.stem for path in damaged.iterdir()}
    assert {path.stem for path in results} <= names
    for line in finished.stderr.splitlines():
        assert line.startswith(("failed: ", str(damaged))), finished.stderr
    assert "Traceback" not in finished.stderr
    assert f"{len(failed)} failed" in finished.stdout.splitlines()[-1]
    assert not [path for path in out.rglob(".*") if path.suffix in (".part", ".pages", ".scratch")]


def seed_of(path: Path) -> int:
    return int(path.name[:3])
