"""Writing images of any size window by window, in bounded memory."""

import contextlib
import errno
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np

from gramgan.errors import UserError
from gramgan.files import atomic_path
from gramgan.images import metadata
from gramgan.images.formats import writing_for
from gramgan.images.raster import RasterInfo, Window
from gramgan.images.vips import pyvips, reason

_log = logging.getLogger(__name__)

_DTYPES = {8: np.uint8, 16: np.uint16, 32: np.float32}
_VIPS_FORMATS = {8: "uchar", 16: "ushort", 32: "float"}
_GREY = {8: "b-w", 16: "grey16", 32: "b-w"}
_RGB = {8: "srgb", 16: "rgb16", 32: "scrgb"}
_NO_FALLOCATE = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)


class RasterWriter:
    """Writes one image; a context manager.

    Windows may be written in any order. They are collected, in their final sample type, in a scratch file beside the
    output, which is allocated at once so that a full disk shows at the start. On leaving the block the scratch file is
    streamed through the encoder into a temporary file that is renamed to `path`. If the block raises, nothing is left
    behind and a file that stood at `path` before is untouched.

    The suffix chooses the format: PNG (8, 16 bits), JPEG (8), WebP (8), TIFF (8, 16, 32 = float; BigTIFF when needed).
    Deeper samples than the format holds are rounded to its deepest, and alpha in a JPEG is composited over white; a log
    line says so.
    """

    def __init__(
        self,
        path: Path | str,
        width: int,
        height: int,
        *,
        like: RasterInfo | None = None,
        colour_channels: Literal[1, 3] = 3,
        has_alpha: bool = False,
        bits: Literal[8, 16, 32] = 8,
        quality: int = 95,
        comment: str | None = None,
    ) -> None:
        """Describe the image; the file is begun on entering the context.

        Args:
            path: the output; its suffix chooses the format.
            width: in pixels.
            height: in pixels.
            like: where ICC profile, EXIF, XMP and resolution are taken from.
            colour_channels: 1 (grey) or 3 (RGB).
            has_alpha: whether the written arrays end with a channel of straight alpha.
            bits: of one sample; 32 is float.
            quality: 1 to 100, of JPEG and WebP; 100 makes WebP lossless.
            comment: a description, in PNG's text, TIFF's ImageDescription or EXIF's ImageDescription.

        Raises:
            UserError: the suffix names no format that can be written, or the image is too large for it.
        """
        if width < 1 or height < 1:
            raise ValueError(f"an image of {width}x{height} cannot be written")
        self.path = Path(path)
        self.width, self.height = width, height
        self._colour_channels, self._has_alpha = colour_channels, has_alpha
        self._like, self._quality, self._comment = like, quality, comment
        form, self._writing = writing_for(self.path)
        if max(width, height) > self._writing.max_side:
            limit = self._writing.max_side
            raise UserError(
                f"{self.path}: {width}x{height} is too large for {form.name} ({limit} a side); write a .tif"
            )
        self._bits = max(one for one in self._writing.bits if one <= bits)
        self._flattened = has_alpha and not self._writing.alpha
        if self._bits < bits:
            _log.info("%s: %s holds %d bits; %d-bit samples are rounded", self.path, form.name, self._bits, bits)
        if self._flattened:
            _log.info("%s: %s has no transparency; the image is put on white", self.path, form.name)
        self._bands = colour_channels + (has_alpha and not self._flattened)
        self._written: set[Window] = set()

    def __enter__(self) -> "RasterWriter":
        """Allocate the scratch file.

        Raises:
            UserError: the folder is not writable, or the disk has no room for the image.
        """
        with contextlib.ExitStack() as stack:
            self._temporary = stack.enter_context(atomic_path(self.path))
            size = self.width * self.height * self._bands * np.dtype(_DTYPES[self._bits]).itemsize
            self._scratch = stack.enter_context(_scratch_file(self.path, size))
            shape = (self.height, self.width, self._bands)
            self._pixels: np.ndarray | None = np.memmap(self._scratch, _DTYPES[self._bits], "r+", shape=shape)
            self._stack = stack.pop_all()
        return self

    def write(self, window: Window, array: np.ndarray) -> None:
        """Put pixels into the image.

        Args:
            window: where; a window may be written again, different windows must not overlap.
            array: `[channels, height, width]` in [0, 1], colour and then straight alpha. Clamped and rounded half up
                for 8 and 16 bits; kept as it is for float.

        Raises:
            ValueError: the array does not fit the window or holds NaN or infinity, or the window leaves the image.
        """
        expected = (self._colour_channels + self._has_alpha, window.height, window.width)
        if array.shape != expected:
            raise ValueError(f"window needs an array of shape {expected}, got {array.shape}")
        if (
            window.x < 0
            or window.y < 0
            or window.x + window.width > self.width
            or window.y + window.height > self.height
        ):
            raise ValueError(f"{window} does not lie inside of the image of {self.width}x{self.height}")
        if not np.isfinite(array).all():
            raise ValueError(f"{window} holds NaN or infinity")
        if self._flattened:
            colour, alpha = array[:-1], array[-1:]
            array = colour * alpha + (1 - alpha)
        assert self._pixels is not None
        rows = slice(window.y, window.y + window.height)
        columns = slice(window.x, window.x + window.width)
        self._pixels[rows, columns] = _samples(array, self._bits).transpose(1, 2, 0)
        self._written.add(window)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Encode and rename, or clean up after an exception.

        Raises:
            UserError: the encoder failed, or the disk is full.
            ValueError: some pixels were never written.
        """
        self._pixels = None  # Windows cannot delete a file that is mapped
        if error is not None:
            return self._stack.__exit__(kind, error, trace)
        with self._stack:
            self._check_complete()
            self._encode()
        return None

    def _check_complete(self) -> None:
        missing = self.width * self.height - sum(window.width * window.height for window in self._written)
        if missing > 0:
            raise ValueError(f"{self.path}: {missing} pixels were never written")

    def _encode(self) -> None:
        like, bits = self._like, self._bits
        interpretation = (_GREY if self._colour_channels == 1 else _RGB)[bits]
        try:
            image = pyvips.Image.rawload(
                str(self._scratch),
                self.width,
                self.height,
                self._bands,
                format=_VIPS_FORMATS[bits],
                access="sequential",
            ).copy(interpretation=interpretation)
            if self._colour_channels == 1 and not self._writing.grey:
                image = image.colourspace("srgb")
            image = metadata.attach(
                image,
                icc=like.icc if like else None,
                exif=like.exif if like else None,
                xmp=like.xmp if like else None,
                dpi=like.dpi if like else None,
                comment=self._comment,
                comment_field=self._writing.comment_field,
            )
            self._writing.save(image, self._temporary, self._quality)
        except pyvips.Error as error:
            if "No space left" in str(error):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            raise UserError(f"{self.path}: cannot be written ({reason(error)}); try another format or place") from error


def write_image(
    path: Path | str,
    array: np.ndarray,
    *,
    like: RasterInfo | None = None,
    bits: Literal[8, 16, 32] = 8,
    quality: int = 95,
    comment: str | None = None,
) -> None:
    """Write a whole image: `array` is `[C, H, W]` in [0, 1] with C = 1 grey, 2 grey + alpha, 3 RGB or 4 RGB + alpha.

    Raises:
        UserError: see `RasterWriter`.
    """
    channels, height, width = array.shape
    if not 1 <= channels <= 4:
        raise ValueError(f"an image has 1 to 4 channels, got {channels}")
    with RasterWriter(
        path,
        width,
        height,
        like=like,
        colour_channels=3 if channels >= 3 else 1,
        has_alpha=channels in (2, 4),
        bits=bits,
        quality=quality,
        comment=comment,
    ) as writer:
        writer.write(Window(0, 0, width, height), array)


def _samples(array: np.ndarray, bits: int) -> np.ndarray:
    if bits == 32:
        return array.astype(np.float32, copy=False)
    white = 2**bits - 1
    return np.floor(np.clip(array, 0, 1) * np.float32(white) + np.float32(0.5)).astype(_DTYPES[bits])


@contextlib.contextmanager
def _scratch_file(path: Path, size: int) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=".scratch", dir=path.parent)
    scratch = Path(name)
    try:
        try:
            _allocate(handle, size)
        finally:
            os.close(handle)
        yield scratch
    finally:
        scratch.unlink(missing_ok=True)


def _allocate(handle: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(handle, 0, size)
            return
        except OSError as error:
            if error.errno not in _NO_FALLOCATE:
                raise
    os.truncate(handle, size)
