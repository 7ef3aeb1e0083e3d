"""The segments of a JPEG file (ITU-T T.81, B.1): what libvips does not hand on, and where the image ends.

XMP beyond one segment is the extended XMP of Adobe's XMP specification, part 3, 1.1.3.1.
"""

import hashlib
import io
import mmap
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from gramgan.images import metadata
from gramgan.images.formats.beside import Beside
from gramgan.images.formats.exif import EXIF_PREFIX
from gramgan.images.info import Text

MOST = 65533
"""Bytes that a segment holds."""

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_GAIN_MAP = (b"hdrgm:", b"urn:iso:std:iso:ts:21496", b"HDRGainMap", b"apdi:AuxiliaryImageType")
_MOTION = (b"GCamera:MicroVideo", b"GCamera:MotionPhoto", b"MotionPhoto_Data")
_SCAN_END = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")
_DESCRIPTIONS = re.compile(rb"<rdf:RDF[^>]*>(.*)</rdf:RDF>", re.DOTALL)
_HAS_EXTENDED = re.compile(rb"\s*xmpNote:HasExtendedXMP=[\"'][^\"']*[\"']")
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SOS, _APP1, _APP2, _APP13, _COM = 0xDA, 0xE1, 0xE2, 0xED, 0xFE
_PROGRESSIVE = (0xC2, 0xCA)
_LOSSLESS = (0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF)


@dataclass
class Segments:
    """What the segments before the first scan say."""

    process: int = 0xC0
    precision: int = 8
    found: list[tuple[int, bytes]] = field(default_factory=list)

    def unreadable(self) -> str | None:
        """What kind of JPEG this is, if it is one that nothing here decodes."""
        if self.process in _LOSSLESS:
            return "a lossless or hierarchical JPEG"
        return f"a JPEG of {self.precision} bits" if self.precision != 8 else None

    def beside(self, icc: bytes | None) -> Beside:
        """EXIF, XMP, IPTC and comments."""
        first = {prefix: _first(self.found, _APP1, prefix) for prefix in (EXIF_PREFIX, _XMP)}
        resources = b"".join(
            data[len(metadata.PHOTOSHOP) :] for kind, data in self.found if _is(kind, data, _APP13, metadata.PHOTOSHOP)
        )
        comments = (data.rstrip(b"\0") for kind, data in self.found if kind == _COM)
        xmp = first[_XMP]
        return Beside(
            icc=icc,
            exif=first[EXIF_PREFIX],
            xmp=None if xmp is None else self._with_extension(xmp[len(_XMP) :]),
            iptc=metadata.records_of(metadata.PHOTOSHOP + resources) if resources else None,
            texts=tuple(Text("Comment", one.decode("utf-8", "surrogateescape")) for one in comments if one),
        )

    def notes(self) -> list[str]:
        """What the file holds besides the picture, by its segments."""
        said = [data for kind, data in self.found if kind in (_APP1, _APP2)]
        notes = []
        if any(mark in data for data in said for mark in _GAIN_MAP):
            notes.append("an Ultra HDR photograph: its gain map is left out, the picture for ordinary screens is read")
        elif any(data.startswith(b"MPF\0") for data in said):
            notes.append("it holds more pictures than one (MPF); the others are left out")
        if any(mark in data for data in said for mark in _MOTION):
            notes.append("a motion photo: its video is left out")
        return notes

    def _with_extension(self, xmp: bytes) -> bytes:
        parts: dict[int, bytes] = {}
        total = 0
        for kind, data in self.found:
            if _is(kind, data, _APP1, _EXTENSION) and len(data) > len(_EXTENSION) + 40:
                at = len(_EXTENSION)
                guid, total, offset = struct.unpack_from(">32sII", data, at)
                if guid in xmp:
                    parts[offset] = data[at + 40 :]
        extended = b"".join(parts[offset] for offset in sorted(parts))
        more = _DESCRIPTIONS.search(extended)
        if not parts or len(extended) != total or more is None or b"</rdf:RDF>" not in xmp:
            return xmp
        before, end, after = _HAS_EXTENDED.sub(b"", xmp).rpartition(b"</rdf:RDF>")
        return before + more[1] + end + after


def read_segments(path: Path, data: bytes | None) -> Segments:
    """The segments of a file, or of its bytes, up to the first scan or to where they cannot be followed."""
    segments = Segments()
    with path.open("rb") if data is None else io.BytesIO(data) as file:
        for kind, body in _walk(file):
            if kind in _SOF and len(body) >= 6:
                segments.process, segments.precision = kind, body[0]
            elif kind in (_APP1, _APP2, _APP13, _COM):
                segments.found.append((kind, body))
    return segments


def pack_segments(beside: Beside) -> tuple[bytes, list[str]]:
    """The segments for all that stands beside the pixels, and the names of what is too large for them."""
    result, lost = b"", []
    if beside.exif is not None:
        result += _segment(_APP1, beside.exif, "EXIF", lost)
    if beside.xmp is not None:
        result += _xmp_segments(beside.xmp)
    if beside.iptc is not None:
        result += _segment(_APP13, metadata.as_photoshop(beside.iptc), "IPTC", lost)
    for text in beside.texts:
        result += _segment(_COM, text.value.encode("utf-8", "surrogateescape"), "a comment", lost)
    return result, lost


