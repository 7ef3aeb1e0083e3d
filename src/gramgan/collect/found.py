"""What a service or a list says of a photograph before it is downloaded."""

import html
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import urlsplit, urlunsplit

_LONGEST = 300  # characters of a title or name
_WIKIMEDIA_THUMB = re.compile(r"^(/wikipedia/[^/]+)/thumb(/[0-9a-f]/[0-9a-f]{2}/[^/]+)/[^/]+$")
_FLICKR_HOST = re.compile(r"(^|\.)(staticflickr\.com|static\.flickr\.com)$")
_FLICKR_ORIGINAL = re.compile(r"_o\.[a-z]+$")


@dataclass(frozen=True)
class FoundPhoto:
    """One photograph: the address of its file, and what goes into the manifest (see `manifest.ManifestEntry`).

    `width` and `height` are in pixels as announced, 0 where nothing is said; `sha1` is the file's, empty where unknown.
    `refused` says why it is not wanted, in a few words, if that is known already.
    """

    url: str
    title: str = ""
    author: str = ""
    licence: str = "not stated"
    licence_url: str = ""
    page_url: str = ""
    width: int = 0
    height: int = 0
    sha1: str = ""
    refused: str = ""


def original_of(url: str) -> str | None:
    """The address of the original file: `url` itself, or what it is a rendition of; None if that cannot be told.

    Wikimedia's thumbnails name their original. Flickr's originals (`…_o.jpg`) have a key of their own, so the sizes
    that others link to lead no farther. Addresses that begin with http: are asked for as https: ones.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return url  # the downloader says what is wrong with it
    if parts.scheme == "http":
        parts = parts._replace(scheme="https", netloc=parts.netloc.removesuffix(":80"))
    host = parts.hostname or ""
    if host == "upload.wikimedia.org":
        parts = parts._replace(path=_WIKIMEDIA_THUMB.sub(r"\1\2", parts.path))
    elif _FLICKR_HOST.search(host) and not _FLICKR_ORIGINAL.search(parts.path):
        return None
    return urlunsplit(parts._replace(fragment=""))


def tidy(text: object) -> str:
    """A title or a name as one line of plain text: tags, entities and control characters are taken out."""
    if not isinstance(text, str):
        return ""
    if "<" in text:
        stripper = _Stripper()
        stripper.feed(text)
        stripper.close()
        text = "".join(stripper.parts)
    else:
        text = html.unescape(text)
    text = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def whole_number(value: object) -> int:
    """A size out of JSON: 0 for whatever is no positive whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


class _Stripper(HTMLParser):
    _SILENT = ("style", "script")

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._within = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._within += tag in self._SILENT

    def handle_endtag(self, tag: str) -> None:
        self._within -= tag in self._SILENT and self._within > 0

    def handle_data(self, data: str) -> None:
        if not self._within:
            self.parts.append(data)
