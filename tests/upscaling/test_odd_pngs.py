"""Odd PNGs as other programs' bug reports and the specification have them; read back by Pillow and by hand.

Each test names the report or the section that it comes from.
"""

import io
import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from by_hand import Chunk, png
from nearest import upscale
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from gramgan.errors import UserError
from gramgan.images import Raster

RNG = np.random.default_rng(22)
RGB = RNG.integers(0, 256, (24, 30, 3), dtype=np.uint8)
RAMP = np.repeat(np.repeat(np.arange(16, 240, 8, dtype=np.uint8)[None, :, None], 24, axis=0), 3, axis=2)


def chunks_of(path: Path) -> dict[bytes, bytes]:
    """The chunks of a PNG, checked; those of one kind joined."""
    data, at, found = path.read_bytes(), 8, {}
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(kind + body)
        found[kind] = found.get(kind, b"") + body
        at += 12 + length
    return found


def gamma(value: float) -> Chunk:
    return b"gAMA", struct.pack(">I", round(100_000 * value))


def primaries(*places: float) -> Chunk:
    return b"cHRM", struct.pack(">8I", *(round(100_000 * place) for place in places))


SRGB = primaries(0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
P3 = primaries(0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)


def encode(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.power(np.maximum(linear, 0), 1 / 2.4) - 0.055)


def decode(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, np.power((values + 0.055) / 1.055, 2.4))


def shown(path: Path) -> np.ndarray:
    """What a screen shows of a file's pixels, in sRGB: by its profile, and for a PNG without one by its gamma."""
    with Image.open(path) as image:
        image.load()
        icc, own_gamma = image.info.get("icc_profile"), image.info.get("gamma")
        if icc is not None:
            picture = image if icc[16:20] == b"GRAY" else image.convert("RGB")
            source, target = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
            result = ImageCms.profileToProfile(
                picture, source, target, ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB"
            )
            assert result is not None
            return np.asarray(result).astype(float)
        values = np.asarray(image.convert("RGB")) / 255
    if own_gamma is None or abs(own_gamma - 1 / 2.2) < 0.001:  # which browsers take for sRGB
        return 255 * values
    return 255 * encode(np.power(values, 1 / own_gamma))


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="gramgan")
    return caplog


# libjxl/libjxl#4307, d2phap/ImageGlass#377, etemesi254/zune-image#54: gAMA of all sorts.
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif", ".gif"])
@pytest.mark.parametrize("value", [1.0, 0.45455, 0.55556, 0.22727])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_gamma_means_the_same_brightness_everywhere(tmp_path: Path, suffix: str, value: float, channels: int) -> None:
    pixels = RAMP[..., 0] if channels == 1 else RAMP
    if channels == 4:
        pixels = np.dstack([RAMP, np.full(RAMP.shape[:2], 255, np.uint8)])
    (tmp_path / "in.png").write_bytes(png(pixels, gamma(value)))
    upscale(tmp_path / "in.png", tmp_path / f"out{suffix}", quality=100)
    wanted = 255 * encode(np.power(RAMP / 255, 1 / value)) if value != 0.45455 else RAMP
    got = shown(tmp_path / f"out{suffix}")[2::4, 2::4]
    tolerance = 9 if suffix == ".gif" or channels == 1 else 5 if value == 0.45455 else 3
    assert np.abs(got - wanted).max() <= tolerance
    if suffix == ".png":
        assert chunks_of(tmp_path / "out.png")[b"gAMA"] == gamma(value)[1]
        assert b"iCCP" not in chunks_of(tmp_path / "out.png")


# PNG 11.3.2.1: without a profile, cHRM says which red, green and blue are meant (here those of Display P3).
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif", ".gif"])
def test_primaries_mean_the_same_colours_everywhere(tmp_path: Path, suffix: str) -> None:
    flat = np.empty((24, 30, 3), np.uint8)
    flat[:] = [150, 120, 90]
    (tmp_path / "in.png").write_bytes(png(flat, gamma(1 / 2.2), P3))
    upscale(tmp_path / "in.png", tmp_path / f"out{suffix}")
    matrix = np.array([[1.2249, -0.2247, 0], [-0.0420, 1.0419, 0], [-0.0197, -0.0786, 1.0979]])
    wanted = 255 * encode(matrix @ decode(flat[0, 0] / 255))
    if suffix == ".png":
        found = chunks_of(tmp_path / "out.png")
        assert (found[b"cHRM"], found[b"gAMA"]) == (P3[1], gamma(1 / 2.2)[1])
    else:
        assert np.abs(shown(tmp_path / f"out{suffix}")[50, 50] - wanted).max() <= 3
    assert np.abs(wanted - flat[0, 0]).max() > 4  # the test can fail


