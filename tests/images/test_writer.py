"""What `RasterWriter` writes is read back by Pillow and tifffile, and nothing is left behind when it fails."""

import errno
import json
import logging
import threading
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import IFDRational

from gramgan.errors import UserError
from gramgan.images import Raster, RasterWriter, Window, canvas, read_rgb8, write_image
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
        with pytest.raises(ValueError, match="in the image already"):
            writer.write(windows[0], array[:, :20, :32])
        assert writer.finished == set(windows)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), rounded(array, 8))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_pages_of_a_map_would_count_as_memory_so_there_is_none(tmp_path: Path) -> None:
    """What is written does not stay in the process, however large the image."""
    if not Path("/proc/self/status").exists():
        pytest.skip("this system has no /proc")

    def resident() -> int:
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))

    strip = random(3, 64, 4000)
    with pytest.raises(KeyboardInterrupt), RasterWriter(tmp_path / "a.tif", 4000, 6400, bits=32) as writer:
        writer.write(Window(0, 0, 4000, 64), strip)
        before = resident()
        for top in range(64, 6400, 64):
            writer.write(Window(0, top, 4000, 64), strip)
        assert resident() - before < 60_000, "kB, of an image of 307 MB"
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


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

    monkeypatch.setattr("gramgan.images.canvas._allocate", full)
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
    ("name", "says"), [("a.bmp", "cannot write '.bmp'"), ("a", "no suffix"), ("a.heic", "cannot write")]
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
    assert "PNG has no place for a colour profile for RGB" in caplog.text


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


