"""Openverse (https://api.openverse.org/v1/): openly licensed images of many museums, libraries and archives.

Without an account it answers 20 results a page, 20 requests a minute and 200 a day (its response headers
`X-RateLimit-Limit-anon_burst` and `-anon_sustained`), and at most 12 to 20 pages of a search.
"""

from urllib.parse import urlencode

from gramgan.collect.found import FoundPhoto, tidy, whole_number
from gramgan.collect.licences import licence_of, refusal
from gramgan.collect.services.base import Ask, Cursor, Query, ResultPage, Service, records, text_field

_URL = "https://api.openverse.org/v1/images/"
_PAGE_SIZE = 20  # more is refused without an account


def _page(query: Query, cursor: Cursor, ask: Ask) -> ResultPage:
    number = int(cursor.get("page", "1"))
    parameters = {
        "q": query.words[:200],  # what is longer is cut off there
        "license": ",".join(query.accept),
        # Openverse knows Flickr's pictures by their copies of 1,024 pixels, never by the original file.
        "excluded_source": "flickr",
        "page_size": str(_PAGE_SIZE),
        "page": str(number),
        "format": "json",
    }
    answer = ask(f"{_URL}?{urlencode(parameters)}")
    results = records(answer.get("results"))
    found = []
    for record in results:
        licence = licence_of(
            text_field(record, "license"), text_field(record, "license_version"), text_field(record, "license_url")
        )
        found.append(
            FoundPhoto(
                url=text_field(record, "url"),
                title=tidy(record.get("title")),
                author=tidy(record.get("creator")),
                licence=licence.name,
                licence_url=licence.url,
                page_url=text_field(record, "foreign_landing_url"),
                width=whole_number(record.get("width")),
                height=whole_number(record.get("height")),
                refused=refusal(licence, query.accept),
            )
        )
    is_last = not results or number >= whole_number(answer.get("page_count"))
    return ResultPage(found, None if is_last else {"page": str(number + 1)})


OPENVERSE = Service("openverse", "Openverse", "api.openverse.org", 3.0, _page)