# PNG 11.3.2.5 and libpng's usual companions: what only says sRGB needs no profile, and none is made.
@pytest.mark.parametrize("said_by", [(gamma(0.45455), SRGB), ((b"sRGB", b"\0"),), ((b"sRGB", b"\1"), gamma(0.45455))])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_srgb_stays_plain(tmp_path: Path, said_by: tuple[Chunk, ...], suffix: str) -> None:
    (tmp_path / "in.png").write_bytes(png(RGB, *said_by))
    upscale(tmp_path / "in.png", tmp_path / f"out{suffix}")
    with Image.open(tmp_path / f"out{suffix}") as image:
        assert "icc_profile" not in image.info
    if suffix == ".png":
        found = chunks_of(tmp_path / "out.png")
        assert {kind: found[kind] for kind, _ in said_by} == dict(said_by)


# pngwriter/pngwriter#128: a gamma of 0, and places that span no colours, are damage and no order to show black.
@pytest.mark.parametrize(
    "chunk", [(b"gAMA", bytes(4)), (b"gAMA", b"\1"), primaries(*[0.3] * 8), primaries(*[0.0] * 8), (b"cHRM", b"x")]
)
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_nonsense_about_colours_changes_nothing(tmp_path: Path, chunk: Chunk, suffix: str) -> None:
    (tmp_path / "in.png").write_bytes(png(RAMP, chunk))
    upscale(tmp_path / "in.png", tmp_path / f"out{suffix}")
    with Image.open(tmp_path / f"out{suffix}") as image:
        image.load()
        assert np.abs(np.asarray(image)[2::4, 2::4].astype(int) - RAMP).max() <= 4
        assert "icc_profile" not in image.info


# PNG, third edition, 11.3.2.6: cICP; AOMediaCodec/libavif#2950, libvips/libvips#3912: PQ and HLG become dull.
@pytest.mark.parametrize(("numbers", "name"), [((9, 16), "PQ"), ((9, 18), "HLG"), ((12, 13), None), ((1, 8), None)])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".avif", ".tif", ".gif"])
def test_colour_numbers_are_kept_meant_or_said(
    tmp_path: Path, numbers: tuple[int, int], name: str | None, suffix: str, said: pytest.LogCaptureFixture
) -> None:
    chunk = (b"cICP", bytes([*numbers, 0, 1]))
    (tmp_path / "in.png").write_bytes(png(RGB.astype(np.uint16) * 257, chunk))
    upscale(tmp_path / "in.png", tmp_path / f"out{suffix}")
    if suffix == ".png":
        assert chunks_of(tmp_path / "out.png")[b"cICP"] == chunk[1]
        assert "no place" not in said.text
    elif name is not None:
        assert f"no place for that its brightness is that of {name}: it will look dull" in said.text
    elif suffix != ".gif":
        with Image.open(tmp_path / f"out{suffix}") as image:
            assert len(image.info["icc_profile"]) > 300


# SixLabors/ImageSharp#3197, libjxl/libjxl#3338, oxipng/oxipng#677: a profile for grey does not fit RGB, its curve does.
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".avif"])
def test_a_profile_for_grey_keeps_its_brightness(tmp_path: Path, suffix: str) -> None:
    curve = b"curv" + struct.pack(">IIH", 0, 1, 256)  # gamma 1
    white = b"XYZ " + struct.pack(">I3i", 0, 63190, 65536, 54061)
    text = b"desc" + struct.pack(">II", 0, 5) + b"test\0" + bytes(78)
    tags, body, table = {b"desc": text, b"wtpt": white, b"kTRC": curve}, b"", struct.pack(">I", 3)
    for kind, value in tags.items():
        table += kind + struct.pack(">II", 128 + 40 + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    head = struct.pack(">I4xI4s4s4s12x4s", 168 + len(body), 0x02400000, b"mntr", b"GRAY", b"XYZ ", b"acsp")
    profile = (head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)).ljust(128, b"\0") + table + body
    Image.fromarray(RAMP[..., 0]).save(tmp_path / "in.png", icc_profile=profile)
    upscale(tmp_path / "in.png", tmp_path / f"out{suffix}", quality=100)
    with Image.open(tmp_path / f"out{suffix}") as image:
        icc = image.info["icc_profile"]
        assert icc[16:20] == (b"GRAY" if image.mode == "L" else b"RGB ")
    if suffix in (".webp", ".avif"):
        wanted = 255 * encode(RAMP / 255)
        assert np.abs(shown(tmp_path / f"out{suffix}")[2::4, 2::4] - wanted).max() <= 3


TEXTS = {
    "parameters": "a tree with a bird\nNegative prompt: grass\nSteps: 40, Sampler: Euler a, Seed: 968002204",
    "workflow": '{"nodes": [{"id": 1, "title": "写真"}]}' + " " * 5000,
    "prompt": '{"3": {"class_type": "KSampler"}}',
    "Author": "Jörg",
    "Copyright": "© 2024 Jörg",
    "Software": "A1111",
    "Creation Time": "2024-05-06",
}


