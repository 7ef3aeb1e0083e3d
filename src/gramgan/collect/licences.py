"""Creative Commons licences and marks: their short codes, as the services use them, and their names."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from gramgan.errors import UserError

PERMISSIVE = ("cc0", "pdm", "by")
"""What is accepted unless the user says otherwise: free for every use, with no more to do than to name the author."""

CODES = ("cc0", "pdm", "by", "by-sa", "by-nc", "by-nd", "by-nc-sa", "by-nc-nd")

_URL = re.compile(
    r"creativecommons\.org/(?:licenses|publicdomain)/([a-z-]+)/(\d\.\d)(?:/([a-z]{2,3})(?![a-z.]))?", re.I
)
_DEED_URL = "https://creativecommons.org/"
_DEEDS = {"zero": "cc0", "mark": "pdm"}
# As Commons writes them, in a code (cc-by-sa-3.0-de) or a name (CC BY-SA 3.0 DE); the first version of several counts.
_WRITTEN = re.compile(
    r"(?:cc[ -]?(0|zero)|cc[ -](by(?:[ -](?:nc|nd|sa)){0,2}))(?:[ -](\d\.\d)(?:[ -]([a-z]{2,8}))?)?(?:,.*)?", re.I
)
_PUBLIC_DOMAIN = re.compile(r"pd|pd-.*|public domain", re.I)


@dataclass(frozen=True)
class Licence:
    """A licence as it goes into the manifest; `code` is one of `CODES`, or empty for any other."""

    code: str
    name: str
    url: str


def parse_codes(text: str) -> tuple[str, ...]:
    """The codes of a list such as "cc0, by, by-sa".

    Raises:
        UserError: one of them is unknown, or there is none.
    """
    codes = tuple(dict.fromkeys(code for part in text.lower().split(",") if (code := part.strip().removeprefix("cc-"))))
    unknown = [code for code in codes if code not in CODES]
    if unknown or not codes:
        what = f"'{unknown[0]}' is not a licence that can be chosen" if unknown else "no licence is named"
        raise UserError(f"--accept {text}: {what}; choose from {', '.join(CODES)}")
    return codes


def licence_of(code: str, version: str, url: str) -> Licence:
    """The licence of a code and version; the version, and the jurisdiction, of the address where it has them."""
    code = code.lower()
    found = _URL.search(url)
    if found and _DEEDS.get(found[1].lower(), found[1].lower()) == code:
        version = found[2] + (f"-{found[3].upper()}" if found[3] else "")
    return Licence(code if code in CODES else "", _name(code, version), url)


def licence_from_url(url: str) -> Licence | None:
    """The licence whose deed an address of creativecommons.org shows; None for any other address."""
    found = _URL.search(url)
    return licence_of(_DEEDS.get(found[1].lower(), found[1].lower()), "", url) if found else None


def licence_from_text(text: str) -> Licence | None:
    """The licence that a code or name such as `cc0`, `cc-by-sa-4.0` or `CC BY 2.0` says; None for any other text."""
    if _PUBLIC_DOMAIN.fullmatch(text.strip()):
        return Licence("pdm", _name("pdm", ""), "")
    found = _WRITTEN.fullmatch(text.strip())
    if found is None:
        return None
    zero, by, version, jurisdiction = found.groups()
    if zero:
        return Licence("cc0", _name("cc0", version or "1.0"), f"{_DEED_URL}publicdomain/zero/1.0/")
    code = by.lower().replace(" ", "-")
    if code not in CODES:
        return None
    place = "/".join(filter(None, (version, (jurisdiction or "").lower())))
    url = f"{_DEED_URL}licenses/{code}/{place}/" if version else ""
    return Licence(code, _name(code, "-".join(filter(None, (version, (jurisdiction or "").upper())))), url)


def refusal(licence: Licence, accepted: Iterable[str]) -> str:
    """Why a licence will not do, in a few words; empty if it will."""
    return "" if licence.code in tuple(accepted) else f"licence: {licence.name} is not one of those to accept"


def _name(code: str, version: str) -> str:
    if code == "pdm":
        return "public domain"
    if code not in CODES:
        return code or "not stated"
    prefix = "CC0" if code == "cc0" else f"CC-{code.upper()}"
    return f"{prefix}-{version}" if version else prefix
