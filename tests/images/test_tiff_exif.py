"""EXIF in TIFFs of either byte order, and directories that lie."""

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from gramgan.images import Raster
from gramgan.images.formats.tiff_exif import read_exif, write_exif

PIXELS = np.random.default_rng(5).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def block(tmp_path: Path) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "Maker of cameras"
    exif[0x8298] = "Someone"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    exif.get_ifd(0x8769)[0x8827] = 400
    exif.get_ifd(0x8825)[2] = (48.0, 8.0, 15.5)
    Image.fromarray(PIXELS).save(tmp_path / "block.jpg", exif=exif)
    stored = Raster.open(tmp_path / "block.jpg").info.exif
    assert stored is not None
    return stored


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_there_and_back(tmp_path: Path, order: str, big: bool) -> None:
    exif = block(tmp_path)
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=order) as writer:  # pyright: ignore[reportArgumentType]
        for page in (PIXELS, 255 - PIXELS):
            writer.write(page, photometric="rgb", metadata=None)
    write_exif(path, exif)
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == 2
        np.testing.assert_array_equal(file.pages[0].asarray(), PIXELS)
        np.testing.assert_array_equal(file.pages[1].asarray(), 255 - PIXELS)
        tags = file.pages.first.tags
        assert tags["Make"].value == "Maker of cameras"
        assert tags["ExifTag"].value["DateTimeOriginal"] == "2020:01:02 03:04:05"
    back = read_exif(path)
    assert back is not None
    loaded = Image.Exif()
    loaded.load(back)
    assert (loaded[0x010F], loaded[0x8298]) == ("Maker of cameras", "Someone")
    assert loaded.get_ifd(0x8769)[0x8827] == 400
    assert list(loaded.get_ifd(0x8825)[2]) == [48.0, 8.0, 15.5]


def test_a_lying_pointer_costs_the_exif_and_not_the_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PIXELS, photometric="rgb", byteorder="<")
    write_exif(path, block(tmp_path))
    assert read_exif(path) is not None
    data = path.read_bytes()
    entry = data.rindex(struct.pack("<HHI", 0x8769, 4, 1))
    path.write_bytes(data[: entry + 8] + b"\xf0\xff\xff\xff" + data[entry + 12 :])
    assert read_exif(path) is None
    np.testing.assert_array_equal(Raster.open(path).read_samples(), PIXELS.transpose(2, 0, 1))


@pytest.mark.parametrize(
    "damaged", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"]
)
def test_a_damaged_block_changes_nothing(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PIXELS, photometric="rgb")
    before = path.read_bytes()
    write_exif(path, damaged)
    assert path.read_bytes() == before


def test_a_pointer_beyond_any_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"II+\0" + struct.pack("<HHQ", 8, 0, 2**64 - 1))
    assert read_exif(path) is None
