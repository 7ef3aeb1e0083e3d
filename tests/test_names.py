"""Names that somebody else has chosen."""

import os
from pathlib import Path

import pytest

from gramgan.names import cell, fitting, from_cell, hidden_beside, leads_out, shown, stand_in


def test_hidden_names_fit_and_are_in_utf8() -> None:
    for name in ("a" * 255, "é" * 127, "写" * 85, os.fsdecode(b"\xff" * 255), "a\udcfcb"):
        for ending in ("pass12.journal", "pages.lock"):
            hidden = hidden_beside(Path("folder") / name, ending)
            assert len(hidden.name.encode("utf-8")) <= 143  # of encrypted folders
            assert hidden.parent == Path("folder")
    assert stand_in("a" * 200 + "1") != stand_in("a" * 200 + "2")
    assert hidden_beside(Path("a.png"), "part") == Path(".a.png.part")


def test_fitting_keeps_short_names_and_tells_long_ones_apart() -> None:
    assert fitting("a" * 251, ".png") == "a" * 251 + ".png"
    one, other = fitting("写" * 84 + "a", ".png"), fitting("写" * 84 + "b", ".png")
    assert one != other
    assert {len(os.fsencode(name)) <= 255 for name in (one, other)} == {True}
    assert one.endswith(".png")


def test_what_cannot_be_printed_is_escaped() -> None:
    assert shown("a\x1b[31m\r\n\t\u202eb\udcfc\x00") == r"a\x1b[31m\r\n\t\u202eb\xfc\x00"
    assert shown("写真 ü.png") == "写真 ü.png"


@pytest.mark.parametrize("text", ["=1+1", "+a", "-a", "-1+2", "@a", "\t=1", "'=1", "''=1", "a", "", "'a", "'"])
def test_cells_are_no_formulas_and_come_back(text: str) -> None:
    assert not cell(text).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert from_cell(cell(text)) == text


@pytest.mark.parametrize("text", ["-1", "+0.5", "-1.5e-07", "-inf", "12"])
def test_numbers_stay_numbers(text: str) -> None:
    assert cell(text) == text
    assert from_cell(text) == text


def test_paths_that_lead_out_of_their_folder() -> None:
    for name in ("../x", "a/../../x", "/x", ".."):
        assert leads_out(name)
    for name in ("x", "a/x", "..x", "a..", "...", ""):
        assert not leads_out(name)
