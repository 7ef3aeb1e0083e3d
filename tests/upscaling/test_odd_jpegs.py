"""Odd JPEGs as other programs' bug reports and the specifications have them; read back by Pillow and by hand.

Each test names the report or the section that it comes from.
"""

import base64
import hashlib
import logging
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from by_hand import exif_block, exif_of, jpeg, segment, with_segments
from nearest import upscale
from PIL import Image

from gramgan.errors import UserError
from gramgan.images import Raster, read_rgb8

RNG = np.random.default_rng(21)
SMOOTH = np.asarray(Image.fromarray(RNG.integers(0, 256, (5, 6, 3), dtype=np.uint8)).resize((48, 40)))
NOISE = RNG.integers(0, 256, (160, 120, 3), dtype=np.uint8)


def segments_of(path: Path, kind: int) -> list[bytes]:
    """The segments of a kind in front of the pixels, by the standard's own words (T.81, B.1)."""
    data, at, found = path.read_bytes(), 2, []
    while data[at + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, at + 2)
        if data[at + 1] == kind:
            found.append(data[at + 4 : at + 2 + length])
        at += 2 + length
    return found


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="gramgan")
    return caplog


# SixLabors/ImageSharp#18, intel/libyami#801, ruffle-rs/ruffle#8820: only the mark of the end is missing.
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("cut", [1, 2])
@pytest.mark.parametrize("grey", [False, True])
def test_a_jpeg_without_the_mark_of_its_end(
    tmp_path: Path, progressive: bool, cut: int, grey: bool, said: pytest.LogCaptureFixture
) -> None:
    data = jpeg(NOISE[..., 0] if grey else NOISE, progressive=progressive)
    (tmp_path / "whole.jpg").write_bytes(data)
    (tmp_path / "cut.jpg").write_bytes(data[:-cut])
    np.testing.assert_array_equal(read_rgb8(tmp_path / "cut.jpg"), read_rgb8(tmp_path / "whole.jpg"))
    upscale(tmp_path / "cut.jpg", tmp_path / "out.png")
    assert "it is used if no row is missing" in said.text
    with Image.open(tmp_path / "out.png") as image, Image.open(tmp_path / "whole.jpg") as whole:
        np.testing.assert_array_equal(np.asarray(image)[2::4, 2::4], np.asarray(whole))


# kkopachev in python-pillow/Pillow#3023, haraldk/TwelveMonkeys#1054: rows are missing, which must not be made up.
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mended", [False, True], ids=["cut", "with an end put on"])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_jpeg_that_lacks_rows(tmp_path: Path, progressive: bool, share: float, mended: bool) -> None:
    data = jpeg(NOISE, progressive=progressive)
    (tmp_path / "in.jpg").write_bytes(data[: int(len(data) * share)] + (b"\xff\xd9" if mended else b""))
    with pytest.raises(UserError, match="damaged or truncated JPEG") as caught:
        upscale(tmp_path / "in.jpg", tmp_path / "out.png")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.png").exists()


