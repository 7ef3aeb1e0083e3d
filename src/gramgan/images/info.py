"""What is known of an image without its pixels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Dtype = Literal["uint8", "uint16", "float32"]


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels; `x` and `y` are its left and top edge."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Animation:
    """How the frames of an animated GIF or WebP follow one another.

    `delays_ms` is how long each frame is shown, in milliseconds; `loop` how often all of them are played, 0 for ever.
    """

    delays_ms: tuple[int, ...]
    loop: int


@dataclass(frozen=True)
class Text:
    """A text with a name that a file holds: a PNG's text, a comment of a JPEG or GIF.

    `value` has bytes that are not UTF-8 as lone surrogates ("surrogateescape"), so that they come out as they went in.
    `png` is the chunk of a PNG that it was read from.
    """

    keyword: str
    value: str
    png: tuple[bytes, bytes] | None = None


@dataclass(frozen=True)
class Cicp:
    """What the colours are, as numbers of ITU-T H.273: `primaries` (1 BT.709, 9 BT.2020, 12 P3), `transfer`."""

    primaries: int
    transfer: int

    @property
    def hdr(self) -> str | None:
        """The name of a transfer function whose values mean more light than white; None for all others."""
        return {16: "PQ", 18: "HLG"}.get(self.transfer)


@dataclass(frozen=True)
class RasterInfo:
    """The facts about an image that need no decoding, for its upright orientation.

    `width`, `height` in pixels; `colour_channels` 1 (grey) or 3 (RGB); `dtype` of the file's samples; `icc`, `exif`
    (Orientation already reset to 1), `xmp` and `iptc` as raw blocks; `dpi` horizontal and vertical; `format` the
    format's name; `pages` how many images the file holds: pages of a TIFF, frames of an animation.
    `texts` are named texts, `cicp` the colours as numbers where the file has these, `png_colour` the chunks in which a
    PNG without a profile says its colours (`icc` is a profile of the same meaning then). `notes` say, a few words each,
    what of the file is not among the pixels, or is odd about them. A maker
    note in a TIFF is not read: its offsets hold only where it stands.
    """

    path: Path
    width: int
    height: int
    colour_channels: Literal[1, 3]
    has_alpha: bool
    dtype: Dtype
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    dpi: tuple[float, float] | None = None
    format: str = ""
    pages: int = 1
    animation: Animation | None = None
    texts: tuple[Text, ...] = ()
    cicp: Cicp | None = None
    png_colour: tuple[tuple[bytes, bytes], ...] = ()
    notes: tuple[str, ...] = ()
    has_unread_maker_note: bool = False

    @property
    def channels(self) -> int:
        """Colour channels and alpha together: 1 to 4."""
        return self.colour_channels + self.has_alpha

    @property
    def bits(self) -> Literal[8, 16, 32]:
        """Bits of one sample; 32 is float."""
        return {"uint8": 8, "uint16": 16, "float32": 32}[self.dtype]  # type: ignore[return-value]