def behind_header(head: bytes) -> int | None:
    """Where segments are inserted: behind the JFIF header, if there is one."""
    if len(head) < 6:
        return None
    return 4 + struct.unpack_from(">H", head, 4)[0] if head[2:4] == b"\xff\xe0" else 2


@dataclass(frozen=True)
class Ending:
    """How a JPEG file ends: `marked` by EOI or not; whether its scans bring every bit; bytes behind it, the first few.

    That all rows of the last scan are there shows when it is decoded.
    """

    marked: bool
    complete: bool = True
    trailing: bytes = b""
    length: int = 0


def ending_of(path: Path, data: bytes | None) -> Ending:
    """Follow the scans of a file to their end. Quick where its last bytes are the mark of the end."""
    if data is not None:
        return Ending(marked=True) if data.endswith(EOI) else _followed(data)
    with path.open("rb") as file:
        if file.seek(0, 2) < 4:
            return Ending(marked=False)
        file.seek(-2, 2)
        if file.read(2) == EOI:
            return Ending(marked=True)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            return _followed(view)


def _followed(data: "bytes | mmap.mmap") -> Ending:
    at, process = 2, 0
    waiting: dict[tuple[int, int], int] = {}  # (component, coefficient) → bits that have not come yet
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            at += 1
            continue
        kind = data[at + 1]
        if kind == 0xD9:
            rest = len(data) - at - 2
            return Ending(marked=True, trailing=bytes(data[at + 2 : at + 18]), length=rest)
        if kind in (0xFF, 0x00, 0x01) or 0xD0 <= kind <= 0xD8:
            at += 1 if kind == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if kind in _SOF and length >= 8 and at + 2 + length <= len(data):
            process = kind
            components = data[at + 10 : at + 2 + length : 3][: data[at + 9]]
            waiting = {(one, place): 14 for one in components for place in range(64)}
        body = bytes(data[at + 4 : at + 2 + length])
        at += 2 + length
        if kind == _SOS:
            _note_scan(waiting, process, body)
            end = _SCAN_END.search(data, at)
            if end is None:
                break
            at = end.end() - 2
    if len(data) - at >= 2 and data[at : at + 2] == EOI:
        return Ending(marked=True)
    return Ending(marked=False, complete=bool(waiting) and not any(waiting.values()))


def _note_scan(waiting: dict[tuple[int, int], int], process: int, body: bytes) -> None:
    """What a scan brings: of a progressive JPEG some bits of some coefficients, of others everything."""
    count = body[0] if body else 0
    if len(body) < 4 + 2 * count:
        return
    first, last, bits = body[1 + 2 * count], body[2 + 2 * count], body[3 + 2 * count] & 15
    places = range(first, min(last, 63) + 1) if process in _PROGRESSIVE else range(64)
    for index in range(count):
        for place in places:
            waiting[body[1 + 2 * index], place] = bits if process in _PROGRESSIVE else 0


def _walk(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    file.seek(2)
    while True:
        mark = file.read(2)
        while mark == b"\xff\xff":
            mark = mark[1:] + file.read(1)
        size = file.read(2)
        if mark[:1] != b"\xff" or len(mark + size) < 4:
            return
        yield mark[1], file.read(max(struct.unpack(">H", size)[0] - 2, 0))
        if mark[1] == _SOS:
            return


def _first(found: Iterable[tuple[int, bytes]], wanted: int, prefix: bytes) -> bytes | None:
    return next((data for kind, data in found if _is(kind, data, wanted, prefix)), None)


def _is(kind: int, data: bytes, wanted: int, prefix: bytes) -> bool:
    return kind == wanted and data.startswith(prefix)


def _segment(kind: int, data: bytes, what: str, lost: list[str]) -> bytes:
    if len(data) > MOST:
        lost.append(f"{what} of {len(data):,} bytes, of which it holds {MOST:,}")
        return b""
    return struct.pack(">BBH", 0xFF, kind, len(data) + 2) + data


def _xmp_segments(xmp: bytes) -> bytes:
    """One segment, or a short packet that names the extended one, and that in parts."""
    if len(_XMP) + len(xmp) <= MOST:
        return _segment(_APP1, _XMP + xmp, "XMP", [])
    start, end = xmp.find(b"<x:xmpmeta"), xmp.rfind(b"</x:xmpmeta>")
    extended = xmp[start : end + len(b"</x:xmpmeta>")] if 0 <= start < end else xmp
    guid = hashlib.md5(extended, usedforsecurity=False).hexdigest().upper().encode()
    short = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="'
        + guid
        + b'"/></rdf:RDF></x:xmpmeta>'
    )
    result = _segment(_APP1, _XMP + short, "XMP", [])
    room = MOST - len(_EXTENSION) - 40
    for offset in range(0, len(extended), room):
        head = _EXTENSION + struct.pack(">32sII", guid, len(extended), offset)
        result += _segment(_APP1, head + extended[offset : offset + room], "XMP", [])
    return result
