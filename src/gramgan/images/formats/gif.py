"""GIF: 256 colours a frame, each pixel opaque or not; animations. It holds no EXIF and no colour profile."""

import logging
import shutil
import tempfile
from pathlib import Path

from gramgan.images import metadata
from gramgan.images.formats.base import Format, Writing
from gramgan.images.formats.vips_reader import reader
from gramgan.images.vips import pyvips

_log = logging.getLogger(__name__)

_HEADER = 13  # bytes: signature and logical screen descriptor (GIF89a, sections 17 and 18)
_COMMENT_FIELD = "gif-comment"
_COMMENT = b"\x21\xfe"
_XMP = b"\x21\xff\x0bXMP DataXMP"
# After XMP, which stands there as it is: readers that take its bytes for the lengths of blocks end up at the last 0.
_XMP_TRAILER = b"\x01" + bytes(range(255, -1, -1)) + b"\0"


def _load(source: pyvips.Source, page: int, allow_huge: bool) -> pyvips.Image:
    return pyvips.Image.gifload_source(source, page=page, fail_on="error")


def _save(image: pyvips.Image, path: Path, quality: int) -> None:
    if metadata.icc_of(image) is not None:  # what the file cannot say of its colours they must be
        image = image.icc_transform("srgb", embedded=True)
    if metadata.blob_of(image, "exif-data") is not None:
        _log.info("GIF has no place for EXIF; it is left out")
    # Without a name, so that nothing stays behind; beside the output, because it may be large.
    with tempfile.TemporaryFile(dir=path.parent) as saved, path.open("wb") as out:
        image.gifsave_target(pyvips.Target.new_to_descriptor(saved.fileno()), keep_duplicate_frames=True)
        saved.seek(0)
        head = saved.read(_HEADER)
        colours = 3 * 2 ** ((head[10] & 7) + 1) if head[10] & 0x80 else 0
        out.write(head + saved.read(colours) + _extensions(image))
        shutil.copyfileobj(saved, out, 1 << 20)


def _extensions(image: pyvips.Image) -> bytes:
    """Comment and XMP as GIF has them; libvips writes neither."""
    data = b""
    if image.get_typeof(_COMMENT_FIELD):
        text = str(image.get(_COMMENT_FIELD)).encode("utf-8")
        blocks = [text[start : start + 255] for start in range(0, len(text), 255)]
        data += _COMMENT + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"
    xmp = metadata.blob_of(image, "xmp-data")
    return data + _XMP + xmp + _XMP_TRAILER if xmp else data


GIF = Format(
    name="GIF",
    suffixes=(".gif",),
    recognises=lambda head: head.startswith((b"GIF87a", b"GIF89a")),
    open=reader("GIF", _load, several=True),
    writing=Writing(
        bits=(8,), grey=True, alpha=True, max_side=65535, comment_field=_COMMENT_FIELD, save=_save, frames=True
    ),
)
