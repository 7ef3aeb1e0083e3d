"""What of each format comes through into each other one, measured, and the page that says so.

`python tests/upscaling/formats_page.py` writes the tables of docs/reference/formats.md anew. Sources are made and
results read by Pillow and tifffile or by hand; what is not kept must be said in the log.
"""

import contextlib
import io
import logging
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from by_hand import jpeg, png, segment, with_segments
from nearest import upscale
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "formats.md"
TARGETS = {"PNG": ".png", "JPEG": ".jpg", "WebP": ".webp", "TIFF": ".tif", "AVIF": ".avif", "GIF": ".gif"}

_SEED = np.random.default_rng(5)
SMOOTH = np.asarray(Image.fromarray(_SEED.integers(40, 216, (4, 5, 3), dtype=np.uint8)).resize((40, 32)))
DEEP = SMOOTH.astype(np.uint16) * 257 + 37
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><dc:title>Meer</dc:title></rdf:RDF></x:xmpmeta>'
IPTC = b"\x1c\x02\x78\x00\x05Beach"
CAPTION = "München 写"
_LATIN = CAPTION[:7].encode("latin-1")


@dataclass(frozen=True)
class Case:
    """One thing that a file has: how a source with it is made, and whether a result has it still."""

    source: str
    what: str
    make: Callable[[Path], None]
    kept: Callable[[Path], bool]
    changed: Callable[[Path], str | None] = lambda _: None


def _picture(path: Path, pixels: np.ndarray = SMOOTH, **options: Any) -> None:
    if path.suffix in (".webp", ".avif"):
        options.setdefault("quality", 95)
    Image.fromarray(pixels).save(path, **options)


def _exif(caption: bytes = CAPTION.encode()) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F], exif[0x8298] = "Maker", "Someone"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    exif.get_ifd(0x8825)[1] = "N"
    exif[0x010E] = caption
    return exif


def _tiff_with_exif(path: Path) -> None:
    """An EXIF block is a TIFF; with pixels behind it, it is one with a picture. (Pillow's own leaves the place out.)"""
    exif = _exif()
    for number, value in ((256, 40), (257, 32), (258, (8, 8, 8)), (259, 1), (262, 2), (277, 3), (278, 32), (279, 3840)):
        exif[number] = value
    exif[273] = 0  # Pillow adds where the block ends
    path.write_bytes(exif.tobytes()[6:] + SMOOTH.tobytes())


def _has_exif(path: Path) -> bool:
    with Image.open(path) as image:
        exif = image.getexif()
        own, place = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
        return (exif.get(0x010F), own.get(0x9003), place.get(1)) == ("Maker", "2020:01:02 03:04:05", "N")


def _has_bytes(words: bytes) -> Callable[[Path], bool]:
    return lambda path: words in path.read_bytes() or words in _unpacked(path)


def _unpacked(path: Path) -> bytes:
    """The texts of a PNG, unpacked."""
    if path.suffix != ".png":
        return b""
    with Image.open(path) as image:
        image.load()
        texts = [value for value in image.info.values() if isinstance(value, str)]
    raw = "".join("".join(text.split()[2:]) for text in texts if text.lstrip().startswith("iptc"))
    return "\n".join(texts).encode("utf-8", "replace") + (bytes.fromhex(raw) if raw else b"")


def _has_profile(path: Path) -> bool:
    with Image.open(path) as image:
        return image.info.get("icc_profile") == SRGB


def _has_xmp(path: Path) -> bool:
    return b"<dc:title>Meer</dc:title>" in path.read_bytes() or b"<dc:title>Meer</dc:title>" in _unpacked(path)


def _has_dpi(path: Path) -> bool:
    with Image.open(path) as image:
        said = image.info.get("dpi") or (image.getexif().get(0x011A, 0),)
        return abs(float(said[0]) - 300) < 0.2


def _has_alpha(path: Path) -> bool:
    with Image.open(path) as image:
        rgba = np.asarray(image.convert("RGBA"))
    return bool(abs(int(rgba[60, 20, 3]) - 128) <= 2 and rgba[60, 140, 3] == 255)


def _alpha_changed(path: Path) -> str | None:
    with Image.open(path) as image:
        rgba = np.asarray(image.convert("RGBA"))
    if path.suffix == ".gif":
        return "opaque or not" if set(np.unique(rgba[..., 3])) <= {0, 255} else None
    return "put on white" if rgba[..., 3].min() == 255 else None


