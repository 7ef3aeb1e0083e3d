"""What goes in comes out four times larger, and everything around the pixels with it.

The sources are made by Pillow, tifffile or by hand, the results are read by them: libvips sees only what lies between.
The network is replaced by one that repeats every pixel 4×4 times, so every result is known.
"""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from nearest import upscale as upscaled
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import IFDRational

from gramgan.images import RasterInfo

COMMENT = "Upscaled 4x with Gram-GAN; fine texture is synthesised, not measured."
HEIGHT, WIDTH = 24, 36
THIRD = WIDTH // 3
EDGE = 12  # result pixels around a step of alpha that its bicubic enlargement changes


def upscale(source: Path, target: Path, **options: Any) -> Path:
    return upscaled(source, target, **{"plain": True, **options})


def smooth(channels: int, white: int = 255, seed: int = 5) -> np.ndarray:
    """A picture without noise, `[HEIGHT, WIDTH, channels]`; lossy formats keep it."""
    corners = np.random.default_rng(seed).random((channels, 2, 2))
    down, across = np.linspace(0, 1, HEIGHT)[:, None], np.linspace(0, 1, WIDTH)
    planes = [(1 - down) * ((1 - across) * c[0, 0] + across * c[0, 1]) + down * c[1, 0] * (1 - across) for c in corners]
    return np.round(np.stack(planes, axis=-1) * white).astype(np.uint8 if white == 255 else np.uint16)


def with_alpha(colours: np.ndarray) -> np.ndarray:
    """Opaque on the left, half transparent in the middle, nothing to be seen on the right."""
    white = np.iinfo(colours.dtype).max
    alpha = np.full((HEIGHT, WIDTH, 1), white, colours.dtype)
    alpha[:, THIRD : 2 * THIRD] = white // 2
    alpha[:, 2 * THIRD :] = 0
    return np.concatenate([colours, alpha], axis=-1)


GREY, RGB = smooth(1)[..., 0], smooth(3)
GREY_ALPHA, RGBA = with_alpha(smooth(1)), with_alpha(RGB)
GREY16, RGB16 = smooth(1, 65535)[..., 0], smooth(3, 65535)
RGBA16 = with_alpha(RGB16)
BITS = GREY > 127
FLOAT = (RGB16 / 65535).astype(np.float32)


def png_bytes(pixels: np.ndarray, colour_type: int) -> bytes:
    """A 16-bit PNG by the standard's own words."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def png_samples(path: Path) -> np.ndarray:
    """The samples of a 16-bit PNG, which Pillow would cut to 8 bits, by the standard's own words."""
    data, at, packed, header = path.read_bytes(), 8, b"", b""
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        header, packed = (body if kind == b"IHDR" else header), packed + (body if kind == b"IDAT" else b"")
        at += 12 + length
    width, height, depth, colour_type, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    assert (depth, interlaced) == (16, 0)
    step, size = 2 * channels, 2 * channels * width
    raw, before, rows = zlib.decompress(packed), np.zeros(size, np.uint8), []
    for y in range(height):
        line = np.frombuffer(raw, np.uint8, size, y * (size + 1) + 1).copy()
        match raw[y * (size + 1)]:
            case 0:
                pass
            case 1:
                line = line.reshape(-1, step).cumsum(axis=0, dtype=np.uint8).ravel()
            case 2:
                line += before
            case other:
                raise AssertionError(f"filter {other} is not one that this project writes")
        rows.append(line)
        before = line
    return np.stack(rows).view(">u2").reshape(height, width, channels).astype(np.uint16).squeeze()


Make = Callable[[Path], None]


def pillow(image: Image.Image, **options: Any) -> Make:
    return lambda path: image.save(path, **options)


def tiff(pixels: np.ndarray, **options: Any) -> Make:
    def write(path: Path) -> None:
        tifffile.imwrite(path, pixels, **options)

    return write


def raw(data: bytes) -> Make:
    def write(path: Path) -> None:
        path.write_bytes(data)

    return write


