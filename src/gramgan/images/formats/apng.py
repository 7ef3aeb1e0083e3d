"""Animated PNG (PNG, third edition, 11.3.6): each frame as the whole picture that is shown at its time."""

import struct
from dataclasses import dataclass
from typing import BinaryIO

from gramgan.images.formats.png_chunks import pack_chunk
from gramgan.images.info import Animation
from gramgan.images.vips import pyvips

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_FOR_PIXELS = (b"PLTE", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"sBIT")
_BACKGROUND, _PREVIOUS = 1, 2  # dispose_op
_OVER = 1  # blend_op
_MOST_FRAMES = 100_000


@dataclass
class _Frame:
    """Where a frame lies, how long it is shown, what is done with it afterwards and how it is put on; its pixels."""

    width: int
    height: int
    x: int
    y: int
    delay_ms: int
    dispose: int
    blend: int
    parts: list[tuple[int, int]]  # offset and length of the compressed pixels in the file


class Apng:
    """The frames of an open PNG file; `frames` is empty if the file is no animation."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._header = b""
        self._shared: list[tuple[bytes, bytes]] = []
        self.frames: list[_Frame] = []
        self._loop = 0
        self.leaves_out_default = False
        self._scan()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        width, height = struct.unpack_from(">II", self._header)
        return width, height

    @property
    def animation(self) -> Animation:
        """How the frames follow one another."""
        return Animation(tuple(frame.delay_ms for frame in self.frames), self._loop)

    def picture(self, number: int) -> pyvips.Image:
        """What is shown when frame `number` (from 0) is, 8 or 16 bits, with alpha if any of it can be seen through.

        Raises:
            pyvips.Error: a frame is damaged, or there is none of this number.
        """
        if number >= len(self.frames):
            raise pyvips.Error("bad page number")
        first = max((one for one in range(number + 1) if self._covers(one)), default=0)
        canvas: pyvips.Image | None = None
        for one in range(first, number + 1):
            frame = self.frames[one]
            pixels = self._decoded(frame)
            if canvas is None:
                canvas = self._empty(pixels)
            before = canvas
            canvas = _put(canvas, pixels, frame)
            if one < number:
                canvas = self._disposed(before, canvas, frame)
        assert canvas is not None
        last = canvas.bands - 1
        opaque = canvas[last].min() == (255 if canvas.format == "uchar" else 65535)
        return canvas[0:last].copy(interpretation=canvas.interpretation) if opaque else canvas.copy()

    def _covers(self, number: int) -> bool:
        """Whether nothing of what came before a frame is seen in it."""
        frame, (width, height) = self.frames[number], self.size
        return (frame.x, frame.y, frame.width, frame.height, frame.blend) == (0, 0, width, height, 0)

    def _empty(self, like: pyvips.Image) -> pyvips.Image:
        width, height = self.size
        zero = pyvips.Image.black(width, height, bands=like.bands).cast(like.format)
        return zero.copy(interpretation=like.interpretation)

    def _disposed(self, before: pyvips.Image, after: pyvips.Image, frame: _Frame) -> pyvips.Image:
        if frame.dispose == _PREVIOUS:
            return before
        if frame.dispose == _BACKGROUND:
            hole = pyvips.Image.black(frame.width, frame.height, bands=after.bands).cast(after.format)
            after = after.insert(hole, frame.x, frame.y).copy_memory()
        return after

    def _decoded(self, frame: _Frame) -> pyvips.Image:
        """A frame's own pixels, RGB or grey with alpha."""
        packed = b""
        for offset, length in frame.parts:
            self._file.seek(offset)
            packed += self._file.read(length)
        header = struct.pack(">II", frame.width, frame.height) + self._header[8:]
        chunks = [(b"IHDR", header), *self._shared, (b"IDAT", packed), (b"IEND", b"")]
        image = pyvips.Image.pngload_buffer(_SIGNATURE + b"".join(map(pack_chunk, chunks)), fail_on="error")
        image = image if image.hasalpha() else image.addalpha()
        return image.copy_memory()

    def _scan(self) -> None:
        self._file.seek(8)
        told = in_default = False
        while len(head := self._file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            at = self._file.tell()
            data = self._file.read(min(length, 1 << 24)) if kind in (b"IHDR", b"acTL", b"fcTL", *_FOR_PIXELS) else b""
            if kind == b"IHDR":
                self._header = data
            elif kind == b"acTL" and len(data) == 8:
                told, self._loop = True, struct.unpack(">II", data)[1]
            elif kind == b"fcTL" and len(data) == 26 and len(self.frames) < _MOST_FRAMES:
                self.frames.append(_frame_of(data))
            elif kind == b"IDAT":
                in_default = True
                if self.frames:
                    self.frames[-1].parts.append((at, length))
            elif kind == b"fdAT" and self.frames:
                self.frames[-1].parts.append((at + 4, length - 4))
            elif kind in _FOR_PIXELS and not in_default:
                self._shared.append((kind, data))
            elif kind == b"IEND":
                break
            if kind == b"IDAT" and not self.frames:
                self.leaves_out_default = True
            self._file.seek(at + length + 4)
        self.frames = [frame for frame in self.frames if frame.parts and self._inside(frame)] if told else []

    def _inside(self, frame: _Frame) -> bool:
        width, height = self.size
        return 0 < frame.x + frame.width <= width and 0 < frame.y + frame.height <= height


def _frame_of(data: bytes) -> _Frame:
    width, height, x, y, over, under, dispose, blend = struct.unpack(">4xIIIIHHBB", data)
    return _Frame(width, height, x, y, round(1000 * over / (under or 100)), dispose, blend, [])


def _put(canvas: pyvips.Image, pixels: pyvips.Image, frame: _Frame) -> pyvips.Image:
    if frame.blend == _OVER:
        pixels = _over(canvas.crop(frame.x, frame.y, frame.width, frame.height), pixels)
    return canvas.insert(pixels, frame.x, frame.y).copy_memory()


def _over(below: pyvips.Image, above: pyvips.Image) -> pyvips.Image:
    """Straight alpha over straight alpha, rounded."""
    white = 255 if above.format == "uchar" else 65535
    last = above.bands - 1
    alpha, under = above[last] / white, below[last] / white
    both = alpha + under * (1 - alpha)
    share = (both > 0).ifthenelse(1 / (both + (both == 0) / 255), 0)
    colours = (above[0:last] * alpha + below[0:last] * under * (1 - alpha)) * share
    result = colours.bandjoin(both * white)
    return (result + 0.5).cast(above.format).copy(interpretation=above.interpretation)
