"""Writing files of several images: animations, and TIFFs of several pages."""

import contextlib
import errno
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal

from gramgan.defaults import QUALITY
from gramgan.errors import UserError
from gramgan.files import atomic_path, ensure_folder, ensure_own_folder, write_text
from gramgan.images.canvas import claim_for
from gramgan.images.formats import MULTI_PAGE_SUFFIXES, writing_for
from gramgan.images.formats.beside import carry
from gramgan.images.info import Animation, RasterInfo
from gramgan.images.vips import name_for, pyvips, vips_reason
from gramgan.images.writer import RasterWriter, say_lost, with_description
from gramgan.locks import release
from gramgan.names import hidden_beside, stand_in
from gramgan.places import as_place

_log = logging.getLogger(__name__)


class PagesWriter:
    """Writes one file of several images; a context manager.

    Every page is written by a `RasterWriter` of its own into a lossless file in a hidden folder beside the output. On
    leaving the block they are joined into `path`, atomically. If the block raises, nothing is left behind and a file
    that stood at `path` before is untouched.

    With a `resume_key` the work of a killed job is taken up again: the folder is `.NAME.pages` beside the output
    `NAME`. It stays if the process is killed or the block is left by Ctrl-C; `skip_finished` passes over its pages.

    The suffix chooses the format (`MULTI_PAGE_SUFFIXES`). The pages of a TIFF may differ in size, depth, channels and
    metadata. The frames of a GIF or WebP have one size and 8 bits, and the metadata of the first.
    """

    def __init__(self, path: Path | str, *, animation: Animation | None = None, resume_key: str | None = None) -> None:
        """Describe the file; it is begun on entering the context.

        Args:
            path: the output; its suffix chooses the format.
            animation: how long each frame of a GIF or WebP is shown; None for 0.1 s each, for ever. A TIFF has no
                place for it; a log line says so.
            resume_key: a text that says all that decides the pixels (source, settings). What a killed job with the same
                key has left is continued, anything else of that name is discarded.

        Raises:
            UserError: the suffix names no format of several images.
        """
        self.path = as_place(path)
        self._animation = animation
        form, self._writing = writing_for(self.path)
        if self.path.suffix.lower() not in MULTI_PAGE_SUFFIXES:
            kinds = ", ".join(sorted(MULTI_PAGE_SUFFIXES))
            raise UserError(f"{self.path}: {form.name} holds one image and there are several; end the name in {kinds}")
        if animation is not None and not self._writing.frames:
            _log.info("%s: %s is no animation; the frames become pages", self.path, form.name)
        self._form = form
        self._resume_key = resume_key
        self._files: list[Path] = []
        self._size: tuple[int, int] | None = None
        self._first: tuple[RasterInfo | None, int, str | None] = (None, QUALITY, None)

    def __enter__(self) -> "PagesWriter":
        """Make the folder for the pages.

        Raises:
            UserError: the output's folder is not writable, or (with a `resume_key`) another process is writing it.
        """
        ensure_folder(self.path.parent)
        with contextlib.ExitStack() as stack:
            if self._resume_key is None:
                folder = tempfile.TemporaryDirectory(
                    prefix=f".{stand_in(self.path.stem)}.", suffix=".pages", dir=self.path.parent
                )
                self._folder = Path(stack.enter_context(folder))
            else:
                self._folder = hidden_beside(self.path, "pages")
                stack.enter_context(_taken_over(self.path, self._folder, self._resume_key))
            self._stack = stack.pop_all()
        return self

    def skip_finished(self) -> bool:
        """Count the next page as written if a killed job with the same key has finished it; whether that is so.

        The first frame of an animation, which brings the metadata of the whole file, is always written again.
        """
        file = self._next()
        if not file.exists() or (self._writing.frames and not self._files):
            return False
        self._files.append(file)
        return True

    def page(
        self,
        width: int,
        height: int,
        *,
        like: RasterInfo | None = None,
        colour_channels: Literal[1, 3] = 3,
        has_alpha: bool = False,
        bits: Literal[8, 16, 32] = 8,
        quality: int = QUALITY,
        comment: str | None = None,
    ) -> RasterWriter:
        """The writer of the next page, to be used as a context manager; the arguments are those of `RasterWriter`.

        Raises:
            UserError: the page is too large for the format, or its size is not that of the other frames.
        """
        limit = self._writing.max_side
        if max(width, height) > limit:
            raise UserError(
                f"{self.path}: {width}x{height} is too large for {self._form.name} ({limit} a side); write a .tif"
            )
        writer_bits = max(one for one in self._writing.bits if one <= bits)
        if not self._files:
            self._first, self._size = (like, quality, comment), (width, height)
            if self._writing.coarse and not (like is not None and like.format == self._form.name):
                _log.info("%s: %s: %s", self.path, self._form.name, self._writing.coarse)
            if writer_bits < bits:
                name = self._form.name
                _log.info("%s: %s holds %d bits; %d-bit samples are rounded", self.path, name, writer_bits, bits)
        elif self._writing.frames and self._size is not None and (width, height) != self._size:
            first = "x".join(map(str, self._size))
            raise UserError(
                f"{self.path}: page {len(self._files) + 1} is {width}x{height} and the first is {first}; "
                f"{self._form.name} needs one size, write a .tif"
            )
        own = not self._writing.frames  # frames share the metadata of the file
        page = RasterWriter(
            self._next(),
            width,
            height,
            like=like if own else None,
            colour_channels=colour_channels,
            has_alpha=has_alpha,
            bits=writer_bits,  # pyright: ignore[reportArgumentType]  (one of `bits`)
            quality=quality,
            comment=comment if own else None,
            resume_key=self._resume_key,
            tells=not self._files,
        )
        self._files.append(page.path)
        return page

    def _next(self) -> Path:
        return self._folder / f"{len(self._files):06}.tif"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Join the pages and rename, or clean up after an exception.

        Raises:
            UserError: the encoder failed, or the disk is full.
            ValueError: there are no pages, or one was never finished.
        """
        if error is not None:
            return self._stack.__exit__(kind, error, trace)
        with self._stack:
            unfinished = sum(not file.exists() for file in self._files)
            if unfinished or not self._files:
                raise ValueError(f"{self.path}: {unfinished} of {len(self._files)} pages were not finished")
            with atomic_path(self.path) as temporary:
                self._join(temporary)
        return None

    def _join(self, temporary: Path) -> None:
        if self._writing.concatenate is not None:
            self._writing.concatenate(self._files, temporary)
            return
        like, quality, comment = self._first
        assert self._size is not None
        beside, lost = carry(like, self._writing.holds, comment, self._size, 3)
        if like is not None:
            say_lost(like, self._form.name, lost)
        try:
            image = with_description(_strip(self._files, self._animation), beside, like.dpi if like else None)
            self._writing.save(image, temporary, quality, beside)
        except pyvips.Error as error:
            if "No space left" in str(error):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            raise UserError(
                f"{self.path}: cannot be written ({vips_reason(error)}); try another format or place"
            ) from error


@contextlib.contextmanager
def _taken_over(output: Path, folder: Path, key: str) -> Iterator[None]:
    """Hold `folder`, emptied unless it is of the same key; it stays if the block is left by Ctrl-C and the like."""
    ensure_own_folder(folder)
    # Beside the folder and not in it, where deleting it would be a matter of chance.
    lock = folder.with_name(f"{folder.name}.lock")
    handle = claim_for(output, lock)
    try:
        note = folder / "key"
        if not (note.exists() and note.read_text(encoding="utf-8") == key):
            shutil.rmtree(folder)
            ensure_own_folder(folder)
            write_text(note, key)
        try:
            yield
        except Exception:
            shutil.rmtree(folder)
            raise
        shutil.rmtree(folder)
    finally:
        release(handle, lock)


def _strip(files: list[Path], animation: Animation | None) -> pyvips.Image:
    """All frames below one another, as libvips wants an animation, in sRGB with or without alpha."""
    frames = [
        pyvips.Image.tiffload_source(pyvips.Source.new_from_file(name_for(file)), access="sequential") for file in files
    ]
    has_alpha = any(frame.hasalpha() for frame in frames)
    height = frames[0].height
    frames = [frame.colourspace("srgb") for frame in frames]
    if has_alpha:
        frames = [frame if frame.hasalpha() else frame.addalpha() for frame in frames]
    strip = pyvips.Image.arrayjoin(frames, across=1).copy()
    delays = animation.delays_ms if animation else (100,) * len(frames)
    strip.set_type(pyvips.GValue.gint_type, "page-height", height)
    strip.set_type(pyvips.GValue.gint_type, "n-pages", len(frames))
    strip.set_type(pyvips.GValue.array_int_type, "delay", list(delays))  # pyright: ignore[reportArgumentType]
    strip.set_type(pyvips.GValue.gint_type, "loop", animation.loop if animation else 0)
    return strip
