"""Adding to a texture database, taking from it, its versions, snapshots, and what `verify` finds."""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from gramgan.errors import UserError
from gramgan.images import write_image
from gramgan.texture.database import Source, TextureDatabase
from gramgan.texture.descriptors import DESCRIPTORS, DescriptorName
from gramgan.texture.metadata import TEXTURE_KEY


def source(folder: Path, name: str, seed: int, *, domain: str = "photo", licence: str = "CC0") -> Source:
    path = folder / name
    write_image(path, np.random.default_rng(seed).random((3, 80, 90), dtype=np.float32))
    return Source(path, licence, domain)


@pytest.fixture
def database(tmp_path: Path) -> TextureDatabase:
    """400 patches: `a.png`, `b.png`."""
    sources = [source(tmp_path, "a.png", 1), source(tmp_path, "b.png", 2, licence="CC BY 4.0")]
    return TextureDatabase.build(tmp_path / "t.lance", sources, patches=400)


@pytest.fixture
def satellite(tmp_path: Path) -> list[Source]:
    (tmp_path / "more").mkdir()
    return [source(tmp_path / "more", f"s{number}.png", number, domain="satellite") for number in (3, 4)]


def test_add_takes_as_many_from_each_and_rebuilds_nothing(database: TextureDatabase, satellite: list[Source]) -> None:
    files = {file: file.stat().st_mtime_ns for file in (database.path / "data").iterdir()}
    before = database.vectors()
    done: list[tuple[int, int]] = []
    after = database.add(satellite, progress=lambda *counts: done.append(counts))
    assert (after.version, after.identity, after.descriptor) == (2, database.identity, database.descriptor)
    assert after.info().by_domain == {"photo": 400, "satellite": 400}
    assert set(after.info().by_source.values()) == {200}
    assert done == [(1, 2), (2, 2)]
    np.testing.assert_array_equal(after.vectors()[:400], before)
    np.testing.assert_array_equal(database.vectors(), before)  # it goes on reading its version
    assert len(database) == 400
    assert {file: file.stat().st_mtime_ns for file in files} == files
    assert len(set(after.patch_ids().tolist())) == 800
    assert after.verify().clean


def test_an_addition_is_what_a_build_would_have_drawn(
    database: TextureDatabase, satellite: list[Source], tmp_path: Path
) -> None:
    added = database.add(satellite)
    built = TextureDatabase.build(tmp_path / "2.lance", satellite, patches=400)
    np.testing.assert_array_equal(added.patch_ids("satellite"), built.patch_ids())
    np.testing.assert_array_equal(added.natural_vectors("satellite"), built.natural_vectors())
    np.testing.assert_allclose(
        added.vectors("satellite") * np.array(added.descriptor.scale), built.natural_vectors(), rtol=1e-5
    )
    other = database.add([source(tmp_path, "c.png", 9)], patches=50, seed=3, flat_share=0, warp_share=1)
    assert other.info().by_source["c.png#" + Source(tmp_path / "c.png").source_id[-12:]] == 50
    assert other.info().warped > added.info().warped + 30