PALETTE = Image.fromarray(RGB).quantize(32)
SOURCES: dict[str, tuple[str, Make, np.ndarray]] = {
    # name: suffix, how it is made, its pixels
    "png grey": (".png", pillow(Image.fromarray(GREY)), GREY),
    "png grey+alpha": (".png", pillow(Image.fromarray(GREY_ALPHA)), GREY_ALPHA),
    "png rgb": (".png", pillow(Image.fromarray(RGB)), RGB),
    "png rgba": (".png", pillow(Image.fromarray(RGBA)), RGBA),
    "png palette": (".png", pillow(PALETTE), np.asarray(PALETTE.convert("RGB"))),
    "png 4-bit palette": (
        ".png",
        pillow(PALETTE.quantize(16), bits=4),
        np.asarray(PALETTE.quantize(16).convert("RGB")),
    ),
    "png 1-bit": (".png", pillow(Image.fromarray(BITS)), (BITS * 255).astype(np.uint8)),
    "png grey16": (".png", pillow(Image.fromarray(GREY16)), GREY16),
    "png rgb16": (".png", raw(png_bytes(RGB16, 2)), RGB16),
    "png rgba16": (".png", raw(png_bytes(RGBA16, 6)), RGBA16),
    "jpg grey": (".jpg", pillow(Image.fromarray(GREY), quality=98), GREY),
    "jpg rgb": (".jpg", pillow(Image.fromarray(RGB), quality=98, subsampling=0), RGB),
    "jpg progressive": (".jpg", pillow(Image.fromarray(RGB), quality=98, subsampling=0, progressive=True), RGB),
    "webp rgb": (".webp", pillow(Image.fromarray(RGB), lossless=True), RGB),
    "webp rgba": (".webp", pillow(Image.fromarray(RGBA), lossless=True, exact=True), RGBA),
    "gif": (".gif", pillow(PALETTE), np.asarray(PALETTE.convert("RGB"))),
    "avif rgb": (".avif", pillow(Image.fromarray(RGB), quality=100, subsampling="4:4:4"), RGB),
    "avif rgba": (".avif", pillow(Image.fromarray(RGBA), quality=100, subsampling="4:4:4"), RGBA),
    "tif grey": (".tif", tiff(GREY), GREY),
    "tif rgb": (".tif", tiff(RGB, photometric="rgb"), RGB),
    "tif rgba": (".tif", tiff(RGBA, photometric="rgb", extrasamples=["unassalpha"]), RGBA),
    "tif 1-bit": (".tif", tiff(BITS, photometric="minisblack"), (BITS * 255).astype(np.uint8)),
    "tif group 4": (".tif", pillow(Image.fromarray(BITS), compression="group4"), (BITS * 255).astype(np.uint8)),
    "tif palette": (".tif", pillow(PALETTE), np.asarray(PALETTE.convert("RGB"))),
    "tif lzw": (".tif", pillow(Image.fromarray(RGB), compression="tiff_lzw"), RGB),
    "tif grey16": (".tif", tiff(GREY16), GREY16),
    "tif rgb16": (".tif", tiff(RGB16, photometric="rgb"), RGB16),
    "tif rgb16 big-endian": (".tif", tiff(RGB16, photometric="rgb", byteorder=">"), RGB16),
    "tif rgb16 planar": (".tif", tiff(RGB16.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"), RGB16),
    "tif rgba16": (".tif", tiff(RGBA16, photometric="rgb", extrasamples=["unassalpha"]), RGBA16),
    "tif float grey": (".tif", tiff(FLOAT[..., 0]), FLOAT[..., 0]),
    "tif float rgb": (".tif", tiff(FLOAT, photometric="rgb"), FLOAT),
    "bigtiff tiles": (".tif", tiff(RGB16, photometric="rgb", bigtiff=True, tile=(16, 16)), RGB16),
}


@dataclass(frozen=True)
class Pixels:
    """One row of the table: `kind` is dtype and channels of the result, `error` its mean in 8-bit levels."""

    source: str
    suffix: str
    kind: str
    error: float = 0.01


LOSSY = 1.5
TABLE = [
    Pixels("png grey", ".png", "uint8 1"),
    Pixels("png grey", ".jpg", "uint8 1", LOSSY),
    Pixels("png grey", ".webp", "uint8 3", LOSSY),
    Pixels("png grey+alpha", ".png", "uint8 2"),
    Pixels("png grey+alpha", ".tif", "uint8 2"),
    Pixels("png rgb", ".png", "uint8 3"),
    Pixels("png rgb", ".jpg", "uint8 3", LOSSY),
    Pixels("png rgb", ".webp", "uint8 3", LOSSY),
    Pixels("png rgb", ".tif", "uint8 3"),
    Pixels("png rgb", ".avif", "uint8 3", LOSSY),
    Pixels("png rgb", ".gif", "uint8 3", 6),
    Pixels("png rgba", ".png", "uint8 4"),
    Pixels("png rgba", ".tif", "uint8 4"),
    Pixels("png rgba", ".webp", "uint8 4", LOSSY),
    Pixels("png rgba", ".avif", "uint8 4", LOSSY),
    Pixels("png rgba", ".jpg", "uint8 3", LOSSY),
    Pixels("png palette", ".png", "uint8 3"),
    Pixels("png 4-bit palette", ".png", "uint8 3"),
    Pixels("png 1-bit", ".png", "uint8 1"),
    Pixels("png grey16", ".png", "uint16 1"),
    Pixels("png grey16", ".tif", "uint16 1"),
    Pixels("png rgb16", ".png", "uint16 3"),
    Pixels("png rgb16", ".tif", "uint16 3"),
    Pixels("png rgb16", ".jpg", "uint8 3", LOSSY),
    Pixels("png rgb16", ".avif", "uint8 3", LOSSY),  # 12 bits, of which Pillow gives 8
    Pixels("png rgba16", ".png", "uint16 4"),
    Pixels("png rgba16", ".tif", "uint16 4"),
    Pixels("jpg grey", ".jpg", "uint8 1", LOSSY),
    Pixels("jpg rgb", ".png", "uint8 3", LOSSY),
    Pixels("jpg rgb", ".jpg", "uint8 3", LOSSY),
    Pixels("jpg progressive", ".tif", "uint8 3", LOSSY),
    Pixels("webp rgb", ".webp", "uint8 3", LOSSY),
    Pixels("webp rgba", ".png", "uint8 4"),
    Pixels("gif", ".gif", "uint8 3", 6),
    Pixels("gif", ".png", "uint8 3"),
    Pixels("avif rgb", ".avif", "uint8 3", LOSSY),
    Pixels("avif rgba", ".png", "uint8 4", LOSSY),
    Pixels("tif grey", ".tif", "uint8 1"),
    Pixels("tif rgb", ".png", "uint8 3"),
    Pixels("tif rgba", ".tif", "uint8 4"),
    Pixels("tif 1-bit", ".tif", "uint8 1"),
    Pixels("tif group 4", ".png", "uint8 1"),
    Pixels("tif palette", ".tif", "uint8 3"),
    Pixels("tif lzw", ".tif", "uint8 3"),
    Pixels("tif grey16", ".tif", "uint16 1"),
    Pixels("tif grey16", ".png", "uint16 1"),
    Pixels("tif rgb16", ".tif", "uint16 3"),
    Pixels("tif rgb16 big-endian", ".png", "uint16 3"),
    Pixels("tif rgb16 planar", ".tif", "uint16 3"),
    Pixels("tif rgba16", ".png", "uint16 4"),
    Pixels("tif float grey", ".tif", "float32 1"),
    Pixels("tif float rgb", ".tif", "float32 3"),
    Pixels("tif float rgb", ".png", "uint16 3"),
    Pixels("bigtiff tiles", ".tif", "uint16 3"),
]


def unit(pixels: np.ndarray) -> np.ndarray:
    """`[H, W, C]` in [0, 1]."""
    values = pixels if pixels.dtype.kind == "f" else pixels / np.iinfo(pixels.dtype).max
    return values[..., None] if values.ndim == 2 else values


def read(path: Path, kind: str) -> np.ndarray:
    """A result as a program that is not ours sees it."""
    if path.suffix == ".tif":
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            assert page.photometric == tifffile.PHOTOMETRIC["RGB" if page.samplesperpixel > 2 else "MINISBLACK"]
            return page.asarray()
    if kind.startswith("uint16") and kind != "uint16 1":
        return png_samples(path)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB") if image.mode == "P" else image)


def make(name: str, folder: Path) -> tuple[Path, np.ndarray]:
    suffix, write, pixels = SOURCES[name]
    path = folder / f"in{suffix}"
    write(path)
    return path, pixels


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.source} to {row.suffix}")
def test_pixels(tmp_path: Path, row: Pixels) -> None:
    path, pixels = make(row.source, tmp_path)
    result = read(upscale(path, tmp_path / f"out{row.suffix}"), row.kind)
    dtype, channels = row.kind.split()
    got = unit(result)
    assert (str(result.dtype), got.shape) == (dtype, (4 * HEIGHT, 4 * WIDTH, int(channels)))
    wanted = unit(pixels).repeat(4, axis=0).repeat(4, axis=1)
    has_alpha = wanted.shape[2] in (2, 4)
    alpha = wanted[..., -1:] if has_alpha else np.ones_like(wanted[..., :1])
    colours = wanted[..., :-1] if has_alpha else wanted
    keeps_alpha = got.shape[2] in (2, 4)
    got_colours = got[..., :-1] if keeps_alpha else got
    if has_alpha and not keeps_alpha:
        colours = colours * alpha + 1 - alpha
        alpha = np.ones_like(alpha)
    flat = np.ones(4 * WIDTH, bool)
    for step in (4 * THIRD, 8 * THIRD) if has_alpha else ():
        flat[step - EDGE : step + EDGE] = False
    compared = (alpha[..., 0] > 0) & flat
    tolerance = row.error / 255
    assert np.abs(got_colours - colours)[compared].mean() <= tolerance
    if row.error < 1:  # nothing is lost: every pixel
        assert np.abs(got_colours - colours)[compared].max() <= tolerance
    if keeps_alpha:
        assert np.abs(got[..., -1] - alpha[..., 0])[:, flat].max() <= max(tolerance, 1 / 255)


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_becomes_rgb(tmp_path: Path, suffix: str) -> None:
    inks = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    inks[:, THIRD : 2 * THIRD] = (0, 255, 255, 0)
    inks[:, 2 * THIRD :] = 255
    Image.fromarray(inks, "CMYK").save(tmp_path / f"in{suffix}")
    with Image.open(upscale(tmp_path / f"in{suffix}", tmp_path / "out.png")) as image:
        assert (image.mode, image.size) == ("RGB", (4 * WIDTH, 4 * HEIGHT))
        white, red, black = (np.asarray(image)[48, x].astype(int) for x in (20, 72, 130))
    assert white.min() > 245
    assert red[0] > 180 > 110 > red[1:].max()
    assert black.max() < 60


def test_no_dark_fringe_around_what_is_visible(tmp_path: Path) -> None:
    rgba = np.zeros((HEIGHT, WIDTH, 4), np.uint8)  # a white disc on black that nobody sees
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    rgba[(y - 12) ** 2 + (x - 18) ** 2 < 80] = 255
    Image.fromarray(rgba).save(tmp_path / "in.png")
    with Image.open(upscale(tmp_path / "in.png", tmp_path / "out.png")) as image:
        result = np.asarray(image)
    assert result[result[..., 3] > 0][:, :3].min() == 255


RELATIVE = ImageCms.Intent.RELATIVE_COLORIMETRIC
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/" '
    b'tiff:Orientation="6" tiff:ImageWidth="36" exif:PixelYDimension="24"/></rdf:RDF></x:xmpmeta>'
)


