"""GIF: 256 colours a frame, each pixel opaque or not; animations. It holds no EXIF and no colour profile."""

from functools import partial
from pathlib import Path

from gramgan.images import metadata
from gramgan.images.formats.base import Format, FormatFindings, Request, Writing
from gramgan.images.formats.beside import Beside
from gramgan.images.formats.saving import save_with
from gramgan.images.formats.vips_reader import by_vips, reader
from gramgan.images.info import Text
from gramgan.images.vips import pyvips

_HEADER = 13  # bytes: signature and logical screen descriptor (GIF89a, sections 17 and 18)
_COMMENT = b"\x21\xfe"
_EXTENSION, _IMAGE = 0x21, 0x2C
_XMP = b"\x21\xff\x0bXMP DataXMP"
# After XMP, which stands there as it is: readers that take its bytes for the lengths of blocks end up at the last 0.
_XMP_TRAILER = b"\x01" + bytes(range(255, -1, -1)) + b"\0"


def _load(request: Request) -> pyvips.Image:
    return pyvips.Image.gifload_source(request.source(), page=request.page, fail_on="error")


def _save(image: pyvips.Image, path: Path, quality: int, beside: Beside) -> None:
    if metadata.icc_of(image) is not None:  # what the file cannot say of its colours they must be
        image = image.icc_transform("srgb", embedded=True)
    save = partial(image.gifsave_target, keep_duplicate_frames=True, keep=pyvips.enums.ForeignKeep.NONE)
    save_with(save, path, _behind_colours, _extensions(beside))


def _behind_colours(head: bytes) -> int | None:
    """Where extensions go: behind the table of colours that all frames share."""
    if len(head) < _HEADER:
        return None
    end = _HEADER + (3 * 2 ** ((head[10] & 7) + 1) if head[10] & 0x80 else 0)
    return end if len(head) >= end else None


def _extensions(beside: Beside) -> bytes:
    """Comments and XMP as GIF has them; libvips writes neither."""
    data = b""
    for text in beside.texts:
        value = text.value.encode("utf-8", "surrogateescape")
        blocks = [value[start : start + 255] for start in range(0, len(value), 255)]
        data += _COMMENT + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"
    return data + _XMP + beside.xmp + _XMP_TRAILER if beside.xmp else data


def _look(request: Request, image: pyvips.Image) -> FormatFindings:
    comments, xmp = _blocks(request.path.read_bytes())
    texts = tuple(Text("Comment", one.decode("utf-8", "surrogateescape")) for one in comments)
    return FormatFindings(Beside(icc=by_vips(image).icc, xmp=xmp, texts=texts))


def _blocks(data: bytes) -> tuple[list[bytes], bytes | None]:
    """Comments and XMP, wherever in the file they stand."""
    comments: list[bytes] = []
    xmp = None
    at = _behind_colours(data) or len(data)
    while at + 2 < len(data):
        kind = data[at]
        if kind == _EXTENSION:
            start = at + 2
            end, parts = _sub_blocks(data, start)
            if data[at + 1] == _COMMENT[1] and parts:
                comments.append(b"".join(parts))
            elif data.startswith(_XMP, at):
                start = at + len(_XMP)
                xmp = data[start : data.find(_XMP_TRAILER, start)]
            at = end
        elif kind == _IMAGE and at + 10 < len(data):
            packed = data[at + 9]
            at += 10 + (3 * 2 ** ((packed & 7) + 1) if packed & 0x80 else 0)
            at, _ = _sub_blocks(data, at + 1)  # behind the size of LZW's codes
        else:
            break
    return comments, xmp


def _sub_blocks(data: bytes, at: int) -> tuple[int, list[bytes]]:
    """Where blocks that begin with their lengths end, and what is in them."""
    parts = []
    while at < len(data) and (length := data[at]):
        parts.append(data[at + 1 : at + 1 + length])
        at += 1 + length
    return at + 1, parts


GIF = Format(
    name="GIF",
    suffixes=(".gif",),
    recognises=lambda head: head.startswith((b"GIF87a", b"GIF89a")),
    open=reader("GIF", _load, several=True, look=_look),
    writing=Writing(
        bits=(8,),
        holds=frozenset({"profile", "grey", "XMP", "comments"}),
        alpha=True,
        max_side=65535,
        save=_save,
        coarse="it holds 256 colours a frame, and pixels are opaque or cannot be seen",
        frames=True,
    ),
)
