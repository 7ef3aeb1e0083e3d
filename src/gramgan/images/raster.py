"""Reading images of any format, whole or window by window."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from gramgan.errors import UserError
from gramgan.images import metadata
from gramgan.images.formats import Format, recognise
from gramgan.images.vips import pyvips, reason

_log = logging.getLogger(__name__)

MAX_PIXELS = 256_000_000
"""Images with more pixels are refused unless the caller allows them: a file of a few kB can claim any size."""

Dtype = Literal["uint8", "uint16", "float32"]

_HEAD = 16  # bytes that tell every format apart
_DTYPES: dict[str, Dtype] = {"uchar": "uint8", "ushort": "uint16", "float": "float32"}
_WHITE = {"uint8": 255, "uint16": 65535}
_GREY = ("b-w", "grey16")
_COLOUR = ("srgb", "rgb", "rgb16", "scrgb")


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels; `x` and `y` are its left and top edge."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class RasterInfo:
    """What is known of an image without decoding it, after it has been turned upright.

    `width`, `height` in pixels; `colour_channels` 1 (grey) or 3 (RGB); `dtype` of the file's samples; `icc`, `exif`
    (Orientation already reset to 1) and `xmp` as raw blocks; `dpi` horizontal and vertical; `format` the format's name.
    """

    path: Path
    width: int
    height: int
    colour_channels: Literal[1, 3]
    has_alpha: bool
    dtype: Dtype
    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None
    dpi: tuple[float, float] | None
    format: str

    @property
    def channels(self) -> int:
        """Colour channels and alpha together: 1 to 4."""
        return self.colour_channels + self.has_alpha

    @property
    def bits(self) -> Literal[8, 16, 32]:
        """Bits of one sample; 32 is float."""
        return {"uint8": 8, "uint16": 16, "float32": 32}[self.dtype]  # type: ignore[return-value]


class Raster:
    """An image file that is open for reading; windows may be read in any order.

    Palettes and 1-, 2- and 4-bit samples are expanded to 8 bits, CMYK is converted to sRGB by its embedded profile (or
    a general one), alpha is straight, EXIF orientation is applied. Of an animation or a file of several pages the first
    image is read, and a log line says so.
    """

    def __init__(self, info: RasterInfo, image: pyvips.Image) -> None:
        """Use `Raster.open`."""
        self.info = info
        self._image = image

    @classmethod
    def open(cls, path: Path | str, *, allow_huge: bool = False) -> "Raster":
        """Open `path` and read its header; pixels are decoded by the first `read`.

        Raises:
            UserError: the file is missing, is no image, has samples or channels that cannot be read, or has more than
                `MAX_PIXELS` pixels and `allow_huge` is not set.
        """
        path = Path(path)
        form = recognise(path, _head(path))
        try:
            # A source takes the file's name literally; a plain file name could end in libvips options: "[page=2]".
            image = form.load(pyvips.Source.new_from_file(str(path)), allow_huge)
        except pyvips.Error as error:
            raise _broken(path, form, error) from None
        _check_size(path, image, allow_huge)
        _tell_of_more_pages(path, form, image)
        image, channels = _upright_rgb(path, image)
        return cls(_info(path, form, image, channels), image)

    def read(self, window: Window | None = None) -> np.ndarray:
        """Decode a window, or the whole image.

        Returns:
            Contiguous float32 `[channels, height, width]`: grey or RGB, then straight alpha if there is any. 8- and
            16-bit samples are divided by 255 and 65535 into [0, 1]; float samples come as they are, not clamped.

        Raises:
            UserError: the file is truncated or damaged.
            ValueError: the window does not lie inside of the image.
        """
        pixels = self._samples(window)
        chw = np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)
        if self.info.dtype != "float32":
            chw /= np.float32(_WHITE[self.info.dtype])
        return chw

    def read_samples(self, window: Window | None = None) -> np.ndarray:
        """The same as `read` with the file's own integers or floats: `[channels, height, width]` of `info.dtype`."""
        return np.ascontiguousarray(self._samples(window).transpose(2, 0, 1))

    def _samples(self, window: Window | None) -> np.ndarray:
        info = self.info
        window = window or Window(0, 0, info.width, info.height)
        inside = window.x >= 0 and window.y >= 0 and window.width > 0 and window.height > 0
        if not inside or window.x + window.width > info.width or window.y + window.height > info.height:
            raise ValueError(f"{window} does not lie inside of the image of {info.width}x{info.height}")
        try:
            memory = self._image.crop(window.x, window.y, window.width, window.height).write_to_memory()
        except pyvips.Error as error:
            raise UserError(
                f"{info.path}: damaged or truncated {info.format} ({reason(error)}); get a whole copy"
            ) from None
        return np.frombuffer(memory, info.dtype).reshape(window.height, window.width, info.channels)


