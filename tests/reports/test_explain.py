"""The page of `gramgan db search`."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from gramgan.errors import UserError
from gramgan.images import read_rgb8, write_image
from gramgan.reports.database import write_database_page
from gramgan.reports.explain import write_search_page
from gramgan.texture.database import Source, TextureDatabase
from gramgan.texture.explain import spot_vectors
from gramgan.texture.origins import Photographs


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for name in ("leaf.png", "water.png"):
        write_image(folder / name, random.random((3, 96, 120), np.float32))
    return folder


@pytest.fixture(scope="module")
def database(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> TextureDatabase:
    sources = [Source(photos / "leaf.png", "CC-BY-4.0"), Source(photos / "water.png", "CC0-1.0")]
    return TextureDatabase.build(tmp_path_factory.mktemp("table") / "texture.lance", sources, patches=2000)


def test_a_photograph_of_the_database_finds_itself(database: TextureDatabase, photos: Path, tmp_path: Path) -> None:
    rows = database.rows(database.patch_ids())
    row = next(
        row for row in rows if row["scale"] == 1 and row["source_id"].startswith("leaf") and not row.get("warped")
    )
    page = write_search_page(
        database,
        photos / "leaf.png",
        tmp_path / "out" / "s.html",
        at=[(row["x"] + 2, row["y"] + 2)],
        neighbours=3,
        photographs=Photographs([photos]),
    )
    (spot,) = page.spots
    assert (spot.x, spot.y) == (row["x"], row["y"])
    first = spot.matches[0]
    assert first.patch_id == row["patch_id"]
    assert first.distance < 1e-5
    assert first.relative < 1e-5
    assert (first.x, first.y, first.name, first.licence) == (row["x"], row["y"], "leaf.png", "CC-BY-4.0")
    html = page.html.read_text(encoding="utf-8")
    assert f"Spot 1 at {row['x']}, {row['y']}" in html
    assert "CC-BY-4.0" in html
    assert "<script" not in html
    assert page.picture == tmp_path / "out" / "s.png"
    assert read_rgb8(page.picture).shape[2] > 4 * 192


def test_matches_are_the_nearest_that_do_not_overlap(database: TextureDatabase, photos: Path, tmp_path: Path) -> None:
    page = write_search_page(database, photos / "water.png", tmp_path / "s.html", spots=5, neighbours=4)
    assert len(page.spots) == 5
    image, vectors, ids = read_rgb8(photos / "water.png"), database.vectors(), database.patch_ids()
    for spot in page.spots:
        query = spot_vectors(image, [(spot.x, spot.y)], database.descriptor).numpy().astype(np.float64)
        distances = np.sort(np.linalg.norm(vectors.astype(np.float64) - query, axis=1))
        found = [match.distance for match in spot.matches]
        assert found[0] == pytest.approx(distances[0], rel=1e-12)
        assert found == sorted(found)
        assert len(spot.matches) == 4
        for index, one in enumerate(spot.matches):
            row = np.flatnonzero(ids == one.patch_id)[0]
            assert one.distance == pytest.approx(np.linalg.norm(vectors[row].astype(np.float64) - query), rel=1e-12)
            for other in spot.matches[:index]:
                if one.photograph == other.photograph:
                    assert max(abs(one.x - other.x), abs(one.y - other.y)) >= 8


def test_with_a_result_the_search_starts_between_both(database: TextureDatabase, photos: Path, tmp_path: Path) -> None:
    truth, result = read_rgb8(photos / "leaf.png"), read_rgb8(photos / "water.png")
    at = [(40, 50)]

    def first(alpha: float, beta: float) -> int:
        page = write_search_page(
            database,
            photos / "leaf.png",
            tmp_path / "s.html",
            at=at,
            sr=photos / "water.png",
            alpha=alpha,
            beta=beta,
        )
        return page.spots[0].matches[0].patch_id

    vectors = [spot_vectors(image, [(38, 48)], database.descriptor).numpy() for image in (truth, result)]
    for alpha, beta in ((1.0, 0.0), (0.0, 1.0), (1.0, 3.0)):
        query = (alpha * vectors[0] + beta * vectors[1]) / (alpha + beta)
        nearest = np.linalg.norm(database.vectors().astype(np.float64) - query, axis=1).argmin()
        assert first(alpha, beta) == database.patch_ids()[nearest]
    html = (tmp_path / "s.html").read_text(encoding="utf-8")
    assert "α : β = 1 : 3" in html
    assert "from the truth" in html
    page = write_search_page(database, photos / "leaf.png", tmp_path / "s.html", at=at, sr=photos / "water.png", beta=0)
    spot = page.spots[0]
    assert spot.gap == pytest.approx(np.linalg.norm(vectors[0] - vectors[1]), rel=1e-5)
    for match in spot.matches:
        chosen = database.vectors()[np.flatnonzero(database.patch_ids() == match.patch_id)[0]]
        assert match.distance == pytest.approx(match.from_image, rel=1e-4)
        assert match.from_sr == pytest.approx(np.linalg.norm(chosen - vectors[1]), rel=1e-4)


def test_grey_image_is_searched_as_rgb(database: TextureDatabase, tmp_path: Path) -> None:
    write_image(tmp_path / "grey.png", np.random.default_rng(1).random((1, 40, 50), np.float32))
    page = write_search_page(database, tmp_path / "grey.png", tmp_path / "s.html", spots=3, neighbours=1)
    assert [len(spot.matches) for spot in page.spots] == [1, 1, 1]


def test_an_empty_database(database: TextureDatabase, photos: Path, tmp_path: Path) -> None:
    import lance

    path = tmp_path / "empty.lance"
    shutil.copytree(database.path, path)
    lance.dataset(str(path)).delete("true")
    empty = TextureDatabase.open(path)
    with pytest.raises(UserError, match=r"empty.lance: holds no patches \(version \d+\); add photographs"):
        write_search_page(empty, photos / "leaf.png", tmp_path / "s.html")
    with pytest.raises(UserError, match=r"empty.lance: holds no patches \(version \d+\); add photographs"):
        write_database_page(empty, tmp_path / "p.html")


def test_refusals(database: TextureDatabase, photos: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "tiny.png", np.zeros((3, 3, 9), np.float32))
    image, output = photos / "leaf.png", tmp_path / "s.html"
    with pytest.raises(UserError, match=r"--output .*s.txt: a page's name ends in .html"):
        write_search_page(database, image, tmp_path / "s.txt")
    with pytest.raises(UserError, match=r"--alpha and --beta: both are 0"):
        write_search_page(database, image, output, alpha=0, beta=0)
    with pytest.raises(UserError, match=r"tiny.png: 9x3 pixels are less than one patch of 4x4"):
        write_search_page(database, tmp_path / "tiny.png", output)
    with pytest.raises(UserError, match=r"tiny.png: has 9x3 pixels and .*leaf.png has 120x96"):
        write_search_page(database, image, output, sr=tmp_path / "tiny.png")
    with pytest.raises(UserError, match=rf"--neighbours 5000: .* holds only {len(database):,} patches"):
        write_search_page(database, image, output, neighbours=5000)
    with pytest.raises(UserError, match="--at 120,3: lies outside"):
        write_search_page(database, image, output, at=[(120, 3)])
    assert not output.exists()
