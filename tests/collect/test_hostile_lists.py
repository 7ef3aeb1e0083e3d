"""Lists, journals and names that came from somebody else: nothing is obeyed, and nothing ends a run."""

import csv
import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gramgan.collect import collect_folder, known_licences, read_manifest
from gramgan.collect.attribution import ATTRIBUTION, write_attribution
from gramgan.collect.found import FoundPhoto
from gramgan.collect.journal import Journal, search_service
from gramgan.collect.licences import licence_from_text
from gramgan.collect.manifest import MANIFEST, LeftOutFile, ManifestEntry, write_left_out, write_manifest
from gramgan.collect.services import COMMONS
from gramgan.collect.services.base import Cursor, Query, ResultPage, Service
from gramgan.errors import UserError
from gramgan.prepare.run import Wish, prepare_folder

CC = "https://creativecommons.org"
ENTRY = ManifestEntry("a.png", 9, 9, "0", "1", "here", "CC0-1.0", "", "me", "title", "", "a", "train")
FORMULAS = ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\t=1", "'=1"]


def photograph(path: Path, seed: int = 0, side: int = 256) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    small = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8))
    with path.open("wb") as file:
        small.resize((side, side), Image.Resampling.BICUBIC).save(file, "PNG")


@pytest.mark.parametrize(
    ("text", "code", "name", "url"),
    [
        ("cc0", "cc0", "CC0-1.0", f"{CC}/publicdomain/zero/1.0/"),
        ("CC0", "cc0", "CC0-1.0", f"{CC}/publicdomain/zero/1.0/"),
        ("cc-zero", "cc0", "CC0-1.0", f"{CC}/publicdomain/zero/1.0/"),
        ("cc-by-4.0", "by", "CC-BY-4.0", f"{CC}/licenses/by/4.0/"),
        ("CC BY-SA 3.0 de", "by-sa", "CC-BY-SA-3.0-DE", f"{CC}/licenses/by-sa/3.0/de/"),
        ("cc-by-sa-4.0,3.0,2.5,2.0,1.0", "by-sa", "CC-BY-SA-4.0", f"{CC}/licenses/by-sa/4.0/"),
        ("cc-by-nc-nd-2.0", "by-nc-nd", "CC-BY-NC-ND-2.0", f"{CC}/licenses/by-nc-nd/2.0/"),
        ("cc-by", "by", "CC-BY", ""),
        ("pd", "pdm", "public domain", ""),
        ("pd-usgov", "pdm", "public domain", ""),
        ("Public domain", "pdm", "public domain", ""),
        *(
            (text, None, None, None)
            for text in ("gfdl", "cc", "cc-sa-1.0", "by", "cc0ish", "", "fal", "cc-by-nd-sa-1.0")
        ),
    ],
)
def test_licences_by_what_is_written(text: str, code: str | None, name: str | None, url: str | None) -> None:
    found = licence_from_text(text)
    assert (None if found is None else (found.code, found.name, found.url)) == (code and (code, name, url))


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"LicenseUrl": "", "License": "cc0", "LicenseShortName": "CC0"}, True),
        ({"License": "cc-by-2.0", "LicenseShortName": "CC BY 2.0"}, True),
        ({"LicenseShortName": "CC BY 2.0"}, True),
        ({"License": "cc-by-nc-2.0"}, False),
        ({"LicenseUrl": "http://www.gnu.org/copyleft/fdl.html", "License": "cc-by-2.0"}, False),
        ({"LicenseUrl": f"{CC}/licenses/by-sa/4.0", "License": "cc-by-2.0"}, False),
        ({"License": "gfdl"}, False),
        ({}, False),
    ],
)
def test_commons_records_without_an_address_of_a_licence(fields: dict[str, str], code: bool) -> None:
    told = {name: {"value": value} for name, value in fields.items()}
    info = {"url": "https://x.example/a.jpg", "mime": "image/jpeg", "extmetadata": told}
    answer = {"query": {"pages": [{"title": "File:a.jpg", "imageinfo": [info]}]}}
    (found,) = COMMONS.page(Query("words", ("cc0", "pdm", "by"), 1), {}, lambda url: dict[str, object](answer)).found
    assert (found.refused == "") == code
    if code:
        assert found.licence_url.startswith(CC)


