"""The reader behind every format that libvips decodes: upright, straight alpha, grey or RGB, one error line."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from gramgan.errors import UserError
from gramgan.images import metadata
from gramgan.images.formats.base import Opened, Request
from gramgan.images.info import Animation, Dtype, RasterInfo, Window
from gramgan.images.vips import pyvips, reason

_log = logging.getLogger(__name__)

MAX_PIXELS = 256_000_000
"""Images with more pixels are refused unless the caller allows them: a file of a few kB can claim any size."""

Load = Callable[[pyvips.Source, int, bool], pyvips.Image]
"""(source, page, allow_huge) → an image whose pixels are decoded later."""

_DTYPES: dict[str, Dtype] = {"uchar": "uint8", "ushort": "uint16", "float": "float32"}
_GREY = ("b-w", "grey16")
_COLOUR = ("srgb", "rgb", "rgb16", "scrgb")
_MAX_PAGES = 100_000  # a TIFF's chain of directories, or a damaged header, can claim any number


def reader(
    name: str, load: Load, *, several: bool = False, load_sequential: Load | None = None
) -> Callable[[Request], Opened]:
    """The `Format.open` of the format `name` that libvips decodes by `load`; `several` images may be in a file.

    `load_sequential` is for formats that decode row after row: it gives an image that is decoded from top to bottom and
    only as far down as somebody asks.
    """

    def open_(request: Request) -> Opened:
        path = request.path
        once = load_sequential if request.sequential else None
        try:
            image = (once or load)(request.source(), request.page, request.allow_huge)
            if once is not None and whole(image, "orientation", 1) > 1:  # turning it needs all rows at once
                once = None
                image = load(request.source(), request.page, request.allow_huge)
            check_size(path, image.width, image.height, request.allow_huge)
            exif, xmp, iptc = metadata.exif_of(image), metadata.xmp_of(image), metadata.iptc_of(image)
            image, colours, has_alpha = _upright_rgb(request, image)
        except pyvips.Error as error:
            raise _broken(request, name, load, error) from None
        pages = min(max(whole(image, "n-pages", 1), 1), _MAX_PAGES) if several else 1
        info = RasterInfo(
            path=path,
            width=image.width,
            height=image.height,
            colour_channels=colours,
            has_alpha=has_alpha,
            dtype=_DTYPES[str(image.format)],
            icc=metadata.icc_of(image),
            exif=exif,
            xmp=xmp,
            iptc=iptc,
            dpi=metadata.dpi_of(image),
            format=name,
            pages=pages,
            animation=_animation(image, pages),
        )

        def samples(window: Window) -> np.ndarray:
            assert request is not None  # held: libvips reads from its bytes, and does not keep them
            return _samples(info, image, window, once is not None)

        return Opened(info, samples)

    return open_


def single_page(load: Callable[[pyvips.Source, bool], pyvips.Image]) -> Load:
    """The `Load` of a format whose files hold one image."""

    def load_page(source: pyvips.Source, page: int, allow_huge: bool) -> pyvips.Image:
        if page > 0:
            raise pyvips.Error("bad page number")
        return load(source, allow_huge)

    return load_page


def _samples(info: RasterInfo, image: pyvips.Image, window: Window, sequential: bool) -> np.ndarray:
    try:
        if sequential:  # in this thread alone: rows that follow one another leave nothing to do for a second one
            memory = pyvips.Region.new(image).fetch(window.x, window.y, window.width, window.height)
        else:
            memory = image.crop(window.x, window.y, window.width, window.height).write_to_memory()
    except pyvips.Error as error:
        raise UserError(
            f"{info.path}: damaged or truncated {info.format} ({reason(error)}); get a whole copy"
        ) from None
    return np.frombuffer(memory, info.dtype).reshape(window.height, window.width, info.channels)


def check_size(path: Path, width: int, height: int, allow_huge: bool) -> None:
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
        depth = 16 if image.format == "ushort" else 8
        image = image.icc_transform("srgb", embedded=True, input_profile="cmyk", depth=depth)
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
    result = image.icc_transform("srgb", embedded=True, depth=8 if image.format == "uchar" else 16)
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
    return Animation(tuple(max(one, 0) for one in delays), max(whole(image, "loop", 0), 0))


def whole(image: pyvips.Image, field: str, otherwise: int) -> int:
    """A metadata field that is a whole number."""
    value = image.get(field) if image.get_typeof(field) else otherwise
    return value if isinstance(value, int) else otherwise


def _broken(request: Request, name: str, load: Load, error: pyvips.Error) -> UserError:
    path = request.path
    if request.page > 0:
        try:
            first = load(request.source(), 0, request.allow_huge)
        except pyvips.Error as other:
            return _broken(replace(request, page=0), name, load, other)
        pages = whole(first, "n-pages", 1)
        if request.page >= pages:
            return UserError(f"{path}: there is no page {request.page + 1}, it has {pages}; choose one of them")
    page = f"page {request.page + 1}: " if request.page else ""
    return UserError(f"{path}: {page}damaged {name} or one of a kind that cannot be read ({reason(error)}); convert it")
