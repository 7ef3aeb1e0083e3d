"""What `RasterWriter` writes is read back by Pillow and tifffile, and nothing is left behind when it fails."""

import errno
import logging
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import IFDRational

from gramgan.errors import UserError
from gramgan.images import Raster, RasterWriter, Window, read_rgb8, write_image
from gramgan.images.formats import tiff

RNG = np.random.default_rng(11)


def random(channels: int, height: int = 37, width: int = 53) -> np.ndarray:
    # Multiples of 1/65535: exact in 16 bits, and never half way between two values of 8 bits.
    return (RNG.integers(0, 65536, (channels, height, width)) / 65535).astype(np.float32)


def rounded(array: np.ndarray, bits: int) -> np.ndarray:
    return np.floor(array.astype(np.float64) * (2**bits - 1) + 0.5).astype(int).transpose(1, 2, 0).squeeze()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_eight_bit_png_by_pillow(tmp_path: Path, channels: int) -> None:
    array = random(channels)
    write_image(tmp_path / "a.png", array)
    image = Image.open(tmp_path / "a.png")
    assert image.mode == {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    np.testing.assert_array_equal(np.asarray(image), rounded(array, 8))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_tiff_by_tifffile(tmp_path: Path, channels: int, bits: Literal[8, 16, 32]) -> None:
    array = random(channels, 300, 270)
    write_image(tmp_path / "a.tif", array, bits=bits)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages.first
        stored = page.asarray()
        assert page.photometric == (tifffile.PHOTOMETRIC.MINISBLACK if channels < 3 else tifffile.PHOTOMETRIC.RGB)
        assert list(page.extrasamples) == [tifffile.EXTRASAMPLE.UNASSALPHA] * (channels in (2, 4))
    if bits == 32:
        np.testing.assert_array_equal(stored, array.transpose(1, 2, 0).squeeze())
    else:
        np.testing.assert_array_equal(stored, rounded(array, bits))


def test_sixteen_bit_grey_png_by_pillow(tmp_path: Path) -> None:
    array = random(1)
    write_image(tmp_path / "a.png", array, bits=16)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), rounded(array, 16))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_reading_what_was_read_changes_nothing(tmp_path: Path, bits: Literal[8, 16], suffix: str) -> None:
    values = np.arange(2**bits).reshape(1, 2 ** (bits // 2), -1)
    array = (values / (2**bits - 1)).astype(np.float32)
    write_image(tmp_path / f"a{suffix}", array, bits=bits)
    np.testing.assert_array_equal(Raster.open(tmp_path / f"a{suffix}").read_samples(), values)
    np.testing.assert_array_equal(Raster.open(tmp_path / f"a{suffix}").read(), array)


def test_rounding_is_half_up_after_clamping(tmp_path: Path) -> None:
    array = np.array([[[-3, 0.5 / 255, 1.5 / 255, 2.49 / 255, 1, 9]]], np.float32)
    write_image(tmp_path / "a.png", array)
    assert np.asarray(Image.open(tmp_path / "a.png")).tolist() == [[0, 1, 2, 2, 255, 255]]


def test_windows_in_any_order(tmp_path: Path) -> None:
    array = random(3, 70, 90)
    windows = [Window(x, y, min(32, 90 - x), min(20, 70 - y)) for x in range(0, 90, 32) for y in range(0, 70, 20)]
    with RasterWriter(tmp_path / "a.png", 90, 70) as writer:
        for index in RNG.permutation(len(windows)):
            window = windows[index]
            writer.write(window, array[:, window.y : window.y + window.height, window.x : window.x + window.width])
        writer.write(windows[0], array[:, :20, :32])  # a tile that is done again
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), rounded(array, 8))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_bounds_shapes_and_values_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        RasterWriter(tmp_path / "a.png", 0, 4)
    with pytest.raises(ValueError, match="pixels were never written"), RasterWriter(tmp_path / "a.png", 8, 8) as writer:
        with pytest.raises(ValueError, match="array of shape"):
            writer.write(Window(0, 0, 8, 8), random(1, 8, 8))
        with pytest.raises(ValueError, match="does not lie inside"):
            writer.write(Window(1, 0, 8, 8), random(3, 8, 8))
        with pytest.raises(ValueError, match="NaN"):
            writer.write(Window(0, 0, 8, 8), np.full((3, 8, 8), np.nan))
        writer.write(Window(0, 0, 8, 7), random(3, 7, 8))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path, kind: type[BaseException]) -> None:
    (tmp_path / "a.png").write_bytes(b"old")
    with pytest.raises(kind), RasterWriter(tmp_path / "a.png", 8, 8) as writer:
        writer.write(Window(0, 0, 8, 8), random(3, 8, 8))
        raise kind
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.png", b"old")]


