"""The chunks of a PNG that libvips does not hand on (PNG, third edition, 11.3)."""

import re
import struct
import zlib
from collections.abc import Iterable
from typing import BinaryIO

from gramgan.images import metadata
from gramgan.images.formats.beside import Beside
from gramgan.images.info import Cicp, Text

Chunk = tuple[bytes, bytes]
"""Type and data."""

HEADER_END = 33
"""Where the chunk after the header begins: signature, and IHDR's 13 bytes with length, type and CRC."""

_SKIPPED = (b"IDAT", b"fdAT")
_COLOUR = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"cICP": 4, b"mDCV": 24, b"cLLI": 8}  # and how long they are
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_MOST = 1 << 26  # bytes of a text, or of all chunks together
_PACK_FROM = 1024  # bytes
_XMP = "XML:com.adobe.xmp"
_RAW = "Raw profile type "  # ImageMagick's way to put what PNG had no chunk for into a text
_HEX = re.compile(rb"\s*(\w+)\s+(\d+)\s([0-9a-fA-F\s]*)")


def read_chunks(file: BinaryIO) -> list[Chunk]:
    """All chunks but those of pixels, to the end of the image or of what can be read of it."""
    file.seek(8)
    chunks, left = [], _MOST
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind in _SKIPPED or length > left:
            file.seek(length + 4, 1)
            if kind in _SKIPPED:
                chunks.append((kind, b""))
            continue
        data = file.read(length)
        file.seek(4, 1)
        left -= length
        chunks.append((kind, data))
        if kind == b"IEND":
            break
    return chunks


def beside_of(chunks: Iterable[Chunk], icc: bytes | None) -> Beside:
    """What a PNG says beside its pixels; `icc` is its profile."""
    exif = xmp = iptc = None
    texts = []
    colour = {}
    for kind, data in chunks:
        if len(data) == _COLOUR.get(kind) and data != bytes(4):
            colour[kind] = data
        elif kind == b"eXIf":
            exif = data
        elif kind in _TEXTS and (text := _text(kind, data)) is not None:
            raw = _raw_profile(text)
            if text.keyword == _XMP:
                xmp = text.value.encode("utf-8", "surrogateescape")
            elif raw is None:
                texts.append(text)
            elif raw[0] in (b"iptc", b"8bim"):
                iptc = raw[1]
            elif raw[0] in (b"exif", b"APP1") and raw[1].startswith(b"Exif\0\0"):
                exif = exif or raw[1]
            elif raw[0] in (b"xmp", b"APP1") and b"<" in raw[1]:
                xmp = xmp or raw[1][raw[1].index(b"<") :]
    numbers = colour.get(b"cICP", b"")
    cicp = Cicp(numbers[0], numbers[1]) if len(numbers) == 4 else None
    kept = tuple(colour.items()) if icc is None or cicp is not None else ()
    return Beside(icc, exif, xmp, iptc, tuple(texts), cicp, kept)


def packed(beside: Beside) -> bytes:
    """The chunks for all that stands beside the pixels; they follow the header and precede the pixels."""
    colour = dict(beside.png_colour)
    if beside.cicp is not None:
        colour.setdefault(b"cICP", bytes([beside.cicp.primaries, beside.cicp.transfer, 0, 1]))  # RGB, full range
    chunks: list[Chunk] = list(colour.items())
    if beside.exif is not None:
        chunks.append((b"eXIf", beside.exif.removeprefix(b"Exif\0\0")))
    if beside.xmp is not None:
        chunks.append((b"iTXt", _XMP.encode() + b"\0\0\0\0\0" + beside.xmp))
    if beside.iptc is not None:
        resource = metadata.as_resource(beside.iptc)
        lines = re.sub("(.{72})", r"\1\n", resource.hex())
        text = f"\niptc\n{len(resource):8}\n{lines}\n"
        chunks.append((b"zTXt", f"{_RAW}iptc".encode() + b"\0\0" + zlib.compress(text.encode())))
    chunks += [text.png or _as_chunk(text) for text in beside.texts]
    return b"".join(map(pack_chunk, chunks))


def pack_chunk(chunk: Chunk) -> bytes:
    """A chunk as a file has it."""
    kind, data = chunk
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _as_chunk(text: Text) -> Chunk:
    keyword = text.keyword.encode("latin-1", "replace")[:79].strip() or b"Comment"
    value = text.value.encode("utf-8", "surrogateescape")
    try:
        value = value.decode("utf-8").encode("latin-1")
    except UnicodeDecodeError:  # of an encoding that nobody knows: as it is
        pass
    except UnicodeEncodeError:
        if len(value) < _PACK_FROM:
            return b"iTXt", keyword + b"\0\0\0\0\0" + value
        return b"iTXt", keyword + b"\0\1\0\0\0" + zlib.compress(value)
    value = value.replace(b"\0", b" ")
    if len(value) < _PACK_FROM:
        return b"tEXt", keyword + b"\0" + value
    return b"zTXt", keyword + b"\0\0" + zlib.compress(value)


def _text(kind: bytes, data: bytes) -> Text | None:
    keyword, found, value = data.partition(b"\0")
    if not found:
        return None
    try:
        if kind == b"zTXt":
            value = _unpacked(value[1:])
        elif kind == b"iTXt":
            packed, rest = value[0], value[2:]
            value = rest.split(b"\0", 2)[2]
            value = _unpacked(value) if packed else value
    except (IndexError, zlib.error):
        return None
    try:
        text = value.decode("utf-8")  # in tEXt too: many programs write it there, and Latin-1 hardly ever looks like it
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    return Text(keyword.decode("latin-1"), text, (kind, data))


def _unpacked(data: bytes) -> bytes:
    engine = zlib.decompressobj()
    value = engine.decompress(data, _MOST)
    if engine.unconsumed_tail:
        raise zlib.error("larger than any text")
    return value


def _raw_profile(text: Text) -> tuple[bytes, bytes] | None:
    """Kind and bytes of what ImageMagick and others have put into a text as hexadecimal digits."""
    if not text.keyword.startswith(_RAW):
        return None
    found = _HEX.match(text.value.encode("latin-1", "replace"))
    try:
        return None if found is None else (found[1], bytes.fromhex(found[3].decode("ascii")))
    except ValueError:
        return None