def exif_of_a_camera() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x010F], exif[0x8298] = 6, "On the beach", "Maker", "Someone"
    inner = exif.get_ifd(0x8769)
    inner[0x9003], inner[0x829A], inner[0xA002], inner[0xA003] = "2020:01:02 03:04:05", IFDRational(1, 250), 36, 24
    inner[0x9010], inner[0xA434], inner[0x9286] = "+02:00", "50mm f/1.8", b"ASCII\0\0\0my words"
    gps = exif.get_ifd(0x8825)
    gps[1], gps[2], gps[3], gps[4], gps[6] = "N", (48.0, 8.0, 15.5), "E", (11.0, 34.0, 30.25), IFDRational(5191, 10)
    return exif


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A photograph with everything, lying on its side, upscaled into every format."""
    folder = tmp_path_factory.mktemp("metadata")
    picture = Image.fromarray(RGB)
    picture.save(folder / "in.jpg", exif=exif_of_a_camera(), icc_profile=PROFILE, xmp=XMP, dpi=(300, 300), quality=98)
    return {
        suffix: upscale(folder / "in.jpg", folder / f"out{suffix}")
        for suffix in (".jpg", ".png", ".webp", ".tif", ".avif", ".gif")
    }


WITH_EXIF = [".jpg", ".png", ".webp", ".tif", ".avif"]


@pytest.mark.parametrize("suffix", [*WITH_EXIF, ".gif"])
def test_orientation_is_applied_once(results: dict[str, Path], suffix: str) -> None:
    with Image.open(results[suffix]) as image:
        assert image.size == (4 * HEIGHT, 4 * WIDTH)  # turned by a quarter
        assert image.getexif().get(0x0112, 1) == 1
        upright = np.rot90(RGB, -1).repeat(4, axis=0).repeat(4, axis=1)
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - upright).mean() < 6


@pytest.mark.parametrize("suffix", WITH_EXIF)
def test_icc_is_kept(results: dict[str, Path], suffix: str) -> None:
    with Image.open(results[suffix]) as image:
        assert image.info["icc_profile"] == PROFILE


@pytest.mark.parametrize("suffix", WITH_EXIF)
def test_exif_is_kept(results: dict[str, Path], suffix: str) -> None:
    with Image.open(results[suffix]) as image:
        exif = image.getexif()
        inner, gps = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
        assert (exif[0x010F], exif[0x8298]) == ("Maker", "Someone")
        assert (inner[0x9003], inner[0x9010], inner[0xA434]) == ("2020:01:02 03:04:05", "+02:00", "50mm f/1.8")
        assert inner[0x829A] == pytest.approx(1 / 250)
        assert bytes(inner[0x9286]).endswith(b"my words")
        assert (gps[1], list(gps[2]), gps[3], list(gps[4])) == ("N", [48, 8, 15.5], "E", [11, 34, 30.25])
        assert gps[6] == pytest.approx(519.1)


@pytest.mark.parametrize("suffix", WITH_EXIF)
def test_sizes_in_metadata_are_those_of_the_result(results: dict[str, Path], suffix: str) -> None:
    with Image.open(results[suffix]) as image:
        inner = image.getexif().get_ifd(0x8769)
        xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
        xmp = xmp.encode() if isinstance(xmp, str) else xmp
        if suffix == ".tif":
            xmp = bytes(image.tag_v2[700])  # pyright: ignore[reportAttributeAccessIssue]
    assert inner.get(0xA002, 4 * HEIGHT) == 4 * HEIGHT
    assert inner.get(0xA003, 4 * WIDTH) == 4 * WIDTH
    expected = XMP.replace(b'Orientation="6"', b'Orientation="1"').replace(b'ImageWidth="36"', b'ImageWidth="96"')
    assert xmp == expected.replace(b'PixelYDimension="24"', b'PixelYDimension="144"')


def test_xmp_in_a_gif(results: dict[str, Path]) -> None:
    data = results[".gif"].read_bytes()
    assert data.count(b"\x21\xff\x0bXMP DataXMP<x:xmpmeta") == 1
    assert b'tiff:Orientation="1"' in data


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".avif"])
def test_resolution_is_kept(results: dict[str, Path], suffix: str) -> None:
    with Image.open(results[suffix]) as image:
        assert image.getexif()[0x011A] == pytest.approx(300, abs=0.1)
        if suffix in (".jpg", ".png", ".tif"):
            assert image.info["dpi"][0] == pytest.approx(300, abs=0.1)


def test_resolution_that_only_exif_knows(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x011A], exif[0x011B], exif[0x0128] = IFDRational(300, 1), IFDRational(150, 1), 2
    Image.fromarray(RGB).save(tmp_path / "in.webp", exif=exif)
    with Image.open(upscale(tmp_path / "in.webp", tmp_path / "out.png")) as image:
        assert image.info["dpi"] == pytest.approx((300, 150), abs=0.1)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif", ".gif"])
def test_the_result_says_that_texture_was_synthesised(results: dict[str, Path], suffix: str) -> None:
    with Image.open(results[suffix]) as image:
        if suffix == ".png":
            said = image.info["Description"]
        elif suffix == ".gif":
            said = image.info["comment"].decode()
        else:
            said = image.getexif()[0x010E]
    assert "synthesised" in COMMENT
    assert said == f"On the beach; {COMMENT}"


def iptc_of(path: Path) -> bytes | None:
    """The IPTC records of a JPEG (Pillow's reading of its Photoshop resources) or a TIFF (tifffile's)."""
    if path.suffix == ".jpg":
        with Image.open(path) as image:
            return image.info.get("photoshop", {}).get(0x0404)
    with tifffile.TiffFile(path) as file:
        tag = file.pages.first.tags.get(33723)
        return None if tag is None else bytes(tag.value)


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_iptc_is_kept(tmp_path: Path, suffix: str) -> None:
    records = b"\x1c\x02\x78\x00\x0dA quiet beach" + b"\x1c\x02\x50\x00\x04Anna"
    block = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(records)) + records + b"\0"
    plain = io.BytesIO()
    Image.fromarray(RGB).save(plain, "JPEG")
    data = plain.getvalue()
    (tmp_path / "in.jpg").write_bytes(data[:2] + b"\xff\xed" + struct.pack(">H", len(block) + 2) + block + data[2:])
    assert iptc_of(tmp_path / "in.jpg") == records
    first = upscale(tmp_path / "in.jpg", tmp_path / f"first{suffix}")
    assert (iptc_of(first) or b"").rstrip(b"\0") == records
    again = upscale(first, tmp_path / "again.jpg")
    assert (iptc_of(again) or b"").rstrip(b"\0") == records


def profile_of(space: bytes, gamma: float, primaries: dict[bytes, tuple[float, float, float]]) -> bytes:
    """An ICC profile of version 2 with one gamma, by ICC.1:2001-04."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)

    def xyz(values: tuple[float, float, float]) -> bytes:
        return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))

    text = b"text" + bytes(4) + b"none\0" + bytes(3)
    name = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = {b"desc": name, b"cprt": text, b"wtpt": xyz((0.9642, 1.0, 0.8249))}
    tags |= {tag: xyz(values) for tag, values in primaries.items()}
    tags |= dict.fromkeys((b"kTRC",) if space == b"GRAY" else (b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body, at = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for tag, value in tags.items():
        padded = value + bytes(-len(value) % 4)
        table += tag + struct.pack(">II", at + len(body), len(value))
        body += padded
    size = 128 + len(table) + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"none", 0x02400000, b"mntr", space, b"XYZ ") + bytes(12) + b"acsp"
    head = (head + bytes(28)).ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + body


WIDE = profile_of(  # Adobe RGB (1998)'s primaries, adapted to D50
    b"RGB ",
    2.2,
    {b"rXYZ": (0.6097, 0.3111, 0.0195), b"gXYZ": (0.2053, 0.6257, 0.0609), b"bXYZ": (0.1492, 0.0632, 0.7446)},
)


def muted(pixels: np.ndarray) -> np.ndarray:
    """Colours that sRGB has too, whatever the primaries."""
    return (pixels * 0.3 + 90).astype(np.uint8)


@pytest.mark.parametrize("alpha", [False, True])
def test_icc_is_converted_when_asked(tmp_path: Path, alpha: bool) -> None:
    pixels = muted(RGB)
    stored = with_alpha(pixels) if alpha else pixels
    Image.fromarray(stored).save(tmp_path / "in.png", icc_profile=WIDE)
    source = ImageCms.ImageCmsProfile(io.BytesIO(WIDE))
    wanted = ImageCms.profileToProfile(Image.fromarray(pixels), source, ImageCms.createProfile("sRGB"), RELATIVE)
    assert wanted is not None
    wanted = np.asarray(wanted).astype(int)
    assert np.abs(wanted - pixels).mean() > 3  # the test can fail
    with Image.open(upscale(tmp_path / "in.png", tmp_path / "out.png", icc="srgb")) as image:
        got = np.asarray(image)[2::4, 2::4]
        written = image.info.get("icc_profile")
    seen = slice(None, 2 * THIRD) if alpha else slice(None)
    assert np.abs(got[:, seen, :3] - wanted[:, seen]).max() <= 2
    assert written is None or written != WIDE
    with Image.open(upscale(tmp_path / "in.png", tmp_path / "kept.png")) as image:
        assert image.info["icc_profile"] == WIDE
        assert np.abs(np.asarray(image)[2::4, 2::4, :3].astype(int) - pixels)[:, seen].max() == 0


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_icc_is_converted_in_depth(tmp_path: Path, dtype: str) -> None:
    pixels = muted(RGB)
    deep = pixels.astype(np.uint16) * 257 if dtype == "uint16" else (pixels / 255).astype(np.float32)
    tifffile.imwrite(tmp_path / "in.tif", deep, photometric="rgb", iccprofile=WIDE)
    source = ImageCms.ImageCmsProfile(io.BytesIO(WIDE))
    wanted = ImageCms.profileToProfile(Image.fromarray(pixels), source, ImageCms.createProfile("sRGB"), RELATIVE)
    got = tifffile.imread(upscale(tmp_path / "in.tif", tmp_path / "out.tif", icc="srgb"))
    assert str(got.dtype) == dtype
    assert np.abs(unit(got)[2::4, 2::4] - np.asarray(wanted) / 255).max() <= 2 / 255


def test_grey_profile_is_kept_and_converted(tmp_path: Path) -> None:
    profile = profile_of(b"GRAY", 1.0, {})
    Image.fromarray(GREY).save(tmp_path / "in.png", icc_profile=profile)
    with Image.open(upscale(tmp_path / "in.png", tmp_path / "kept.png")) as image:
        assert (image.mode, image.info["icc_profile"]) == ("L", profile)
    with Image.open(upscale(tmp_path / "in.png", tmp_path / "out.png", icc="srgb")) as image:
        assert image.mode == "L"
        assert "icc_profile" not in image.info
        got = np.asarray(image)[2::4, 2::4].astype(int)
    source, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    wanted = ImageCms.profileToProfile(Image.fromarray(GREY), source, srgb, RELATIVE, outputMode="RGB")
    assert np.abs(got - np.asarray(wanted)[..., 1]).max() <= 1
    assert np.abs(got - GREY).mean() > 10


def test_a_gif_cannot_say_its_colours_so_they_are_srgb(tmp_path: Path) -> None:
    flat = np.full((HEIGHT, WIDTH, 3), (120, 150, 90), np.uint8)
    Image.fromarray(flat).save(tmp_path / "in.png", icc_profile=WIDE)
    source = ImageCms.ImageCmsProfile(io.BytesIO(WIDE))
    wanted = ImageCms.profileToProfile(Image.fromarray(flat), source, ImageCms.createProfile("sRGB"), RELATIVE)
    with Image.open(upscale(tmp_path / "in.png", tmp_path / "out.gif")) as image:
        got = np.asarray(image.convert("RGB"))[50, 50].astype(int)
    assert np.abs(got - np.asarray(wanted)[5, 5]).max() <= 2


FRAMES = [np.roll(RGB, 6 * frame, axis=1) for frame in range(4)]
DELAYS = [50, 120, 70, 200]


@pytest.mark.parametrize(
    ("source", "suffix"), [(".gif", ".gif"), (".webp", ".webp"), (".gif", ".webp"), (".webp", ".gif")]
)
def test_animations_frame_by_frame(tmp_path: Path, source: str, suffix: str) -> None:
    images = [Image.fromarray(frame) for frame in FRAMES]
    images[0].save(
        tmp_path / f"in{source}", save_all=True, append_images=images[1:], duration=DELAYS, loop=0, lossless=True
    )
    with Image.open(upscale(tmp_path / f"in{source}", tmp_path / f"out{suffix}")) as image:
        assert (getattr(image, "n_frames", 1), image.info["loop"], image.size) == (4, 0, (4 * WIDTH, 4 * HEIGHT))
        for number, frame in enumerate(FRAMES):
            image.seek(number)
            image.load()
            assert image.info["duration"] == DELAYS[number]
            wanted = frame.repeat(4, axis=0).repeat(4, axis=1)
            assert np.abs(np.asarray(image.convert("RGB")).astype(int) - wanted).mean() < 8


@pytest.mark.parametrize("suffix", [".tif", ".tiff"])
def test_pages_of_any_size_and_depth(tmp_path: Path, suffix: str) -> None:
    pages = [RGB, GREY16[:10], FLOAT[:, :8], RGBA[3:9, 5:9]]
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        for page in pages:
            extra = ["unassalpha"] if page.shape[-1] == 4 else None
            kind = "minisblack" if page.ndim == 2 else "rgb"
            writer.write(page, photometric=kind, extrasamples=extra, metadata=None)
    with tifffile.TiffFile(upscale(tmp_path / "in.tif", tmp_path / f"out{suffix}")) as file:
        assert len(file.pages) == len(pages)
        for number, (got, wanted) in enumerate(zip(file.pages, pages, strict=True)):
            large = wanted.repeat(4, axis=0).repeat(4, axis=1)
            result = got.asarray()
            assert (result.dtype, result.shape) == (large.dtype, large.shape)
            if number < 3:
                np.testing.assert_allclose(unit(result), unit(large), atol=1.1 / 65535)
            assert "synthesised" in got.tags["ImageDescription"].value  # pyright: ignore[reportAttributeAccessIssue]


def test_the_table_is_as_long_as_promised() -> None:
    assert len(TABLE) >= 40
    assert {row.source for row in TABLE} == set(SOURCES)
    assert RasterInfo.__dataclass_fields__.keys() >= {"icc", "exif", "xmp", "iptc", "dpi"}