def _depth(path: Path) -> str:
    if path.suffix == ".tif":
        return str(tifffile.TiffFile(path).pages.first.dtype)
    if path.suffix == ".png":
        return {8: "uint8", 16: "uint16"}[path.read_bytes()[24]]
    if path.suffix == ".avif":
        data = path.read_bytes()
        at = data.index(b"av1C")
        return "12 bits" if data[at + 6] & 0x20 else "10 bits" if data[at + 6] & 0x40 else "uint8"
    return "uint8"


def _rounded_to(path: Path) -> str | None:
    depth = _depth(path)
    return {"uint8": "8 bits", "uint16": "16 bits"}.get(depth, depth)


def _grey(path: Path) -> bool:
    with Image.open(path) as image:
        return image.mode in ("L", "I;16", "I")


def _three_equal(path: Path) -> str | None:
    with Image.open(path) as image:
        rgb = np.asarray(image.convert("RGB")).astype(int)
    return "as RGB" if np.abs(rgb[..., 0] - rgb[..., 2]).max() <= 2 else None


def _frames(path: Path) -> bool:
    with Image.open(path) as image:
        return getattr(image, "n_frames", 1) == 3 and _delays(image) == [50, 120, 70]


def _delays(image: Image.Image) -> list[int]:
    delays = []
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        image.load()
        delays.append(round(image.info.get("duration", 0)))
    return delays


def _pages(path: Path) -> bool:
    with Image.open(path) as image:
        return getattr(image, "n_frames", 1) == 3


def _only_pages(path: Path) -> str | None:
    return "as pages" if path.suffix == ".tif" and _pages(path) else None


def _animated(path: Path) -> None:
    frames = [Image.fromarray(np.roll(SMOOTH, 7 * number, axis=1)) for number in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[50, 120, 70], loop=0)


def _png_chunks(*chunks: tuple[bytes, bytes]) -> Callable[[Path], None]:
    return lambda path: _write(path, png(SMOOTH, *chunks))


def _jpeg_segments(*segments: tuple[int, bytes]) -> Callable[[Path], None]:
    return lambda path: _write(path, with_segments(jpeg(SMOOTH), *(segment(*one) for one in segments)))


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _tiff(pixels: np.ndarray = SMOOTH, **options: Any) -> Callable[[Path], None]:
    options = {"photometric": "rgb", "metadata": None, **options}

    def make(path: Path) -> None:
        tifffile.imwrite(path, pixels, **options)

    return make


def _tag(number: int, text: bytes) -> dict[str, Any]:
    return {"extratags": [(number, 2, len(text) + 1, text + b"\0", True)]}


def _texts(path: Path) -> None:
    info = PngInfo()
    info.add_text("parameters", "a tree with a bird, Steps: 40")
    _picture(path, pnginfo=info)


def _workflow(path: Path) -> None:
    info = PngInfo()
    info.add_text("workflow", '{"nodes": []}')
    _picture(path, pnginfo=info)


def _author(path: Path) -> None:
    info = PngInfo()
    info.add_text("Author", "Jörg")
    _picture(path, pnginfo=info)


def _rgba() -> np.ndarray:
    alpha = np.full((32, 40, 1), 255, np.uint8)
    alpha[:, :20] = 128
    return np.concatenate([SMOOTH, alpha], axis=2)


def _linear(path: Path) -> bool:
    """Whether a result means what the same samples mean with gamma 1: by its chunk, or by its profile or pixels."""
    with Image.open(path) as image:
        image.load()
        if image.info.get("gamma") == 1.0 and "icc_profile" not in image.info:
            return True
        rgb, icc = image.convert("RGB"), image.info.get("icc_profile")
    if icc is not None:
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        converted = ImageCms.profileToProfile(rgb, source, ImageCms.createProfile("sRGB"))
        assert converted is not None
        rgb = converted
    linear = SMOOTH / 255
    wanted = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return bool(np.abs(np.asarray(rgb)[2::4, 2::4] - wanted).mean() < 6)


def _converted(path: Path) -> str | None:
    """How a result says what chunks or a profile of the source say, where it does that in another way."""
    with Image.open(path) as image:
        image.load()
        if "icc_profile" in image.info:
            return "as a profile"
    return "as sRGB" if path.suffix == ".gif" else None


