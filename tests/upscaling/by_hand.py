"""Files made by the words of their standards, with what libraries do not write."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Chunk = tuple[bytes, bytes]


def png(pixels: np.ndarray, *chunks: Chunk, behind: tuple[Chunk, ...] = ()) -> bytes:
    """A PNG with chunks before and behind its pixels; 8 or 16 bits (PNG, 5.3)."""
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8 * pixels.itemsize, colour, 0, 0, 0)
    big = pixels.astype(f">u{pixels.itemsize}")
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in big))
    every = ((b"IHDR", head), *chunks, (b"IDAT", rows), *behind, (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in every
    )


def jpeg(pixels: np.ndarray, mode: str | None = None, **options: Any) -> bytes:
    """A JPEG as Pillow writes it."""
    data = io.BytesIO()
    Image.fromarray(pixels, mode).save(data, "JPEG", **{"quality": 95, **options})
    return data.getvalue()


def segment(kind: int, data: bytes) -> bytes:
    """A segment of a JPEG (ITU-T T.81, B.1.1.4)."""
    return struct.pack(">BBH", 0xFF, kind, len(data) + 2) + data


def with_segments(data: bytes, *segments: bytes) -> bytes:
    """A JPEG with segments at its beginning."""
    return data[:2] + b"".join(segments) + data[2:]


def exif_block(order: str, texts: dict[int, bytes], inner: dict[int, tuple[int, bytes]]) -> bytes:
    """An EXIF block with texts in the main directory and other values in EXIF's own."""

    def directory(entries: list[tuple[int, int, int, bytes]], at: int) -> bytes:
        tail_at = at + 2 + 12 * len(entries) + 4
        body, tail = struct.pack(f"{order}H", len(entries)), b""
        for number, kind, count, value in sorted(entries):
            body += struct.pack(f"{order}HHI", number, kind, count)
            if len(value) > 4:
                body += struct.pack(f"{order}I", tail_at + len(tail))
                tail += value + bytes(len(value) % 2)
            else:
                body += value.ljust(4, b"\0")
        return body + bytes(4) + tail

    main = [(number, 2, len(text) + 1, text + b"\0") for number, text in texts.items()]
    entries = [(number, kind, len(value), value) for number, (kind, value) in inner.items()]
    size = len(directory([*main, (0x8769, 4, 1, bytes(4))], 8))
    first = directory([*main, (0x8769, 4, 1, struct.pack(f"{order}I", 8 + size))], 8)
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8)
    return b"Exif\0\0" + head + first + directory(entries, 8 + size)


def exif_of(path: Path) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """The raw values of the main directory and of EXIF's own, by the specification's own words."""
    if path.suffix == ".tif":
        block = path.read_bytes()
    else:
        with Image.open(path) as image:
            block = image.info["exif"].removeprefix(b"Exif\0\0")
    order = "<" if block[:2] == b"II" else ">"

    def directory(at: int) -> dict[int, bytes]:
        found = {}
        for number in range(struct.unpack_from(f"{order}H", block, at)[0]):
            entry = at + 2 + 12 * number
            tag, kind, count = struct.unpack_from(f"{order}HHI", block, entry)
            length = count * {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 10: 8}.get(kind, 0)
            start = entry + 8 if length <= 4 else struct.unpack_from(f"{order}I", block, entry + 8)[0]
            found[tag] = block[start : start + length]
        return found

    main = directory(struct.unpack_from(f"{order}I", block, 4)[0])
    pointer = main.get(0x8769)
    return main, directory(struct.unpack(f"{order}I", pointer)[0]) if pointer else {}
