"""Odd TIFFs as other programs' bug reports and the specification have them; read back by tifffile and Pillow.

Each test names the report or the section that it comes from.
"""

import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from by_hand import png
from nearest import upscale
from PIL import Image

from gramgan.errors import UserError
from gramgan.images import Raster
from gramgan.images.formats.tiff_contents import contents_of

RNG = np.random.default_rng(20)
TEXTURE = RNG.integers(1, 255, (32, 40, 6), dtype=np.uint8)
RGB = TEXTURE[..., :3]


def in_depth(pixels: np.ndarray, dtype: str) -> np.ndarray:
    """8-bit samples as another type stores them."""
    if dtype == "uint16":
        return pixels.astype(np.uint16) * 257
    return pixels if dtype == "uint8" else (pixels / 255).astype(np.float32)


def large(pixels: np.ndarray) -> np.ndarray:
    return pixels.repeat(4, axis=0).repeat(4, axis=1)


def stored(pixels: np.ndarray, planar: bool) -> np.ndarray:
    return pixels.transpose(2, 0, 1) if planar and pixels.ndim == 3 else pixels


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="gramgan")
    return caplog


# geosolutions-it/imageio-ext#164 (RGB + NIR is no RGBA), developmentseed/deck.gl-raster#187 (NAIP), TIFF 6.0 page 31.
@pytest.mark.parametrize("planar", [False, True], ids=["chunky", "planar"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("colours", [1, 3])
def test_a_channel_that_is_no_alpha_is_a_channel_of_its_own(
    tmp_path: Path, colours: int, dtype: str, planar: bool
) -> None:
    pixels = in_depth(TEXTURE[..., : colours + 1].copy(), dtype)
    pixels[8:16, 8:16, -1] = 0  # were it alpha, the colours here would not be seen
    kind = "rgb" if colours == 3 else "minisblack"
    config: Any = "separate" if planar else "contig"
    tifffile.imwrite(
        tmp_path / "in.tif",
        stored(pixels, planar),
        photometric=kind,
        planarconfig=config,
        extrasamples=["unspecified"],
        metadata=None,
    )
    upscale(tmp_path / "in.tif", tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        page = file.pages.first
        assert list(page.extrasamples) == [tifffile.EXTRASAMPLE.UNSPECIFIED]
        result = page.asarray()
    if result.shape[0] == colours + 1:
        result = result.transpose(1, 2, 0)
    np.testing.assert_allclose(result, large(pixels), atol=1e-6)


@pytest.mark.parametrize("planar", [False, True], ids=["chunky", "planar"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".avif", ".gif"])
def test_a_channel_that_another_format_cannot_hold_is_said(
    tmp_path: Path, suffix: str, dtype: str, planar: bool, said: pytest.LogCaptureFixture
) -> None:
    flat = np.empty((32, 40, 4), np.uint8)
    flat[:] = [200, 120, 40, 0]
    config: Any = "separate" if planar else "contig"
    pixels = stored(in_depth(flat, dtype), planar)
    tifffile.imwrite(
        tmp_path / "in.tif", pixels, photometric="rgb", planarconfig=config, extrasamples=["unspecified"], metadata=None
    )
    upscale(tmp_path / "in.tif", tmp_path / f"out{suffix}")
    assert said.text.count("channel 4 is no alpha (ExtraSamples), left out") == 1
    with Image.open(tmp_path / f"out{suffix}") as image:
        colours = np.asarray(image.convert("RGBA"))
    assert colours[..., 3].min() == 255
    assert np.abs(colours[..., :3].astype(int) - [200, 120, 40]).max() <= 3


# haraldk/TwelveMonkeys#429: alpha is the extra sample that says so, not the first or last one.
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("order", [("unspecified", "unassalpha"), ("unassalpha", "unspecified")])
def test_alpha_is_the_one_that_says_so(tmp_path: Path, order: tuple[str, str], dtype: str) -> None:
    pixels = in_depth(TEXTURE[..., :5].copy(), dtype)
    tifffile.imwrite(tmp_path / "in.tif", pixels, photometric="rgb", extrasamples=list(order), metadata=None)
    raster = Raster.open(tmp_path / "in.tif")
    assert (raster.info.has_alpha, raster.info.channels) == (True, 4)
    wanted = pixels[..., 3 + order.index("unassalpha")]
    np.testing.assert_array_equal(raster.read_samples()[3], wanted)
    np.testing.assert_array_equal(raster.read_samples()[:3], pixels[..., :3].transpose(2, 0, 1))


# GPHemsley/tiff-js#11: associated alpha is multiplied into the colours, unassociated alpha is not.
@pytest.mark.parametrize("kind", ["assocalpha", "unassalpha"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("planar", [False, True], ids=["chunky", "planar"])
def test_alpha_of_both_kinds(tmp_path: Path, kind: str, dtype: str, planar: bool) -> None:
    flat = np.empty((32, 40, 4), np.uint8)
    flat[:] = [100, 60, 20, 128]
    pixels, config = stored(in_depth(flat, dtype), planar), "separate" if planar else "contig"
    options: Any = {"planarconfig": config, "extrasamples": [kind], "metadata": None}
    tifffile.imwrite(tmp_path / "in.tif", pixels, photometric="rgb", **options)
    upscale(tmp_path / "in.tif", tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        result = np.asarray(image.convert("RGBA"))[60, 60].astype(int)
    wanted = [199, 120, 40, 128] if kind == "assocalpha" else [100, 60, 20, 128]
    assert np.abs(result - wanted).max() <= 1


# tshino/compare#85: OpenCV once wrote four samples without the tag that must say what the fourth is.
def test_a_fourth_channel_of_which_nothing_is_said_is_no_alpha(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    tifffile.imwrite(tmp_path / "in.tif", TEXTURE[..., :4], photometric="rgb", extrasamples=["unassalpha"])
    data = bytearray((tmp_path / "in.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "in.tif") as file:
        at = file.pages.first.tags[338].offset
    struct.pack_into("<H", data, at, 65000)  # the tag is another one now
    (tmp_path / "in.tif").write_bytes(data)
    raster = Raster.open(tmp_path / "in.tif")
    assert (raster.info.has_alpha, raster.info.channels) == (False, 3)
    upscale(tmp_path / "in.tif", tmp_path / "out.png")
    assert "channel 4 is no alpha" in said.text


def ink(alpha: str | None) -> dict[str, Any]:
    return {"photometric": "separated", "extrasamples": [alpha] if alpha else None, "metadata": None}


# TIFF 6.0, section 16: inks, with alpha behind them (ImageMagick/ImageMagick#6094 shows what goes wrong with inks).
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("alpha", [None, "unassalpha"])
def test_inks_with_and_without_alpha(tmp_path: Path, alpha: str | None, dtype: str) -> None:
    inks = np.zeros((32, 40, 5 if alpha else 4), np.uint8)
    inks[:, 20:, 1:3] = 255  # red: magenta and yellow
    if alpha:
        inks[..., 4] = 255
        inks[:16, :, 4] = 51
    tifffile.imwrite(tmp_path / "in.tif", in_depth(inks, dtype), **ink(alpha))
    upscale(tmp_path / "in.tif", tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        assert image.mode == ("RGBA" if alpha else "RGB")
        result = np.asarray(image.convert("RGBA")).astype(int)
    assert result[100, 40, :3].min() > 250
    red = result[100, 120]
    assert red[0] > 180 > 110 > red[1:3].max()
    assert result[100, 40, 3] == 255
    assert result[20, 40, 3] == (51 if alpha else 255)


# libvips/libvips#4: levels are marked as reduced images; libvips/libvips#1673: or hang off the page as SubIFDs.
@pytest.mark.parametrize("where", ["chain", "SubIFDs", "chain, unmarked"])
@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_levels_of_a_pyramid_are_no_pages(
    tmp_path: Path, where: str, suffix: str, said: pytest.LogCaptureFixture
) -> None:
    base = RNG.integers(0, 256, (128, 160, 3), dtype=np.uint8)
    options: Any = {"photometric": "rgb", "tile": (64, 64), "metadata": None}
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        writer.write(base, subifds=2 if where == "SubIFDs" else 0, **options)
        for step in (2, 4):
            marked = {} if where == "chain, unmarked" else {"subfiletype": 1}
            writer.write(base[::step, ::step], **marked, **options)
    assert Raster.open(tmp_path / "in.tif").info.pages == 1
    upscale(tmp_path / "in.tif", tmp_path / f"out{suffix}")
    assert "2 smaller pictures in it (a pyramid, a thumbnail), left out" in said.text
    if suffix == ".tif":
        with tifffile.TiffFile(tmp_path / "out.tif") as file:
            assert len(file.pages) == 1
            np.testing.assert_array_equal(file.pages.first.asarray(), large(base))


# openslide's Aperio format: a whole-slide scan has a thumbnail, levels, a label and an overview in its chain.
def test_a_whole_slide_scan_is_one_picture(tmp_path: Path) -> None:
    base = RNG.integers(0, 256, (128, 160, 3), dtype=np.uint8)
    with tifffile.TiffWriter(tmp_path / "in.svs") as writer:
        text = "Aperio Image Library v10\n160x128 [0,0 160x128] (64x64) JPEG/RGB Q=30|AppMag = 20"
        writer.write(base, photometric="rgb", tile=(64, 64), description=text, metadata=None)
        writer.write(base[::5, ::5], photometric="rgb", description=text, metadata=None)  # thumbnail, in strips
        writer.write(base[::4, ::4], photometric="rgb", tile=(16, 16), description=text, metadata=None)
        writer.write(base[:20, :30], photometric="rgb", subfiletype=1, description="label 30x20", metadata=None)
        writer.write(base[:25, :60], photometric="rgb", subfiletype=9, description="macro 60x25", metadata=None)
    info = Raster.open(tmp_path / "in.svs").info
    assert (info.pages, info.width, info.height) == (1, 160, 128)
    assert info.notes[0].startswith("4 smaller pictures")


# cgohlke/tifffile#130: a thumbnail in the chain; TIFF 6.0, NewSubfileType bit 0, and the older SubfileType.
@pytest.mark.parametrize("first", [False, True])
def test_a_thumbnail_is_no_page(tmp_path: Path, first: bool) -> None:
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        for kind in (1, 0) if first else (0, 1):
            writer.write(RGB[::4, ::4] if kind else RGB, photometric="rgb", subfiletype=kind, metadata=None)
    raster = Raster.open(tmp_path / "in.tif")
    assert (raster.info.pages, raster.info.width) == (1, 40)
    np.testing.assert_array_equal(raster.read_samples(), RGB.transpose(2, 0, 1))


# TIFF 6.0, page 36: NewSubfileType bit 2 is a transparency mask of another image of the file.
def test_a_transparency_mask_is_no_page(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        writer.write(RGB, photometric="rgb", metadata=None)
        writer.write(RGB[..., 0] > 99, photometric="minisblack", subfiletype=4, metadata=None)
    assert Raster.open(tmp_path / "in.tif").info.pages == 1
    upscale(tmp_path / "in.tif", tmp_path / "out.tif")
    assert "a transparency mask in it, left out" in said.text


# Scanned documents: pages of one picture in several sizes that nobody has marked are pages (TIFF 6.0, section 2).
def test_pages_that_nothing_marks_stay_pages(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        for page in (RGB, RGB[::2, ::2], 255 - RGB):
            writer.write(page, photometric="rgb", metadata=None)
    assert Raster.open(tmp_path / "in.tif").info.pages == 3
    upscale(tmp_path / "in.tif", tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert [page.shape[:2] for page in file.pages] == [(128, 160), (64, 80), (128, 160)]


# Adobe Photoshop TIFF technical notes: tag 37724 has the layers.
def test_layers_are_said(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    layers = b"Adobe Photoshop Document Data Block\0" + bytes(99_000)
    tifffile.imwrite(tmp_path / "in.tif", RGB, photometric="rgb", extratags=[(37724, 7, len(layers), layers, True)])
    upscale(tmp_path / "in.tif", tmp_path / "out.tif")
    assert "layers in it (Photoshop), left out" in said.text


# libvips/libvips#1416, xyb3rt/sxiv#238: of DNG, NEF and the like the thumbnail is what a TIFF reader finds.
@pytest.mark.parametrize("kind", ["DNGVersion", "colour filter array", "linear raw"])
def test_a_cameras_raw_file_is_not_its_thumbnail(tmp_path: Path, kind: str) -> None:
    tags: Any = [(50706, 1, 4, bytes([1, 4, 0, 0]), True)] if kind == "DNGVersion" else None
    with tifffile.TiffWriter(tmp_path / "in.dng") as writer:
        writer.write(RGB[::4, ::4], photometric="rgb", subfiletype=1, subifds=1, extratags=tags, metadata=None)
        photometric: Any = 34892 if kind == "linear raw" else "cfa"
        pixels = in_depth(RGB if kind == "linear raw" else RGB[..., 0], "uint16")
        writer.write(pixels, photometric=photometric, subfiletype=0, metadata=None)
    with pytest.raises(UserError, match="a camera's raw file; develop it") as caught:
        upscale(tmp_path / "in.dng", tmp_path / "out.png")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.png").exists()


# labsyspharm/minerva-author#28, SerenityOS/serenity#23519: nobody agrees on what floats beyond [0, 1] mean.
@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([0, 255], "from 0 to 255, .* --radiometry 0,255,"),
        ([0, 200.5], "--radiometry 0,255,"),
        ([0, 4095], "--radiometry 0,4095,"),
        ([3, 60000], "--radiometry 0,65535,"),
        ([-1, 1], "--radiometry -1,1,"),
        ([0, 1.5], "--radiometry 0,1.5,"),
        ([-3.5, 12], "--radiometry -3.5,12,"),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg"])
def test_floats_of_another_range_are_asked_about(
    tmp_path: Path, values: list[float], says: str, channels: int, suffix: str
) -> None:
    pixels = np.full((300, 40, channels), np.mean(values), np.float32)
    pixels[290, :2, 0] = values  # far down: the range is that of the whole picture
    tifffile.imwrite(tmp_path / "in.tif", pixels.squeeze(), photometric="rgb" if channels == 3 else "minisblack")
    with pytest.raises(UserError, match=says) as caught:
        upscale(tmp_path / "in.tif", tmp_path / f"out{suffix}")
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.tif"]


def test_floats_whose_range_is_said_are_done(tmp_path: Path) -> None:
    pixels = RGB.astype(np.float32)
    tifffile.imwrite(tmp_path / "in.tif", pixels, photometric="rgb", metadata=None)
    upscale(tmp_path / "in.tif", tmp_path / "out.tif", radiometry="0,255")
    np.testing.assert_allclose(tifffile.imread(tmp_path / "out.tif"), large(pixels), atol=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_floats_that_are_not_finite_are_one_line(tmp_path: Path, value: float) -> None:
    pixels = in_depth(RGB, "float32")
    pixels[30, 5, 1] = value
    tifffile.imwrite(tmp_path / "in.tif", pixels, photometric="rgb")
    with pytest.raises(UserError, match="not finite"):
        upscale(tmp_path / "in.tif", tmp_path / "out.tif")


# python-pillow/Pillow#274: a camera's 12 bits in 16; aiff22/PyNET-PyTorch#6: 10 bits, "some images look like black".
@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_few_bits_in_sixteen_are_said(
    tmp_path: Path, bits: int, suffix: str, channels: int, said: pytest.LogCaptureFixture
) -> None:
    pixels = (TEXTURE[..., :3].astype(np.uint16) * 257) >> (16 - bits)
    pixels = pixels[..., 0] if channels == 1 else pixels
    if suffix == ".tif":
        tifffile.imwrite(tmp_path / "in.tif", pixels, photometric="rgb" if channels == 3 else "minisblack")
    else:
        (tmp_path / "in.png").write_bytes(png(pixels))
    upscale(tmp_path / f"in{suffix}", tmp_path / "out.png")
    assert f"as {bits}-bit data does" in said.text
    assert f"multiply the samples by {2 ** (16 - bits)}" in said.text


def test_sixteen_bits_and_black_are_not(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    for name, pixels in (("full", TEXTURE[..., 0].astype(np.uint16) * 257), ("black", np.zeros((32, 40), np.uint16))):
        (tmp_path / f"{name}.png").write_bytes(png(pixels))
        upscale(tmp_path / f"{name}.png", tmp_path / "out.png")
    assert "-bit data" not in said.text


CAPTION = "München, 東京"


# Exif 3.0 allows UTF-8 and much software has written it before; TIFF 6.0: DocumentName, ImageDescription, PageName.
@pytest.mark.parametrize("suffix", [".tif", ".jpg", ".png", ".webp", ".avif"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "shift-jis"])
def test_tiff_texts_come_through_byte_for_byte(tmp_path: Path, suffix: str, encoding: str) -> None:
    words = {"utf-8": CAPTION, "latin-1": "München", "shift-jis": "東京"}[encoding].encode(encoding)
    tags: Any = {269: b"doc " + words, 270: b"cap " + words, 285: b"page " + words, 305: b"soft", 315: b"by " + words}
    extra = [(number, 2, len(text) + 1, text + b"\0", True) for number, text in tags.items()]
    tifffile.imwrite(tmp_path / "in.tif", RGB, photometric="rgb", metadata=None, software=False, extratags=extra)
    upscale(tmp_path / "in.tif", tmp_path / f"out{suffix}", plain=True)
    found = exif_texts(tmp_path / f"out{suffix}")
    for number, text in tags.items():
        assert found[number].startswith(text), number
    if suffix != ".png":
        assert b"synthesised" in found[270]


def exif_texts(path: Path) -> dict[int, bytes]:
    """The raw texts of an EXIF block's or TIFF's first directory, without Pillow's decoding of them."""
    if path.suffix == ".tif":
        block = path.read_bytes()
    else:
        with Image.open(path) as image:
            block = image.info["exif"].removeprefix(b"Exif\0\0")
    order = "<" if block[:2] == b"II" else ">"
    (at,) = struct.unpack_from(f"{order}I", block, 4)
    (count,) = struct.unpack_from(f"{order}H", block, at)
    found = {}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        number, kind, length = struct.unpack_from(f"{order}HHI", block, entry)
        if kind == 2:
            start = entry + 8 if length <= 4 else struct.unpack_from(f"{order}I", block, entry + 8)[0]
            found[number] = block[start : start + length].split(b"\0")[0]
    return found


# Exif 2.32, 4.6.5 G: what counts from the beginning of a camera's TIFF holds in no other file.
@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg"])
def test_a_maker_note_of_a_tiff_is_said(tmp_path: Path, suffix: str, said: pytest.LogCaptureFixture) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x927C] = b"MAKER" + bytes(100)
    for number, value in ((256, 40), (257, 32), (258, (8, 8, 8)), (259, 1), (262, 2), (277, 3), (278, 32), (279, 3840)):
        exif[number] = value
    exif[273] = 0  # Pillow adds where the block ends
    (tmp_path / "in.tif").write_bytes(exif.tobytes()[6:] + RGB.tobytes())
    upscale(tmp_path / "in.tif", tmp_path / f"out{suffix}")
    assert said.text.count("the maker note of its camera") == 1
    assert Raster.open(tmp_path / "in.tif").info.notes == ()


# haraldk/TwelveMonkeys#429 once more, through and through: alpha stays alpha beside a channel that is none.
@pytest.mark.parametrize("order", [("unspecified", "unassalpha"), ("unassalpha", "unspecified")])
def test_alpha_and_another_channel_into_a_tiff(tmp_path: Path, order: tuple[str, str]) -> None:
    pixels = TEXTURE[..., :5].copy()
    pixels[..., 3 + order.index("unassalpha")] = 255
    tifffile.imwrite(tmp_path / "in.tif", pixels, photometric="rgb", extrasamples=list(order), metadata=None)
    upscale(tmp_path / "in.tif", tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        page = file.pages.first
        assert [tifffile.EXTRASAMPLE(kind).name.lower() for kind in page.extrasamples] == list(order)
        np.testing.assert_array_equal(page.asarray(), large(pixels))


# cgohlke/tifffile writes its own shape as JSON; with words behind it no longer opens there.
def test_a_description_of_the_storage_is_no_caption(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "in.tif", RGB, photometric="rgb", metadata={"axes": "YXS"})
    upscale(tmp_path / "in.tif", tmp_path / "out.tif")
    assert tifffile.imread(tmp_path / "out.tif").shape == (128, 160, 3)
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert file.pages.first.tags[270].value.startswith("Upscaled")


# The byte order of a file says nothing about the one that its result has (TIFF 6.0, section 2; BigTIFF).
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "packbits"])
def test_orders_sizes_and_compressions(tmp_path: Path, order: str, big: bool, compression: str | None) -> None:
    options: Any = {"byteorder": order, "bigtiff": big, "compression": compression, "photometric": "rgb"}
    if compression is not None:
        pytest.importorskip("imagecodecs")
    tifffile.imwrite(tmp_path / "in.tif", in_depth(RGB, "uint16"), metadata=None, **options)
    upscale(tmp_path / "in.tif", tmp_path / "out.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), large(in_depth(RGB, "uint16")))


# TIFF 6.0, page 37: WhiteIsZero, of any depth.
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_white_is_zero(tmp_path: Path, dtype: str) -> None:
    pixels = in_depth(TEXTURE[..., 0], dtype)
    tifffile.imwrite(tmp_path / "in.tif", pixels, photometric="miniswhite", metadata=None)
    upscale(tmp_path / "in.tif", tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        result = np.asarray(image)
    np.testing.assert_array_equal(result, large(np.iinfo(pixels.dtype).max - pixels))


# TIFF 6.0, section 23: CIE L*a*b* is no RGB; whole numbers with a sign have no white; libtiff's Zstandard is an option.
@pytest.mark.parametrize("kind", ["cielab", "signed", "complex", "double", "zstd"])
def test_samples_without_a_meaning_here_are_one_line(tmp_path: Path, kind: str) -> None:
    if kind == "zstd":
        pytest.importorskip("imagecodecs")
    types = {"signed": np.int32, "complex": np.complex64, "double": np.float64}
    pixels: Any = RGB.astype(types[kind]) if kind in types else RGB
    pixels = pixels[..., 0] if kind == "complex" else pixels
    photometric: Any = {"cielab": "cielab", "complex": "minisblack"}.get(kind, "rgb")
    options: Any = {"photometric": photometric, "compression": "zstd" if kind == "zstd" else None}
    tifffile.imwrite(tmp_path / "in.tif", pixels, metadata=None, **options)
    with pytest.raises(UserError) as caught:
        upscale(tmp_path / "in.tif", tmp_path / "out.png", plain=True)
    assert "\n" not in str(caught.value)
    assert "convert it" in str(caught.value)


def test_a_list_of_pages_that_breaks_off_is_said(tmp_path: Path) -> None:
    """TIFF 6.0, section 2: the offset of the next directory, here of one that is not there."""
    path = tmp_path / "in.tif"
    with tifffile.TiffWriter(path) as tiff:
        for _ in range(2):
            tiff.write(np.full((8, 9), 7, np.uint8), metadata=None)
    with tifffile.TiffFile(path) as tiff:
        second = tiff.pages[1].offset  # pyright: ignore
    data = path.read_bytes()
    path.write_bytes(data.replace(second.to_bytes(4, "little"), (len(data) + 999).to_bytes(4, "little")))
    assert "its list of pages breaks off after 1; what is behind is left out" in contents_of(path).notes
    path.write_bytes(data)
    assert not contents_of(path).notes
