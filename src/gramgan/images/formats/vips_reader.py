"""The reader behind every format that libvips decodes: upright, straight alpha, grey or RGB, one error line."""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gramgan.errors import UserError
from gramgan.images import metadata
from gramgan.images.formats import exif as exif_blocks
from gramgan.images.formats.base import FormatFindings, Opened, Request
from gramgan.images.formats.beside import Beside
from gramgan.images.icc import profile_of
from gramgan.images.info import Animation, Dtype, RasterInfo, Window
from gramgan.images.vips import pyvips, vips_reason

_log = logging.getLogger(__name__)

MAX_PIXELS = 256_000_000
"""Images with more pixels are refused unless the caller allows them: a file of a few kB can claim any size."""

Load = Callable[[Request], pyvips.Image]
"""An image whose pixels are decoded later."""
_Look = Callable[[Request, pyvips.Image], FormatFindings]
"""What is known of a file besides, given its image as it was loaded."""

_DTYPES: dict[str, Dtype] = {"uchar": "uint8", "ushort": "uint16", "float": "float32"}
_GREY = ("b-w", "grey16")
_COLOUR = ("srgb", "rgb", "rgb16", "scrgb")
_ROUNDING = 1e-3  # by which float samples may leave [0, 1]
_WHITES = (255, 1023, 4095, 16383, 65535)
_MAX_PAGES = 100_000  # a TIFF's chain of directories, or a damaged header, can claim any number


def by_vips(image: pyvips.Image) -> Beside:
    """The metadata beside the pixels, as libvips reads it."""
    exif, xmp, iptc = (metadata.blob_of(image, f"{name}-data") for name in ("exif", "xmp", "iptc"))
    return Beside(metadata.icc_of(image), exif, xmp, iptc)


def reader(
    name: str,
    load: Load,
    *,
    several: bool = False,
    load_sequential: Load | None = None,
    look: _Look = lambda _, image: FormatFindings(by_vips(image)),
) -> Callable[[Request], Opened]:
    """The `Format.open` of the format `name` that libvips decodes by `load`; `several` images may be in a file.

    `load_sequential` is for formats that decode row after row: it gives an image that is decoded from top to bottom and
    only as far down as somebody asks. `look` is for what libvips does not say.
    """

    def open_(request: Request) -> Opened:
        path = request.path
        once = load_sequential if request.sequential else None
        try:
            image = (once or load)(request)
            if once is not None and integer_field(image, "orientation", 1) > 1:  # turning it needs all rows at once
                once = None
                image = load(request)
            check_pixel_count(path, image.width, image.height, request.allow_huge)
            seen = look(request, image)
            beside = _upright(seen.beside)
            if beside.icc is None:
                image, beside = _with_profile(image, beside)
            image, colours, has_alpha = _upright_rgb(request, image)
        except pyvips.Error as error:
            raise _broken(request, name, load, error) from None
        pages = min(max(integer_field(image, "n-pages", 1), 1), _MAX_PAGES) if several else 1
        pages = pages if seen.pages is None else seen.pages
        converted = request.to_srgb and beside.icc is not None
        info = RasterInfo(
            path=path,
            width=image.width,
            height=image.height,
            colour_channels=colours,
            has_alpha=has_alpha,
            dtype=_DTYPES[str(image.format)],
            icc=metadata.icc_of(image),
            exif=beside.exif,
            xmp=beside.xmp,
            iptc=beside.iptc,
            dpi=metadata.dpi_of(image, beside.exif),
            format=name,
            pages=pages,
            animation=seen.animation or _animation(image, pages),
            texts=beside.texts,
            cicp=None if converted else beside.cicp,
            png_colour=() if converted else beside.png_colour,
            notes=seen.notes,
            has_unread_maker_note=seen.has_maker_note,
        )

        def samples(window: Window) -> np.ndarray:
            assert request is not None  # held: libvips reads from its bytes, and does not keep them
            return _samples(info, image, window, once is not None)

        return Opened(info, samples)

    return open_


def single_page(load: Load) -> Load:
    """The `Load` of a format whose files hold one image."""

    def load_page(request: Request) -> pyvips.Image:
        if request.page > 0:
            raise pyvips.Error("bad page number")
        return load(request)

    return load_page


def _upright(beside: Beside) -> Beside:
    """With its own copies of the orientation set to 1: the pixels have been turned by then."""
    return replace(
        beside,
        exif=exif_blocks.upright(beside.exif) if beside.exif else None,
        xmp=metadata.upright_xmp(beside.xmp) if beside.xmp else None,
        iptc=metadata.records_of(beside.iptc) if beside.iptc else None,
    )


def _with_profile(image: pyvips.Image, beside: Beside) -> tuple[pyvips.Image, Beside]:
    """With the profile that means what the file says of its colours in another way, if that is not sRGB."""
    made = profile_of(beside.cicp, beside.png_colour, 1 if image.interpretation in _GREY else 3)
    if made is not None:
        image = image.copy()
        metadata.set_blob(image, "icc-profile-data", made)
    return image, replace(beside, icc=made)


def _samples(info: RasterInfo, image: pyvips.Image, window: Window, sequential: bool) -> np.ndarray:
    try:
        if sequential:  # in this thread alone: rows that follow one another leave nothing to do for a second one
            memory = pyvips.Region.new(image).fetch(window.x, window.y, window.width, window.height)
        else:
            memory = image.crop(window.x, window.y, window.width, window.height).write_to_memory()
    except pyvips.Error as error:
        raise UserError(
            f"{info.path}: damaged or truncated {info.format} ({vips_reason(error)}); {_advice(error)}"
        ) from None
    samples = np.frombuffer(memory, info.dtype).reshape(window.height, window.width, info.channels)
    if info.dtype == "float32":
        _check_floats(info.path, image, samples)
    return samples