def _gain_map(path: Path) -> None:
    body = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:hdrgm='h' hdrgm:Version='1.0'/>"
    _jpeg_segments((0xE1, body))(path)
    path.write_bytes(path.read_bytes() + path.read_bytes())


def _never(_: Path) -> bool:
    return False


def _extra_band(path: Path) -> bool:
    if path.suffix != ".tif":
        return False
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        return list(page.extrasamples) == [0] and page.asarray().shape[-1] == 4


def _nir(path: Path) -> None:
    pixels = np.concatenate([SMOOTH, SMOOTH[..., :1][::-1]], axis=2)
    tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=["unspecified"], metadata=None)


def _three_pages(path: Path) -> None:
    with tifffile.TiffWriter(path) as writer:
        for number in range(3):
            writer.write(np.roll(SMOOTH, 7 * number, axis=1), photometric="rgb", metadata=None)


def _pyramid(path: Path) -> None:
    with tifffile.TiffWriter(path) as writer:
        writer.write(SMOOTH, photometric="rgb", tile=(16, 16), metadata=None)
        writer.write(SMOOTH[::2, ::2], photometric="rgb", tile=(16, 16), subfiletype=1, metadata=None)


def _cmyk(path: Path) -> None:
    inks = np.zeros((32, 40, 4), np.uint8)
    inks[:, 20:, 1:3] = 255
    Image.fromarray(inks, "CMYK").save(path)


def _red_and_white(path: Path) -> str | None:
    with Image.open(path) as image:
        rgb = np.asarray(image.convert("RGB")).astype(int)
    white, red = rgb[60, 20], rgb[60, 140]
    return "as sRGB" if white.min() > 240 and red[0] > 180 > 120 > red[1:].max() else None


def _cases() -> Iterator[Case]:
    for name in ("PNG", "JPEG", "WebP", "TIFF", "AVIF"):
        yield Case(name, "colour profile", lambda path: _picture(path, icc_profile=SRGB), _has_profile, _converted)
        with_exif = _tiff_with_exif if name == "TIFF" else lambda path: _picture(path, exif=_exif())
        yield Case(name, "EXIF with place and date", with_exif, _has_exif)
        yield Case(name, "EXIF caption, UTF-8", lambda path: _picture(path, exif=_exif()), _has_bytes(CAPTION.encode()))
        yield Case(name, "EXIF caption, Latin-1", lambda path: _picture(path, exif=_exif(_LATIN)), _has_bytes(_LATIN))
        if name == "PNG":
            yield Case(name, "XMP", _png_chunks((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)), _has_xmp)
        elif name == "TIFF":
            yield Case(name, "XMP", _tiff(extratags=[(700, 1, len(XMP), XMP, True)]), _has_xmp)
        else:
            yield Case(name, "XMP", lambda path: _picture(path, xmp=XMP), _has_xmp)
        if name in ("PNG", "JPEG", "TIFF"):
            yield Case(name, "resolution", lambda path: _picture(path, dpi=(300, 300)), _has_dpi)
        if name != "JPEG":
            yield Case(name, "half transparency", lambda path: _picture(path, _rgba()), _has_alpha, _alpha_changed)
    for name in ("PNG", "JPEG", "TIFF"):
        yield Case(name, "grey", lambda path: _picture(path, SMOOTH[..., 0]), _grey, _three_equal)
    yield Case(
        "PNG", "16 bits", lambda path: _write(path, png(DEEP)), lambda path: _depth(path) == "uint16", _rounded_to
    )
    yield Case("TIFF", "16 bits", _tiff(DEEP), lambda path: _depth(path) == "uint16", _rounded_to)
    floats = (SMOOTH / 255).astype(np.float32)
    yield Case("TIFF", "float", _tiff(floats), lambda path: _depth(path) == "float32", _rounded_to)
    yield Case(
        "PNG", "gamma or primaries", _png_chunks((b"gAMA", struct.pack(">I", 100_000))), _kept_gamma, _same_light
    )
    yield Case("PNG", "text `parameters`", _texts, _has_bytes(b"a tree with a bird, Steps: 40"))
    yield Case("PNG", "text `Author`", _author, _has_author)
    yield Case("PNG", "other texts (`workflow`)", _workflow, _has_bytes(b'{"nodes": []}'))
    yield Case("JPEG", "comment", _jpeg_segments((0xFE, b"in the evening")), _has_bytes(b"in the evening"))
    resource = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC
    yield Case("JPEG", "IPTC", _jpeg_segments((0xED, resource)), _has_bytes(IPTC))
    yield Case("JPEG", "gain map (Ultra HDR)", _gain_map, _never)
    yield Case("JPEG", "CMYK", _cmyk, _never, _red_and_white)
    yield Case("TIFF", "CMYK", _cmyk, _never, _red_and_white)
    yield Case("TIFF", "document and page name", _tiff(**_tag(269, CAPTION.encode())), _has_bytes(CAPTION.encode()))
    yield Case("TIFF", "channel that is no alpha", _nir, _extra_band)
    yield Case("TIFF", "pages", _three_pages, _pages)
    yield Case("TIFF", "smaller levels of a pyramid", _pyramid, _never)
    for name in ("GIF", "WebP", "PNG"):
        yield Case(name, "frames and their times", _animated, _frames, _only_pages)
    yield Case("GIF", "comment", lambda path: _picture(path, comment=b"in the evening"), _has_bytes(b"in the evening"))
    yield Case("GIF", "transparency", _one_bit, _one_bit_kept, _alpha_changed)


