"""Reading images of any format, whole or window by window."""

import logging
from functools import lru_cache
from pathlib import Path

import numpy as np

from gramgan.errors import UserError
from gramgan.images.formats import recognise
from gramgan.images.formats.base import HEAD_BYTES, Opened, Request
from gramgan.images.formats.vips_reader import MAX_PIXELS
from gramgan.images.info import Animation, RasterInfo, Window
from gramgan.images.values import depth_note
from gramgan.places import as_place

__all__ = ["MAX_PIXELS", "Animation", "Raster", "RasterInfo", "Window", "read_rgb", "read_rgb8"]

_log = logging.getLogger(__name__)

_WHITE = {"uint8": 255, "uint16": 65535}
_IN_MEMORY = ("JPEG", "PNG", "WebP")  # TIFF's and GIF's readers look into the file by its name as well


class Raster:
    """An image file that is open for reading; windows may be read in any order.

    Palettes and 1-, 2- and 4-bit samples are expanded to 8 bits, CMYK is converted to sRGB by its embedded profile (or
    a general one), alpha is straight, EXIF orientation is applied. A frame of an animation is the whole picture that is
    shown at that time, whatever part of it is stored.
    """

    def __init__(self, opened: Opened) -> None:
        """Use `Raster.open`."""
        self.info = opened.info
        self._samples_of = opened.samples

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        page: int = 0,
        allow_huge: bool = False,
        to_srgb: bool = False,
        sequential: bool = False,
        data: bytes | None = None,
    ) -> "Raster":
        """Open `path` and read its header; pixels are decoded by the first `read`.

        Args:
            path: an image file of any format that can be read.
            page: which of the file's images, from 0 (see `RasterInfo.pages`).
            allow_huge: lift the limit of `MAX_PIXELS`.
            to_srgb: convert the colours to sRGB by the embedded profile; `info.icc` is sRGB's then, or None. An image
                without a profile is taken for sRGB as it is. Float samples are clipped to [0, 1] by the conversion.
            sequential: windows will be read once each and from top to bottom. A JPEG or PNG is then decoded only as far
                down as its last window: twice as fast for one window at a random place. Damage below it stays unseen.
            data: the bytes of a JPEG, PNG or WebP file that is in memory already (in an archive, for example); `path`
                is only a name for them then.

        Raises:
            UserError: the file is missing, is no image, has no such page, has samples or channels that cannot be read,
                or has more than `MAX_PIXELS` pixels and `allow_huge` is not set.
            ValueError: `page` is negative.
        """
        if page < 0:
            raise ValueError(f"page {page}: pages are counted from 0")
        path = as_place(path)
        form = recognise(path, _head(path) if data is None else data[:HEAD_BYTES])
        if data is not None and form.name not in _IN_MEMORY:
            raise UserError(f"{path}: {form.name} inside of another file cannot be read; give {', '.join(_IN_MEMORY)}")
        return cls(form.open(Request(path, page, allow_huge, to_srgb, sequential, data)))

    def read(self, window: Window | None = None) -> np.ndarray:
        """Decode a window, or the whole image.

        Returns:
            Contiguous float32 `[channels, height, width]`: grey or RGB, then straight alpha if there is any. 8- and
            16-bit samples are divided by 255 and 65535 into [0, 1]; float samples come as they are.

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

    def read_rgb(self, window: Window | None = None) -> np.ndarray:
        """The same as `read` with three channels: grey is repeated, alpha dropped."""
        return _three_channels(self.read(window), self.info)

    def read_rgb8(self, window: Window | None = None) -> np.ndarray:
        """The same as uint8 `[3, height, width]`; deeper samples are clamped to [0, 1] and rounded, half up."""
        if self.info.dtype == "uint8":
            return _three_channels(self.read_samples(window), self.info)
        return _as_bytes(self.read_rgb(window))

    def _samples(self, window: Window | None) -> np.ndarray:
        info = self.info
        window = window or Window(0, 0, info.width, info.height)
        inside = window.x >= 0 and window.y >= 0 and window.width > 0 and window.height > 0
        if not inside or window.x + window.width > info.width or window.y + window.height > info.height:
            raise ValueError(f"{window} does not lie inside of the image of {info.width}x{info.height}")
        return self._samples_of(window)


def read_rgb(path: Path | str) -> np.ndarray:
    """A whole image as float32 `[3, H, W]`, [0, 1] for 8- and 16-bit files; grey is repeated, alpha is dropped.

    Of several pages or frames the first is read, and a log line says so.

    Raises:
        UserError: see `Raster.open` and `Raster.read`.
    """
    raster = _first(path)
    values = raster.read_rgb()
    _say_depth(raster.info, values)
    return values


def read_rgb8(path: Path | str) -> np.ndarray:
    """A whole image as uint8 `[3, H, W]`; deeper samples are clamped to [0, 1] and rounded, half up.

    Of several pages or frames the first is read, and a log line says so.

    Raises:
        UserError: see `Raster.open` and `Raster.read`.
    """
    raster = _first(path)
    if raster.info.dtype == "uint8":
        return raster.read_rgb8()
    values = raster.read_rgb()
    _say_depth(raster.info, values)
    return _as_bytes(values)


def _first(path: Path | str) -> Raster:
    raster = Raster.open(path)
    if raster.info.pages > 1:
        _log.info("%s: %s with %d images in it; the first is read", path, raster.info.format, raster.info.pages)
    for note in raster.info.notes:
        _say(str(path), note)
    return raster


def _as_bytes(values: np.ndarray) -> np.ndarray:
    return np.floor(np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)


def _say_depth(info: RasterInfo, values: np.ndarray) -> None:
    if info.dtype == "uint16" and (note := depth_note(round(float(values.max()) * _WHITE["uint16"]))) is not None:
        _say(str(info.path), note)


@lru_cache(maxsize=4096)  # once for each file
def _say(path: str, note: str) -> None:
    _log.warning("%s: %s", path, note)


def _three_channels(chw: np.ndarray, info: RasterInfo) -> np.ndarray:
    return np.repeat(chw[:1], 3, axis=0) if info.colour_channels == 1 else np.ascontiguousarray(chw[:3])


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the name") from None
    except IsADirectoryError:
        raise UserError(f"{path}: this is a folder; give an image file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
