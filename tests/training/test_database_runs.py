"""Runs and their texture databases: versions that stay, mixtures, and changes between two runs."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gramgan.cli.app import run
from gramgan.config import Config, load_config
from gramgan.errors import UserError
from gramgan.networks.build import load_generator
from gramgan.texture.database import Source, TextureDatabase
from gramgan.training.checkpoint import load_checkpoint
from gramgan.training.run import train

pytestmark = pytest.mark.usefixtures("no_figures")

Tiny = Callable[..., Config]


@pytest.fixture
def table(photos: Path, tmp_path: Path) -> Path:
    """A table of two photographs."""
    path = tmp_path / "table.lance"
    TextureDatabase.build(path, [Source(photos / f"photo{n}.png") for n in (0, 1)], patches=120)
    return path


@pytest.fixture
def field(photos: Path, tmp_path: Path) -> Path:
    """Another one, of the domain satellite."""
    path = tmp_path / "field.lance"
    TextureDatabase.build(path, [Source(photos / "photo2.png", domain="satellite")], patches=80, seed=1)
    return path


def config_of(tiny: Tiny, iterations: int, *databases: dict[str, object] | str, candidates: str = "database") -> Config:
    return tiny(
        texture={"candidates": candidates, "databases": [*databases]},
        losses={"disc_perceptual": 0, "perceptual": 0, "adversarial": 0},
        stages={"pretrain": 0, "warm_discriminator": 0, "adversarial": iterations},
    )


def used(folder: Path) -> set[int]:
    return {int(line.partition(",")[0]) for line in (folder / "patch_usage.csv").read_text().splitlines()[1:]}


def tags(path: Path) -> dict[int, tuple[str, ...]]:
    return {version.number: version.tags for version in TextureDatabase.open(path).versions() if version.tags}


def test_the_version_is_written_down_tagged_and_survives(tiny: Tiny, photos: Path, table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    database = TextureDatabase.open(table)
    train(config_of(tiny, 1, str(table)), folder)
    (entry,) = load_config(file=folder / "config.yaml").texture.databases
    assert (entry.version, entry.identity) == (database.version, database.identity)
    assert list(tags(table)) == [database.version]
    assert tags(table)[database.version][0].startswith("run-run-")

    newer = database.add([Source(photos / "photo3.png")], patches=60)
    newer.cleanup()
    assert newer.version > database.version
    more = load_config(file=folder / "config.yaml", overrides=["stages.adversarial=2"])
    train(more, folder, resume=True)
    assert used(folder) <= set(database.patch_ids().tolist())
    assert load_config(file=folder / "config.yaml").texture.databases[0].version == database.version


def test_the_card_names_the_licences_of_the_databases(tiny: Tiny, photos: Path, table: Path, tmp_path: Path) -> None:
    field = tmp_path / "field.lance"
    sources = [
        Source(photos / f"photo{n}.png", licence=licence, domain=domain)
        for n, (licence, domain) in enumerate((("CC-BY-4.0", "satellite"), ("CC-BY-SA-4.0", "art")))
    ]
    TextureDatabase.build(field, sources, patches=80)
    entry: dict[str, object] = {"path": str(field), "domain": "satellite", "weight": 0.5}
    train(config_of(tiny, 1, {"path": str(table), "weight": 0.5}, entry), tmp_path / "run")
    card = load_generator(tmp_path / "run" / "gramgan_G_best.safetensors").card
    held = {part.name: (part.licence, part.count) for part in card.trained_on[1:]}
    assert held == {
        "texture database table.lance": ("unknown", 120),
        "texture database field.lance (satellite)": ("CC-BY-4.0", 40),
    }
    assert "CC-BY-4.0" in card.licences
    assert "CC-BY-SA-4.0" not in card.licences


def test_training_goes_on_while_somebody_adds(tiny: Tiny, photos: Path, table: Path, tmp_path: Path) -> None:
    before = set(TextureDatabase.open(table).patch_ids().tolist())

    class Adding:
        def iteration(self, done: int, total: int, stage: str) -> None:
            TextureDatabase.open(table).add([Source(photos / f"photo{done + 1}.png")], patches=40)

        def record(self, record: object) -> None:
            pass

    train(config_of(tiny, 2, str(table)), tmp_path / "run", observer=Adding())
    assert used(tmp_path / "run") <= before
    assert len(TextureDatabase.open(table)) > len(before)


def test_one_more_domain_in_mid_training(
    tiny: Tiny, table: Path, field: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    train(config_of(tiny, 2, str(table)), folder)
    first = used(folder)
    entries = f"[{{path: {table}, weight: 0.7}}, {{path: {field}, domain: satellite, weight: 0.3}}]"
    arguments = ["train", "--resume", str(folder), "--set", f"texture.databases={entries}"]
    assert run([*arguments, "--set", "stages.adversarial=4"]) == 0
    said = capsys.readouterr().err
    assert "resuming with the texture databases" in said
    assert "field.lance (satellite), version 1, weight 0.3 (30% of patches)" in said
    added = set(TextureDatabase.open(field).patch_ids().tolist())
    assert first.isdisjoint(added)
    assert used(folder) & added
    stored = load_config(file=folder / "config.yaml").texture
    assert stored.weights == [0.7, 0.3]
    assert all(entry.identity for entry in stored.databases)
    assert tags(field)


def test_a_run_without_a_database_gets_one(tiny: Tiny, table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(config_of(tiny, 1, candidates="local"), folder)
    settings = ["texture.candidates=both", f"texture.database={table}", "stages.adversarial=2"]
    train(load_config(file=folder / "config.yaml", overrides=settings), folder, resume=True)
    assert (
        load_config(file=folder / "config.yaml").texture.databases[0].identity == TextureDatabase.open(table).identity
    )


def test_another_first_database_is_warned_of_and_the_old_tag_taken_away(
    tiny: Tiny, table: Path, field: Path, tmp_path: Path, messages: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    train(config_of(tiny, 1, str(table)), folder)
    assert tags(table)
    changed = load_config(file=folder / "config.yaml", overrides=[f"texture.database={field}", "stages.adversarial=2"])
    train(changed, folder, resume=True)
    assert "field.lance is the first database now: its scale is used" in messages.text
    assert not tags(table)
    assert tags(field)


def test_the_newest_version_on_request(tiny: Tiny, photos: Path, table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(config_of(tiny, 1, str(table)), folder)
    old = TextureDatabase.open(table)
    newer = old.add([Source(photos / "photo3.png")], patches=60)
    entry = f"texture.databases=[{{path: {table}, version: newest}}]"
    config = load_config(file=folder / "config.yaml", overrides=[entry, "stages.adversarial=2"])
    train(config, folder, resume=True)
    assert load_config(file=folder / "config.yaml").texture.databases[0].version == newer.version
    assert list(tags(table)) == [newer.version]


def test_a_mixture_resumes_as_if_it_had_never_stopped(tiny: Tiny, table: Path, field: Path, tmp_path: Path) -> None:
    entries = ({"path": str(table), "weight": 2}, {"path": str(field), "weight": 1})
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(config_of(tiny, 4, *entries), whole)
    train(config_of(tiny, 2, *entries), parts)
    more = load_config(file=parts / "config.yaml", overrides=["stages.adversarial=4"])
    train(more, parts, resume=True)
    one, other = (load_checkpoint(folder / "checkpoints")["generator"] for folder in (whole, parts))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (whole / "patch_usage.csv").read_text() == (parts / "patch_usage.csv").read_text()


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["train", *arguments]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    return line


def test_a_table_that_was_built_again(
    tiny: Tiny, photos: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    train(config_of(tiny, 1, str(table)), folder)
    shutil.rmtree(table)
    TextureDatabase.build(table, [Source(photos / "photo1.png")], patches=50)
    line = refusal(capsys, "--resume", str(folder), "--set", "stages.adversarial=2")
    assert f"{table}: is another table than the one this run trains with" in line
    entry = f"texture.databases=[{{path: {table}, version: newest}}]"
    assert run(["train", "--resume", str(folder), "--set", "stages.adversarial=2", "--set", entry]) == 0


def test_what_a_mixture_may_not_be(
    tiny: Tiny, photos: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "centred.lance"
    TextureDatabase.build(other, [Source(photos / "photo2.png")], patches=50, descriptor="rgb-centred")
    settings = tmp_path / "settings.yaml"
    settings.write_text(config_of(tiny, 1, str(table)).to_yaml())
    for entries, expected in (
        (f"[{table}, {other}]", "centred.lance: this texture database holds rgb-centred vectors"),
        (f"[{table}, missing.lance]", "missing.lance: there is no such texture database"),
        (f"[{{path: {table}, domain: medical}}]", "holds no patches of the domain medical, only of photo"),
        (f"[{{path: {table}, version: 99}}]", "has no version 99"),
    ):
        arguments = ("--config", str(settings), "-o", str(tmp_path / "run"), "--set", f"texture.databases={entries}")
        assert expected in refusal(capsys, *arguments)


def test_a_snapshot_needs_no_tag(tiny: Tiny, table: Path, tmp_path: Path, messages: pytest.LogCaptureFixture) -> None:
    snapshot = tmp_path / "table.safetensors"
    TextureDatabase.open(table).snapshot(snapshot)
    assert train(config_of(tiny, 1, str(snapshot)), tmp_path / "run").finished
    assert "nothing keeps the version" not in messages.text


def test_a_table_that_cannot_be_written_to_is_trained_with(
    tiny: Tiny, table: Path, tmp_path: Path, messages: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(database: TextureDatabase, version: int, name: str) -> None:
        raise UserError(f"{database.path}: cannot be written to")

    monkeypatch.setattr(TextureDatabase, "tag", refused)
    assert train(config_of(tiny, 1, str(table)), tmp_path / "run").finished
    assert "nothing keeps the version that is trained with from clean-up" in messages.text