@pytest.mark.parametrize("text", FORMULAS)
def test_cells_that_a_spreadsheet_would_run(text: str, tmp_path: Path) -> None:
    entry = replace(ENTRY, title=text, author=text, file=f"{text.strip()}.png".replace("/", "_"))
    write_manifest(tmp_path, [entry])
    write_left_out(tmp_path, [LeftOutFile(text, text)])
    for name in (MANIFEST, "left-out.csv"):
        with (tmp_path / name).open(newline="", encoding="utf-8") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t"))]
    assert read_manifest(tmp_path) == [entry]


def test_control_characters_reach_no_list_for_people(tmp_path: Path) -> None:
    write_attribution(tmp_path, [replace(ENTRY, title="\x1b]0;owned\x07", author="\u202eevil", file="a\x1b[2J\n.png")])
    assert all(letter.isprintable() or letter == "\n" for letter in (tmp_path / ATTRIBUTION).read_text())


@pytest.mark.parametrize("file", ["../x.png", "a/../../x.png", "/etc/passwd", "", ".."])
def test_manifests_that_name_files_elsewhere(file: str, tmp_path: Path) -> None:
    photograph(tmp_path / "in" / "a.png")
    write_manifest(tmp_path / "in", [ENTRY])
    path = tmp_path / "in" / MANIFEST
    path.write_text(path.read_text().replace("\na.png,", f"\n{file},"))
    with pytest.raises(UserError, match=r"manifest\.csv: line 2: file '.*' leads out of the folder"):
        read_manifest(tmp_path / "in")
    for call in (lambda: collect_folder(tmp_path / "in", tmp_path / "out"), lambda: known_licences(tmp_path / "in")):
        with pytest.raises(UserError, match="leads out"):
            call()