# T.81, B.2.1: an interval between restart markers is gone; viewers show what they can, and the result says so.
def test_damage_that_a_decoder_notices_is_said(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    data = jpeg(NOISE, restart_marker_blocks=4)
    third, fourth = data.index(b"\xff\xd2"), data.index(b"\xff\xd3")
    (tmp_path / "in.jpg").write_bytes(data[:third] + data[fourth:])
    upscale(tmp_path / "in.jpg", tmp_path / "out.png")
    assert said.text.count("what can be decoded of it is used") == 1


# Cameras that put bytes between segments (libjpeg: "extraneous bytes before marker") do no harm.
def test_bytes_between_segments_do_no_harm(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    data = jpeg(SMOOTH)
    at = data.index(b"\xff\xc0")
    (tmp_path / "in.jpg").write_bytes(data[:at] + b"\0\0\0\0" + data[at:])
    (tmp_path / "plain.jpg").write_bytes(data)
    np.testing.assert_array_equal(read_rgb8(tmp_path / "in.jpg"), read_rgb8(tmp_path / "plain.jpg"))
    assert "damaged" not in said.text


# T.81, G.1.1: a progressive JPEG that ends between two scans decodes without a word, and is coarse.
def test_a_progressive_jpeg_that_lacks_whole_scans(tmp_path: Path) -> None:
    data = jpeg(NOISE, progressive=True)
    scans = [match.start() for match in re.finditer(rb"\xff\xda", data)]
    assert len(scans) > 4
    tables = data.rindex(b"\xff\xc4", 0, scans[-1])
    for end in (scans[-1], scans[-2]):
        (tmp_path / "in.jpg").write_bytes(data[: min(end, tables) if end == scans[-1] else end])
        with pytest.raises(UserError, match="its last scans are missing"):
            upscale(tmp_path / "in.jpg", tmp_path / "out.png")


# libjpeg-turbo#163 (Samsung's trailer), fluttercandies/dart_image_size_getter#40: what follows is no part of the image.
@pytest.mark.parametrize(
    ("trailer", "says"),
    [
        (b"\0\0\0\x18ftypmp42" + bytes(500), "a video behind the picture, left out"),
        (b"SEFT" + bytes(96), "100 bytes behind the picture, left out"),
        (b"\0" * 7, "7 bytes behind the picture, left out"),
    ],
)
def test_what_stands_behind_the_picture_is_said(
    tmp_path: Path, trailer: bytes, says: str, said: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in.jpg").write_bytes(jpeg(SMOOTH) + trailer)
    upscale(tmp_path / "in.jpg", tmp_path / "out.png")
    assert says in said.text


# google/libultrahdr, reagle in python-pillow/Pillow#8036, mozilla/mozjpeg#451: gain maps vanish without a word.
@pytest.mark.parametrize(
    ("kind", "body", "says"),
    [
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x xmlns:hdrgm='h' hdrgm:Version='1.0'/>", "its gain map is left out"),
        (0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0", "its gain map is left out"),
        (0xE2, b"MPF\0II*\0\x08\0\0\0\0\0", "more pictures than one (MPF); the others are left out"),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x GCamera:MotionPhoto='1'/>", "a motion photo: its video is left out"),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x GCamera:MicroVideo='1'/>", "a motion photo: its video is left out"),
    ],
)
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_more_than_one_picture_in_a_jpeg_is_said(
    tmp_path: Path, kind: int, body: bytes, says: str, suffix: str, said: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in.jpg").write_bytes(with_segments(jpeg(SMOOTH), segment(kind, body)) + jpeg(SMOOTH[::2, ::2]))
    upscale(tmp_path / "in.jpg", tmp_path / f"out{suffix}")
    assert says in said.text


# Pillow's own MPO (python-pillow/Pillow#1138).
def test_a_stereo_pair_is_said(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    left, right = Image.fromarray(SMOOTH), Image.fromarray(255 - SMOOTH)
    left.save(tmp_path / "in.mpo", save_all=True, append_images=[right])
    upscale(tmp_path / "in.mpo", tmp_path / "out.jpg")
    assert "more pictures than one (MPF)" in said.text


# T.81 knows more than baseline: 12 bits, no loss, arithmetic coding. Each is right or one line.
@pytest.mark.parametrize("marker", [0xC3, 0xC5, 0xCB, 0xCF, 0xF7])
def test_processes_that_nothing_here_decodes(tmp_path: Path, marker: int) -> None:
    data = jpeg(NOISE).replace(b"\xff\xc0", bytes([0xFF, marker]), 1)
    (tmp_path / "in.jpg").write_bytes(data)
    with pytest.raises(UserError) as caught:
        upscale(tmp_path / "in.jpg", tmp_path / "out.png")
    assert "\n" not in str(caught.value)
    assert "convert it" in str(caught.value) or "get a whole copy" in str(caught.value)


# T.81, D: arithmetic coding (this one by libjpeg-turbo's jpegtran -arithmetic); half of it is black, half orange.
ARITHMETIC = (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsLEBYQERMUFRUVDA8XGB"
    "YUGBIUFRT/2wBDAQMEBAUEBQkFBQkUDQsNFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBT/yQARCAAQ"
    "ABADAREAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/AO7denKUD2DtttH9SWEwzBXxi//Z"
)


def test_arithmetic_coding(tmp_path: Path) -> None:
    (tmp_path / "in.jpg").write_bytes(base64.b64decode(ARITHMETIC))
    pixels = read_rgb8(tmp_path / "in.jpg")
    assert pixels.shape == (3, 16, 16)
    assert pixels[:, 4, 3].tolist() == [0, 0, 0]
    assert np.abs(pixels[:, 4, 12].astype(int) - [200, 90, 30]).max() <= 2


def test_twelve_bits_are_one_line(tmp_path: Path) -> None:
    data = bytearray(jpeg(SMOOTH))
    data[data.index(b"\xff\xc0") + 4] = 12
    (tmp_path / "in.jpg").write_bytes(data)
    with pytest.raises(UserError, match="a JPEG of 12 bits, which cannot be decoded here; convert it"):
        upscale(tmp_path / "in.jpg", tmp_path / "out.png")


# haraldk/TwelveMonkeys#141, etemesi254/zune-image#442: inks are stored inverted by Adobe, as they are or as YCCK.
def test_inks_are_not_turned_around(tmp_path: Path) -> None:
    inks = np.zeros((40, 48, 4), np.uint8)
    inks[:, 16:32, 1:3] = 255
    inks[:, 32:] = 255
    (tmp_path / "in.jpg").write_bytes(jpeg(inks, "CMYK"))
    upscale(tmp_path / "in.jpg", tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        white, red, black = (np.asarray(image)[80, x].astype(int) for x in (30, 96, 160))
    assert white.min() > 245
    assert red[0] > 180 > 110 > red[1:].max()
    assert black.max() < 60


# Exif 2.32, 4.6.4 A: eight ways in which a camera is held; the thumbnail of a turned one would lie on its side.
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_and_thumbnail(tmp_path: Path, orientation: int, order: str) -> None:
    thumbnail = jpeg(SMOOTH[::4, ::4])
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8)
    main = struct.pack(f"{order}HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 26)
    second = struct.pack(f"{order}HHHIIHHIII", 2, 0x0201, 4, 1, 56, 0x0202, 4, 1, len(thumbnail), 0)
    block = b"Exif\0\0" + head + main + second + thumbnail
    (tmp_path / "in.jpg").write_bytes(with_segments(jpeg(SMOOTH), segment(0xE1, block)))
    upscale(tmp_path / "in.jpg", tmp_path / "out.jpg")
    with Image.open(tmp_path / "in.jpg") as image:
        image.load()
        moves = [None, None, 0, 3, 1, 5, 4, 6, 2][orientation]
        upright = image if moves is None else image.transpose(Image.Transpose(moves))
        wanted = np.asarray(upright).astype(int).repeat(4, 0).repeat(4, 1)
    with Image.open(tmp_path / "out.jpg") as image:
        exif = image.getexif()
        assert exif[0x0112] == 1
        stored = image.info["exif"].removeprefix(b"Exif\0\0")
        assert np.abs(np.asarray(image) - wanted).mean() < 3
    (at,) = struct.unpack_from(f"{order}I", stored, 4)
    (count,) = struct.unpack_from(f"{order}H", stored, at)
    (following,) = struct.unpack_from(f"{order}I", stored, at + 2 + 12 * count)
    assert bool(following) == (orientation == 1)
    if following:
        assert stored[56 : 56 + len(thumbnail)] == thumbnail


CAPTIONS = {
    "UTF-8": "München, 東京 – naïve".encode(),
    "Latin-1": "München, naïve".encode("latin-1"),
    "Shift-JIS": "東京タワー".encode("shift-jis"),
    "GBK": "北京".encode("gbk"),
    "brackets": b"Arnold (Photographer) - [None] (Editor)",
}


# libvips/libvips#3720 and #2388, remvee/exifr#72, bwindels/exif-parser#11, Exif 3.0: texts are bytes in any encoding.
@pytest.mark.parametrize("name", CAPTIONS)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_exif_texts_come_through_byte_for_byte(tmp_path: Path, name: str, order: str, suffix: str) -> None:
    words = CAPTIONS[name]
    texts = {0x010E: words, 0x010F: words, 0x0131: words, 0x013B: words, 0x8298: words}
    comment = b"UNICODE\0" + "写真 München".encode("utf-16-le" if order == "<" else "utf-16-be")
    inner = {0x9286: (7, comment), 0xA420: (2, b"0123456789abcdef0123456789abcdef\0"), 0xA434: (2, words + b"\0")}
    block = exif_block(order, texts, inner)
    (tmp_path / "in.jpg").write_bytes(with_segments(jpeg(SMOOTH), segment(0xE1, block)))
    upscale(tmp_path / "in.jpg", tmp_path / f"out{suffix}")
    main, own = exif_of(tmp_path / f"out{suffix}")
    for number in texts:
        assert main[number].rstrip(b"\0").startswith(words), hex(number)
    if suffix != ".png":  # which has a text of its own for it
        assert main[0x010E].rstrip(b"\0").endswith(b"synthesised, not measured.")
    swapped = suffix == ".tif" and order == ">"  # the result is little-endian, and what is undefined stays as it is
    assert own[0x9286] == comment or swapped
    assert own[0xA434].rstrip(b"\0") == words


# kleisauke/net-vips#10: Windows keeps title, comment, author, keywords and subject as UTF-16 in tags of bytes.
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_the_tags_of_windows(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    values = {number: f"Größe {number} 写\0".encode("utf-16-le") for number in range(0x9C9B, 0x9CA0)}
    for number, value in values.items():
        exif[number] = value
    (tmp_path / "in.jpg").write_bytes(jpeg(SMOOTH, exif=exif))
    upscale(tmp_path / "in.jpg", tmp_path / f"out{suffix}")
    main, _ = exif_of(tmp_path / f"out{suffix}")
    assert {number: main[number] for number in values} == values


# Exif 2.32, 4.6.5 G: a maker note's offsets count from the block's beginning; it is whole only where nothing moves.
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_a_maker_note_stays_where_it_is_or_is_said(tmp_path: Path, suffix: str, said: pytest.LogCaptureFixture) -> None:
    note = b"MAKER\0" + bytes(range(200))
    block = exif_block("<", {0x010F: b"Maker"}, {0x927C: (7, note)})
    at = block.index(note)
    (tmp_path / "in.jpg").write_bytes(with_segments(jpeg(SMOOTH), segment(0xE1, block)))
    upscale(tmp_path / "in.jpg", tmp_path / f"out{suffix}")
    if suffix == ".tif":
        assert "TIFF has no place for the maker note of its camera" in said.text
    else:
        with Image.open(tmp_path / f"out{suffix}") as image:
            kept = image.info["exif"]
        kept = kept if kept.startswith(b"Exif") else b"Exif\0\0" + kept
        assert kept.index(note) == at
        assert "maker note" not in said.text


# Damage of one kind must not cost the others: deckerst/aves#448 and metadata-extractor-images have all sorts of it.
@pytest.mark.parametrize("block", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0JUNKJUNKJUNK"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_exif_that_is_damaged_is_said(
    tmp_path: Path, block: bytes, suffix: str, said: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in.jpg").write_bytes(with_segments(jpeg(SMOOTH), segment(0xE1, block)))
    upscale(tmp_path / "in.jpg", tmp_path / f"out{suffix}")
    assert "EXIF that is damaged" in said.text
    with Image.open(tmp_path / f"out{suffix}") as image:
        image.load()


def packet(size: int) -> bytes:
    words = "".join(f"<dc:p{number}>{'x' * 900}</dc:p{number}>" for number in range(size // 900)).encode()
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        + words
        + b"<dc:title>Meer</dc:title></rdf:Description></rdf:RDF></x:xmpmeta>"
    )


def xmp_of(path: Path) -> bytes:
    """The XMP of a JPEG, put together from standard and extended segments (XMP specification, part 3, 1.1.3.1)."""
    found = segments_of(path, 0xE1)
    standard = next(one for one in found if one.startswith(b"http://ns.adobe.com/xap/1.0/\0"))[29:]
    mark = b"http://ns.adobe.com/xmp/extension/\0"
    parts = [one[len(mark) :] for one in found if one.startswith(mark)]
    if not parts:
        return standard
    guid, total, _ = struct.unpack_from(">32sII", parts[0])
    assert guid in standard
    whole = b"".join(part[40:] for part in sorted(parts, key=lambda part: struct.unpack_from(">I", part, 36)))
    assert len(whole) == total
    assert hashlib.md5(whole).hexdigest().upper().encode() == guid
    return whole


# imazen/zenjpeg#37, StefanOltmann/kim#5, SixLabors/ImageSharp#2203: XMP beyond 64 KB is dropped or cut elsewhere.
@pytest.mark.parametrize("size", [900, 65_000, 80_000, 300_000])
@pytest.mark.parametrize("source", [".png", ".webp", ".jpg"])
def test_xmp_of_any_size_into_a_jpeg_and_out_of_it(tmp_path: Path, size: int, source: str) -> None:
    xmp = packet(size)
    image = Image.fromarray(SMOOTH)
    if source == ".png":
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        image.save(tmp_path / "in.png", pnginfo=info)
    elif source == ".webp":
        image.save(tmp_path / "in.webp", xmp=xmp)
    else:
        image.save(tmp_path / "first.webp", xmp=xmp)
        upscale(tmp_path / "first.webp", tmp_path / "in.jpg")
    upscale(tmp_path / f"in{source}", tmp_path / "out.jpg")
    assert b"".join(xmp_of(tmp_path / "out.jpg").split()).count(b"<dc:p") == size // 900
    assert b"<dc:title>Meer</dc:title>" in xmp_of(tmp_path / "out.jpg")
    upscale(tmp_path / "out.jpg", tmp_path / "again.webp")
    with Image.open(tmp_path / "again.webp") as again:
        assert again.info["xmp"].count(b"<dc:p") == size // 900


# drewnoakes/metadata-extractor#184, Exiv2/exiv2#2150: an extended packet that is incomplete is not put together.
def test_a_part_of_extended_xmp_is_missing(tmp_path: Path) -> None:
    Image.fromarray(SMOOTH).save(tmp_path / "in.webp", xmp=packet(200_000))
    upscale(tmp_path / "in.webp", tmp_path / "long.jpg")
    data = (tmp_path / "long.jpg").read_bytes()
    at = data.rindex(b"http://ns.adobe.com/xmp/extension/\0")
    (tmp_path / "cut.jpg").write_bytes(data[:at] + b"HTTP" + data[at + 4 :])
    info = Raster.open(tmp_path / "cut.jpg").info
    assert info.xmp is not None
    assert b"dc:title" not in info.xmp


IPTC = b"\x1c\x02\x78\x00\x0dA quiet beach" + b"\x1c\x02\x50\x00\x04Anna"


def with_iptc() -> bytes:
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC + bytes(len(IPTC) % 2)
    return with_segments(jpeg(SMOOTH), segment(0xED, b"Photoshop 3.0\0" + resource))


# IIM 4.2 in a PNG is ImageMagick's "Raw profile type iptc", which ExifTool reads; WebP, AVIF and GIF have no place.
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".avif", ".gif"])
def test_iptc_is_kept_or_said(tmp_path: Path, suffix: str, said: pytest.LogCaptureFixture) -> None:
    (tmp_path / "in.jpg").write_bytes(with_iptc())
    upscale(tmp_path / "in.jpg", tmp_path / f"out{suffix}")
    kept = Raster.open(tmp_path / f"out{suffix}").info.iptc
    if suffix == ".png":
        with Image.open(tmp_path / "out.png") as image:
            kind, size, *digits = image.info["Raw profile type iptc"].split()
        assert (kind, int(size)) == ("iptc", len(bytes.fromhex("".join(digits))))
        assert IPTC in bytes.fromhex("".join(digits))
    if suffix in (".jpg", ".png", ".tif"):
        assert kept is not None
        assert kept.rstrip(b"\0") == IPTC
        assert "IPTC" not in said.text
    else:
        assert kept is None
        assert said.text.count("has no place for IPTC") == 1


# T.81, B.2.4.5: comments in any encoding; the result has them where its format has a place.
@pytest.mark.parametrize("words", ["Größe 写".encode(), "Größe".encode("latin-1")])
@pytest.mark.parametrize("suffix", [".jpg", ".gif", ".png", ".webp"])
def test_comments_come_through(tmp_path: Path, words: bytes, suffix: str) -> None:
    (tmp_path / "in.jpg").write_bytes(with_segments(jpeg(SMOOTH), segment(0xFE, words)))
    upscale(tmp_path / "in.jpg", tmp_path / f"out{suffix}")
    data = (tmp_path / f"out{suffix}").read_bytes()
    if suffix == ".jpg":
        assert segments_of(tmp_path / "out.jpg", 0xFE) == [words]
    elif suffix == ".webp":
        _, own = exif_of(tmp_path / "out.webp")
        assert own[0x9286].startswith(b"UNICODE\0")
        assert "Gr" in own[0x9286][8:].decode("utf-16-be", "replace")
    elif suffix == ".png" and words != "Größe".encode("latin-1"):
        with Image.open(tmp_path / "out.png") as image:
            image.load()
            assert image.info["Comment"] == words.decode()
    else:
        assert words in data


# T.81, B.2.2: 65,500 is the most that libjpeg takes; one pixel is the least.
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
def test_the_smallest_pictures(tmp_path: Path, size: tuple[int, int]) -> None:
    flat = np.full((*size, 3), 99, np.uint8)
    (tmp_path / "in.jpg").write_bytes(jpeg(flat))
    upscale(tmp_path / "in.jpg", tmp_path / "out.jpg")
    with Image.open(tmp_path / "out.jpg") as image:
        assert image.size == (4 * size[1], 4 * size[0])
        assert np.abs(np.asarray(image).astype(int) - 99).max() <= 2


def test_a_jpeg_as_wide_as_can_be(tmp_path: Path) -> None:
    (tmp_path / "in.jpg").write_bytes(jpeg(np.full((2, 65_500, 3), 50, np.uint8)))
    assert Raster.open(tmp_path / "in.jpg").info.width == 65_500
    with pytest.raises(UserError, match="too large for JPEG"):
        upscale(tmp_path / "in.jpg", tmp_path / "out.jpg")
