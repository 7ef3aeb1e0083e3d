"""What is read back out of a run's folder."""

from pathlib import Path

import pytest

from gramgan.reports.recorded import distinct_names, trouble_in_words


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["runs/a", "runs/b"], ["a", "b"]),
        (["one/lite", "two/lite"], ["one/lite", "two/lite"]),
        (["x/one/lite", "x/two/lite", "x/other"], ["one/lite", "two/lite", "x/other"]),
    ],
)
def test_names_are_as_short_as_they_can_be(folders: list[str], names: list[str]) -> None:
    assert distinct_names([Path(folder) for folder in folders]) == names


def test_troubles_in_words() -> None:
    assert trouble_in_words({"event": "warning", "message": "colours drift"}) == "colours drift"
    assert (
        trouble_in_words({"event": "skip", "broken": ["pixel", "texture"]})
        == "a step was skipped: pixel, texture not finite"
    )
    assert trouble_in_words({"event": "rollback", "from": 70, "rate_scale": 0.5, "because": "pixel is not finite"}) == (
        "the run went back from iteration 70, learning rates times 0.5: pixel is not finite"
    )
