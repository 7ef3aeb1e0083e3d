"""Photographs beside the checkout, shrunk until they are clean."""

from collections.abc import Callable
from pathlib import Path

import pytest
from known_pictures import Picture, load, resized


@pytest.fixture(scope="session")
def shared() -> Callable[[str], list[Path]]:
    """Files beside this checkout by a pattern, sorted; the test is skipped where they are not there."""
    folder = Path(__file__).resolve().parents[2].parent / "shared"

    def find(pattern: str) -> list[Path]:
        found = sorted(folder.glob(pattern))
        if not found:
            pytest.skip(f"../shared/{pattern} is not beside this checkout")
        return found

    return find


@pytest.fixture(scope="session")
def photographs(shared: Callable[[str], list[Path]]) -> list[Picture]:
    """Twelve photographs, shrunk two to six times."""
    large, small = shared("photos/*.jpg")[::5], shared("gb82/*.png")[::5]
    return [resized(load(path), 1 / 5) for path in large[:6]] + [resized(load(path), 1 / 2) for path in small[:6]]
