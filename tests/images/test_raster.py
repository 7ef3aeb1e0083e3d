"""Files made by Pillow, tifffile or by hand must come out of `Raster` as their makers meant them."""

import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageSequence

from gramgan.errors import UserError
from gramgan.images import MAX_PIXELS, Raster, Window, find_images, read_rgb, read_rgb8, write_image

RNG = np.random.default_rng(7)
GREY = RNG.integers(0, 256, (13, 17), dtype=np.uint8)
RGB = RNG.integers(0, 256, (13, 17, 3), dtype=np.uint8)
RGBA = RNG.integers(0, 256, (13, 17, 4), dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, (13, 17), dtype=np.uint16)
RGB16 = RNG.integers(0, 65536, (13, 17, 3), dtype=np.uint16)


def chw(pixels: np.ndarray) -> np.ndarray:
    white = {"uint8": 255, "uint16": 65535, "float32": 1}[str(pixels.dtype)]
    cube = pixels[..., None] if pixels.ndim == 2 else pixels
    return (cube.transpose(2, 0, 1) / white).astype(np.float32)


def check(path: Path, expected: np.ndarray, colour: int, alpha: bool, dtype: str) -> None:
    raster = Raster.open(path)
    info = raster.info
    assert (info.colour_channels, info.has_alpha, info.dtype) == (colour, alpha, dtype)
    assert (info.height, info.width) == expected.shape[1:]
    assert info.channels == len(expected)
    array = raster.read()
    assert array.dtype == np.float32
    assert array.flags.c_contiguous
    np.testing.assert_allclose(array, expected, atol=1e-6)
    np.testing.assert_array_equal(raster.read(Window(5, 3, 7, 9)), array[:, 3:12, 5:12])


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(
    ("pixels", "colour", "alpha"),
    [(GREY, 1, False), (RGB, 3, False), (RGBA, 3, True), (RGBA[..., :2].copy(), 1, True)],
    ids=["grey", "rgb", "rgba", "grey+alpha"],
)
def test_eight_bits_of_pillow(tmp_path: Path, suffix: str, pixels: np.ndarray, colour: int, alpha: bool) -> None:
    Image.fromarray(pixels).save(tmp_path / f"a{suffix}")
    check(tmp_path / f"a{suffix}", chw(pixels), colour, alpha, "uint8")


def test_sixteen_bit_grey_png(tmp_path: Path) -> None:
    Image.fromarray(GREY16).save(tmp_path / "a.png")
    check(tmp_path / "a.png", chw(GREY16), 1, False, "uint16")


def test_sixteen_bit_rgb_png_made_by_hand(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_bytes(RGB16))
    check(tmp_path / "a.png", chw(RGB16), 3, False, "uint16")


def test_dark_sixteen_bits_are_not_taken_for_eight(tmp_path: Path) -> None:
    dark = np.full((4, 4), 200, np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", dark)
    np.testing.assert_allclose(Raster.open(tmp_path / "a.tif").read(), 200 / 65535, rtol=1e-6)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_sixteen_bit_rgb_tiff(tmp_path: Path, planar: str) -> None:
    pixels = RGB16 if planar == "contig" else RGB16.transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", planarconfig=planar)
    check(tmp_path / "a.tif", chw(RGB16), 3, False, "uint16")


def test_float_tiff_is_read_as_it_is(tmp_path: Path) -> None:
    pixels = RNG.random((13, 17, 3)).astype(np.float32)
    pixels[0, :2, 0] = [-0.0004, 1.0004]  # rounding is no other range
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    check(tmp_path / "a.tif", chw(pixels), 3, False, "float32")


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_one_bit_tiff(tmp_path: Path, photometric: str) -> None:
    bits = GREY > 127
    tifffile.imwrite(tmp_path / "a.tif", bits, photometric=photometric)
    shown = bits if photometric == "minisblack" else ~bits
    check(tmp_path / "a.tif", shown[None].astype(np.float32), 1, False, "uint8")


def test_one_bit_png(tmp_path: Path) -> None:
    Image.fromarray(GREY).convert("1", dither=Image.Dither.NONE).save(tmp_path / "a.png")
    check(tmp_path / "a.png", (GREY > 127)[None].astype(np.float32), 1, False, "uint8")


def test_palette_with_and_without_transparency(tmp_path: Path) -> None:
    palette = Image.fromarray(RGB).quantize(16)
    palette.save(tmp_path / "a.png", bits=4)
    check(tmp_path / "a.png", chw(np.asarray(palette.convert("RGB"))), 3, False, "uint8")
    palette.save(tmp_path / "b.png", transparency=3)
    expected = np.dstack([np.asarray(palette.convert("RGB")), np.where(np.asarray(palette) == 3, 0, 255)])
    check(tmp_path / "b.png", chw(expected.astype(np.uint8)), 3, True, "uint8")


def test_associated_alpha_becomes_straight(tmp_path: Path) -> None:
    pixels = np.full((13, 17, 4), (50, 100, 25, 128), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["assocalpha"])
    straight = Raster.open(tmp_path / "a.tif").read()[:, 0, 0]
    np.testing.assert_allclose(straight, [50 / 128, 100 / 128, 25 / 128, 128 / 255], atol=1 / 255)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".png"])
