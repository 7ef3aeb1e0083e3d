"""Odd files of the other formats, and files of other kinds; each test names the report or section of its origin."""

import io
import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nearest import upscale
from PIL import Image

from gramgan.errors import UserError
from gramgan.images import Raster

RNG = np.random.default_rng(24)
SMOOTH = np.asarray(Image.fromarray(RNG.integers(0, 256, (5, 6, 3), dtype=np.uint8)).resize((48, 40)))


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="gramgan")
    return caplog


def ftyp(brand: bytes, *others: bytes) -> bytes:
    return struct.pack(">I4s4sI", 16 + 4 * len(others), b"ftyp", brand, 0) + b"".join(others) + bytes(200)


def anymap(kind: bytes) -> bytes:
    return kind + b"\n2 2\n255\n" + bytes(12)


def svg(prolog: bytes = b"") -> bytes:
    return prolog + b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'


def saved(form: str, **options: Any) -> bytes:
    data = io.BytesIO()
    Image.fromarray(SMOOTH[:32, :32]).save(data, form, **options)
    return data.getvalue()


# Specifications of these formats; that one file of another kind ends a job, or is read as an empty picture, is what
# xyb3rt/sxiv#238, civilblur/mazanoke#15 and lunapaint/vscode-luna-paint#87 are about.
FOREIGN = {
    "HEIC": (ftyp(b"heic", b"mif1", b"heic"), "HEIC"),
    "HEIC of general brand": (ftyp(b"mif1", b"mif1", b"heic"), "HEIC"),
    "CR3": (ftyp(b"crx ", b"crx ", b"isom"), "a camera's raw file (CR3)"),
    "MP4": (ftyp(b"isom", b"isom", b"mp42"), "a video"),
    "JPEG XL": (b"\xff\x0a" + bytes(40), "JPEG XL"),
    "JPEG XL in boxes": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "JPEG XL"),
    "JPEG 2000": (saved("JPEG2000"), "JPEG 2000"),
    "JPEG XR": (b"II\xbc\x01" + bytes(40), "JPEG XR"),
    "PDF": (saved("PDF"), "PDF"),
    "EPS": (saved("EPS"), "PostScript"),
    "SVG": (svg(), "SVG"),
    "SVG with a prolog": (svg(b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- by hand -->\n'), "SVG"),
    "BMP": (saved("BMP"), "BMP"),
    "BMP with alpha": (b"BM" + saved("BMP")[2:14] + struct.pack("<I", 124) + bytes(200), "BMP"),
    "ICO": (saved("ICO"), "an icon (ICO)"),
    "ICNS": (saved("ICNS"), "an icon (ICNS)"),
    "CUR": (b"\0\0\2\0\1\0" + bytes(40), "a cursor"),
    "PPM": (anymap(b"P6"), "a portable anymap"),
    "PPM of 16 bits": (b"P6 2 2 65535\n" + bytes(24), "a portable anymap"),
    "PGM": (anymap(b"P5"), "a portable anymap"),
    "PAM": (b"P7\nWIDTH 2\n" + bytes(40), "a portable anymap"),
    "PFM": (b"PF\n2 2\n-1.0\n" + bytes(48), "a portable float map"),
    "Radiance": (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 2 +X 2\n" + bytes(16), "Radiance HDR"),
    "OpenEXR": (b"v/1\x01\x02\0\0\0" + bytes(60), "OpenEXR"),
    "DDS": (saved("DDS"), "DDS"),
    "QOI": (b"qoif" + bytes(40), "QOI"),
    "PSD": (b"8BPS\0\1" + bytes(40), "a Photoshop document"),
    "XCF": (b"gimp xcf v011" + bytes(40), "a GIMP document"),
    "RAF": (b"FUJIFILMCCD-RAW 0201" + bytes(40), "a camera's raw file (RAF)"),
    "ORF": (b"IIRO\x08\0\0\0" + bytes(40), "a camera's raw file (ORF)"),
    "RW2": (b"IIU\0\x18\0\0\0" + bytes(40), "a camera's raw file (RW2)"),
    "FITS": (b"SIMPLE  =                    T" + bytes(100), "FITS"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(40), "HDF5"),
    "MNG": (b"\x8aMNG\r\n\x1a\n" + bytes(40), "MNG"),
    "ZIP": (b"PK\x03\x04" + bytes(40), "a ZIP archive"),
    "gzip": (b"\x1f\x8b\x08" + bytes(40), "compressed with gzip"),
    "AVI": (b"RIFF\0\0\0\0AVI LIST" + bytes(40), "a video"),
    "a saved web page": (b"<!DOCTYPE html><html><body>403</body></html>", "a web page and no picture"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a Git LFS pointer"),
    "DICOM": (bytes(128) + b"DICM" + bytes(40), "a DICOM file"),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_files_of_other_kinds_are_one_line_that_names_them(tmp_path: Path, name: str, suffix: str) -> None:
    content, says = FOREIGN[name]
    (tmp_path / f"in{suffix}").write_bytes(content)
    with pytest.raises(UserError) as caught:
        upscale(tmp_path / f"in{suffix}", tmp_path / "out.png", plain=True)
    assert str(caught.value).startswith(f"{tmp_path / f'in{suffix}'}: {says}")
    assert "\n" not in str(caught.value)
    assert "; " in str(caught.value)
    assert not (tmp_path / "out.png").exists()


def with_nclx(data: bytes, primaries: int, transfer: int) -> bytes:
    """An AVIF whose `colr` box says other primaries and transfer (ISO/IEC 14496-12, 12.1.5)."""
    at = data.index(b"colrnclx")
    return data[: at + 8] + struct.pack(">HH", primaries, transfer) + data[at + 12 :]


# libvips/libvips#3912, ImageMagick/ImageMagick#7715: HDR and wide colours become dull, and nothing is said.
@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif", ".tif", ".gif"])
def test_hdr_out_of_an_avif_is_said(
    tmp_path: Path, transfer: int, name: str, suffix: str, said: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in.avif").write_bytes(with_nclx(saved("AVIF", quality=95), 9, transfer))
    upscale(tmp_path / "in.avif", tmp_path / f"out{suffix}")
    assert f"that its brightness is that of {name}: it will look dull" in said.text


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_is_kept_in_a_png(tmp_path: Path, transfer: int, said: pytest.LogCaptureFixture) -> None:
    (tmp_path / "in.avif").write_bytes(with_nclx(saved("AVIF", quality=95), 9, transfer))
    upscale(tmp_path / "in.avif", tmp_path / "out.png")
    data = (tmp_path / "out.png").read_bytes()
    at = data.index(b"cICP")
    assert data[at + 4 : at + 8] == bytes([9, transfer, 0, 1])
    assert at < data.index(b"IDAT")
    assert "no place" not in said.text


# ImageMagick/ImageMagick#7715: Display P3 in an AVIF's numbers is Display P3 in every result.
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".avif", ".tif"])
def test_wide_colours_of_an_avif(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "in.avif").write_bytes(with_nclx(saved("AVIF", quality=95), 12, 13))
    upscale(tmp_path / "in.avif", tmp_path / f"out{suffix}")
    with Image.open(tmp_path / f"out{suffix}") as image:
        image.load()
        if suffix == ".png":
            assert b"cICP" + bytes([12, 13, 0, 1]) in (tmp_path / "out.png").read_bytes()
        else:
            from PIL import ImageCms

            profile: Any = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"])).profile
            assert profile.red_colorant[0] == pytest.approx((0.5151, 0.2412, -0.0011), abs=2e-4)


def test_usual_numbers_of_an_avif_need_no_profile(tmp_path: Path) -> None:
    for primaries, transfer in ((1, 13), (2, 2), (1, 1), (1, 6)):
        (tmp_path / "in.avif").write_bytes(with_nclx(saved("AVIF", quality=95), primaries, transfer))
        upscale(tmp_path / "in.avif", tmp_path / "out.jpg")
        with Image.open(tmp_path / "out.jpg") as image:
            assert "icc_profile" not in image.info


# AV1 image sequences (brand avis): Pillow writes them; here the first picture is done.
def test_an_animated_avif_is_said(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    frames = [Image.fromarray(np.roll(SMOOTH, 5 * number, axis=1)) for number in range(3)]
    frames[0].save(tmp_path / "in.avif", save_all=True, append_images=frames[1:])
    upscale(tmp_path / "in.avif", tmp_path / "out.png")
    assert "an animation; its first picture is read and the others are left out" in said.text


# remvee/exifr#72 for AVIF and WebP: the block that libvips would write is not the one that came in.
@pytest.mark.parametrize("suffix", [".avif", ".webp"])
@pytest.mark.parametrize("target", [".avif", ".webp", ".jpg"])
def test_exif_of_any_size(tmp_path: Path, suffix: str, target: str) -> None:
    exif = Image.Exif()
    exif[0x010F] = "x" * 3000 + "ü"
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + b"y" * 40_000
    Image.fromarray(SMOOTH).save(tmp_path / f"in{suffix}", exif=exif)
    upscale(tmp_path / f"in{suffix}", tmp_path / f"out{target}")
    with Image.open(tmp_path / f"out{target}") as image:
        got = image.getexif()
        assert got.get_ifd(0x8769)[0x9286] == exif.get_ifd(0x8769)[0x9286]
        assert got[0x010F].startswith("x" * 3000)


def test_exif_beyond_a_jpegs_segment_is_said(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + b"y" * 70_000
    Image.fromarray(SMOOTH).save(tmp_path / "in.webp", exif=exif)
    upscale(tmp_path / "in.webp", tmp_path / "out.jpg")
    assert "JPEG has no room for EXIF of " in said.text


# RFC 9649, 2.7.1: a simple WebP becomes an extended one; flags, sizes and the order of chunks are what readers check.
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("quality", [80, 100])
def test_the_chunks_of_a_webp(tmp_path: Path, alpha: bool, quality: int) -> None:
    pixels = np.dstack([SMOOTH, np.full(SMOOTH.shape[:2], 99, np.uint8)]) if alpha else SMOOTH
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    Image.fromarray(pixels).save(tmp_path / "in.png", exif=exif)
    upscale(tmp_path / "in.png", tmp_path / "out.webp", quality=quality)
    data = (tmp_path / "out.webp").read_bytes()
    assert struct.unpack_from("<I", data, 4)[0] == len(data) - 8
    assert data[12:16] == b"VP8X"
    assert (data[20] & 0x10 != 0, data[20] & 0x08 != 0) == (alpha, True)
    assert int.from_bytes(data[24:27], "little") + 1 == 4 * 48
    at, kinds = 12, []
    while at < len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        kinds.append(kind)
        at += 8 + length + length % 2
    assert at == len(data)
    assert kinds[-1] == b"EXIF"


# GIF89a, sections 24 and 26: comments and XMP of a GIF go into the result, wherever in the file they stand.
@pytest.mark.parametrize("suffix", [".gif", ".png", ".jpg", ".webp"])
def test_comments_and_xmp_of_a_gif(tmp_path: Path, suffix: str) -> None:
    data = saved("GIF", comment="Größe".encode() + b"!" * 300)
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    trailer = b"\x01" + bytes(range(255, -1, -1)) + b"\0"
    (tmp_path / "in.gif").write_bytes(data[:-1] + b"\x21\xff\x0bXMP DataXMP" + xmp + trailer + b";")
    info = Raster.open(tmp_path / "in.gif").info
    assert info.xmp == xmp
    assert [text.value for text in info.texts] == ["Größe" + "!" * 300]
    upscale(tmp_path / "in.gif", tmp_path / f"out{suffix}")
    with Image.open(tmp_path / f"out{suffix}") as image:
        image.load()
        if suffix == ".png":
            assert image.info["Comment"] == "Größe" + "!" * 300
        if suffix in (".jpg", ".gif"):
            assert image.info["comment"].startswith("Größe".encode())
    assert xmp in (tmp_path / f"out{suffix}").read_bytes()


# GIF holds 256 colours and no half transparency (GIF89a, sections 18 and 23); that is said of every picture put there.
@pytest.mark.parametrize("source", [".png", ".webp", ".jpg"])
def test_what_a_gif_does_to_pictures_is_said(tmp_path: Path, source: str, said: pytest.LogCaptureFixture) -> None:
    Image.fromarray(SMOOTH).save(tmp_path / f"in{source}")
    upscale(tmp_path / f"in{source}", tmp_path / "out.gif")
    assert said.text.count("256 colours a frame") == 1


# A WebP, GIF or AVIF cut short is refused, and never filled up with grey (Pillow's LOAD_TRUNCATED_IMAGES does that).
@pytest.mark.parametrize("form", ["WEBP", "GIF", "AVIF", "TIFF", "PNG"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_files_that_are_cut_short(tmp_path: Path, form: str, share: float) -> None:
    data = saved(form)
    (tmp_path / "in.png").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError) as caught:
        upscale(tmp_path / "in.png", tmp_path / "out.png")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.png").exists()
