"""Fixtures that every test may use."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def photos_folder() -> Path:
    folder = SHARED / "photos"
    if not folder.is_dir():
        pytest.skip("the folder ../shared/photos is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def benchmarks_folder() -> Path:
    folder = SHARED / "benchmarks"
    if not folder.is_dir():
        pytest.skip("the folder ../shared/benchmarks is not beside this checkout")
    return folder