@pytest.fixture
def prompt_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every window gets into the journal at once."""
    monkeypatch.setattr(canvas, "_SYNC_SECONDS", 0)
    monkeypatch.setattr(canvas, "_SYNC_SHARE", 0)


ROWS = [Window(0, top, 53, 1) for top in range(37)]


def resumable(path: Path, key: str | None = "key", **settings: Any) -> RasterWriter:
    return RasterWriter(path, settings.pop("width", 53), 37, resume_key=key, **settings)


def begin(path: Path, array: np.ndarray, rows: int, error: type[BaseException] = KeyboardInterrupt) -> None:
    """A job that is left by `error` after some rows."""
    with pytest.raises(error), resumable(path, bits=16) as writer:
        assert writer.plan is None
        writer.follow({"tile": 1})
        for window in ROWS[:rows]:
            writer.write(window, array[:, window.y : window.y + 1])
        raise error


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_job_is_taken_up_again(tmp_path: Path, error: type[BaseException]) -> None:
    path, array = tmp_path / "a.png", random(3)
    begin(path, array, 20, error)
    assert names(tmp_path) == [".a.png.journal", ".a.png.part"]
    with resumable(path, bits=16) as writer:
        assert writer.finished == set(ROWS[:20])
        assert writer.holds(ROWS[19])
        assert not writer.holds(ROWS[20])
        assert writer.plan == {"tile": 1}
        writer.follow({"tile": 1})
        for window in ROWS[20:]:
            writer.write(window, array[:, window.y : window.y + 1])
    assert names(tmp_path) == ["a.png"]
    np.testing.assert_array_equal(Raster.open(path).read(), array)


def test_interrupted_twice(tmp_path: Path) -> None:
    path, array = tmp_path / "a.png", random(3)
    begin(path, array, 5)
    with pytest.raises(KeyboardInterrupt), resumable(path, bits=16) as writer:
        for window in ROWS[5:9]:
            writer.write(window, array[:, window.y : window.y + 1])
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match=f"{28 * 53} pixels were never"), resumable(path, bits=16) as writer:
        assert writer.finished == set(ROWS[:9])


def test_nothing_is_left_where_nothing_was_done(tmp_path: Path) -> None:
    begin(tmp_path / "a.png", random(3), 0)
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [UserError, RuntimeError, OSError])
def test_a_failed_job_leaves_nothing(tmp_path: Path, error: type[Exception]) -> None:
    with pytest.raises(UserError if error is OSError else error), resumable(tmp_path / "a.png", bits=16) as writer:
        writer.write(ROWS[0], random(3)[:, :1])
        raise error
    assert names(tmp_path) == []


def test_an_interrupted_encoder_leaves_what_can_be_encoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, array = tmp_path / "a.png", random(3)

    def interrupted(_canvas: canvas.Canvas, _access: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(canvas.Canvas, "image", interrupted)
        with resumable(path, bits=16) as writer:
            writer.write(Window(0, 0, 53, 37), array)
    assert names(tmp_path) == [".a.png.journal", ".a.png.part"]
    with resumable(path, bits=16) as writer:
        assert writer.holds(Window(0, 0, 53, 37))
    assert names(tmp_path) == ["a.png"]
    np.testing.assert_array_equal(Raster.open(path).read(), array)


@pytest.mark.parametrize(
    "settings",
    [{"key": "other"}, {"bits": 8}, {"width": 54}, {"has_alpha": True}, {"colour_channels": 1}],
    ids=["key", "depth", "size", "alpha", "grey"],
)
def test_what_belongs_to_another_job_is_discarded(tmp_path: Path, settings: dict[str, Any]) -> None:
    begin(tmp_path / "a.png", random(3), 20)
    with (
        pytest.raises(ValueError, match="pixels were never written"),
        resumable(tmp_path / "a.png", **{"bits": 16, **settings}) as writer,
    ):
        assert writer.finished == frozenset()
        assert writer.plan is None
    assert names(tmp_path) == []


def test_another_plan_begins_anew(tmp_path: Path, prompt_journal: None) -> None:
    path, array = tmp_path / "a.png", random(3)
    begin(path, array, 20)
    with pytest.raises(KeyboardInterrupt), resumable(path, bits=16) as writer:
        writer.follow({"tile": 2})
        assert writer.finished == frozenset()
        writer.write(Window(0, 0, 53, 2), array[:, :2])
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="never written"), resumable(path, bits=16) as writer:
        assert writer.plan == {"tile": 2}
        assert writer.finished == {Window(0, 0, 53, 2)}


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        (lambda text: text[:-9], 19),
        (lambda text: text + b"{not json\n", 20),
        (lambda text: text + b'{"window": [0, 30, 53]}\n{"window": [0, 30, 53, 1]}\n', 20),
        (lambda text: text + b"[]\n", 20),
        (lambda text: b"", 0),
        (lambda text: b"\xff" * 100, 0),
        (lambda text: text[60:], 0),
    ],
    ids=["cut", "garbage", "wrong window", "no object", "empty", "binary", "no header"],
)
def test_a_damaged_journal_counts_as_far_as_it_is_whole(tmp_path: Path, damage: Any, left: int) -> None:
    path, array = tmp_path / "a.png", random(3)
    begin(path, array, 20)
    journal = tmp_path / ".a.png.journal"
    journal.write_bytes(damage(journal.read_bytes()))
    with resumable(path, bits=16) as writer:
        assert writer.finished == set(ROWS[:left])
        for window in ROWS[left:]:
            writer.write(window, array[:, window.y : window.y + 1])
    np.testing.assert_array_equal(Raster.open(path).read(), array)


@pytest.mark.parametrize("size", [None, 0, 100])
def test_a_journal_without_its_samples_is_worthless(tmp_path: Path, size: int | None) -> None:
    begin(tmp_path / "a.png", random(3), 20)
    part = tmp_path / ".a.png.part"
    if size is None:
        part.unlink()
    else:
        with part.open("r+b") as file:
            file.truncate(size)
    with pytest.raises(ValueError, match="never written"), resumable(tmp_path / "a.png", bits=16) as writer:
        assert writer.finished == frozenset()


def test_what_a_killed_encoder_left_is_cleared_away(tmp_path: Path) -> None:
    begin(tmp_path / "a.png", random(3), 20)
    with (tmp_path / ".a.png.journal").open() as file:
        name = next(json.loads(line)["temporary"] for line in file if "temporary" in line)
    (tmp_path / name).touch()
    (tmp_path / ".other.png").touch()
    with pytest.raises(ValueError, match="never written"), resumable(tmp_path / "a.png", bits=16):
        pass
    assert names(tmp_path) == [".other.png"]


def test_two_processes_cannot_fill_one_file(tmp_path: Path) -> None:
    path, array = tmp_path / "a.png", random(3)
    with resumable(path, bits=16) as first:
        first.write(ROWS[0], array[:, :1])
        with pytest.raises(UserError, match="another process is writing this file") as caught, resumable(path, bits=16):
            pass
        assert str(path) in str(caught.value)
        write_image(path, random(1))  # without a key: private, so both are done
        for window in ROWS[1:]:
            first.write(window, array[:, window.y : window.y + 1])
    assert names(tmp_path) == ["a.png"]
    np.testing.assert_array_equal(Raster.open(path).read(), array)


def test_windows_are_in_the_journal_only_after_their_samples(
    tmp_path: Path, prompt_journal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a sudden loss of power leaves: a window that is named is on the disk."""
    events: list[str] = []
    sync = canvas.Canvas._sync

    def noting(self: canvas.Canvas) -> None:
        journal = (tmp_path / ".a.png.journal").read_text()
        events.append(f"{journal.count('window')}")
        sync(self)

    monkeypatch.setattr(canvas.Canvas, "_sync", noting)
    begin(tmp_path / "a.png", random(3), 4)
    assert events == ["0", "1", "2", "3"]