def with_texts(path: Path, *, compressed: bool) -> None:
    info = PngInfo()
    for keyword, text in TEXTS.items():
        info.add_text(keyword, text, zip=compressed)
    Image.fromarray(RGB).save(path, pnginfo=info)


# AUTOMATIC1111/stable-diffusion-webui#10896 and #1250, invoke-ai/InvokeAI#6291, RupertAvery/DiffusionToolkit#177.
@pytest.mark.parametrize("compressed", [False, True])
def test_texts_stay_in_a_png(tmp_path: Path, compressed: bool, said: pytest.LogCaptureFixture) -> None:
    with_texts(tmp_path / "in.png", compressed=compressed)
    upscale(tmp_path / "in.png", tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        found = dict(image.info)
        image.load()
    assert {keyword: found[keyword] for keyword in TEXTS} == TEXTS  # before the pixels, where programs look for them
    assert "synthesised" in found["Description"]
    assert "no place" not in said.text


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".tif", ".avif", ".gif"])
def test_texts_go_where_there_is_a_place_or_are_named(
    tmp_path: Path, suffix: str, said: pytest.LogCaptureFixture
) -> None:
    with_texts(tmp_path / "in.png", compressed=False)
    upscale(tmp_path / "in.png", tmp_path / f"out{suffix}")
    line = next(line for line in said.text.splitlines() if "no place for the texts" in line)
    for keyword in ("workflow", "prompt", "Creation Time"):
        assert f"'{keyword}'" in line
    with Image.open(tmp_path / f"out{suffix}") as image:
        exif = image.getexif()
        own = exif.get_ifd(0x8769).get(0x9286, b"")
    if suffix == ".gif":
        assert "'parameters'" in line
        return
    assert "'parameters'" not in line
    assert own == b"ASCII\0\0\0" + TEXTS["parameters"].encode()  # UserComment, as those programs have it outside of PNG
    for number, keyword in ((0x013B, "Author"), (0x8298, "Copyright"), (0x0131, "Software")):
        value = exif[number]
        assert TEXTS[keyword] in (value, value.encode("latin-1", "replace").decode("utf-8", "replace"))


# PNG 11.3.3: texts may stand behind the pixels, be written in UTF-8 where Latin-1 is meant, have a language.
def test_every_kind_of_text_is_kept_byte_for_byte(tmp_path: Path) -> None:
    kinds = {
        b"tEXt": b"Title\0M\xfcnchen",
        b"zTXt": b"Comment\0\0" + zlib.compress("Jürgen".encode("latin-1")),
        b"iTXt": b"Warning\0\0\0de\0Warnung\0" + "Größe 写".encode(),
    }
    before, behind = tuple(kinds.items())[:2], tuple(kinds.items())[2:]
    utf8 = (b"tEXt", b"Author\0" + "Jörg 写".encode())
    (tmp_path / "in.png").write_bytes(png(RGB, utf8, *before, behind=behind))
    upscale(tmp_path / "in.png", tmp_path / "out.png")
    data = (tmp_path / "out.png").read_bytes()
    for kind, body in (utf8, *kinds.items()):
        assert kind + body in data


# A text that says to become gigabytes (libpng's CVE-2011-3045 and its kin) is left alone; damage costs its text alone.
@pytest.mark.parametrize(
    "chunk",
    [
        (b"zTXt", b"bomb\0\0" + zlib.compress(bytes(1 << 27), 9)),
        (b"zTXt", b"cut\0\0" + zlib.compress(b"words")[:-6]),
        (b"iTXt", b"short\0\1"),
        (b"tEXt", b"no keyword"),
    ],
    ids=["bomb", "cut", "short", "no keyword"],
)
def test_texts_that_are_damaged(tmp_path: Path, chunk: Chunk) -> None:
    (tmp_path / "in.png").write_bytes(png(RGB, chunk))
    upscale(tmp_path / "in.png", tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        np.testing.assert_array_equal(np.asarray(image)[2::4, 2::4], RGB)


FRAMES = [np.roll(RGB, 5 * number, axis=1) for number in range(3)]


# ImageOptim/ImageOptim#267, toy/image_optim#142: of an animation the first frame is left, and nothing is said.
@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_an_animated_png_is_done_frame_by_frame(tmp_path: Path, suffix: str) -> None:
    images = [Image.fromarray(frame) for frame in FRAMES]
    images[0].save(tmp_path / "in.png", save_all=True, append_images=images[1:], duration=[50, 120, 70], loop=3)
    assert Raster.open(tmp_path / "in.png").info.pages == 3
    upscale(tmp_path / "in.png", tmp_path / f"out{suffix}", quality=100)
    with Image.open(tmp_path / f"out{suffix}") as image:
        assert getattr(image, "n_frames", 1) == 3
        for number, frame in enumerate(FRAMES):
            image.seek(number)
            image.load()
            assert image.info["duration"] == [50, 120, 70][number]
            got = np.asarray(image.convert("RGB"))[2::4, 2::4].astype(int)
            assert np.abs(got - frame).mean() < (14 if suffix == ".gif" else 0.1)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".avif"])