def test_lossy_formats_agree_with_pillow(tmp_path: Path, suffix: str) -> None:
    smooth = np.asarray(Image.fromarray(RGB).resize((64, 48), Image.Resampling.BICUBIC))
    Image.fromarray(smooth).save(tmp_path / f"a{suffix}")
    expected = np.asarray(Image.open(tmp_path / f"a{suffix}").convert("RGB"))
    assert np.abs(read_rgb8(tmp_path / f"a{suffix}").transpose(1, 2, 0).astype(int) - expected).max() <= 2


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk_becomes_srgb(tmp_path: Path, name: str) -> None:
    inks = {"white": (0, 0, 0, 0), "black": (255, 255, 255, 255), "red": (0, 255, 255, 0)}
    for ink in inks.values():
        Image.new("CMYK", (32, 32), ink).save(tmp_path / name)
        info = Raster.open(tmp_path / name).info
        assert (info.colour_channels, info.has_alpha, info.dtype) == (3, False, "uint8")
        assert info.icc is None or info.icc[16:20] == b"RGB "
    colours = {}
    for ink, values in inks.items():
        Image.new("CMYK", (32, 32), values).save(tmp_path / name)
        colours[ink] = read_rgb(tmp_path / name)[:, 16, 16]
    assert colours["white"].min() > 0.97
    assert colours["black"].max() < 0.2
    assert colours["red"][0] > 0.7 > 0.4 > colours["red"][1:].max()


