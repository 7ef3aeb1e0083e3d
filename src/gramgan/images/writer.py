"""Writing images of any size window by window, in bounded memory."""

import contextlib
import errno
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np

from gramgan.defaults import QUALITY
from gramgan.errors import UserError
from gramgan.files import atomic_path
from gramgan.images import metadata
from gramgan.images.canvas import Canvas, WindowPlan
from gramgan.images.formats import writing_for
from gramgan.images.formats.beside import Beside, carry
from gramgan.images.info import RasterInfo, Window
from gramgan.images.stream import EncodingAhead, Frontier
from gramgan.images.vips import pyvips, vips_reason
from gramgan.places import as_place

_log = logging.getLogger(__name__)

_DTYPES = {8: np.uint8, 16: np.uint16, 32: np.float32}
_ROWS = 64  # that are put on white at a time
_GREY = {8: "b-w", 16: "grey16", 32: "b-w"}
_RGB = {8: "srgb", 16: "rgb16", 32: "scrgb"}


class RasterWriter:
    """Writes one image; a context manager.

    Windows may be written in any order, from one thread at a time. They are collected, in their final sample type, on a
    `Canvas`. From there they are streamed through the encoder into a temporary file: integer samples in another thread,
    while windows farther down are still to come, float samples on leaving the block. Then it is renamed to `path`. If
    the block raises, nothing is left behind and a file that stood at `path` before is untouched. With a `resume_key`
    the canvas takes up the work of a killed job again.

    The suffix chooses the format: PNG (8, 16 bits), JPEG (8), WebP (8), AVIF (8; 16 bits are kept as 12), GIF (256
    colours), TIFF (8, 16, 32 = float; BigTIFF when needed).
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
        quality: int = QUALITY,
        comment: str | None = None,
        resume_key: str | None = None,
        tells: bool = True,
    ) -> None:
        """Describe the image; the file is begun on entering the context.

        Args:
            path: the output; its suffix chooses the format.
            width: in pixels.
            height: in pixels.
            like: where ICC profile, EXIF, XMP, IPTC, texts and resolution are taken from. What of it the format has no
                place for is said in a log line.
            colour_channels: 1 (grey) or 3 (RGB).
            has_alpha: whether the written arrays end with a channel of straight alpha.
            bits: of one sample; 32 is float.
            quality: 1 to 100, of JPEG, WebP and AVIF; 100 makes the last two lossless (AVIF at its depth).
            comment: a description, in PNG's text, a GIF's comment, or the ImageDescription of TIFF or EXIF.
            resume_key: a text that says all that decides the pixels (source, settings). What a killed job with the same
                key, size and depth has left is continued, anything else of that name is discarded.
            tells: whether log lines say what is lost of `like`.

        Raises:
            UserError: the suffix names no format that can be written, or the image is too large for it.
        """
        if width < 1 or height < 1:
            raise ValueError(f"an image of {width}x{height} cannot be written")
        self.path = as_place(path)
        self.width, self.height = width, height
        self._colour_channels = colour_channels
        self._dpi, self._quality = like.dpi if like else None, quality
        form, self._writing = writing_for(self.path)
        if max(width, height) > self._writing.max_side:
            limit = self._writing.max_side
            raise UserError(
                f"{self.path}: {width}x{height} is too large for {form.name} ({limit} a side); write a .tif"
            )
        self._bits = max(one for one in self._writing.bits if one <= bits)
        self._flattened = has_alpha and not self._writing.alpha
        held = min(self._bits, self._writing.deepest)
        if held < bits:
            _log.info("%s: %s holds %d bits; %d-bit samples are rounded", self.path, form.name, held, bits)
        if self._flattened:
            _log.info("%s: %s has no transparency; the image is put on white", self.path, form.name)
        colours = colour_channels if "grey" in self._writing.holds else 3
        if self._writing.coarse and tells and not (like is not None and like.format == form.name):
            _log.info("%s: %s: %s", self.path, form.name, self._writing.coarse)
        self._beside, lost = carry(like, self._writing.holds, comment, (width, height), colours)
        if like is not None and tells:
            say_lost(like, form.name, lost)
        bands = colour_channels + (has_alpha and not self._flattened)
        self._canvas = Canvas(self.path, (height, width, bands), np.dtype(_DTYPES[self._bits]), resume_key)
        self._encoding: EncodingAhead | None = None

    def __enter__(self) -> "RasterWriter":
        """Allocate the canvas.

        Raises:
            UserError: the folder is not writable, the disk has no room for the image, or (with a `resume_key`) another
                process is writing it.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._canvas)
            self._temporary = stack.enter_context(atomic_path(self.path))
            self._canvas.note_temporary(self._temporary)
            self._note_finished_rows()
            stack.push(self._stop_encoding)
            self._stack = stack.pop_all()
        return self

    @property
    def finished(self) -> frozenset[Window]:
        """The windows that are in the image: those of this job and of the killed one that it continues."""
        return self._canvas.finished

    def holds(self, window: Window) -> bool:
        """Whether this very window is in the image already."""
        return self._canvas.holds(window)

    @property
    def plan(self) -> WindowPlan | None:
        """What `follow` was told last, perhaps by the job that this one continues; None if it was not."""
        return self._canvas.plan

    def follow(self, plan: WindowPlan) -> None:
        """Say by what numbers the image is cut into windows; windows of another plan are forgotten.

        Raises:
            ValueError: the plan changes when windows have been written in this block.
        """
        if plan != self._canvas.plan:
            if self._encoding is not None:
                raise ValueError("the plan must be known before the first window is written")
            self._canvas.follow(plan)
            self._note_finished_rows()

    def write(self, window: Window, array: np.ndarray) -> None:
        """Put pixels into the image (see `Canvas.write`).

        Args:
            window: where; windows must not overlap, and none may be written twice.
            array: `[channels, height, width]` in [0, 1], colour and then straight alpha.

        Raises:
            ValueError: the array does not fit the window or holds NaN or infinity, or the window leaves the image or is
                in it already.
            UserError: the encoder failed, or the disk is full.
        """
        if self._flattened:
            expected = (self._colour_channels + 1, window.height, window.width)
            if array.shape != expected:
                raise ValueError(f"window needs an array of shape {expected}, got {array.shape}")
            array = _on_white(array)
        self._canvas.write(window, array)
        self._frontier.add(window)
        self._encode_ahead()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Encode and rename, or clean up after an exception.

        Raises:
            UserError: the encoder failed, or the disk is full.
            ValueError: some pixels were never written.
        """
        if error is not None:
            return self._stack.__exit__(kind, error, trace)
        with self._stack:
            self._canvas.finish()
            if self._encoding is None:
                self._save(self._canvas.image("sequential"))
            else:
                self._encoding.finish()
        return None

    def _note_finished_rows(self) -> None:
        self._frontier = Frontier(self.width, self.height)
        for window in self._canvas.finished:
            self._frontier.add(window)

    def _encode_ahead(self) -> None:
        """Let the encoder have all rows that are final; it is begun when there are more to come."""
        if self._encoding is None:
            if self._bits == 32 or self._frontier.rows == self.height:
                return
            shape = (self.height, self.width, self._canvas.bands)
            self._encoding = EncodingAhead(self._canvas.path, shape, self._bits // 8, self._save)
        if self._encoding.error is not None:
            raise self._encoding.error
        self._encoding.advance(self._frontier.rows)

    def _stop_encoding(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._encoding is not None:
            self._encoding.stop()
            self._encoding = None

    def _save(self, image: pyvips.Image) -> None:
        """Encode an image of this one's size, channels and depth into the temporary file."""
        try:
            image = image.copy(interpretation=(_GREY if self._colour_channels == 1 else _RGB)[self._bits])
            if self._colour_channels == 1 and "grey" not in self._writing.holds:
                image = image.colourspace("srgb")
            self._writing.save(
                with_description(image, self._beside, self._dpi), self._temporary, self._quality, self._beside
            )
        except pyvips.Error as error:
            if "No space left" in str(error):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            raise UserError(
                f"{self.path}: cannot be written ({vips_reason(error)}); try another format or place"
            ) from error


