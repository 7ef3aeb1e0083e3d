"""Wikimedia Commons (https://commons.wikimedia.org/w/api.php): free media files, with their originals and hashes.

The search's own words narrow it to photographs that are large enough. `maxlag` is what Wikimedia asks of programs:
while its databases are behind, the answer is an error and the request is to be repeated after five seconds or more.
"""

import re
from collections.abc import Mapping
from urllib.parse import urlencode

from gramgan.collect.found import FoundPhoto, tidy, whole_number
from gramgan.collect.licences import Licence, licence_from_text, licence_from_url, refusal
from gramgan.collect.services.base import Ask, Cursor, Query, ResultPage, Service, records, text_field
from gramgan.errors import UserError

_HOST = "commons.wikimedia.org"
_URL = f"https://{_HOST}/w/api.php"
_PAGE_SIZE = 50  # the most that may be asked of `imageinfo` at once
_FIELDS = ("Artist", "License", "LicenseShortName", "LicenseUrl", "ObjectName")
_MIMES = ("image/jpeg", "image/png", "image/tiff", "image/webp")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{2,5}$")


def _page(query: Query, cursor: Cursor, ask: Ask) -> ResultPage:
    smallest = query.min_size - 1
    parameters = {
        "action": "query",
        "format": "json",
        "formatversion": "2",
        "maxlag": "5",
        "generator": "search",
        "gsrsearch": f"{query.words} filetype:bitmap filew:>{smallest} fileh:>{smallest}",
        "gsrnamespace": "6",
        "gsrlimit": str(_PAGE_SIZE),
        "prop": "imageinfo",
        "iiprop": "url|size|mime|sha1|extmetadata",
        "iiextmetadatafilter": "|".join(_FIELDS),
        "iiextmetadatalanguage": "en",
        **cursor,
    }
    answer = ask(f"{_URL}?{urlencode(parameters)}")
    error = answer.get("error")
    if isinstance(error, dict):
        said = tidy(error.get("info")) or text_field(error, "code")
        raise UserError(f"{_HOST}: it answered with an error ({said}); try other search words")
    asked = answer.get("query")
    pages = records(asked.get("pages")) if isinstance(asked, dict) else []
    # The pages come in no order; `index` is their place in the search. One without `imageinfo` comes again later.
    pages.sort(key=lambda page: whole_number(page.get("index")))
    found = [_found(page, info, query) for page in pages for info in records(page.get("imageinfo"))[:1]]
    after = answer.get("continue")
    return ResultPage(found, {key: str(value) for key, value in after.items()} if isinstance(after, dict) else None)


def _found(page: Mapping[str, object], info: Mapping[str, object], query: Query) -> FoundPhoto:
    told = info.get("extmetadata")
    fields = {name: _value(told, name) for name in _FIELDS}
    licence = _licence(fields)
    refused = refusal(licence, query.accept)
    if info.get("mime") not in _MIMES:
        refused = f"format: {tidy(info.get('mime')) or 'unknown'} is no kind of photograph"
    name = _SUFFIX.sub("", text_field(page, "title").partition(":")[2])
    return FoundPhoto(
        url=text_field(info, "url"),
        title=tidy(fields["ObjectName"]) or tidy(name),
        author=tidy(fields["Artist"]),
        licence=licence.name,
        licence_url=licence.url,
        page_url=text_field(info, "descriptionurl"),
        width=whole_number(info.get("width")),
        height=whole_number(info.get("height")),
        sha1=text_field(info, "sha1").lower(),
        refused=refused,
    )


def _value(told: object, name: str) -> str:
    field = told.get(name) if isinstance(told, dict) else None
    value = field.get("value") if isinstance(field, dict) else None
    return value if isinstance(value, str) else ""


def _licence(fields: Mapping[str, str]) -> Licence:
    url = fields["LicenseUrl"].strip()
    by_url = licence_from_url(url)
    if by_url is not None:
        return by_url
    for field in ("License", "LicenseShortName"):
        said = licence_from_text(fields[field])
        # An address of another licence's (the GFDL's) is not contradicted by what else is said.
        if said is not None and (said.code == "pdm" or not url):
            return Licence(said.code, said.name, url or said.url)
    return Licence("", tidy(fields["LicenseShortName"]) or "not stated", url)


def _is_behind(answer: Mapping[str, object]) -> bool:
    error = answer.get("error")
    return isinstance(error, dict) and error.get("code") == "maxlag"


COMMONS = Service("commons", "Wikimedia Commons", _HOST, 1.0, _page, _is_behind)
