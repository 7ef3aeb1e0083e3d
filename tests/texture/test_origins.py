import logging
from pathlib import Path

import numpy as np
import pytest

from gramgan.errors import UserError
from gramgan.images import read_rgb8, write_image
from gramgan.texture.database import Source, TextureDatabase
from gramgan.texture.origins import Photographs, cut_context


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for name, (height, width) in {"large.png": (150, 133), "sub/small.png": (23, 40)}.items():
        write_image(folder / name, random.random((3, height, width), np.float32))
    return folder


@pytest.fixture(scope="module")
def database(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> TextureDatabase:
    sources = [Source(path, "CC0-1.0") for path in sorted(photos.rglob("*.png"))]
    return TextureDatabase.build(tmp_path_factory.mktemp("table") / "t.lance", sources, patches=600)


def test_the_frame_in_a_context_holds_the_stored_patch(photos: Path, database: TextureDatabase) -> None:
    rows = [row for row in database.rows(database.patch_ids()) if not row.get("warped")]
    assert {row["scale"] for row in rows} == {1, 0.5, 0.25}
    told: list[tuple[int, int]] = []
    contexts = Photographs([photos]).contexts(rows, 24, lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]
    for row, context in zip(rows, contexts, strict=True):
        assert context is not None
        assert max(context.picture.shape[:2]) <= 24
        np.testing.assert_array_equal(
            context.picture[context.y : context.y + 4, context.x : context.x + 4], row["patch"]
        )


def test_a_context_is_cut_from_the_photograph(photos: Path) -> None:
    photograph = read_rgb8(photos / "large.png")
    context = cut_context(photograph, 60, 70, 4, 1.0, 24)
    np.testing.assert_array_equal(context.picture, photograph[:, 60:84, 50:74].transpose(1, 2, 0))
    assert (context.x, context.y) == (10, 10)
    corner = cut_context(photograph, 0, 146, 4, 1.0, 24)
    np.testing.assert_array_equal(corner.picture, photograph[:, 126:150, 0:24].transpose(1, 2, 0))
    assert (corner.x, corner.y) == (0, 20)


def test_photographs_are_known_by_their_content(
    photos: Path, database: TextureDatabase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sources = list(database.info().by_source)
    found = Photographs([photos])
    assert {found.path(source) for source in sources} == set(photos.rglob("*.png"))
    write_image(tmp_path / "large.png", np.zeros((3, 150, 133), np.float32))  # the same name, another picture
    other = Photographs([tmp_path])
    with caplog.at_level(logging.WARNING):
        assert [other.path(source) for source in sources * 2] == [None] * 4
    assert sorted(other.has_name(source) for source in sources) == [False, True]
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'large.png'}: another file than the database was built from; not shown"
    ]
    assert other.contexts(database.rows(database.patch_ids()[:3]), 24) == [None] * 3


def test_a_photograph_that_has_become_unreadable(
    photos: Path, database: TextureDatabase, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> np.ndarray:
        raise UserError(f"{path}: damaged")

    monkeypatch.setattr("gramgan.texture.origins.read_rgb8", refuse)
    found = Photographs([photos])
    with caplog.at_level(logging.WARNING):
        assert found.contexts(database.rows(database.patch_ids()[:3]), 24) == [None] * 3
    assert "shown without its surroundings" in caplog.text


def test_authors_come_from_the_manifest(tmp_path: Path) -> None:
    from gramgan.collect import collect_folder

    write_image(tmp_path / "in" / "a.png", np.random.default_rng(0).random((3, 200, 200), np.float32))
    collect_folder(tmp_path / "in", tmp_path / "out", licence="CC0-1.0")
    (path,) = (tmp_path / "out").glob("a.*")
    source = Source(path).source_id
    assert Photographs([tmp_path / "out"]).author(source) == ""  # the manifest knows none
    manifest = tmp_path / "out" / "manifest.csv"
    header, line = manifest.read_text().splitlines()
    fields = line.split(",")
    fields[header.split(",").index("author")] = "Ada"
    manifest.write_text(f"{header}\n{','.join(fields)}\n")
    assert Photographs([tmp_path / "out"]).author(source) == "Ada"
    assert Photographs([tmp_path / "out"]).author("nothing.png#123") == ""


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        Photographs([tmp_path / "nowhere"])
