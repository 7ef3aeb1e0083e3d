"""What is particular to one format: AVIF's 12 bits, GIF's blocks, a TIFF whose tables lie, EXIF's resolution."""

import logging
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from gramgan.errors import UserError
from gramgan.images import Raster, write_image
from gramgan.images.formats import FORMATS
from gramgan.images.formats.base import HEAD_BYTES
from gramgan.images.vips import pyvips, vips_reason

RNG = np.random.default_rng(4)
SMOOTH = np.asarray(
    Image.fromarray(RNG.integers(0, 256, (6, 8, 4), dtype=np.uint8)).resize((64, 48)), np.float32
).transpose(2, 0, 1) / np.float32(255)


def test_avif_of_sixteen_bits_is_rounded_to_twelve(tmp_path: Path) -> None:
    deep = (np.arange(3 * 48 * 64) * 7 % 65536 / 65535).reshape(3, 48, 64).astype(np.float32)
    deep[:, 0, :2] = [0, 1]
    write_image(tmp_path / "a.avif", deep, bits=16, quality=100)
    raster = Raster.open(tmp_path / "a.avif")
    assert (raster.info.dtype, raster.info.format) == ("uint16", "AVIF")
    got = raster.read()
    np.testing.assert_allclose(got, deep, atol=0.5 / 4095 + 1 / 65535)
    assert got[:, 0, :2].tolist() == [[0, 1]] * 3  # white stays white
    with Image.open(tmp_path / "a.avif") as image:
        assert np.abs(np.asarray(image).transpose(2, 0, 1) / 255 - deep).max() < 1.01 / 255


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_avif_without_loss(tmp_path: Path, channels: int) -> None:
    array = SMOOTH[-channels:]
    write_image(tmp_path / "a.avif", array, quality=100)
    with Image.open(tmp_path / "a.avif") as image:
        assert image.mode == ("RGBA" if channels in (2, 4) else "RGB")
        colours = np.asarray(image).transpose(2, 0, 1) / 255
    wanted = np.concatenate([np.repeat(array[:1], 3, axis=0), array[1:]]) if channels < 3 else array
    np.testing.assert_allclose(colours, wanted, atol=1e-6)


def test_avif_that_is_too_large(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too large for AVIF"):
        write_image(tmp_path / "a.avif", np.zeros((1, 1, 16385), np.float32))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_is_turned_once(tmp_path: Path, orientation: int) -> None:
    picture = Image.fromarray(np.kron(RNG.integers(0, 256, (2, 3, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "a.avif", exif=exif, quality=100, subsampling="4:4:4")
    moves = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
    upright = picture.transpose(Image.Transpose(moves[orientation])) if orientation in moves else picture
    got = Raster.open(tmp_path / "a.avif").read_samples().transpose(1, 2, 0)
    assert np.abs(got.astype(int) - np.asarray(upright)).max() <= 3


def test_gif_by_pillow(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    few = np.round(SMOOTH[:3] * 3) / 3  # 64 colours: nothing has to be approximated
    with caplog.at_level(logging.INFO, logger="gramgan"):
        write_image(tmp_path / "a.gif", few, like=Raster.open(tmp_path / "a.jpg").info, comment="texture " * 60)
    assert "no place for EXIF" in caplog.text
    with Image.open(tmp_path / "a.gif") as image:
        assert image.info["comment"] == b"texture " * 60
        np.testing.assert_allclose(np.asarray(image.convert("RGB")).transpose(2, 0, 1) / 255, few, atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gif", "a.jpg"]


def test_gif_pixels_are_opaque_or_not(tmp_path: Path) -> None:
    array = np.zeros((4, 16, 32), np.float32)
    array[0], array[3, :, :16], array[3, :, 16:] = 1, 0.9, 0.1
    write_image(tmp_path / "a.gif", array)
    with Image.open(tmp_path / "a.gif") as image:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
    assert alpha[:, :16].min() == 255
    assert alpha[:, 16:].max() == 0


@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_a_tiff_that_claims_more_than_it_lists(tmp_path: Path, tile: tuple[int, int] | None) -> None:
    """Without the check the missing parts are read as zeros, and a row of a million of them takes hours."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((40, 48), np.uint16), tile=tile, rowsperstrip=None if tile else 8)
    assert Raster.open(path).read().shape == (1, 40, 48)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags["ImageWidth" if tile else "ImageLength"].overwrite(4_000_000)
    with pytest.raises(UserError, match="parts and the file lists") as caught:
        Raster.open(path)
    assert "\n" not in str(caught.value)


def test_resolution_in_exif_alone(tmp_path: Path) -> None:
    for unit, dpi in ((2, (300.0, 150.0)), (3, (762.0, 381.0))):
        exif = Image.Exif()
        exif[0x011A], exif[0x011B], exif[0x0128] = IFDRational(300, 1), IFDRational(150, 1), unit
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.webp", exif=exif)
        assert Raster.open(tmp_path / "a.webp").info.dpi == pytest.approx(dpi)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.webp")
    assert Raster.open(tmp_path / "a.webp").info.dpi is None


@pytest.mark.parametrize(
    ("account", "says"),
    [
        ("unable to call pngload\n  pngload: not enough data\n", "not enough data"),
        ("unable to write to memory\n  vipspng: libpng read error\nload error\n", "libpng read error"),
        ("unable to call x\nheif: Invalid input: No box (2.100)\n (2.100)\n", "Invalid input: No box"),
        ("unable to write to memory\n", "its data cannot be decoded"),
    ],
)
def test_the_reason_is_the_last_line_that_says_something(account: str, says: str) -> None:
    assert vips_reason(pyvips.Error(account)) == says


def test_heads_are_long_enough_for_every_format() -> None:
    assert HEAD_BYTES >= 132  # DICOM's mark ends there
    assert not [form.name for form in FORMATS if form.recognises(bytes(HEAD_BYTES))]