DAMAGE = [
    b'{"entry": {}}',
    b'{"entry": []}',
    b'{"entry": 1}',
    b"[]",
    b"{}",
    b"\xff\xff",
    b"null",
    b"[" * 100_000,
    json.dumps({"entry": asdict(ENTRY) | {"width": "9"}}).encode(),
    json.dumps({"entry": asdict(ENTRY) | {"file": "../../x"}}).encode(),
    json.dumps({"entry": asdict(ENTRY) | {"split": "both"}}).encode(),
    json.dumps({"entry": asdict(ENTRY) | {"more": 1}}).encode(),
    json.dumps({"left_out": {"file": 1, "reason": "x"}}).encode(),
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_journals_of_a_collection(damage: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(tmp_path)
    journal.add(ENTRY)
    with (tmp_path / ".collect" / "journal.jsonl").open("ab") as file:
        file.write(damage + b"\n")
    journal.add(LeftOutFile("b", "small"))
    assert Journal(tmp_path).read() == ([ENTRY], [LeftOutFile("b", "small")])
    assert "passed over" in caplog.text


@pytest.mark.parametrize(
    "damage",
    [
        *(b'{"found": 1, "after": {}}', b'{"found": [1], "after": {}}', b'{"found": [{"url": 1}], "after": {}}'),
        *(b'{"found": [], "after": 7}', b'{"found": [], "after": {"page": 2}}', b'{"found": [{}], "after": {}}'),
        *(b"{}", b"\xff"),
    ],
)
def test_a_damaged_search_is_made_again(damage: bytes, tmp_path: Path) -> None:
    def page(_query: Query, cursor: Cursor, _ask: object) -> ResultPage:
        return ResultPage([FoundPhoto(f"https://x.example/{cursor.get('page', 1)}")], None if cursor else {"page": "2"})

    service = Service("s", "S", "x.example", 0, page)

    def found() -> list[str]:
        return [one.url for one in search_service(service, Query("w", (), 1), lambda url: {}, tmp_path)]

    expected = ["https://x.example/1", "https://x.example/2"]
    assert found() == expected
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage + b"\n")
    assert found() == expected
    assert found() == expected


@pytest.mark.parametrize("name", ["cut.jsonl", "shards.jsonl", "checks.jsonl"])
@pytest.mark.parametrize("damage", [b"[]", b"{}", b'{"plan": 1}', b"\xff", b"[" * 100_000, b'{"key": [], "check": 1}'])
def test_damaged_journals_of_a_preparation(name: str, damage: bytes, tmp_path: Path) -> None:
    photograph(tmp_path / "in" / "a.png")
    wish = Wish(size=64, step=64, shard=4 if name == "shards.jsonl" else None)
    assert prepare_folder(tmp_path / "in", tmp_path / "out", wish).sub_images == 16
    with (tmp_path / "out" / ".prepare" / name).open("ab") as file:
        file.write(damage + b"\n")
    assert prepare_folder(tmp_path / "in", tmp_path / "out", wish).sub_images == 16


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_preparation_deletes_nothing_outside_of_its_folder(tmp_path: Path) -> None:
    photograph(tmp_path / "in" / "a.png")
    precious = [tmp_path / "precious.png", tmp_path / "elsewhere" / "precious.png"]
    for path in precious:
        photograph(path)
    wish = Wish(size=64, step=64, shard=4)
    prepare_folder(tmp_path / "in", tmp_path / "out", wish)
    (tmp_path / "out" / "linked").symlink_to("../elsewhere")
    with (tmp_path / "out" / ".prepare" / "shards.jsonl").open("a") as file:
        for name in ("../precious.png", "linked/precious.png", str(precious[0])):
            file.write(json.dumps({"file": name, "plan": "", "size": 1}) + "\n")
    prepare_folder(tmp_path / "in", tmp_path / "out", wish)
    assert all(path.is_file() for path in precious)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
@pytest.mark.parametrize("hidden", [".collect", ".prepare"])
def test_hidden_folders_are_not_followed(hidden: str, tmp_path: Path) -> None:
    photograph(tmp_path / "in" / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / hidden).symlink_to("../elsewhere")
    with pytest.raises(UserError, match=rf"{hidden}: .*symbolic link"):
        if hidden == ".collect":
            Journal(tmp_path / "out")
        else:
            prepare_folder(tmp_path / "in", tmp_path / "out", Wish(size=64))
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_photographs_of_any_name_are_collected_once(tmp_path: Path) -> None:
    names = [os.fsdecode(b"M\xfcller.png"), "n" * 251 + ".png", "=evil\x1b\n.png", "写真.png"]
    for seed, name in enumerate(names):
        photograph(tmp_path / "in" / name, seed)
    for new in (4, 0):
        result = collect_folder(tmp_path / "in", tmp_path / "out")
        assert (result.new, len(result.entries), result.left_out) == (new, 4, [])
    assert {entry.file for entry in read_manifest(tmp_path / "out") or []} == {
        path.name for path in (tmp_path / "out").glob("*.png")
    }


def test_an_exception_of_one_photograph_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, name in enumerate(("a.png", "b.png")):
        photograph(tmp_path / "in" / name, seed)
    from gramgan.collect import gather

    examine = gather.examine

    def failing(path: Path, **keywords: object) -> object:
        if path.name == "a.png":
            raise RecursionError("deep")
        return examine(path, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(gather, "examine", failing)
    result = collect_folder(tmp_path / "in", tmp_path / "out")
    assert [entry.file for entry in result.entries] == ["b.png"]
    assert "RecursionError" in result.left_out[0].reason
