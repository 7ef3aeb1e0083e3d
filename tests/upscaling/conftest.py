"""A generator that is small enough for tests."""

from pathlib import Path

import pytest
import torch

from gramgan.networks.build import LoadedGenerator
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.weights.card import Card
from gramgan.weights.formats import write_safetensors


@pytest.fixture
def network() -> RRDBNet:
    """Random weights whose results lie around 0.5 and seldom outside of [0, 1]."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = RRDBNet(RRDBConfig(nf=8, nb=1, gc=4, upsampler="nearest"))
    with torch.no_grad():
        for name, parameter in network.body.named_parameters():
            if name.endswith("weight"):
                parameter.mul_(30)  # so that the far end of the receptive field counts
        network.conv_last.weight.mul_(2)
        assert network.conv_last.bias is not None
        network.conv_last.bias.fill_(0.5)
    return network.eval()


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
