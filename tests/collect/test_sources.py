"""What is known of a photograph before it is downloaded: licences, addresses, lists, names from the net."""

from pathlib import Path

import pytest

from gramgan.collect.addresses import read_addresses
from gramgan.collect.attribution import ATTRIBUTION, write_attribution
from gramgan.collect.found import original_of, tidy
from gramgan.collect.licences import Licence, licence_from_url, licence_of, parse_codes, refusal
from gramgan.collect.manifest import ManifestEntry
from gramgan.errors import UserError

CC = "https://creativecommons.org"


@pytest.mark.parametrize(
    ("url", "code", "name"),
    [
        (f"{CC}/licenses/by-sa/4.0/", "by-sa", "CC-BY-SA-4.0"),
        (f"{CC}/licenses/by/2.0/de/deed.en", "by", "CC-BY-2.0-DE"),
        (f"{CC}/licenses/by-nc-nd/3.0/deed.en", "by-nc-nd", "CC-BY-NC-ND-3.0"),
        ("http://creativecommons.org/publicdomain/zero/1.0/deed.en", "cc0", "CC0-1.0"),
        (f"{CC}/publicdomain/mark/1.0/", "pdm", "public domain"),
        (f"{CC}/licenses/sampling+/1.0/", None, None),
        ("https://evil.example/?creativecommons", None, None),
    ],
)
def test_licences_by_their_address(url: str, code: str | None, name: str | None) -> None:
    found = licence_from_url(url)
    assert found == (Licence(code, name, url) if code is not None and name is not None else None)


def test_a_licence_by_its_code() -> None:
    assert licence_of("BY", "2.0", "").name == "CC-BY-2.0"
    assert licence_of("sampling+", "1.0", "") == Licence("", "sampling+", "")
    assert (
        refusal(licence_of("by-sa", "4.0", ""), ("by", "cc0")) == "licence: CC-BY-SA-4.0 is not one of those to accept"
    )
    assert refusal(licence_of("", "", ""), ("by",)) != ""
    assert refusal(licence_of("by", "4.0", ""), ("by",)) == ""


def test_codes_that_a_user_types() -> None:
    assert parse_codes("CC0, by,CC-BY-SA,by") == ("cc0", "by", "by-sa")
    with pytest.raises(UserError, match="--accept gpl: 'gpl' is not a licence that can be chosen; choose from cc0"):
        parse_codes("gpl")
    with pytest.raises(UserError, match="no licence is named"):
        parse_codes(" , ")


@pytest.mark.parametrize(
    ("url", "original"),
    [
        ("http://a.example/b.jpg", "https://a.example/b.jpg"),
        ("http://a.example:80/b.jpg#x", "https://a.example/b.jpg"),
        ("https://a.example/b.jpg?size=1", "https://a.example/b.jpg?size=1"),
        (
            "https://upload.wikimedia.org/wikipedia/commons/thumb/a/ab/Corn.jpg/800px-Corn.jpg",
            "https://upload.wikimedia.org/wikipedia/commons/a/ab/Corn.jpg",
        ),
        (
            "https://upload.wikimedia.org/wikipedia/commons/a/ab/Corn.jpg",
            "https://upload.wikimedia.org/wikipedia/commons/a/ab/Corn.jpg",
        ),
        ("https://live.staticflickr.com/1/2_3_b.jpg", None),
        ("https://farm1.static.flickr.com/1/2_3.jpg", None),
        ("https://live.staticflickr.com/1/2_3_o.jpg", "https://live.staticflickr.com/1/2_3_o.jpg"),
        ("https://notstaticflickr.com/1/2_3_b.jpg", "https://notstaticflickr.com/1/2_3_b.jpg"),
    ],
)
def test_originals(url: str, original: str | None) -> None:
    assert original_of(url) == original


def test_texts_from_the_net_become_one_plain_line() -> None:
    assert tidy('<a href="x">Ada</a> &amp;\n <b>Bob</b><script>alert(1)</script>') == "Ada & Bob"
    assert tidy("R&amp;D\x00\x1b[31m\u202e here") == "R&D [31m here"
    assert len(tidy("long " * 1000)) == 300
    assert tidy(None) == tidy(7) == ""


def test_attribution_escapes_what_comes_from_the_net(tmp_path: Path) -> None:
    entry = ManifestEntry(
        *("a.jpg", 1, 1, "", "", "https://x.example/a.jpg", "CC-BY-4.0", "javascript:alert(1)", "[me](http://evil)"),
        *("<img src=x> *bold*", "https://x.example/p", "g", "train"),
    )
    write_attribution(tmp_path, [entry])
    last = (tmp_path / ATTRIBUTION).read_text(encoding="utf-8").splitlines()[-1]
    assert last == (
        r"- **\<img src=x\> \*bold\*** by \[me\]\(http://evil\), CC-BY-4.0, "
        r"[source](<https://x.example/p>) (a.jpg)"
    )


def test_lists_of_addresses(tmp_path: Path) -> None:
    text, table = tmp_path / "list.txt", tmp_path / "list.csv"
    text.write_text("# mine\n\nhttps://a.example/1.jpg\n https://a.example/2.jpg \n", encoding="utf-8")
    assert [(one.url, one.licence) for one in read_addresses(text, "CC0-1.0")] == [
        ("https://a.example/1.jpg", "CC0-1.0"),
        ("https://a.example/2.jpg", "CC0-1.0"),
    ]
    table.write_text("title,url,licence\nCorn,https://a.example/1.jpg,CC-BY-4.0\n,https://a.example/2.jpg,\n")
    found = read_addresses(table, "not stated")
    assert [(one.title, one.licence) for one in found] == [("Corn", "CC-BY-4.0"), ("", "not stated")]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.txt", "# nothing\n", "no address in this file"),
        ("a.txt", "https://a.example/1.jpg\nfile:///etc/passwd\n", "line 2: 'file:///etc/passwd' is not a web address"),
        ("a.txt", "https://[bad\n", "line 1"),
        ("a.csv", "address\nhttps://a.example\n", "no column 'url'"),
        ("a.csv", "url\nwords\n", "line 2: 'words'"),
    ],
)
def test_lists_that_are_none(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=says):
        read_addresses(tmp_path / name, "")


def test_a_list_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_addresses(tmp_path / "none.txt", "")