def test_the_journal_does_not_wait_for_the_disk_at_every_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def counting(_canvas: canvas.Canvas) -> None:
        nonlocal calls
        calls += 1

    monkeypatch.setattr(canvas.Canvas, "_sync", counting)
    begin(tmp_path / "a.png", random(3), 37)
    assert calls < 10


def by_rows(path: Path, array: np.ndarray, step: int, **settings: Any) -> None:
    channels, height, width = array.shape
    colours: Literal[1, 3] = 3 if channels > 2 else 1
    with RasterWriter(path, width, height, colour_channels=colours, has_alpha=channels in (2, 4), **settings) as writer:
        for top in range(0, height, step):
            writer.write(Window(0, top, width, min(step, height - top)), array[:, top : top + step])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("suffix", "bits"), [(".png", 8), (".png", 16), (".tif", 8), (".tif", 16), (".tif", 32)])
def test_encoding_ahead_gives_the_very_same_file(
    tmp_path: Path, channels: int, suffix: str, bits: Literal[8, 16, 32]
) -> None:
    source_with_everything(tmp_path / "in.jpg")
    like = Raster.open(tmp_path / "in.jpg").info
    array = random(channels, 300, 270)
    write_image(tmp_path / f"whole{suffix}", array, bits=bits, like=like, comment="made")
    by_rows(tmp_path / f"rows{suffix}", array, 7, bits=bits, like=like, comment="made")
    assert (tmp_path / f"rows{suffix}").read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif"])
def test_encoding_ahead_into_lossy_formats(tmp_path: Path, channels: int, suffix: str) -> None:
    array = random(channels, 100, 90)
    write_image(tmp_path / f"whole{suffix}", array)
    by_rows(tmp_path / f"rows{suffix}", array, 16)
    np.testing.assert_array_equal(
        Raster.open(tmp_path / f"rows{suffix}").read_samples(), Raster.open(tmp_path / f"whole{suffix}").read_samples()
    )


def test_the_encoder_works_while_rows_are_still_to_come(tmp_path: Path) -> None:
    array = random(3, 2000, 1000)
    with RasterWriter(tmp_path / "a.png", 1000, 2000, bits=16) as writer:
        for top in range(0, 1900, 100):
            writer.write(Window(0, top, 1000, 100), array[:, top : top + 100])
        for _ in range(200):
            if writer._temporary.stat().st_size > 5_000_000:
                break
            time.sleep(0.05)
        else:
            pytest.fail("nothing was encoded")
        writer.write(Window(0, 1900, 1000, 100), array[:, 1900:])
    np.testing.assert_array_equal(Raster.open(tmp_path / "a.png").read(), array)


def test_nothing_is_encoded_that_is_not_final(tmp_path: Path) -> None:
    """Tiles of one row, the last row of tiles first, and the left halves long before the right ones."""
    array = random(3, 300, 400)
    with RasterWriter(tmp_path / "a.png", 400, 300, bits=16) as writer:
        for left in (200, 0):
            for top in (200, 0, 100):
                time.sleep(0.02)
                writer.write(Window(left, top, 200, 100), array[:, top : top + 100, left : left + 200])
    np.testing.assert_array_equal(Raster.open(tmp_path / "a.png").read(), array)


def test_an_encoder_that_fails_on_the_way_ends_the_job(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    array = random(3, 1000, 1000)
    written = 0
    with pytest.raises(UserError, match="disk is full"), RasterWriter(tmp_path / "a.png", 1000, 1000) as writer:
        writer._temporary.unlink()
        writer._temporary.symlink_to("/dev/full")
        for top in range(0, 1000, 10):
            writer.write(Window(0, top, 1000, 10), array[:, top : top + 10])
            time.sleep(0.01)
            written += 1
    assert 1 < written < 100
    assert list(tmp_path.iterdir()) == []


def test_a_plan_cannot_change_on_the_way(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="before the first window"),
        RasterWriter(tmp_path / "a.png", 8, 8) as writer,
    ):
        writer.follow({"tile": 1})
        writer.write(Window(0, 0, 8, 2), random(3, 2, 8))
        writer.follow({"tile": 2})
    assert list(tmp_path.iterdir()) == []


def test_no_thread_survives_its_block(tmp_path: Path) -> None:
    begin(tmp_path / "a.png", random(3), 5)
    with pytest.raises(KeyError), RasterWriter(tmp_path / "b.png", 53, 37) as writer:
        writer.write(ROWS[0], random(3)[:, :1])
        raise KeyError
    assert not [thread for thread in threading.enumerate() if thread.name == "gramgan-encode"]