def test_sixteen_bit_cmyk_stays_deep(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((8, 8, 4), 20000, np.uint16), photometric="separated")
    assert Raster.open(tmp_path / "a.tif").info.dtype == "uint16"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_orientation_is_applied_and_reset(tmp_path: Path, orientation: int, suffix: str) -> None:
    picture = Image.fromarray(np.kron(RNG.integers(0, 256, (2, 3, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Maker"
    options = {".webp": {"lossless": True}, ".jpg": {"quality": 98, "subsampling": 0}}.get(suffix, {})
    picture.save(tmp_path / f"a{suffix}", exif=exif, **options)
    moves = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
    upright = picture.transpose(Image.Transpose(moves[orientation])) if orientation in moves else picture
    raster = Raster.open(tmp_path / f"a{suffix}")
    assert (raster.info.width, raster.info.height) == upright.size
    np.testing.assert_allclose(raster.read(), chw(np.asarray(upright)), atol=3 / 255)
    if raster.info.exif is not None:
        again = Image.Exif()
        again.load(raster.info.exif)
        assert (again.get(0x0112, 1), again[0x010F]) == (1, "Maker")


def test_xmp_orientation_is_reset(tmp_path: Path) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/><tiff:Orientation>8</x:xmpmeta>'
    Image.fromarray(RGB).save(tmp_path / "a.jpg", xmp=xmp)
    info = Raster.open(tmp_path / "a.jpg").info
    assert info.xmp == xmp.replace(b'"6"', b'"1"').replace(b">8<", b">1<")


def test_damaged_exif_does_no_harm(tmp_path: Path) -> None:
    for exif in (b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01" * 9):
        Image.fromarray(RGB).save(tmp_path / "a.jpg", exif=exif)
        assert read_rgb8(tmp_path / "a.jpg").shape == (3, 13, 17)


def test_profile_and_resolution(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name in ("a.jpg", "a.png", "a.tif"):
        Image.fromarray(RGB).save(tmp_path / name, icc_profile=profile, dpi=(300, 150))
        info = Raster.open(tmp_path / name).info
        assert info.icc == profile
        assert info.dpi == pytest.approx((300, 150), abs=0.05)
        Image.fromarray(RGB).save(tmp_path / name)
        assert Raster.open(tmp_path / name).info.dpi is None


def test_first_of_several_images_is_read_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames = [Image.fromarray(RGB).quantize(64), Image.fromarray(255 - RGB).quantize(64)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(RGB).save(
        tmp_path / "a.webp", save_all=True, lossless=True, append_images=[Image.fromarray(255 - RGB)]
    )
    tifffile.imwrite(tmp_path / "a.tif", np.stack([RGB, 255 - RGB]), photometric="rgb")
    with caplog.at_level(logging.INFO, logger="gramgan"):
        for name in ("a.gif", "a.webp", "a.tif"):
            first = next(iter(ImageSequence.Iterator(Image.open(tmp_path / name)))).convert("RGB")
            np.testing.assert_array_equal(read_rgb8(tmp_path / name).transpose(1, 2, 0), np.asarray(first))
            assert f"{name}: " in caplog.messages[-1]
            assert "2 images in it; the first is read" in caplog.messages[-1]


def test_content_counts_and_not_the_suffix(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    check(tmp_path / "a.jpg", chw(RGB), 3, False, "uint8")


@pytest.mark.parametrize("name", ["a[1].png", "a[page=2]", "ä ö.png", "a,b=c;.png"])
def test_odd_names(tmp_path: Path, name: str) -> None:
    Image.fromarray(RGB).save(tmp_path / name, format="PNG")
    check(tmp_path / name, chw(RGB), 3, False, "uint8")


def test_one_pixel_and_window_errors(tmp_path: Path) -> None:
    Image.new("L", (1, 1), 51).save(tmp_path / "a.png")
    raster = Raster.open(tmp_path / "a.png")
    np.testing.assert_allclose(raster.read(), 0.2)
    for window in (Window(0, 0, 2, 1), Window(-1, 0, 1, 1), Window(0, 0, 0, 1)):
        with pytest.raises(ValueError, match="does not lie inside"):
            raster.read(window)


def test_overwritten_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_image(path, np.zeros((3, 4, 4), np.float32))
    assert read_rgb(path).max() == 0
    write_image(path, np.ones((3, 4, 4), np.float32))
    assert read_rgb(path).min() == 1


def test_read_rgb8_of_deeper_files(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", RGB.astype(np.uint16) * 257, photometric="rgb")
    np.testing.assert_array_equal(read_rgb8(tmp_path / "a.tif").transpose(1, 2, 0), RGB)
    tifffile.imwrite(tmp_path / "f.tif", np.array([[0.0, 0.5, 1.0]], np.float32))
    assert read_rgb8(tmp_path / "f.tif")[0].tolist() == [[0, 128, 255]]


def test_read_rgb_repeats_grey_and_drops_alpha(tmp_path: Path) -> None:
    Image.fromarray(RGBA[..., :2].copy()).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "a.png"), np.repeat(chw(RGBA[..., 0].copy()), 3, axis=0))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_files_are_refused(tmp_path: Path, name: str, share: float) -> None:
    noise = Image.fromarray(RNG.integers(0, 256, (200, 200, 3), dtype=np.uint8))
    noise.save(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError) as caught:
        read_rgb(tmp_path / name)
    one_line(caught.value, name)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("text.jpg", b"just some words\n", "not an image"),
        ("empty.png", b"", "empty"),
        ("svg.png", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG, which is not read"),
        ("head.png", b"\x89PNG\r\n\x1a\n", "damaged"),
        ("head.jpg", b"\xff\xd8\xff\xe0", "damaged"),
    ],
)
def test_files_that_are_no_images(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=says) as caught:
        read_rgb(tmp_path / name)
    one_line(caught.value, name)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        Raster.open(tmp_path / "a.png")
    with pytest.raises(UserError, match="this is a folder"):
        Raster.open(tmp_path)


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint32"])
def test_integer_types_without_a_white_are_refused(tmp_path: Path, dtype: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GREY.astype(dtype))
    with pytest.raises(UserError, match="samples are of type") as caught:
        Raster.open(tmp_path / "a.tif")
    one_line(caught.value, "a.tif")


def test_seven_channels_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 6, 7), np.uint8), photometric="minisblack", planarconfig="contig")
    with pytest.raises(UserError, match="7 channels"):
        Raster.open(tmp_path / "a.tif")


def test_decompression_bomb(tmp_path: Path) -> None:
    side = int(MAX_PIXELS**0.5) + 1
    (tmp_path / "a.png").write_bytes(png_bytes(GREY16, claim=(side, side)))
    with pytest.raises(UserError, match="--allow-huge") as caught:
        Raster.open(tmp_path / "a.png")
    one_line(caught.value, "a.png")
    assert Raster.open(tmp_path / "a.png", allow_huge=True).info.width == side


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_window_read_once_is_the_same_as_any_other(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"a{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)).save(path, exif=exif.tobytes())
    whole = Raster.open(path).read_rgb8()
    raster = Raster.open(path, sequential=True)
    assert (raster.info.width, raster.info.height) == whole.shape[:0:-1] == ((70, 90) if orientation == 1 else (90, 70))
    window = Window(11, 40, 33, 20)
    np.testing.assert_array_equal(raster.read_rgb8(window), whole[:, 40:60, 11:44])


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_what_lies_below_a_window_is_not_decoded(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 300, 3), np.uint8)).save(path)
    upper = Raster.open(path).read_rgb8(Window(0, 0, 64, 64))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(UserError, match="damaged or truncated"):
        Raster.open(path).read_rgb8(Window(0, 0, 64, 64))
    raster = Raster.open(path, sequential=True)
    np.testing.assert_array_equal(raster.read_rgb8(Window(0, 0, 64, 64)), upper)
    with pytest.raises(UserError, match="damaged or truncated") as caught:
        Raster.open(path, sequential=True).read_rgb8(Window(0, 330, 64, 64))
    one_line(caught.value, path.name)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_files_in_memory(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(RGB).save(path)
    data = path.read_bytes()
    inside = Raster.open("some.tar/a", data=data)
    np.testing.assert_array_equal(inside.read_rgb8(), read_rgb8(path))
    for sequential in (False, True):  # the bytes must outlive the opening, also where nobody else keeps them
        rasters = [Raster.open("a", data=bytes(bytearray(data)), sequential=sequential) for _ in range(20)]
        bytearray(20 * len(data))
        for raster in rasters:
            np.testing.assert_array_equal(raster.read_rgb8(), read_rgb8(path))
    with pytest.raises(UserError, match=r"some\.tar/a: damaged"):
        Raster.open("some.tar/a", data=data[:40]).read_rgb8()


def test_files_in_memory_of_formats_that_need_a_name(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", RGB)
    with pytest.raises(UserError, match="TIFF inside of another file") as caught:
        Raster.open("some.tar/a.png", data=(tmp_path / "a.tif").read_bytes())
    one_line(caught.value, "some.tar/a.png")
    with pytest.raises(UserError, match="empty"):
        Raster.open("some.tar/a.png", data=b"")


def test_find_images(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpeg", "sub/c.tif", "note.txt", ".hidden.png", "sub/._c.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)] == ["a.jpeg", "b.PNG", "sub/c.tif"]


def test_find_images_in_useless_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it is empty"):
        find_images(tmp_path)
    for name in ("a.txt", "b.txt", "c.md"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"no images in this folder \(it holds 3 other files\)"):
        find_images(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        find_images(tmp_path / "nowhere")
    with pytest.raises(UserError, match="a file, not a folder"):
        find_images(tmp_path / "a.txt")


def one_line(error: UserError, name: str) -> None:
    assert "\n" not in str(error)
    assert name in str(error)


def png_bytes(pixels: np.ndarray, claim: tuple[int, int] | None = None) -> bytes:
    """A 16-bit PNG by the standard's own words; `claim` is a (width, height) that the header lies about."""
    height, width = pixels.shape[:2]
    colour_type = 2 if pixels.ndim == 3 else 0
    header = struct.pack(">IIBBBBB", *(claim or (width, height)), 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body
