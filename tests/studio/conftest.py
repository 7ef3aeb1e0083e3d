"""The folders and the studio of a module's tests."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from served import Served, picture, started

from gramgan.images import write_image
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.weights.card import Card
from gramgan.weights.formats import write_safetensors


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a module's studio works in: some pictures and a generator that takes next to no time."""
    place = tmp_path_factory.mktemp("studio")
    folder = place / "pictures"
    folder.mkdir()
    write_image(folder / "one.png", picture(1, 60, 80))
    write_image(folder / "deep.png", np.concatenate([picture(2, 40, 48), picture(3, 40, 48)[:1]]), bits=16)
    config = RRDBConfig(nf=4, nb=1, gc=2, upsampler="nearest")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = RRDBNet(config)
    card = Card(name="small", architecture={"network": "rrdb", **config.to_dict()}, licence="CC0-1.0", overlap=20)
    write_safetensors(folder / "small.safetensors", network.state_dict(), card)
    return place


@pytest.fixture(scope="module")
def served(place: Path) -> Iterator[Served]:
    with started(place) as studio:
        yield studio
