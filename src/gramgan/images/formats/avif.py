"""AVIF: 8, 10 and 12 bits, RGB with or without alpha; 16-bit images are written with 12 bits."""

from dataclasses import replace
from pathlib import Path

from gramgan.images import metadata
from gramgan.images.formats import boxes
from gramgan.images.formats.base import Format, FormatFindings, Request, Writing
from gramgan.images.formats.beside import Beside
from gramgan.images.formats.vips_reader import by_vips, integer_field, reader, single_page
from gramgan.images.vips import name_for, pyvips

_DEEP = 12  # bits of what is written from 16
_FULL_COLOUR_FROM = 90  # as for JPEG
_UNSAID = (2, 2)  # "unspecified" among the numbers for colours
_KEPT = pyvips.enums.ForeignKeep.ICC | pyvips.enums.ForeignKeep.XMP
_EFFORT = 2  # ten times as fast as libvips' own choice, for files of the same size


def _is_avif(head: bytes) -> bool:
    """By the main brand, or of a general one by those that it is compatible with: HEIC has other pictures inside."""
    brands = head[16 : int.from_bytes(head[:4], "big")]
    general = head[8:12] in (b"mif1", b"msf1") and (b"avi" in brands or b"hei" not in brands)
    return head[4:8] == b"ftyp" and (head[8:12] in (b"avif", b"avis") or general)


def _load(request: Request) -> pyvips.Image:
    unlimited = request.allow_huge
    image = pyvips.Image.heifload_source(request.source(), fail_on="error", unlimited=unlimited)
    primary = integer_field(image, "heif-primary", 0)
    if primary > 0:
        image = pyvips.Image.heifload_source(request.source(), page=primary, fail_on="error", unlimited=unlimited)
    bits = integer_field(image, "bits-per-sample", 16)
    if image.format == "ushort" and 8 < bits < 16:
        # libvips fills up with zeros on the right, so that white would not be white.
        white = 2**bits - 1
        kind = image.interpretation
        image = ((image >> (16 - bits)) * (65535 / white) + 0.5).cast("ushort").copy(interpretation=kind)
    return image


def _look(request: Request, image: pyvips.Image) -> FormatFindings:
    beside = by_vips(image)
    cicp = boxes.colour_numbers(request.path) if beside.icc is None else None
    if cicp is not None and (cicp.primaries, cicp.transfer) == _UNSAID:
        cicp = None
    notes = []
    if any(box.kind == b"moov" for box in boxes.top_boxes(request.path)):
        notes.append("an animation; its first picture is read and the others are left out")
    elif (pictures := integer_field(image, "n-pages", 1)) > 1:
        notes.append(f"{pictures} pictures in it; the main one is read and the others are left out")
    if boxes.has_item(request.path, b"tmap"):
        notes.append("its gain map for HDR screens is left out")
    return FormatFindings(replace(beside, cicp=cicp), tuple(notes))


def _save(image: pyvips.Image, path: Path, quality: int, beside: Beside) -> None:
    deep = image.format == "ushort"
    if deep:  # libvips cuts the lower bits off; rounded values come first, so that the cut takes nothing
        kind = image.interpretation
        white = 2**_DEEP - 1
        image = (image * (white / 65535) + 0.5).cast("ushort") << (16 - _DEEP)
        image = image.copy(interpretation=kind)
    if beside.xmp is not None:
        image = image.copy()
        metadata.set_blob(image, "xmp-data", beside.xmp)
    image.heifsave(
        name_for(path),
        compression="av1",
        Q=quality,
        lossless=quality == 100,
        bitdepth=_DEEP if deep else 8,
        effort=_EFFORT,
        subsample_mode="off" if quality >= _FULL_COLOUR_FROM else "on",
        keep=_KEPT | (pyvips.enums.ForeignKeep.EXIF if beside.exif else 0),
    )
    if beside.exif:  # libvips wrote one of its own, without what is no ASCII
        boxes.set_exif(path, beside.exif)


AVIF = Format(
    name="AVIF",
    suffixes=(".avif",),
    recognises=_is_avif,
    open=reader("AVIF", single_page(_load), look=_look),
    writing=Writing(
        bits=(8, 16),
        holds=frozenset({"profile", "EXIF", "maker note", "XMP"}),
        alpha=True,
        max_side=16384,
        deepest=_DEEP,
        save=_save,
    ),
)