def with_description(image: pyvips.Image, beside: Beside, dpi: tuple[float, float] | None) -> pyvips.Image:
    """A copy of `image` with what encoders are to take from it: profile, resolution, and that it is upright."""
    across, down = dpi or (metadata.DEFAULT_DPI, metadata.DEFAULT_DPI)
    image = image.copy(xres=across / metadata.MM_PER_INCH, yres=down / metadata.MM_PER_INCH)
    image.set_type(pyvips.GValue.gint_type, "orientation", 1)
    if beside.icc is not None:
        metadata.set_blob(image, "icc-profile-data", beside.icc)
    return image


def say_lost(source: RasterInfo, form: str, lost: Sequence[str]) -> None:
    """Say in the log what of a source its result has no place for."""
    if lost:
        _log.warning("%s: %s has no place for %s; left out", source.path, form, ", ".join(lost))


def write_image(
    path: Path | str,
    array: np.ndarray,
    *,
    like: RasterInfo | None = None,
    bits: Literal[8, 16, 32] = 8,
    quality: int = QUALITY,
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


def _on_white(array: np.ndarray) -> np.ndarray:
    """Colours with straight alpha as they look on white, a few rows at a time."""
    result = np.empty_like(array[:-1])
    for top in range(0, array.shape[1], _ROWS):
        rows = slice(top, top + _ROWS)
        alpha = array[-1, rows]
        result[:, rows] = array[:-1, rows] * alpha + (1 - alpha)
    return result
