"""Texture databases: what is in them, how they are built, and every way in which that can go wrong."""

import logging
import shutil
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
import torch

from gramgan.cli.app import run
from gramgan.errors import UserError
from gramgan.images import read_rgb8, write_image
from gramgan.ops.resize import matlab_bicubic_down
from gramgan.texture import building
from gramgan.texture.database import Source, TextureDatabase
from gramgan.texture.descriptors import DESCRIPTORS, Descriptor, DescriptorName
from gramgan.texture.encoding import encode


def add_photo(folder: Path, name: str, seed: int, side: int = 64) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.random.default_rng(seed).random((3, side, side + 8), dtype=np.float32))
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed, name in enumerate(("a.png", "b.png", "c.jpg")):
        add_photo(folder, name, seed)
    return folder


def sources(folder: Path) -> list[Source]:
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".png", ".jpg"))
    return [Source(path, licence=f"licence of {path.name}", domain="test") for path in paths]


def table(database: TextureDatabase) -> pa.Table:
    return lance.dataset(str(database.path)).to_table()


def by_photo(database: TextureDatabase) -> dict[str, set[int]]:
    """Patch ids by file name."""
    result: dict[str, set[int]] = {}
    for row in table(database).to_pylist():
        result.setdefault(row["source_id"].split("#")[0], set()).add(row["patch_id"])
    return result


