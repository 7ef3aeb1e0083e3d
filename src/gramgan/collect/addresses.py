"""A user's own list of addresses: plain text, or a table that says more of each photograph."""

import csv
import io
from pathlib import Path
from urllib.parse import urlsplit

from gramgan.collect.found import FoundPhoto, tidy
from gramgan.errors import UserError

_COLUMNS = ("url", "title", "author", "licence", "licence_url", "page_url")


def read_addresses(path: Path, licence: str) -> list[FoundPhoto]:
    """The photographs of a list.

    A `.csv` file has a heading line with `url` and any of title, author, licence, licence_url, page_url. In any other
    file each line is an address; empty lines and those that begin with # are passed over.

    Args:
        path: the list, in UTF-8.
        licence: of those whose line names none.

    Raises:
        UserError: it cannot be read, holds no address, or a line is none.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the name") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); give a list of addresses in UTF-8") from None
    found = _table(path, text, licence) if path.suffix.lower() == ".csv" else _lines(path, text, licence)
    if not found:
        raise UserError(f"{path}: no address in this file; put one in each line")
    return found


def _lines(path: Path, text: str, licence: str) -> list[FoundPhoto]:
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        url = line.strip()
        if url and not url.startswith("#"):
            _check(path, number, url)
            found.append(FoundPhoto(url, licence=licence))
    return found


def _table(path: Path, text: str, licence: str) -> list[FoundPhoto]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if "url" not in (reader.fieldnames or ()):
        raise UserError(f"{path}: no column 'url'; its first line must name the columns ({', '.join(_COLUMNS)})")
    found = []
    for row in reader:
        cells = {name: tidy(row.get(name)) for name in _COLUMNS}
        _check(path, reader.line_num, cells["url"])
        found.append(
            FoundPhoto(
                url=cells["url"],
                title=cells["title"],
                author=cells["author"],
                licence=cells["licence"] or licence,
                licence_url=cells["licence_url"],
                page_url=cells["page_url"],
            )
        )
    return found


def _check(path: Path, line: int, url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise UserError(f"{path}: line {line}: '{url}' is not a web address; correct it")
