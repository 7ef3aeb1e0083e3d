"""What compressed pictures inside of other files say of their size, before a decoder takes memory for it."""

import struct

import pyvips

_NO_FRAME = (0xC4, 0xC8, 0xCC)  # Huffman tables, reserved, arithmetic coding: markers among those of frames
_JPEG, _JPEG_2000 = b"\xff\xd8", b"\xff\x4f\xff\x51"


def claimed_pixels(data: bytes) -> int | None:
    """Width times height that a JPEG, JPEG-LS, JPEG 2000, PNG, WebP or JPEG XL claims; None where nothing is found."""
    if data.startswith(_JPEG):
        return _jpeg(data)
    begin = data.find(_JPEG_2000, 0, 4096)
    if begin >= 0:
        return _jpeg_2000(data, begin)
    try:
        header = pyvips.Image.new_from_buffer(data, "")
    except pyvips.Error:
        return None
    return header.width * header.height  # pyright: ignore[reportOperatorIssue]


def _jpeg(data: bytes) -> int | None:
    """Of the largest frame (ITU-T T.81, B.1; T.87 for JPEG-LS)."""
    at, largest = 2, None
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF or 0xD0 <= marker <= 0xD8 or marker == 0x01:  # fill bytes, markers without a length
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xDA:  # the scan begins
            break
        if (0xC0 <= marker <= 0xCF and marker not in _NO_FRAME) or marker == 0xF7:
            height, width = struct.unpack_from(">HH", data, at + 5)
            largest = max(largest or 0, width * height)
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return largest


def _jpeg_2000(data: bytes, begin: int) -> int | None:
    """The area of the image (ITU-T T.800, A.5.1)."""
    if len(data) < begin + 24:
        return None
    right, bottom, left, top = struct.unpack_from(">4I", data, begin + 8)
    return max(right - left, 0) * max(bottom - top, 0)