def _kept_gamma(path: Path) -> bool:
    with Image.open(path) as image:
        image.load()
        return image.format == "PNG" and image.info.get("gamma") == 1.0


def _same_light(path: Path) -> str | None:
    return _converted(path) if _linear(path) else None


def _has_author(path: Path) -> bool:
    with Image.open(path) as image:
        image.load()
        artist = image.getexif().get(0x013B, "")
        return "Jörg" in (
            image.info.get("Author"),
            artist,
            artist.encode("latin-1", "replace").decode("utf-8", "replace"),
        )


def _one_bit(path: Path) -> None:
    pixels = np.zeros((32, 40, 4), np.uint8)
    pixels[...] = [200, 90, 30, 255]
    pixels[:, :20, 3] = 0
    Image.fromarray(pixels).save(path)


def _one_bit_kept(path: Path) -> bool:
    with Image.open(path) as image:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
    return bool(alpha[60, 20] == 0 and alpha[60, 140] == 255)


CASES = tuple(_cases())


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextlib.contextmanager
def _listening() -> Iterator[list[str]]:
    logger, handler = logging.getLogger("gramgan"), _Lines()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def measure(case: Case, target: str, folder: Path) -> str:
    """What becomes of something in a format: `kept`, `as …` (changed), `dropped, said`, or `DROPPED SILENTLY`."""
    source, result = folder / f"in{TARGETS[case.source]}", folder / f"out{TARGETS[target]}"
    case.make(source)
    with _listening() as lines:
        upscale(source, result)
    if case.kept(result):
        return "kept"
    changed = case.changed(result)
    if changed is not None:
        needs = _TOLD.get(changed.partition(" ")[0])
        return changed if needs is None or any(needs in line for line in lines) else "CHANGED SILENTLY"
    told = [line for line in lines if any(word in line for word in ("left out", "holds one", "no place"))]
    return "dropped, said" if told else "DROPPED SILENTLY"


_TOLD = {"8": "rounded", "12": "rounded", "16": "rounded", "put": "put on white", "opaque": "opaque or cannot be seen"}
"""What the log says of a change that loses something, by its first word."""


def tables() -> str:
    """What the page has between its marks, measured now."""
    text = ""
    for source in dict.fromkeys(case.source for case in CASES):
        text += f"\n| **{source}** into | {' | '.join(TARGETS)} |\n| --- |{' --- |' * len(TARGETS)}\n"
        for case in (one for one in CASES if one.source == source):
            cells = []
            for target in TARGETS:
                with tempfile.TemporaryDirectory() as folder:
                    cells.append(measure(case, target, Path(folder)))
            text += f"| {case.what} | {' | '.join(cells)} |\n"
    return text + "\n"


if __name__ == "__main__":
    before, start, rest = PAGE.read_text(encoding="utf-8").partition("<!-- measured -->\n")
    _, end, after = rest.partition("<!-- end of what is measured -->")
    PAGE.write_text(before + start + tables() + end + after, encoding="utf-8")
    print(PAGE)
