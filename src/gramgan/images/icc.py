"""What a colour profile calls itself."""

import struct

_TAGS_AT = 128  # behind the header: the number of tags, then 12 bytes for each
_MOST_TAGS = 256
_MOST_TEXT = 200


def profile_name(icc: bytes) -> str | None:
    """The description of an ICC profile ("sRGB IEC61966-2.1", "Display P3"); None where it has none that can be read.

    ICC.1:2022, 9.2.41 and 10.15 (multiLocalizedUnicode); ICC.1:2001-04, 6.5.17 (textDescription).
    """
    try:
        (count,) = struct.unpack_from(">I", icc, _TAGS_AT)
        for number in range(min(count, _MOST_TAGS)):
            name, start, size = struct.unpack_from(">4sII", icc, _TAGS_AT + 4 + 12 * number)
            if name == b"desc":
                return _text(icc[start : start + size])
    except struct.error:  # it ends too early
        pass
    return None


def _text(tag: bytes) -> str | None:
    if tag[:4] == b"mluc":
        size, start = struct.unpack_from(">II", tag, 20)  # of the first language
        text = tag[start : start + min(size, 2 * _MOST_TEXT)].decode("utf-16-be", "replace")
    elif tag[:4] == b"desc":
        (size,) = struct.unpack_from(">I", tag, 8)
        text = tag[12 : 12 + min(size, _MOST_TEXT)].decode("latin-1")
    else:
        return None
    return "".join(letter for letter in text.split("\0")[0] if letter.isprintable()).strip() or None
