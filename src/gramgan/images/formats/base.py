"""What one file format can do, and how libvips reads and writes it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gramgan.images.vips import pyvips


@dataclass(frozen=True)
class Writing:
    """How a format is written.

    `bits` are the sample depths it holds (8, 16, 32 = float), `grey` whether it has images of one channel (others store
    grey as RGB), `max_side` is the largest width or height in pixels.
    `save(image, path, quality)` streams a libvips image into `path`; `comment_field` is the libvips metadata field that
    holds a free description.
    """

    bits: tuple[int, ...]
    grey: bool
    alpha: bool
    max_side: int
    comment_field: str
    save: Callable[[pyvips.Image, Path, int], None]


@dataclass(frozen=True)
class Format:
    """One file format: `recognises(first bytes)`, `load(source, allow_huge)`, and `writing` unless it is only read."""

    name: str
    suffixes: tuple[str, ...]
    recognises: Callable[[bytes], bool]
    load: Callable[[pyvips.Source, bool], pyvips.Image]
    writing: Writing | None = None