def _advice(error: pyvips.Error) -> str:
    return "convert it" if "not configured" in str(error) else "get a whole copy"


def _check_floats(path: Path, image: pyvips.Image, samples: np.ndarray) -> None:
    """Refuse float samples of a range that nobody has said what it means: finite or not, in [0, 1] but for rounding."""
    low, high = float(samples.min()), float(samples.max())
    if not np.isfinite(low + high):
        raise UserError(f"{path}: it has values that are not finite (NaN or infinity); replace them first")
    if low >= -_ROUNDING and high <= 1 + _ROUNDING:
        return
    with contextlib.suppress(pyvips.Error):  # damaged farther down
        low, high = min(low, float(image.min())), max(high, float(image.max()))  # type: ignore[arg-type]
    white = next((one for one in _WHITES if low >= 0 and 2 < high <= one), None)
    usual = f"{low:.6g},{high:.6g}" if white is None else f"0,{white}"
    raise UserError(
        f"{path}: float samples from {low:.6g} to {high:.6g}, and nothing says which are black and white; say it with "
        f"--radiometry LOW,HIGH, such as --radiometry {usual}, or bring them into [0, 1]"
    )


def check_pixel_count(path: Path, width: int, height: int, allow_huge: bool) -> None:
    """Refuse what a file of a few kB could claim.

    Raises:
        UserError: more than `MAX_PIXELS`, and `allow_huge` is not set.
    """
    if width * height > MAX_PIXELS and not allow_huge:
        raise UserError(
            f"{path}: {width}x{height} is {width * height / 1e6:,.0f} megapixels, above the limit of "
            f"{MAX_PIXELS / 1e6:.0f}; if you trust this file, allow it with --allow-huge"
        )


def _upright_rgb(request: Request, image: pyvips.Image) -> tuple[pyvips.Image, Literal[1, 3], bool]:
    image = image.autorot()
    if image.interpretation == "cmyk":
        image = _to_srgb(image, 4, input_profile="cmyk")
    if image.format == "double":
        image = image.cast("float")
    if image.format not in _DTYPES:
        raise UserError(
            f"{request.path}: its samples are of type '{image.format}'; convert it to 8 or 16 bits without sign, "
            "or float"
        )
    colours: Literal[1, 3]
    if image.interpretation in _GREY and image.bands <= 2:
        colours = 1
    elif image.interpretation in _COLOUR and image.bands in (3, 4):
        colours = 3
    else:
        raise UserError(
            f"{request.path}: {image.bands} channels of colour space '{image.interpretation}' are not grey, RGB or "
            "CMYK; convert it to RGB"
        )
    if request.to_srgb:
        image = _srgb(request, image, colours)
    return image, colours, image.bands > colours


def _to_srgb(image: pyvips.Image, colours: int, **options: Any) -> pyvips.Image:
    """By the embedded profile, in its own depth; alpha apart, of which libvips makes white where it has 16 bits."""
    depth = 8 if image.format == "uchar" else 16
    kind = image.interpretation
    converted = image[0:colours].copy(interpretation=kind).icc_transform("srgb", embedded=True, depth=depth, **options)
    if image.bands == colours:
        return converted
    return converted.bandjoin(image[colours]).copy(interpretation=converted.interpretation)


def _srgb(request: Request, image: pyvips.Image, colours: Literal[1, 3]) -> pyvips.Image:
    """The colours as its profile means them, in sRGB. Float samples are clipped to [0, 1] and have 16 bits after it."""
    profile = metadata.icc_of(image)
    if profile is None:
        return image
    if not metadata.fits(profile, colours):
        _log.warning("%s: its colour profile is for another kind of image and is left out", request.path)
        return metadata.without(image, "icc-profile-data")
    is_float = image.format == "float"
    if is_float:
        image = (image * 65535 + 0.5).cast("ushort").copy(interpretation="rgb16" if colours == 3 else "grey16")
    result = _to_srgb(image, colours)
    if colours == 1:  # neutral: the three channels agree
        grey = result.extract_band(1)
        result = grey.bandjoin(result.extract_band(3)) if result.bands == 4 else grey
        result = result.copy(interpretation="b-w" if image.format == "uchar" else "grey16")
        result = metadata.without(result, "icc-profile-data")
    if is_float:
        result = (result / 65535).cast("float").copy(interpretation="scrgb" if colours == 3 else "b-w")
    return result


def _animation(image: pyvips.Image, pages: int) -> Animation | None:
    if pages < 2 or image.get_typeof("delay") == 0:
        return None
    given = image.get("delay")
    delays = [one for one in given if isinstance(one, int)] if isinstance(given, list) else []
    delays = (delays + [delays[-1] if delays else 100] * pages)[:pages]
    return Animation(tuple(max(one, 0) for one in delays), max(integer_field(image, "loop", 0), 0))


def integer_field(image: pyvips.Image, field: str, otherwise: int) -> int:
    """A metadata field that is a whole number."""
    value = image.get(field) if image.get_typeof(field) else otherwise
    return value if isinstance(value, int) else otherwise


def _broken(request: Request, name: str, load: Load, error: pyvips.Error) -> UserError:
    path = request.path
    if request.page > 0:
        try:
            first = load(replace(request, page=0))
        except pyvips.Error as other:
            return _broken(replace(request, page=0), name, load, other)
        pages = integer_field(first, "n-pages", 1)
        if request.page >= pages:
            return UserError(f"{path}: there is no page {request.page + 1}, it has {pages}; choose one of them")
    page = f"page {request.page + 1}: " if request.page else ""
    return UserError(
        f"{path}: {page}damaged {name} or one of a kind that cannot be read ({vips_reason(error)}); convert it"
    )