def test_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("gramgan.images.writer._allocate", full)
    with pytest.raises(UserError, match="disk is full") as caught:
        write_image(tmp_path / "a.png", random(3))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(UserError, match="disk is full"), RasterWriter(tmp_path / "a.png", 300, 300) as writer:
        writer.write(Window(0, 0, 300, 300), random(3, 300, 300))
        writer._temporary.unlink()
        writer._temporary.symlink_to("/dev/full")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "says"), [("a.bmp", "cannot write '.bmp'"), ("a", "no suffix"), ("a.gif", "cannot write")]
)
def test_suffixes_that_cannot_be_written(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        write_image(tmp_path / name, random(3))
    assert str(tmp_path / name) in str(caught.value)


def test_sides_that_a_format_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too large for WebP"):
        RasterWriter(tmp_path / "a.webp", 16384, 4)
    with pytest.raises(UserError, match="too large for JPEG"):
        RasterWriter(tmp_path / "a.jpg", 4, 65536)


def test_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="a file stands where a folder is needed"):
        write_image(tmp_path / "file" / "a.png", random(3))


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_depth_that_a_format_lacks_is_said(tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="gramgan"):
        write_image(tmp_path / f"a{suffix}", random(3), bits=16)
    assert "16-bit samples are rounded" in caplog.text
    assert Raster.open(tmp_path / f"a{suffix}").info.dtype == "uint8"


