"""Published weights, brought once into the user's cache by pip; where that fails, tests are skipped and say why."""

from pathlib import Path

import pytest

from gramgan.errors import UserError
from gramgan.weights.catalog import fetch_weights


def _fetch_or_skip(name: str) -> Path:
    try:
        return fetch_weights(name)
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def real_esrgan_path() -> Path:
    return _fetch_or_skip("real-esrgan-x4plus")


@pytest.fixture(scope="session")
def st_lpips_paths() -> dict[str, Path]:
    return {name: _fetch_or_skip(f"st-lpips-{name}") for name in ("alex", "vgg16")}
