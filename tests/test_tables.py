"""The tables that travel in the package."""

from pathlib import Path

import pytest

from gramgan.collect.datasets import DATASETS
from gramgan.collect.samples import SAMPLES, SamplePhoto
from gramgan.errors import UserError
from gramgan.tables import read_table
from gramgan.weights.catalog import BUNDLES, KNOWN

ROW = "- {package: p, file: f, title: t, author: a, licence: l, licence_url: '', page_url: '', group: g}\n"


def test_the_tables_are_read_as_they_are_written() -> None:
    assert len(SAMPLES) == 14
    assert KNOWN["vgg19"].files[0].size is None
    assert KNOWN["st-lpips-alex"].wheel == KNOWN["st-lpips-vgg16"].wheel
    assert {name for names in BUNDLES.values() for name in names} <= set(KNOWN)
    assert (DATASETS["div2k"].count, DATASETS["flickr2k"].count) == (900, 2650)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "- 5\n", "a: b\n", "\0", ROW.replace("group: g", "colour: red"), ROW.replace(", group: g", "")),
        *(ROW.replace("group: g", "group: 5"), ROW.replace("group: g", "group: g, split: both")),
    ],
)
def test_a_damaged_table_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "table.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"^{path}: missing or damaged, and it is part of gramgan; install"):
        read_table(path, SamplePhoto)
    path.unlink()
    with pytest.raises(UserError, match="missing or damaged"):
        read_table(path, SamplePhoto)


def test_a_table_is_read(tmp_path: Path) -> None:
    path = tmp_path / "table.yaml"
    path.write_text(ROW)
    assert read_table(path, SamplePhoto) == (SamplePhoto("p", "f", "t", "a", "l", "", "", "g"),)