def test_float_into_png_is_sixteen_bits(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", random(3), bits=32)
    assert Raster.open(tmp_path / "a.png").info.dtype == "uint16"


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_into_jpeg_is_put_on_white(tmp_path: Path, channels: int, caplog: pytest.LogCaptureFixture) -> None:
    array = np.zeros((channels, 32, 32), np.float32)
    array[-1] = 0.25
    with caplog.at_level(logging.INFO, logger="gramgan"):
        write_image(tmp_path / "a.jpg", array)
    assert "put on white" in caplog.text
    image = Image.open(tmp_path / "a.jpg")
    assert image.mode == ("L" if channels == 2 else "RGB")
    assert np.abs(np.asarray(image).astype(int) - 191).max() <= 1


def test_webp_of_grey_and_of_alpha(tmp_path: Path) -> None:
    array = random(2)
    write_image(tmp_path / "a.webp", array, quality=100)
    pixels = np.asarray(Image.open(tmp_path / "a.webp").convert("RGBA"))
    np.testing.assert_array_equal(pixels[..., [0, 3]], rounded(array, 8))
    np.testing.assert_array_equal(pixels[..., 0], pixels[..., 2])


def test_jpeg_quality_and_full_colour(tmp_path: Path) -> None:
    smooth = np.asarray(Image.fromarray(RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((80, 60)))
    array = smooth.transpose(2, 0, 1).astype(np.float32) / 255
    sizes = []
    for quality in (50, 95):
        write_image(tmp_path / "a.jpg", array, quality=quality)
        sizes.append((tmp_path / "a.jpg").stat().st_size)
    assert sizes[0] < sizes[1]
    assert np.abs(np.asarray(Image.open(tmp_path / "a.jpg")).astype(int) - smooth).max() <= 12


def source_with_everything(path: Path) -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "On the beach"
    exif[0x0110] = "Camera 5"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    exif.get_ifd(0x8769)[0x829A] = IFDRational(1, 250)
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (48.0, 8.0, 15.5)
    picture = Image.fromarray(RNG.integers(0, 256, (32, 48, 3), dtype=np.uint8))
    picture.save(path, icc_profile=profile, exif=exif, dpi=(300, 300), xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>")
    return profile


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_metadata_survives(tmp_path: Path, suffix: str) -> None:
    profile = source_with_everything(tmp_path / "in.jpg")
    raster = Raster.open(tmp_path / "in.jpg")
    write_image(tmp_path / f"out{suffix}", raster.read(), like=raster.info)
    image = Image.open(tmp_path / f"out{suffix}")
    assert image.size == (32, 48)
    assert image.info["icc_profile"] == profile
    exif = image.getexif()
    assert (exif[0x0112], exif[0x0110], exif[0x010E]) == (1, "Camera 5", "On the beach")
    assert exif.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
    assert exif.get_ifd(0x8825)[1] == "N"
    assert exif[0x011A] == pytest.approx(300, abs=0.1)
    xmp = image.info["XML:com.adobe.xmp"].encode() if suffix == ".png" else image.info["xmp"]
    assert xmp == raster.info.xmp


@pytest.mark.parametrize("limit", [10, 10**9], ids=["BigTIFF", "classic"])
def test_metadata_survives_in_tiff(tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff, "_CLASSIC_LIMIT", limit)
    profile = source_with_everything(tmp_path / "in.jpg")
    raster = Raster.open(tmp_path / "in.jpg")
    write_image(tmp_path / "out.tif", raster.read(), like=raster.info)
    info = Raster.open(tmp_path / "out.tif").info
    assert info.icc == profile
    write_image(tmp_path / "again.tif", raster.read(), like=info)
    write_image(tmp_path / "back.jpg", raster.read(), like=info)
    assert info.dpi == pytest.approx((300, 300), abs=0.1)
    assert info.xmp is not None
    for name in ("out.tif", "again.tif", "back.jpg"):
        with Image.open(tmp_path / name) as image:
            exif = image.getexif()
            assert (exif[0x0112], exif[0x0110]) == (1, "Camera 5")
            assert exif.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
            assert exif.get_ifd(0x8769)[0x829A] == pytest.approx(1 / 250)
            assert exif.get_ifd(0x8825)[1] == "N"
            assert list(exif.get_ifd(0x8825)[2]) == [48.0, 8.0, 15.5]
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert file.pages.first.tags["ImageDescription"].value == "On the beach"
        assert len(file.pages) == 1
        np.testing.assert_array_equal(file.asarray(), rounded(raster.read(), 8))


def test_profile_for_another_kind_of_image_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    profile = source_with_everything(tmp_path / "in.jpg")
    info = Raster.open(tmp_path / "in.jpg").info
    assert profile[16:20] == b"RGB "
    with caplog.at_level(logging.INFO, logger="gramgan"):
        write_image(tmp_path / "out.png", random(1), like=info)
    assert "icc_profile" not in Image.open(tmp_path / "out.png").info
    assert "profile is for RGB" in caplog.text


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.png", "a.tif"])
def test_comment(tmp_path: Path, name: str) -> None:
    source_with_everything(tmp_path / "in.jpg")
    info = Raster.open(tmp_path / "in.jpg").info
    write_image(tmp_path / name, random(3), like=info, comment="texture was synthesised")
    with Image.open(tmp_path / name) as image:
        text = image.info["Description"] if name == "a.png" else image.getexif()[0x010E]
    assert text == "On the beach; texture was synthesised"
    write_image(tmp_path / name, random(3), comment="texture was synthesised")
    with Image.open(tmp_path / name) as image:
        text = image.info["Description"] if name == "a.png" else image.getexif()[0x010E]
    assert text == "texture was synthesised"


def test_bigtiff_when_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "small.tif", random(3))
    monkeypatch.setattr(tiff, "_CLASSIC_LIMIT", 37 * 53 * 3 - 1)
    array = random(3)
    write_image(tmp_path / "big.tif", array)
    with tifffile.TiffFile(tmp_path / "small.tif") as small, tifffile.TiffFile(tmp_path / "big.tif") as big:
        assert (small.is_bigtiff, big.is_bigtiff) == (False, True)
        np.testing.assert_array_equal(big.asarray(), rounded(array, 8))
    np.testing.assert_array_equal(read_rgb8(tmp_path / "big.tif"), rounded(array, 8).transpose(2, 0, 1))
