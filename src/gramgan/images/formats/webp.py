"""WebP: 8 bits, RGB with or without alpha; animations."""

import struct
from pathlib import Path

from gramgan.images.formats.base import Format, Request, Writing
from gramgan.images.formats.beside import Beside
from gramgan.images.formats.vips_reader import reader
from gramgan.images.vips import pyvips

_EXTENDED, _ALPHA, _EXIF, _XMP = b"VP8X", 0x10, 0x08, 0x04  # RFC 9649, 2.7.1


def _load(request: Request) -> pyvips.Image:
    return pyvips.Image.webpload_source(request.source(), page=request.page, fail_on="error")


def _save(image: pyvips.Image, path: Path, quality: int, beside: Beside) -> None:
    # "exact" keeps the colour under fully transparent pixels, as every other format here does. The encoder holds the
    # whole file in memory anyway.
    data = image.webpsave_buffer(Q=quality, lossless=quality == 100, exact=True, keep=pyvips.enums.ForeignKeep.ICC)
    path.write_bytes(_with_metadata(bytes(data), image, beside))


def _with_metadata(data: bytes, image: pyvips.Image, beside: Beside) -> bytes:
    added, flags = b"", 0
    exif = beside.exif.removeprefix(b"Exif\0\0") if beside.exif else None
    for kind, flag, content in ((b"EXIF", _EXIF, exif), (b"XMP ", _XMP, beside.xmp)):
        if content is not None:
            flags |= flag
            added += kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
    if not flags:
        return data
    chunks = data[12:]
    if not chunks.startswith(_EXTENDED):
        alpha = _ALPHA if image.hasalpha() else 0
        size = [struct.pack("<I", side - 1)[:3] for side in (image.width, image.height)]
        chunks = _EXTENDED + struct.pack("<IB3x", 10, alpha) + b"".join(size) + chunks
    chunks = chunks[:8] + bytes([chunks[8] | flags]) + chunks[9:] + added
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


WEBP = Format(
    name="WebP",
    suffixes=(".webp",),
    recognises=lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
    open=reader("WebP", _load, several=True),
    writing=Writing(
        bits=(8,),
        holds=frozenset({"profile", "EXIF", "maker note", "XMP"}),
        alpha=True,
        max_side=16383,
        save=_save,
        frames=True,
    ),
)