def read_rgb(path: Path | str, *, allow_huge: bool = False) -> np.ndarray:
    """A whole image as float32 `[3, H, W]`, [0, 1] for 8- and 16-bit files; grey is repeated, alpha is dropped.

    Raises:
        UserError: see `Raster.open` and `Raster.read`.
    """
    raster = Raster.open(path, allow_huge=allow_huge)
    return _three_channels(raster.read(), raster.info)


def read_rgb8(path: Path | str, *, allow_huge: bool = False) -> np.ndarray:
    """A whole image as uint8 `[3, H, W]`; deeper samples are clamped to [0, 1] and rounded, half up.

    Raises:
        UserError: see `Raster.open` and `Raster.read`.
    """
    raster = Raster.open(path, allow_huge=allow_huge)
    if raster.info.dtype == "uint8":
        return _three_channels(raster.read_samples(), raster.info)
    values = _three_channels(raster.read(), raster.info)
    return np.floor(np.clip(np.nan_to_num(values), 0, 1) * 255 + 0.5).astype(np.uint8)


def _three_channels(chw: np.ndarray, info: RasterInfo) -> np.ndarray:
    return np.repeat(chw[:1], 3, axis=0) if info.colour_channels == 1 else np.ascontiguousarray(chw[:3])


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the name") from None
    except IsADirectoryError:
        raise UserError(f"{path}: this is a folder; give an image file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None


def _check_size(path: Path, image: pyvips.Image, allow_huge: bool) -> None:
    if image.width * image.height > MAX_PIXELS and not allow_huge:
        millions = image.width * image.height / 1e6
        raise UserError(
            f"{path}: {image.width}x{image.height} is {millions:,.0f} megapixels, above the limit of "
            f"{MAX_PIXELS / 1e6:.0f}; if you trust this file, allow it with --allow-huge"
        )


def _tell_of_more_pages(path: Path, form: Format, image: pyvips.Image) -> None:
    pages = image.get("n-pages") if image.get_typeof("n-pages") else 1
    if isinstance(pages, int) and pages > 1:
        _log.info("%s: %s with %d images in it; the first is read", path, form.name, pages)


def _upright_rgb(path: Path, image: pyvips.Image) -> tuple[pyvips.Image, tuple[Literal[1, 3], bool]]:
    image = image.autorot()
    if image.interpretation == "cmyk":
        depth = 16 if image.format == "ushort" else 8
        image = image.icc_transform("srgb", embedded=True, input_profile="cmyk", depth=depth)
    if image.format == "double":
        image = image.cast("float")
    if image.format not in _DTYPES:
        raise UserError(
            f"{path}: its samples are of type '{image.format}'; convert it to 8 or 16 bits without sign, or float"
        )
    if image.interpretation in _GREY and image.bands <= 2:
        return image, (1, image.bands == 2)
    if image.interpretation in _COLOUR and image.bands in (3, 4):
        return image, (3, image.bands == 4)
    raise UserError(
        f"{path}: {image.bands} channels of colour space '{image.interpretation}' are not grey, RGB or CMYK; "
        "convert it to RGB"
    )


def _info(path: Path, form: Format, image: pyvips.Image, channels: tuple[Literal[1, 3], bool]) -> RasterInfo:
    return RasterInfo(
        path=path,
        width=image.width,
        height=image.height,
        colour_channels=channels[0],
        has_alpha=channels[1],
        dtype=_DTYPES[str(image.format)],
        icc=metadata.icc_of(image),
        exif=metadata.exif_of(image),
        xmp=metadata.xmp_of(image),
        dpi=metadata.dpi_of(image),
        format=form.name,
    )


def _broken(path: Path, form: Format, error: pyvips.Error) -> UserError:
    return UserError(f"{path}: damaged {form.name} or one of a kind that cannot be read ({reason(error)}); convert it")
