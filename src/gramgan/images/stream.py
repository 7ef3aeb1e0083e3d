"""The rows of an image that is still being made, handed to an encoder as soon as they are final.

libvips reads from a custom source whatever it asks for, but only in a file format. So the rows go as a PNG without
compression, which costs two checksums: every integer depth, grey, RGB and alpha, from top to bottom.
"""

import struct
import threading
import zlib
from collections import deque
from collections.abc import Callable
from pathlib import Path

from gramgan.images.info import Window
from gramgan.images.vips import pyvips

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by bands: grey, grey and alpha, RGB, RGB and alpha
_CHUNK = 2**20


class Frontier:
    """How many rows from the top are complete, learned window by window; windows must not overlap."""

    def __init__(self, width: int, height: int) -> None:
        self._width = width
        self._missing = [width] * height
        self.rows = 0

    def add(self, window: Window) -> None:
        """Take note of a window that is complete."""
        for row in range(window.y, window.y + window.height):
            self._missing[row] -= window.width
        while self.rows < len(self._missing) and self._missing[self.rows] == 0:
            self.rows += 1


class EncodingAhead:
    """Encodes an image in a separate thread while its last rows are still being computed."""

    def __init__(
        self, scratch: Path, shape: tuple[int, int, int], itemsize: int, save: Callable[[pyvips.Image], None]
    ) -> None:
        """Begin.

        Args:
            scratch: the file of samples, of which rows become final one after the other (see `advance`).
            shape: its height, width and bands.
            itemsize: bytes of a sample, 1 or 2.
            save: encodes the image that it is given, to the end.
        """
        self._file = scratch.open("rb", buffering=0)  # a buffer would hold rows farther down as they were before
        self._height, width, bands = shape
        self._itemsize = itemsize
        self._row_bytes = width * bands * itemsize
        header = struct.pack(">IIBBBBB", width, self._height, 8 * itemsize, _COLOUR_TYPES[bands], 0, 0, 0)
        self._ready = deque([_SIGNATURE + _chunk(b"IHDR", header)])
        self._deflate = zlib.compressobj(level=0)
        self._sent = 0  # rows
        self._final = 0
        self._stopped = False
        self._changed = threading.Condition()
        self._save = save
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="gramgan-encode")
        self._thread.start()

    def advance(self, rows: int) -> None:
        """The first `rows` rows are final now."""
        with self._changed:
            self._final = rows
            self._changed.notify()

    def finish(self) -> None:
        """Wait until the image is encoded; all its rows must be final. Raises what the encoder raised."""
        self._thread.join()
        self._file.close()
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        """End the encoder without a result."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()
        self._file.close()

    def _run(self) -> None:
        source = pyvips.SourceCustom()
        source.on_read(self._read)
        try:
            image = pyvips.Image.pngload_source(source, access="sequential", unlimited=True, fail_on="error")
            self._save(image)
        except BaseException as error:  # noqa: BLE001 (it is raised again in the thread that waits for the result)
            self.error = error

    def _read(self, length: int) -> bytes:
        """What libvips calls: up to `length` bytes of the PNG; none only at its end."""
        while not self._stopped and not self._ready and self._sent < self._height:
            self._more()  # perhaps nothing: the compressor may keep a few rows back
        if self._stopped or not self._ready:
            return b""
        data = self._ready.popleft()
        if len(data) > length:
            self._ready.appendleft(data[length:])
        return data[:length]

    def _more(self) -> None:
        """Wait for final rows and make a chunk of them."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._final > self._sent)
            rows = min(self._final - self._sent, max(_CHUNK // self._row_bytes, 1))
            if self._stopped:
                return
        samples = bytearray(rows * self._row_bytes)
        rest = memoryview(samples)
        while rest:
            count = self._file.readinto(rest)
            if not count:
                raise EOFError("the scratch file ends too early")
            rest = rest[count:]
        rest.release()
        if self._itemsize == 2:  # PNG has the high byte first
            samples[::2], samples[1::2] = samples[1::2], samples[::2]
        lines = (samples[start : start + self._row_bytes] for start in range(0, len(samples), self._row_bytes))
        data = self._deflate.compress(b"".join(b"\0" + line for line in lines))  # filter type 0 before every row
        self._sent += rows
        if self._sent == self._height:
            data += self._deflate.flush()
        if data:
            self._ready.append(_chunk(b"IDAT", data))
        if self._sent == self._height:
            self._ready.append(_chunk(b"IEND", b""))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
