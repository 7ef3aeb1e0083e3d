"""The page of `gramgan db browse`."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from gramgan.errors import UserError
from gramgan.images import write_image
from gramgan.reports.database import write_database_page
from gramgan.texture.database import Source, TextureDatabase
from gramgan.texture.origins import Photographs
from gramgan.training.folder import USAGE


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for index, name in enumerate(("brick & mortar.png", "leaf.png", "water.png")):
        image = 0.2 + 0.25 * index + 0.3 * random.random((3, 96, 120), np.float32)
        write_image(folder / name, image)
    return folder


@pytest.fixture(scope="module")
def database(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> TextureDatabase:
    sources = [
        Source(photos / "brick & mortar.png", "CC0-1.0", "industrial <1>"),
        Source(photos / "leaf.png", "CC-BY-4.0", "photo"),
        Source(photos / "water.png", "CC-BY-4.0", "photo"),
    ]
    return TextureDatabase.build(tmp_path_factory.mktemp("table") / "texture.lance", sources, patches=900)


class _Text(HTMLParser):
    """All text of a page, and how many pictures it holds."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.images = 0
        self.feed(re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.images += tag == "img"

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


def read(path: Path) -> _Text:
    return _Text(path.read_text(encoding="utf-8"))


def use(folder: Path, counts: dict[int, int]) -> Path:
    folder.mkdir(exist_ok=True)
    lines = [f"{patch},{count}" for patch, count in sorted(counts.items(), key=lambda item: -item[1])]
    (folder / USAGE).write_text("\n".join(["patch_id,count", *lines]) + "\n")
    return folder


def test_page_shows_map_domains_photographs_and_licences(
    database: TextureDatabase, photos: Path, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    path = write_database_page(
        database,
        tmp_path / "sub" / "page.html",
        photographs=Photographs([photos]),
        map_picture=tmp_path / "map.png",
        progress=lambda done, total: told.append((done, total)),
    )
    page = read(path)
    assert f"{len(database):,} patches of 4x4 pixels from 3 photographs" in page.text
    assert "Map of texture space" in page.text
    assert "To the right: brighter (rank correlation 0.9" in page.text
    assert "industrial <1>" in page.text
    assert "brick & mortar.png" in page.text
    assert "CC-BY-4.0" in page.text
    assert "were not at hand" not in page.text
    assert "What the run" not in page.text
    assert page.images >= 1 + 2 * 10 + 3  # the map, a gallery for each domain, the photographs
    assert told[-1] == (3, 3)
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    html = path.read_text(encoding="utf-8")
    assert "<script" not in html
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', html)  # nothing is loaded from anywhere


def test_same_seed_same_page(database: TextureDatabase, photos: Path, tmp_path: Path) -> None:
    pages = [
        write_database_page(database, tmp_path / f"{name}.html", seed=seed, photographs=Photographs([photos]))
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    first, second, third = (page.read_text(encoding="utf-8") for page in pages)
    assert first == second
    assert first != third


def test_without_photographs_patches_are_shown_alone(database: TextureDatabase, tmp_path: Path) -> None:
    page = read(write_database_page(database, tmp_path / "page.html"))
    assert "3 of 3 photographs were not at hand" in page.text
    assert page.images >= 24


def test_use_of_a_run(database: TextureDatabase, photos: Path, tmp_path: Path) -> None:
    ids = database.patch_ids()
    sources = np.array([row["source_id"].split("#")[0] for row in database.rows(ids)])
    leaf, brick = ids[sources == "leaf.png"], ids[sources == "brick & mortar.png"]
    counts = {int(leaf[0]): 60, int(leaf[1]): 35} | {int(patch): 1 for patch in brick[:5]}
    run = use(tmp_path / "run", counts | {5: 40})
    page = read(write_database_page(database, tmp_path / "p.html", run=run, photographs=Photographs([photos])))
    assert "What the run run used" in page.text
    assert "40 targets of this run are no patches of this database" in page.text
    assert "100 times a patch of the generator was pulled" in page.text
    assert f"7 different ones were chosen, {7 / len(ids):.1%} of what it holds" in page.text
    assert "60 times, 60.00% of all targets. leaf.png at" in page.text
    assert "5 patches were chosen once" in page.text
    assert "Never used" in page.text
    assert re.search(r"licence\s+share of targets\s+share of database\s+ratio\s+CC-BY-4.0\s+95.0%", page.text)
    assert re.search(r"photograph\s+share of targets\s+share of database\s+ratio\s+leaf.png\s+95.0%", page.text)
    assert re.search(r"domain\s+share of targets\s+share of database\s+ratio\s+photo\s+95.0%", page.text)


def test_use_of_another_database(database: TextureDatabase, tmp_path: Path) -> None:
    run = use(tmp_path / "run", {1: 3, 2: 4})
    text = read(write_database_page(database, tmp_path / "p.html", run=run)).text
    assert "None of its targets is a patch of this database." in text


def test_every_patch_used(database: TextureDatabase, tmp_path: Path) -> None:
    run = use(tmp_path / "run", dict.fromkeys(database.patch_ids().tolist(), 2))
    text = read(write_database_page(database, tmp_path / "p.html", run=run)).text
    assert "0.0% of the database was never chosen" in text
    assert "Never used" not in text


@pytest.mark.parametrize("patches", [1, 2, 7])
@pytest.mark.parametrize("descriptor", ["rgb-centred", "rgb-gradient"])
def test_small_databases(patches: int, descriptor: str, photos: Path, tmp_path: Path) -> None:
    sources = [Source(photos / "leaf.png")]
    small = TextureDatabase.build(
        tmp_path / "t.lance",
        sources,
        patches=patches,
        descriptor=descriptor,  # type: ignore[arg-type]
        k=8,
    )
    run = use(tmp_path / "run", {int(small.patch_ids()[0]): 1})
    page = read(write_database_page(small, tmp_path / "p.html", run=run, photographs=Photographs([photos])))
    assert "patches of 8x8 pixels from 1 photograph," in page.text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "there is no such file; the run used no database"),
        ("", "lists no patches"),
        ("patch_id,count\n", "lists no patches"),
        ("patch_id,count\n1,x\n", "damaged, not a list of patch_id,count"),
        ("patch_id\n1\n", "damaged"),
        ("patch_id,count\n1\n", "damaged"),
        ("patch_id,count\n99999999999999999999,1\n", "damaged"),
        ("patch_id,count\n1,-3\n", "damaged"),
        ("\x00\x01", "damaged"),
    ],
)
def test_damaged_usage(content: str | None, expected: str, database: TextureDatabase, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    if content is not None:
        (tmp_path / "run" / USAGE).write_text(content)
    with pytest.raises(UserError, match=expected) as caught:
        write_database_page(database, tmp_path / "p.html", run=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "p.html").exists()


@pytest.mark.parametrize(
    ("output", "picture", "expected"),
    [("page.htm", None, "--output .*page.htm: its name has to end in .html"), ("p.html", "m.jpg", "--map .*m.jpg")],
)
def test_names_of_files(
    output: str, picture: str | None, expected: str, database: TextureDatabase, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=expected):
        write_database_page(database, tmp_path / output, map_picture=picture and tmp_path / picture)  # type: ignore[arg-type]
