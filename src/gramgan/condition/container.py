"""What a file's container says of how its pixels were stored, where that leaves no tables as JPEG's does."""

from pathlib import Path

from gramgan.places import as_place

_READ = 4096
"""Bytes, in which the first image chunk of a WebP begins, unless its profile or EXIF is larger."""


def lossy_container(path: Path | str) -> str | None:
    """`"WebP"` for a file of lossy WebP, `"AVIF"` or `"HEIC"` for those (hardly ever lossless); else None.

    Lossy WebP has a chunk `VP8 ` where lossless has `VP8L` (RFC 9649); AVIF and HEIC name their brand (ISO 23008-12).
    """
    try:
        with as_place(path).open("rb") as file:
            head = file.read(_READ)
    except OSError:
        return None  # whoever reads the picture says what is wrong with it
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return None if b"VP8L" in head else "WebP"
    if head[4:8] == b"ftyp":
        brands = head[8 : 8 + 64]
        return "AVIF" if b"avi" in brands else "HEIC" if b"hei" in brands or b"hev" in brands else None
    return None
