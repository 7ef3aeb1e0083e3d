"""A generator that is small enough for tests."""

from pathlib import Path

import pytest

from gramgan.networks.build import LoadedGenerator
from gramgan.networks.rrdb import RRDBNet
from gramgan.weights.card import Card
from gramgan.weights.formats import write_safetensors


@pytest.fixture
def generator(network: RRDBNet) -> LoadedGenerator:
    """`network` with a card; its results depend on 18.25 low-resolution pixels to each side, so the overlap is 20."""
    card = Card(
        name="tiny",
        architecture={"network": "rrdb", **network.config.to_dict()},
        licence="CC0-1.0",
        overlap=20,
    )
    return LoadedGenerator(network=network, config=network.config, card=card)


@pytest.fixture
def weights(generator: LoadedGenerator, tmp_path: Path) -> Path:
    """`generator` as a file."""
    path = tmp_path / "weights" / "tiny.safetensors"
    write_safetensors(path, generator.network.state_dict(), generator.card)
    return path