@pytest.mark.parametrize("descriptor", DESCRIPTORS)
def test_columns_are_those_of_the_photographs(descriptor: DescriptorName, photos: Path, tmp_path: Path) -> None:
    database = TextureDatabase.build(tmp_path / "t.lance", sources(photos), patches=900, descriptor=descriptor)
    rows = table(database)
    assert len(rows) == len(database) == 900
    assert 40 < rows["warped"].to_pylist().count(True) < 90  # the smaller copies have no room for them
    grams = np.stack(rows["gram"].to_pylist())
    np.testing.assert_allclose(database.vectors() * database.descriptor.scale, grams, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(database.vectors().std(axis=0), 1, rtol=1e-3)
    grids = {}
    for index in range(0, 900, 7):
        row = {name: rows[name][index].as_py() for name in rows.column_names}
        if row["warped"]:
            continue
        name, scale = row["source_id"].split("#")[0], row["scale"]
        if (name, scale) not in grids:
            image = torch.from_numpy(read_rgb8(photos / name)[None]).float() / 255
            image = image if scale == 1 else matlab_bicubic_down(image, round(1 / scale))
            image = image.mul(255).round() / 255
            grids[name, scale] = image[0], encode(image, descriptor, 4, stride=1)[0]
        image, grid = grids[name, scale]
        x, y = row["x"], row["y"]
        np.testing.assert_allclose(row["gram"], grid[y * (image.shape[2] - 3) + x], rtol=1e-5, atol=1e-6)
        patch = image[:, y : y + 4, x : x + 4].mul(255).round().byte().permute(1, 2, 0)
        assert row["patch"] == patch.numpy().tobytes()
        assert (row["licence"], row["domain"], row["count"]) == (f"licence of {name}", "test", 1)


def test_two_builds_are_equal_whatever_the_order(photos: Path, tmp_path: Path) -> None:
    first = TextureDatabase.build(tmp_path / "1.lance", sources(photos), patches=600)
    second = TextureDatabase.build(tmp_path / "2.lance", reversed(sources(photos)), patches=600)
    other = TextureDatabase.build(tmp_path / "3.lance", sources(photos), patches=600, seed=1)
    assert table(first).equals(table(second))
    assert first.descriptor == second.descriptor
    assert not table(first).equals(table(other))


def test_ids_are_unique_and_stay_when_photographs_come_and_go(photos: Path, tmp_path: Path) -> None:
    before = by_photo(TextureDatabase.build(tmp_path / "1.lance", sources(photos), patches=900))
    more = tmp_path / "more"
    shutil.copytree(photos, more / "in another folder")
    extra = add_photo(more, "0.png", 7)
    paths = [Source(extra), *sources(more / "in another folder")]
    database = TextureDatabase.build(tmp_path / "2.lance", paths, patches=1200)
    after = by_photo(database)
    assert all(after[name] == ids for name, ids in before.items())
    assert len(set(database.patch_ids().tolist())) == 1200
    assert database.patch_ids().dtype == np.int64


def test_every_photograph_has_the_same_share(photos: Path, tmp_path: Path) -> None:
    database = TextureDatabase.build(tmp_path / "t.lance", sources(photos), patches=500)
    assert sorted(len(ids) for ids in by_photo(database).values()) == [166, 167, 167]
    assert len(TextureDatabase.build(tmp_path / "2.lance", sources(photos), patches=2)) == 2


def test_bad_photographs_are_left_out_and_logged(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("gramgan"), "propagate", True)
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    whole = (photos / "c.jpg").read_bytes()
    (folder / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    shutil.copy(photos / "a.png", folder / "copy of a.png")
    write_image(folder / "flat.png", np.full((3, 64, 64), 0.5, np.float32))
    write_image(folder / "small.png", np.zeros((3, 3, 3), np.float32))
    done: list[tuple[int, int]] = []
    with caplog.at_level(logging.WARNING, "gramgan"):
        database = TextureDatabase.build(
            tmp_path / "t.lance", sources(folder), patches=700, progress=lambda *counts: done.append(counts)
        )
    assert set(by_photo(database)) == {"a.png", "b.png", "c.jpg"}
    assert len(database) == 300
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("gramgan.texture")]
    assert len(messages) == 4
    for name, reason in (
        ("broken.jpg", "truncated"),
        ("copy of a.png", "same picture"),
        ("flat.png", "without any texture"),
        ("small.png", "too small"),
    ):
        assert any(name in message and reason in message for message in messages), (name, messages)
    assert done == [(number, 7) for number in range(1, 8)]


@pytest.mark.parametrize("descriptor", DESCRIPTORS)
def test_photographs_of_one_kind_give_finite_scales(descriptor: DescriptorName, tmp_path: Path) -> None:
    stripes = np.broadcast_to(np.random.default_rng(0).random((1, 64, 1), dtype=np.float32), (3, 64, 64))
    write_image(tmp_path / "grey.png", stripes)  # no colour, and no horizontal derivative
    database = TextureDatabase.build(
        tmp_path / "t.lance", [Source(tmp_path / "grey.png")], patches=500, descriptor=descriptor
    )
    assert np.isfinite(database.vectors()).all()
    shipped = Descriptor.default(descriptor).scale
    assert (np.array(database.descriptor.scale) >= 0.01 * np.array(shipped) * (1 - 1e-9)).all()


def test_rows_and_info(photos: Path, tmp_path: Path) -> None:
    database = TextureDatabase.build(tmp_path / "t.lance", sources(photos), patches=700)
    ids = database.patch_ids()
    wanted = [int(ids[5]), int(ids[600]), int(ids[5])]
    rows = database.rows(wanted)
    assert [row["patch_id"] for row in rows] == wanted
    assert rows[0]["patch"].shape == (4, 4, 3)
    gram = encode(torch.from_numpy(rows[0]["patch"].copy()).permute(2, 0, 1)[None].float() / 255)
    np.testing.assert_allclose(rows[0]["gram"], gram[0, 0], rtol=1e-5)
    assert database.rows([]) == []
    with pytest.raises(UserError, match="patch -5: there is none"):
        database.rows([wanted[0], -5])

    info = database.info()
    assert info.patches == 700
    assert info.by_domain == {"test": 700}
    assert sorted(info.by_licence) == ["licence of a.png", "licence of b.png", "licence of c.jpg"]
    assert list(info.by_scale) == ["1", "0.5", "0.25"]
    assert sum(info.by_scale.values()) == sum(info.by_source.values()) == sum(info.by_licence.values()) == 700
    assert info.by_scale["1"] == table(database)["scale"].to_pylist().count(1.0)
    assert info.bytes_on_disk > 700 * (48 + 24)


def test_the_ids_may_be_written_to(photos: Path, tmp_path: Path) -> None:
    database = TextureDatabase.build(tmp_path / "t.lance", sources(photos), patches=30)
    assert database.patch_ids().flags.writeable  # torch warns of arrays that are not
    assert database.vectors().flags.writeable


def test_threads_change_nothing(photos: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    tables = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            database = TextureDatabase.build(tmp_path / f"{threads}.lance", sources(photos), patches=600)
            assert torch.get_num_threads() == threads
            tables.append((table(database), database.descriptor))
    finally:
        torch.set_num_threads(before)
    assert tables[0][0].equals(tables[1][0])
    assert tables[0][1] == tables[1][1]


def test_a_version_stays_when_the_table_changes(photos: Path, tmp_path: Path) -> None:
    built = TextureDatabase.build(tmp_path / "t.lance", sources(photos), patches=300)
    lance.dataset(str(built.path)).delete("scale < 1")
    newest = TextureDatabase.open(built.path)
    assert newest.version > built.version
    assert len(newest) < 300
    pinned = TextureDatabase.open(built.path, built.version)
    assert pinned.version == built.version
    assert len(pinned) == 300
    assert newest.descriptor == pinned.descriptor
    with pytest.raises(UserError, match=f"no version 99, the newest is {newest.version}"):
        TextureDatabase.open(built.path, 99)


def test_a_failure_leaves_nothing_behind(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out" / "t.lance"
    original = building.sample_patches

    def build(failure: BaseException, *, overwrite: bool = False) -> None:
        calls: list[int] = []

        def failing(*args: object, **kwargs: object) -> object:
            calls.append(1)
            if len(calls) == 3:
                raise failure
            return original(*args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(building, "sample_patches", failing)
        with pytest.raises(type(failure), match="in the middle"):
            TextureDatabase.build(path, sources(photos), patches=300, overwrite=overwrite)
        monkeypatch.setattr(building, "sample_patches", original)

    build(KeyboardInterrupt("in the middle"))  # what one photograph raises is only left out of the database
    assert list(path.parent.iterdir()) == []
    before = table(TextureDatabase.build(path, sources(photos), patches=300))
    build(KeyboardInterrupt("in the middle"), overwrite=True)
    assert list(path.parent.iterdir()) == [path]
    assert table(TextureDatabase.open(path)).equals(before)


def test_overwrite(photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.lance"
    TextureDatabase.build(path, sources(photos), patches=300)
    with pytest.raises(UserError, match="exists already"):
        TextureDatabase.build(path, sources(photos), patches=30)
    assert len(TextureDatabase.open(path)) == 300
    assert len(TextureDatabase.build(path, sources(photos), patches=30, overwrite=True)) == 30
    assert list(tmp_path.iterdir()) == [path]


def test_overwrite_deletes_nothing_but_texture_databases(photos: Path, tmp_path: Path) -> None:
    folder, file, foreign = (tmp_path / f"{name}.lance" for name in ("folder", "file", "foreign"))
    folder.mkdir()
    (folder / "diary.txt").write_text("dear diary")
    file.write_text("a file")
    lance.write_dataset(pa.table({"a": [1]}), str(foreign))
    for path in (folder, file, foreign):
        with pytest.raises(UserError, match="is no texture database and will not be replaced"):
            TextureDatabase.build(path, sources(photos), patches=30, overwrite=True)
    assert (folder / "diary.txt").read_text() == "dear diary"
    assert file.read_text() == "a file"
    assert lance.dataset(str(foreign)).count_rows() == 1


def test_a_run_s_descriptor_must_be_the_table_s(photos: Path, tmp_path: Path) -> None:
    database = TextureDatabase.build(tmp_path / "t.lance", sources(photos), patches=30)
    database.require("rgb", 4)
    for descriptor, k in (("rgb-centred", 4), ("rgb", 5)):
        with pytest.raises(UserError, match=f"holds rgb vectors of 4x4 patches, the run asks for {descriptor} with k"):
            database.require(descriptor, k)  # type: ignore[arg-type]


def assert_one_line(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    lines = capsys.readouterr().err.strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1, lines
    assert lines[-1] == errors[0]
    for word in words:
        assert word in errors[0]


def test_build_and_info_commands(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    whole = (photos / "c.jpg").read_bytes()
    for name in ("x.jpg", "y.jpg", "z.jpg"):
        (folder / name).write_bytes(whole[: len(whole) // 2])
    output = tmp_path / "t.lance"
    build = ["db", "build", str(folder), "-o", str(output), "--patches", "500", "--licence", "CC0 [mine]"]
    assert run(build) == 0
    captured = capsys.readouterr()
    assert "left out of the texture database" in captured.err
    database = TextureDatabase.open(output)
    assert f"{len(database):,} patches of {len(by_photo(database))} of " in captured.out
    assert run(["db", "info", str(output)]) == 0
    shown = capsys.readouterr().out
    for text in (f"{len(database)} patches of 4x4, descriptor rgb", "CC0 [mine]", "domain", "photo", "100.0%"):
        assert text in shown
    assert run(build) == 2
    assert_one_line(capsys, "t.lance", "exists already", "--overwrite")
    assert run([*build, "--overwrite"]) == 0


def test_build_command_with_bad_input(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = str(tmp_path / "t.lance")
    empty, texts, broken = (tmp_path / name for name in ("empty", "texts", "broken"))
    for folder in (empty, texts, broken):
        folder.mkdir()
    for name in ("a.txt", "b.txt"):
        (texts / name).write_text("text")
    (broken / "a.jpg").write_bytes((photos / "c.jpg").read_bytes()[:500])
    (tmp_path / "file").write_text("in the way")

    for folder, options, words in (
        (empty, [], ("empty", "no images", "it is empty")),
        (texts, [], ("texts", "no images", "2 other files")),
        (tmp_path / "missing", [], ("missing", "no such folder")),
        (broken, [], ("t.lance", "none of the photographs", "nothing was built")),
        (photos, ["--descriptor", "hsv"], ("--descriptor hsv", "rgb, rgb-centred, rgb-gradient")),
        (photos, ["-o", str(tmp_path / "file" / "t.lance")], ("file", "a file stands where a folder is needed")),
        (photos, ["-o", str(tmp_path / "t.table")], ("t.table", "ends in .lance")),
        (photos, ["-o", str(texts), "--overwrite"], ("texts", "ends in .lance")),
    ):
        assert run(["db", "build", str(folder), "--patches", "30", "-o", output, *options]) == 2, words
        assert_one_line(capsys, *words)
    assert run(["db", "build", str(photos), "-o", output, "--seed", "-1"]) == 2  # typer's own message
    assert not Path(output).exists()
    assert not list(tmp_path.glob(".*"))


def test_info_command_with_bad_input(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file.lance"
    file.write_text("text")
    foreign = tmp_path / "foreign.lance"
    lance.write_dataset(pa.table({"a": [1]}), str(foreign))
    for path, words in (
        (tmp_path / "missing.lance", ("there is no such texture database", "gramgan db build")),
        (file, ("not a Lance table",)),
        (photos, ("not a Lance table",)),
        (foreign, ("this Lance table is no texture database",)),
    ):
        assert run(["db", "info", str(path)]) == 2
        assert_one_line(capsys, str(path), *words)


def test_a_damaged_table_is_told(photos: Path, tmp_path: Path) -> None:
    database = TextureDatabase.build(tmp_path / "t.lance", sources(photos), patches=30)
    for manifest in (database.path / "_versions").iterdir():
        manifest.write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"t\.lance: a damaged Lance table \(.*\); build it again"):
        TextureDatabase.open(database.path)
