"""What a colour profile calls itself, and profiles that mean what a file says of its colours in other ways."""

import struct
from collections.abc import Sequence

import numpy as np

from gramgan.images.info import Cicp

_TAGS_AT = 128  # behind the header: the number of tags, then 12 bytes for each
_MOST_TAGS = 256
_MOST_TEXT = 200

_D65, _D50 = (0.3127, 0.3290), (0.3457, 0.3585)
_DCI = (0.314, 0.351)
_PRIMARIES = {  # of ITU-T H.273, table 2: red, green, blue, white
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65),
    4: ((0.670, 0.330), (0.210, 0.710), (0.140, 0.080), (0.310, 0.316)),
    5: ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060), _D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _DCI),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
}
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}  # of its table 3; the others that mean no HDR look like sRGB's
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_GAMMA_TOLERANCE, _PLACE_TOLERANCE = 0.01, 0.003
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

Chromaticity = tuple[float, float]


def profile_of(cicp: Cicp | None, chunks: Sequence[tuple[bytes, bytes]], colours: int) -> bytes | None:
    """The profile that means what a file without one says; None where that is sRGB, or light that no profile means.

    Args:
        cicp: colours as numbers.
        chunks: of a PNG: `gAMA`, `cHRM`, `sRGB` (PNG, 11.3.2). Numbers go before them.
        colours: channels of the image, 1 (grey) or 3.
    """
    if cicp is not None:
        if cicp.hdr:
            return None
        places = _PRIMARIES.get(cicp.primaries, _PRIMARIES[1])
        gamma = _GAMMAS.get(cicp.transfer)
    else:
        said = dict(chunks)
        if b"sRGB" in said:
            return None
        places, gamma = _PRIMARIES[1], None
        if len(said.get(b"gAMA", b"")) == 4 and (stored := struct.unpack(">I", said[b"gAMA"])[0]):
            gamma = 100_000 / stored
        if len(said.get(b"cHRM", b"")) == 32:
            white, *rest = np.array(struct.unpack(">8I", said[b"cHRM"])).reshape(4, 2) / 100_000
            places = tuple((float(x), float(y)) for x, y in (*rest, white))
    usual = gamma is None or abs(gamma - 2.2) < 2.2 * _GAMMA_TOLERANCE
    if usual and (colours == 1 or np.abs(np.subtract(places, _PRIMARIES[1])).max() < _PLACE_TOLERANCE):
        return None
    curve = _parametric(3, _SRGB_CURVE) if gamma is None else _parametric(0, (gamma,))
    return _profile(curve, None if colours == 1 else places)


def rgb_of_grey(icc: bytes) -> bytes | None:
    """The profile for RGB with the brightness of one for grey; None where that is none."""
    if icc[16:20] != b"GRAY":
        return None
    curve = _tag_of(icc, b"kTRC")
    return None if curve is None else _profile(curve, _PRIMARIES[1])


def _parametric(kind: int, values: Sequence[float]) -> bytes:
    return b"para" + struct.pack(f">IHH{len(values)}i", 0, kind, 0, *(round(65536 * value) for value in values))


def _profile(curve: bytes, places: Sequence[Chromaticity] | None) -> bytes | None:
    """A display profile of version 4 (ICC.1:2022, 8.3 and 8.4): a curve and, for RGB, the places of the primaries.

    None for places that span no colours.
    """
    tags = {b"desc": _unicode("as the picture says"), b"cprt": _unicode("CC0"), b"wtpt": _xyz(_white(_D50))}
    if places is None:
        tags[b"kTRC"] = curve
    else:
        columns = np.array([_white(place) for place in places[:3]]).T
        white = _white(places[3])
        if not np.isfinite(columns).all() or not np.isfinite(white).all() or abs(np.linalg.det(columns)) < 1e-6:
            return None
        adapted = _to_d50(white) @ (columns * np.linalg.solve(columns, white))
        tags[b"chad"] = b"sf32" + struct.pack(">I9i", 0, *(round(65536 * one) for one in _to_d50(white).ravel()))
        for name, column in zip((b"r", b"g", b"b"), adapted.T, strict=True):
            tags[name + b"XYZ"], tags[name + b"TRC"] = _xyz(column), curve
    table, body, at = struct.pack(">I", len(tags)), b"", _TAGS_AT + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", at + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    space = b"GRAY" if places is None else b"RGB "
    size = _TAGS_AT + len(table) + len(body)
    head = struct.pack(">I4xI4s4s4s12x4s", size, 0x04400000, b"mntr", space, b"XYZ ", b"acsp").ljust(68, b"\0")
    return (head + _xyz(_white(_D50))[8:]).ljust(_TAGS_AT, b"\0") + table + body


def _white(place: Chromaticity) -> np.ndarray:
    """XYZ of a chromaticity, with Y = 1."""
    x, y = place
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.array([x, y, 1 - x - y]) / np.float64(y)


def _to_d50(white: np.ndarray) -> np.ndarray:
    """Bradford's adaptation from a white (ICC.1:2022, annex E)."""
    scale = (_BRADFORD @ _white(_D50)) / (_BRADFORD @ white)
    return np.linalg.inv(_BRADFORD) @ np.diag(scale) @ _BRADFORD


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ " + struct.pack(">I3i", 0, *(round(65536 * float(value)) for value in values))


def _unicode(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">III4sII", 0, 1, 12, b"enUS", len(encoded), 28) + encoded


def profile_name(icc: bytes) -> str | None:
    """The description of an ICC profile ("sRGB IEC61966-2.1", "Display P3"); None where it has none that can be read.

    ICC.1:2022, 9.2.41 and 10.15 (multiLocalizedUnicode); ICC.1:2001-04, 6.5.17 (textDescription).
    """
    try:
        tag = _tag_of(icc, b"desc")
        return None if tag is None else _text(tag)
    except struct.error:  # it ends too early
        return None


def _tag_of(icc: bytes, wanted: bytes) -> bytes | None:
    try:
        (count,) = struct.unpack_from(">I", icc, _TAGS_AT)
        for number in range(min(count, _MOST_TAGS)):
            name, start, size = struct.unpack_from(">4sII", icc, _TAGS_AT + 4 + 12 * number)
            if name == wanted:
                return icc[start : start + size]
    except struct.error:
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