def test_where_one_frame_is_done_it_is_said(tmp_path: Path, suffix: str, said: pytest.LogCaptureFixture) -> None:
    images = [Image.fromarray(frame) for frame in FRAMES]
    images[0].save(tmp_path / "in.png", save_all=True, append_images=images[1:])
    upscale(tmp_path / "in.png", tmp_path / f"out{suffix}")
    assert f"3 images in it, and {suffix} holds one: the first is done" in said.text


# opencv/opencv#27074: the picture for viewers without animations need be no frame.
def test_a_default_picture_that_is_no_frame(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    images = [Image.fromarray(frame) for frame in FRAMES]
    still = Image.fromarray(255 - RGB)
    still.save(tmp_path / "in.png", save_all=True, append_images=images, default_image=True)
    raster = Raster.open(tmp_path / "in.png")
    assert raster.info.pages == 3
    np.testing.assert_array_equal(raster.read_samples()[:3].transpose(1, 2, 0), FRAMES[0])
    upscale(tmp_path / "in.png", tmp_path / "out.webp", quality=100)
    assert "its picture for viewers without animations is no frame and is left out" in said.text


# davidmz/apng-js#30, python-pillow/Pillow#6672: frames are patches, put on by dispose and blend.
# (Not PREVIOUS with OVER: of these Pillow writes patches for another picture than is there by the specification.)
@pytest.mark.parametrize(("disposal", "blend"), [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1)])
def test_frames_are_put_together_as_pillow_does(tmp_path: Path, disposal: int, blend: int) -> None:
    pictures = []
    for number in range(4):
        pixels = np.zeros((24, 30, 4), np.uint8)
        pixels[2 * number : 2 * number + 9, 3 * number : 3 * number + 12] = [
            60 * number,
            200,
            90,
            255 - 50 * number * (1 - blend),
        ]
        pictures.append(Image.fromarray(pixels))
    pictures[0].save(
        tmp_path / "in.png", save_all=True, append_images=pictures[1:], disposal=disposal, blend=blend, duration=100
    )
    with Image.open(tmp_path / "in.png") as image:
        assert getattr(image, "n_frames", 1) == 4
        for number in range(4):
            image.seek(number)
            wanted = np.asarray(image.convert("RGBA")).astype(int)
            raster = Raster.open(tmp_path / "in.png", page=number)
            got = raster.read_samples().transpose(1, 2, 0).astype(int)
            visible = wanted[..., 3] > 0
            np.testing.assert_array_equal(got[..., 3] > 0, visible)
            assert np.abs(got - wanted)[visible].max() <= 2


# PNG, third edition, 11.3.6.2: blend_op OVER is straight alpha over straight alpha, which Pillow's paste is not.
def test_half_transparent_frames_lie_over_one_another(tmp_path: Path) -> None:
    below, above = np.empty((2, 24, 30, 4), np.uint8)
    below[:], above[:] = [200, 0, 0, 255], [0, 0, 200, 128]
    below[12:, :, 3] = 0
    first, second = Image.fromarray(below), Image.fromarray(above)
    first.save(tmp_path / "in.png", save_all=True, append_images=[second], disposal=0, blend=1)
    got = Raster.open(tmp_path / "in.png", page=1).read_samples()
    assert np.abs(got[:, 5, 5].astype(int) - [100, 0, 100, 255]).max() <= 1
    assert np.abs(got[:, 20, 5].astype(int) - [0, 0, 200, 128]).max() <= 1


def test_a_frame_that_leaves_the_picture_is_not_read(tmp_path: Path) -> None:
    images = [Image.fromarray(frame) for frame in FRAMES]
    images[0].save(tmp_path / "in.png", save_all=True, append_images=images[1:])
    data = bytearray((tmp_path / "in.png").read_bytes())
    at = data.index(b"fcTL", data.index(b"IDAT"))
    struct.pack_into(">I", data, at + 4 + 12, 2**31 - 1)
    struct.pack_into(">I", data, at + 30, zlib.crc32(bytes(data[at : at + 30])))
    (tmp_path / "in.png").write_bytes(data)
    assert Raster.open(tmp_path / "in.png").info.pages == 2
    with pytest.raises(UserError, match="there is no page 3"):
        Raster.open(tmp_path / "in.png", page=2)
