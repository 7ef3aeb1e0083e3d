"""The description of an ImageJ TIFF: lines of `key=value`; only those that count pixels are changed."""

from pathlib import Path

from gramgan.errors import UserError

IMAGEJ_BLOCKS = ("Info", "Labels", "Ranges", "LUTs", "Plot", "Properties")
"""What the block of binary metadata holds that is still true of a larger image."""

_ORIGINS = {b"xorigin": 0, b"yorigin": 1}
_MAX_IMAGES = 2**31


class Description:
    """What ImageJ says in ImageDescription, byte for byte.

    Raises:
        UserError: a number in it is none.
    """

    def __init__(self, text: bytes, path: Path) -> None:
        self._lines = text.split(b"\n")
        self._path = path
        self.images = int(self._number(b"images", 1))
        for name in _ORIGINS:
            self._number(name, 0)

    def enlarged(self, across: float, down: float) -> bytes:
        """The same for an image that is `across` times as wide and `down` times as high."""
        lines = []
        for line in self._lines:
            name = line.partition(b"=")[0]
            if name in _ORIGINS:
                line = name + b"=" + repr(self._number(name, 0) * (across, down)[_ORIGINS[name]]).encode()
            lines.append(line)
        return b"\n".join(lines)

    def _number(self, name: bytes, missing: float) -> float:
        for line in self._lines:
            key, _, value = line.partition(b"=")
            if key == name:
                try:
                    number = float(value)
                except ValueError:
                    number = float("nan")
                if not abs(number) < _MAX_IMAGES:
                    said = value[:40].decode("ascii", "replace").strip()
                    raise UserError(f"{self._path}: its {name.decode()} is {said!r}, which is no number; correct it")
                return number
        return missing
