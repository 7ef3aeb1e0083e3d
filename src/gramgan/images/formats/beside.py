"""What goes into a file beside its pixels: all of the source's that the format has a place for, and what it has not."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from gramgan.images import icc as profiles
from gramgan.images import metadata
from gramgan.images.formats import exif as exif_blocks
from gramgan.images.info import Cicp, RasterInfo, Text

PlaceInFile = Literal[
    "profile",
    "grey",
    "EXIF",
    "maker note",
    "XMP",
    "IPTC",
    "texts",
    "comments",
    "colour numbers",
    "colour chunks",
    "resolution",
]
"""What a format may have a place for. `comments` are texts without a name, `grey` images of one channel."""

PLACES: tuple[PlaceInFile, ...] = get_args(PlaceInFile)

_COMMENT = "Comment"
_IN_EXIF = {  # texts of a PNG (its specification, 11.3.3.1), and what EXIF has for them
    "Title": exif_blocks.DESCRIPTION,
    "Description": exif_blocks.DESCRIPTION,
    "Author": exif_blocks.ARTIST,
    "Copyright": exif_blocks.COPYRIGHT,
    "Software": exif_blocks.SOFTWARE,
}
_IN_USER_COMMENT = ("parameters", _COMMENT)  # "parameters" is where image generators put it outside of PNG
_MOST_NAMED = 12
_NOTHING = RasterInfo(Path(), 0, 0, 3, has_alpha=False, dtype="uint8")


@dataclass(frozen=True)
class Beside:
    """What a file holds beside its pixels; see `RasterInfo` for the fields."""

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    texts: tuple[Text, ...] = ()
    cicp: Cicp | None = None
    png_colour: tuple[tuple[bytes, bytes], ...] = ()


def carry(
    like: RasterInfo | None, holds: Collection[PlaceInFile], comment: str | None, size: tuple[int, int], colours: int
) -> tuple[Beside, list[str]]:
    """What a result has of its source, and in a few words each what there is no place for.

    Args:
        like: the source.
        holds: what the result's format has a place for.
        comment: a description of the result, added to the source's.
        size: of the result in pixels.
        colours: channels that the result's file has, 1 (grey) or 3.
    """
    like = like or _NOTHING
    lost: list[str] = []
    if like.xmp and "XMP" not in holds:
        lost.append("XMP")
    if like.iptc and "IPTC" not in holds:
        lost.append("IPTC")
    if like.exif and "EXIF" not in holds:
        lost.append("EXIF")
    elif like.exif and not exif_blocks.is_readable(like.exif):
        lost.append("EXIF that is damaged")
    elif like.exif and "maker note" not in holds and exif_blocks.has_maker_note(like.exif):
        lost.append("the maker note of its camera")
    if like.has_unread_maker_note:
        lost.append("the maker note of its camera")
    if like.dpi and "resolution" not in holds and "EXIF" not in holds:
        lost.append("its resolution ({:.0f}x{:.0f} dpi)".format(*like.dpi))
    profile = _profile(like, holds, colours, lost)
    texts, exif = _words(like, holds, comment, size, lost)
    return Beside(
        icc=profile,
        exif=exif,
        xmp=metadata.resized_xmp(like.xmp, *size) if like.xmp and "XMP" in holds else None,
        iptc=like.iptc if "IPTC" in holds else None,
        texts=texts,
        cicp=like.cicp if "colour numbers" in holds else None,
        png_colour=like.png_colour if "colour chunks" in holds else (),
    ), lost


def _profile(like: RasterInfo, holds: Collection[PlaceInFile], colours: int, lost: list[str]) -> bytes | None:
    if like.cicp is not None and like.cicp.hdr and "colour numbers" not in holds:
        lost.append(f"that its brightness is that of {like.cicp.hdr}: it will look dull (.png can say it)")
    icc = like.icc
    if icc is None:
        return None
    numbers = like.cicp is not None and "colour numbers" in holds
    if (numbers or (like.png_colour and "colour chunks" in holds)) and icc == profiles.profile_of(
        like.cicp, like.png_colour, like.colour_channels
    ):
        return None  # said by the numbers or chunks that it was made of
    if colours == 3 and not metadata.fits(icc, 3):
        icc = profiles.rgb_of_grey(icc) or icc
    if not metadata.fits(icc, colours):
        space = icc[16:20].decode("ascii", "replace").strip()
        lost.append(f"a colour profile for {space} beside these channels")
        return None
    return icc


def _words(
    like: RasterInfo, holds: Collection[PlaceInFile], comment: str | None, size: tuple[int, int], lost: list[str]
) -> tuple[tuple[Text, ...], bytes | None]:
    """The texts and the EXIF block of a result."""
    described = exif_blocks.text_of(like.exif, exif_blocks.DESCRIPTION).decode("utf-8", "surrogateescape")
    named = {text.keyword: text.value for text in like.texts}
    if "texts" in holds:
        description = _joined(described or named.get("Description", ""), comment)
        rest = tuple(text for text in like.texts if text.keyword != "Description")
        texts = (*rest, Text("Description", description)) if description else like.texts
        return texts, _exif(like, size, {}, None) if like.exif else None
    comments = [text for text in like.texts if text.keyword == _COMMENT]
    if "EXIF" not in holds:
        description = _joined(described or named.get("Description", ""), comment)
        lost.extend(_quoted(text for text in like.texts if text.keyword not in (_COMMENT, "Description")))
        return (*comments, *([Text(_COMMENT, description)] if description else ())), None
    main: dict[int, str] = {exif_blocks.DESCRIPTION: described} if described else {}
    user_comment, unplaced = None, []
    for text in like.texts:
        tag = _IN_EXIF.get(text.keyword)
        if text.keyword == _COMMENT and "comments" in holds:
            continue
        if tag is not None and tag not in main and not exif_blocks.text_of(like.exif, tag):
            main[tag] = text.value
        elif text.keyword in _IN_USER_COMMENT and user_comment is None and not exif_blocks.has_user_comment(like.exif):
            user_comment = text.value
        elif tag is None or main.get(tag) != text.value:
            unplaced.append(text)
    lost.extend(_quoted(unplaced))
    description = _joined(main.get(exif_blocks.DESCRIPTION, ""), comment)
    if description:
        main[exif_blocks.DESCRIPTION] = description
    there = main or user_comment is not None or like.exif or like.dpi
    texts = tuple(comments) if "comments" in holds else ()
    return texts, _exif(like, size, main, user_comment) if there else None


def _exif(like: RasterInfo, size: tuple[int, int], main: dict[int, str], user_comment: str | None) -> bytes:
    dpi = like.dpi or (metadata.DEFAULT_DPI, metadata.DEFAULT_DPI)
    texts = [(tag, value.encode("utf-8", "surrogateescape")) for tag, value in main.items()]
    return exif_blocks.edited(like.exif, size, dpi, texts, user_comment)


def _joined(before: str, comment: str | None) -> str:
    if comment is None or comment in before:
        return before
    return f"{before}; {comment}" if before else comment


def _quoted(texts: Iterable[Text]) -> list[str]:
    names = list(dict.fromkeys(text.keyword for text in texts))
    shown = ", ".join(f"'{name}'" for name in names[:_MOST_NAMED])
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return [f"the text{'s' * (len(names) > 1)} {shown}{more}"] if names else []
