"""Which way of reading is chosen."""

from pathlib import Path

import numpy as np
import pytest

from gramgan.data import choice
from gramgan.data.choice import choose, kind_of, open_source, resident_bytes, usual_workers
from gramgan.data.items import ImagePlace, Item, items_of
from gramgan.data.resident import ResidentPhotos
from gramgan.data.source import Demand
from gramgan.data.stream import StreamedImages
from gramgan.images import find_images, write_image

NEEDED = sum(3 * (70 + 9 * number) * 90 for number in range(6))


def test_bytes_in_memory(folder: Path, tmp_path: Path) -> None:
    items = items_of(find_images(folder))
    assert resident_bytes(items) == NEEDED
    (tmp_path / "broken.png").write_text("text")
    assert resident_bytes([*items, *items_of([tmp_path / "broken.png"])]) == round(NEEDED / 6 * 7)
    assert resident_bytes(items_of([tmp_path / "broken.png"])) == 0
    assert resident_bytes(items[:1] * 10_000) == 10_000 * 3 * 70 * 90
    write_image(tmp_path / "low.png", np.zeros((3, 10, 10), np.float32))
    pair = Item("pair", items[0].high, ImagePlace(tmp_path / "low.png"))
    assert resident_bytes([pair]) == 3 * 70 * 90 + 300


def test_resident_where_it_fits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = items_of(find_images(folder))
    free = round(NEEDED / 0.4)
    monkeypatch.setattr(choice, "free_device_bytes", lambda device: free + 1)
    chosen = choose(items, "folder", "cpu")
    assert chosen.way == "resident"
    assert chosen.why.startswith("6 images would take about ")
    assert chosen.why.endswith(" free memory")
    assert choose(items, "folder", "cpu", processes=2).way == "folder"
    assert choose(items, "folder", "cuda:0", processes=2).way == "resident"
    monkeypatch.setattr(choice, "free_device_bytes", lambda device: free - 9)
    for kind in ("folder", "shards", "pairs"):
        chosen = choose(items, kind, "cpu")
        assert chosen.way == kind
        assert chosen.why.endswith(", more than 40%")


def test_what_a_folder_is(folder: Path, tmp_path: Path) -> None:
    assert kind_of(folder, None) == "folder"
    assert kind_of(folder, tmp_path) == "pairs"
    shards = tmp_path / "shards"
    (shards / "more").mkdir(parents=True)
    assert kind_of(shards, None) == "folder"  # which says that it is empty
    (shards / "more" / "a-000000.tar").touch()
    assert kind_of(shards, None) == "shards"
    assert kind_of(shards / "more" / "a-000000.tar", None) == "shards"
    (shards / "photo.jpg").touch()
    assert kind_of(shards, None) == "folder"


def test_sources(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items, demand = items_of(find_images(folder)), Demand(32, 2)
    assert isinstance(open_source("resident", items, demand), ResidentPhotos)
    for way in ("folder", "shards", "pairs"):
        source = open_source(way, items, demand, workers=3)
        assert isinstance(source, StreamedImages)
        assert source.workers == 3
    monkeypatch.setattr(choice, "threads", lambda: 40)
    assert (usual_workers(), usual_workers(8), usual_workers(100)) == (16, 5, 1)
