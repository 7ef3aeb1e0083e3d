"""The throughput of each way of reading."""

from pathlib import Path

import numpy as np
import pytest

from gramgan.data import throughput
from gramgan.data.source import Demand
from gramgan.data.throughput import measure_feeding
from gramgan.errors import UserError
from gramgan.images import write_image


def test_photographs_are_measured_every_way(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "SUB_IMAGE", 40)
    rates = measure_feeding(folder, None, Demand(32, 4), workers=1, seconds=0.1)
    assert [rate.source for rate in rates] == ["folder", "resident", "sub-images", "shards"]
    assert [rate.images for rate in rates] == [6, 6, 20, 20]  # two beside one another, one or two below
    assert all(rate.crops_per_s > 0 and rate.images_per_s > 0 for rate in rates)
    assert rates[1].crops_per_s > rates[0].crops_per_s


def test_pairs_and_small_photographs(tmp_path: Path) -> None:
    for name, side in (("HR/a.png", 64), ("LR/a.png", 16)):
        write_image(tmp_path / name, np.zeros((3, side, side), np.float32))
    rates = measure_feeding(tmp_path / "HR", tmp_path / "LR", Demand(32, 2), workers=1, seconds=0.1)
    assert [rate.source for rate in rates] == ["pairs", "resident"]
    rates = measure_feeding(tmp_path / "HR", None, Demand(32, 2), workers=1, seconds=0.1)
    assert [rate.source for rate in rates] == ["folder", "resident"]  # no sub-image of 480 pixels in it


def test_nothing_to_measure(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        measure_feeding(tmp_path / "nowhere", None, Demand(32, 2), workers=1)