def test_photographs_that_are_there_are_not_added_again(
    database: TextureDatabase, satellite: list[Source], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(tmp_path / "a.png", tmp_path / "renamed.png")
    again = [Source(tmp_path / "a.png"), Source(tmp_path / "renamed.png")]
    with pytest.raises(UserError, match="holds all of the 2 photographs already; nothing was added"):
        database.add(again)
    with caplog.at_level(logging.WARNING, "gramgan"):
        assert len(database.add([*again, satellite[0]])) == 600
    assert sum("it holds this photograph already" in record.getMessage() for record in caplog.records) >= 2
    # The same picture in another file format is known by its pixels.
    from gramgan.images import read_rgb8

    write_image(tmp_path / "a.tif", read_rgb8(tmp_path / "a.png").astype(np.float32) / 255)
    with pytest.raises(UserError, match="there was nothing new to add; the table is as it was"):
        database.add([Source(tmp_path / "a.tif")])
    assert "a picture that it holds already" in caplog.text
    assert len(TextureDatabase.open(database.path)) == 600


def test_remove(database: TextureDatabase, satellite: list[Source]) -> None:
    full = database.add(satellite)
    assert len(full.remove(domains=["satellite"], sources=["s3.png"])) == 600
    assert full.remove(licences=["CC BY 4.0"]).info().by_licence == {"CC0": 400}
    assert len(full) == 800
    newest = TextureDatabase.open(database.path)
    assert len(newest) == 400
    assert newest.verify().clean
    source_id = next(iter(newest.info().by_source))
    assert source_id not in full.remove(sources=[source_id]).info().by_source
    for wanted, words in (
        ({}, "nothing says what to remove"),
        ({"domains": ["medical"]}, "holds no domain 'medical', only"),
        ({"licences": ["it's mine"]}, "holds no licence 'it's mine', only CC0"),
        ({"sources": ["b.png"]}, "holds no photograph 'b.png'"),
        ({"licences": ["CC0"]}, "would remove all 200 patches"),
    ):
        with pytest.raises(UserError, match=words):
            full.remove(**wanted)
    assert len(TextureDatabase.open(database.path)) == 200


def test_words_with_quotes_are_words(tmp_path: Path) -> None:
    odd = 'it\'s "mine" OR 1=1'
    sources = [source(tmp_path, "a.png", 1, domain=odd), source(tmp_path, "b'.png", 2)]
    database = TextureDatabase.build(tmp_path / "t.lance", sources, patches=60)
    assert len(database.vectors(odd)) == 30
    assert len(database.remove(domains=[odd])) == 30
    with pytest.raises(UserError, match="would remove all"):
        database.remove(sources=["b'.png"])


def test_what_a_domain_holds(database: TextureDatabase, satellite: list[Source], tmp_path: Path) -> None:
    full = database.add(satellite)
    for opened in (full, full.snapshot(tmp_path / "t.safetensors")):
        codes, words = opened.words("domain")
        assert words == ["photo", "satellite"]
        np.testing.assert_array_equal(opened.patch_ids("satellite"), opened.patch_ids()[codes == 1])
        np.testing.assert_array_equal(opened.natural_vectors("photo"), opened.natural_vectors()[codes == 0])
        np.testing.assert_array_equal(opened.numbers("x", "photo"), opened.numbers("x")[codes == 0])
        assert len(opened.vectors("no such domain")) == 0
        assert opened.numbers("patch").shape == (800, 48)
        licence, names = opened.words("licence", "photo")
        assert [names[code] for code in (licence[0], licence[-1])] == ["CC0", "CC BY 4.0"]
        assert opened.info().licences_by_domain == {"photo": {"CC0": 200, "CC BY 4.0": 200}, "satellite": {"CC0": 400}}


def test_tagged_versions_survive_clean_up(database: TextureDatabase, satellite: list[Source]) -> None:
    database.tag(database.version, "run-1")
    second = database.add(satellite[:1])
    third = database.add(satellite[1:])
    assert [(one.number, one.patches, one.tags) for one in third.versions()] == [
        (1, 400, ("run-1",)),
        (2, 600, ()),
        (3, 800, ()),
    ]
    cleaned = database.cleanup()
    assert cleaned.versions == 1
    assert [one.number for one in database.versions()] == [1, 3]
    assert TextureDatabase.open(database.path, "run-1").version == TextureDatabase.open(database.path, 1).version == 1
    assert len(TextureDatabase.open(database.path, "run-1").vectors()) == 400
    with pytest.raises(UserError, match="has no version 2, the newest is 3"):
        TextureDatabase.open(database.path, second.version)
    database.tag(3, "run-1")  # moves it
    with pytest.raises(UserError, match="has no version with the tag 'run-2', its tags: run-1"):
        TextureDatabase.open(database.path, "run-2")
    assert database.cleanup().versions == 1
    with pytest.raises(UserError, match="has no tag 'other', only run-1"):
        database.untag("other")
    database.untag("run-1")
    assert database.versions()[0].tags == ()
    with pytest.raises(UserError, match="has no version 1"):
        database.tag(1, "run-1")
    for name in ("a b", "../x", "", "a/b"):
        with pytest.raises(UserError, match="cannot be; use letters"):
            database.tag(3, name)


def test_clean_up_frees_the_space_of_what_was_removed(database: TextureDatabase, satellite: list[Source]) -> None:
    full = database.add(satellite, patches=4000)
    newest = full.remove(domains=["satellite"])
    before = newest.info().bytes_on_disk
    assert newest.cleanup(keep=2).versions == 1
    assert [one.number for one in newest.versions()] == [2, 3]
    assert newest.cleanup().bytes > 100_000
    assert newest.info().bytes_on_disk < before - 100_000
    assert len(list((newest.path / "_checksums").iterdir())) == len(list((newest.path / "data").iterdir()))
    assert newest.verify().clean
    with pytest.raises(UserError, match="keeps the newest version"):
        newest.cleanup(keep=0)


def test_a_table_that_was_built_again_is_another_one(database: TextureDatabase, satellite: list[Source]) -> None:
    again = TextureDatabase.build(database.path, satellite, patches=400, overwrite=True)
    assert again.version == database.version
    assert again.identity != database.identity
    with pytest.raises(UserError, match="built anew since it was opened"):
        database.add(satellite)


def test_merge(database: TextureDatabase, satellite: list[Source], tmp_path: Path) -> None:
    other = TextureDatabase.build(tmp_path / "u.lance", satellite, patches=300)
    with pytest.raises(UserError, match=r"u\.lance: has another scale than .*t\.lance; pass --scale first"):
        TextureDatabase.merge(tmp_path / "m.lance", [database, other])
    first = TextureDatabase.merge(tmp_path / "m.lance", [database, other], scale="first")
    assert first.descriptor == database.descriptor
    assert first.identity not in (database.identity, other.identity)
    assert first.info().by_domain == {"photo": 400, "satellite": 300}
    np.testing.assert_array_equal(first.natural_vectors("satellite"), other.natural_vectors())
    new = TextureDatabase.merge(tmp_path / "n.lance", [database, other], scale="new")
    np.testing.assert_allclose(new.vectors().std(axis=0), 1, rtol=1e-3)
    # Patches that two tables share are taken once; snapshots can be merged as well.
    taken = other.snapshot(tmp_path / "u.safetensors")
    both = TextureDatabase.merge(tmp_path / "b.lance", [first, taken, database], scale="first")
    assert len(both) == 700
    assert both.verify().clean
    assert len(database.add_database(other, any_scale=True)) == 700
    with pytest.raises(UserError, match="nothing new to add"):
        database.add_database(taken, any_scale=True)
    assert len(both.add([source(tmp_path, "c.png", 7)])) > 700  # a merged table grows like any other
    with pytest.raises(UserError, match="has another scale"):
        database.add_database(other)
    for wrong in (
        TextureDatabase.build(tmp_path / "c.lance", satellite, patches=30, descriptor="rgb-centred"),
        TextureDatabase.build(tmp_path / "8.lance", satellite, patches=30, k=8),
    ):
        with pytest.raises(UserError, match="build one of them again"):
            TextureDatabase.merge(tmp_path / "x.lance", [database, wrong], scale="new")
        with pytest.raises(UserError, match="build one of them again"):
            database.add_database(wrong, any_scale=True)
    with pytest.raises(UserError, match="exists already"):
        TextureDatabase.merge(tmp_path / "m.lance", [database, other], scale="first")
    assert not (tmp_path / "x.lance").exists()


@pytest.mark.parametrize("pixels", [True, False])
def test_a_snapshot_is_the_version(database: TextureDatabase, tmp_path: Path, *, pixels: bool) -> None:
    taken = database.snapshot(tmp_path / "t.safetensors", patches=pixels)
    assert len(taken) == 400
    assert (taken.version, taken.identity, taken.descriptor) == (1, database.identity, database.descriptor)
    np.testing.assert_array_equal(taken.vectors(), database.vectors())
    np.testing.assert_array_equal(taken.patch_ids(), database.patch_ids())
    assert taken.vectors().flags.writeable
    assert taken.patch_ids().flags.writeable
    mine, its = (vars(opened.info()) for opened in (database, taken))
    for name in mine.keys() - {"path", "bytes_on_disk"}:
        assert its[name] == mine[name], name
    assert TextureDatabase.open(taken.path, 1).version == 1
    ids = database.patch_ids()[[5, 300, 5]].tolist()
    if pixels:
        for ours, theirs in zip(taken.rows(ids), database.rows(ids), strict=True):
            np.testing.assert_array_equal(ours["patch"], theirs["patch"])
            assert {**ours, "patch": 0} == {**theirs, "patch": 0}
        with pytest.raises(UserError, match="patch -5: there is none"):
            taken.rows([-5])
    else:
        with pytest.raises(UserError, match="holds no column patch; make the snapshot again, with its patches"):
            taken.rows(ids)
    taken.tag(1, "run-1")  # nothing can take the version away
    taken.untag("run-1")
    changes: list[Callable[[], object]] = [
        lambda: taken.add([]),
        lambda: taken.remove(domains=["photo"]),
        taken.versions,
        taken.cleanup,
        taken.verify,
    ]
    for change in changes:
        with pytest.raises(UserError, match="a snapshot cannot be"):
            change()
    with pytest.raises(UserError, match="a snapshot of version 1, not of version 7"):
        TextureDatabase.open(taken.path, 7)


def test_a_snapshot_needs_no_lance(database: TextureDatabase, tmp_path: Path) -> None:
    taken = database.snapshot(tmp_path / "t.safetensors")
    script = """
import sys
sys.modules.update(lance=None, pyarrow=None)
from gramgan.cli.app import run
from gramgan.texture.candidates import DatabaseSource
from gramgan.texture.database import TextureDatabase
database = TextureDatabase.open(sys.argv[1])
assert database.vectors().shape == (400, 6)
assert len(database.rows(database.patch_ids()[:3])) == 3
assert run(["db", "info", sys.argv[1]]) == 0
sys.exit(run(["db", "info", sys.argv[2]]))
"""
    command = [sys.executable, "-c", script, str(taken.path), str(database.path)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "400 patches of 4x4, descriptor rgb" in done.stdout
    lines = done.stderr.strip().splitlines()
    assert lines == [
        "error: texture databases (NAME.lance) need Lance, which is not installed; run: pip install pylance pyarrow, "
        "or use a snapshot (NAME.safetensors)"
    ]


def test_files_that_are_no_snapshots(database: TextureDatabase, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    damaged, foreign = tmp_path / "damaged.safetensors", tmp_path / "foreign.safetensors"
    whole = database.snapshot(tmp_path / "t.safetensors").path.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    save_file({"a": np.zeros(3)}, foreign)
    for path, words in (
        (tmp_path / "missing.safetensors", "there is no such file"),
        (damaged, "a damaged safetensors file"),
        (foreign, "no snapshot of a texture database"),
    ):
        with pytest.raises(UserError, match=words):
            TextureDatabase.open(path)
    with pytest.raises(UserError, match=r"ends in \.safetensors"):
        database.snapshot(tmp_path / "t.pt")


@pytest.mark.parametrize("descriptor", DESCRIPTORS)
@pytest.mark.parametrize("k", [4, 8])
def test_what_was_built_is_whole(descriptor: DescriptorName, k: int, tmp_path: Path) -> None:
    sources = [source(tmp_path, "a.png", 1)]
    database = TextureDatabase.build(tmp_path / "t.lance", sources, patches=300, descriptor=descriptor, k=k)
    done: list[tuple[int, int]] = []
    report = database.verify(lambda *counts: done.append(counts))
    assert (report.clean, report.patches, report.fragments, done) == (True, 300, 1, [(1, 1)])


def damage(path: Path, how: str) -> None:
    whole = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "cut short":
        path.write_bytes(whole[: len(whole) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    else:  # one bit of the first page
        path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])


@pytest.mark.parametrize("how", ["missing", "cut short", "empty", "one bit"])
def test_a_damaged_fragment_is_named_and_the_rest_stays_usable(
    how: str, database: TextureDatabase, satellite: list[Source]
) -> None:
    known = set((database.path / "data").iterdir())
    full = database.add(satellite)
    new = next(iter(set((database.path / "data").iterdir()) - known))
    damage(new, how)
    report = full.verify()
    assert not report.clean
    assert report.damaged == [1]
    assert report.patches == 400
    assert f"data/{new.name} is {'missing' if how == 'missing' else 'damaged'}" in report.problems[0].text
    if how != "one bit":
        with pytest.raises(UserError, match=rf"fragment 1 \(data/{new.name}\) is damaged \(.*\); go on without it"):
            TextureDatabase.open(database.path).vectors()
    after = full.drop_fragments(report.damaged)
    assert len(after.vectors()) == len(after) == 400
    assert after.verify().clean
    assert len(database.vectors()) == 400
    with pytest.raises(UserError, match="no fragment would be left"):
        after.drop_fragments([0])


def test_verify_compares_vectors_with_patches(database: TextureDatabase) -> None:
    for file in (database.path / "_checksums").iterdir():
        file.unlink()
    lance.dataset(str(database.path)).update({"count": "count + 1"}, where="x > 20")
    assert database.verify().clean
    table = lance.dataset(str(database.path))
    assert TextureDatabase.open(database.path).verify().clean
    rows = table.to_table()
    gram = np.array(rows["gram"].to_pylist(), np.float32)
    gram[17, 3] += 0.01
    column = pa.FixedSizeListArray.from_arrays(pa.array(gram.ravel()), type=rows.schema.field("gram").type)
    wrong = rows.set_column(rows.schema.get_field_index("gram"), rows.schema.field("gram"), column)
    lance.write_dataset(wrong.cast(table.schema), str(database.path), mode="append")
    report = TextureDatabase.open(database.path).verify()
    assert any("holds vectors that are not those of the patches" in problem.text for problem in report.problems)
    lance.dataset(str(database.path)).restore()
    lance.write_dataset(rows.cast(table.schema), str(database.path), mode="append")
    lance.write_dataset(rows.cast(table.schema), str(database.path), mode="append")
    report = TextureDatabase.open(database.path).verify()
    assert any("patch ids occur more than once" in problem.text for problem in report.problems)


def test_tables_of_the_first_format_are_read(database: TextureDatabase, tmp_path: Path) -> None:
    import json

    rows = lance.dataset(str(database.path)).to_table().drop_columns(["warped"])
    old = {"format": 1, "descriptor": "rgb", "k": 4, "scale": list(database.descriptor.scale), "build": {}}
    path = tmp_path / "old.lance"
    lance.write_dataset(rows.replace_schema_metadata({TEXTURE_KEY: json.dumps(old)}), str(path))
    opened = TextureDatabase.open(path)
    np.testing.assert_array_equal(opened.vectors(), database.vectors())
    assert opened.info().warped == 0
    assert opened.identity == TextureDatabase.open(path).identity != database.identity
    with pytest.raises(UserError, match="written by an earlier version of the program"):
        opened.add([source(tmp_path, "c.png", 5)])
    assert len(TextureDatabase.merge(tmp_path / "m.lance", [opened, database], scale="first")) == 400
    lance.write_dataset(
        rows.replace_schema_metadata({TEXTURE_KEY: json.dumps(old | {"format": 9})}), str(path), mode="overwrite"
    )
    with pytest.raises(UserError, match="written in format 9"):
        TextureDatabase.open(path)
