"""docs/reference/formats.md says what was measured, and nothing is lost without a word."""

from pathlib import Path

import pytest
from formats_page import CASES, PAGE, TARGETS, measure

ROWS = {
    (source, cells[0]): cells[1:]
    for source in ("PNG", "JPEG", "WebP", "TIFF", "AVIF", "GIF")
    for part in [PAGE.read_text(encoding="utf-8").partition(f"| **{source}** into |")[2].partition("\n\n")[0]]
    for cells in [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in part.splitlines()[2:]]
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.source}, {case.what}")
def test_the_page_says_what_is_measured(case: object, tmp_path: Path) -> None:
    found = []
    for number, target in enumerate(TARGETS):
        folder = tmp_path / str(number)
        folder.mkdir()
        found.append(measure(case, target, folder))  # type: ignore[arg-type]
    assert not {"DROPPED SILENTLY", "CHANGED SILENTLY"} & set(found)
    assert ROWS[case.source, case.what] == found  # type: ignore[attr-defined]


def test_the_page_has_no_other_rows() -> None:
    assert set(ROWS) == {(case.source, case.what) for case in CASES}
