"""What the tests of all plugins have: folders, and a small generator."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.weights.card import Card
from gramgan.weights.formats import write_safetensors

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all, so that backends are compared once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAMGAN_CACHE", str(cache))


@pytest.fixture
def plugins() -> Path:
    return PLUGINS


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = RRDBConfig(nf=8, nb=1, gc=4, upsampler="nearest")
    card = Card(name="tiny", architecture={"network": "rrdb", **config.to_dict()}, licence="CC0-1.0", overlap=4)
    write_safetensors(tmp_path / "tiny.safetensors", RRDBNet(config).state_dict(), card)
    return tmp_path / "tiny.safetensors"


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch):
    """Imports a package's folder under a name of its own, as hosts do, and forgets it afterwards."""

    def load(folder: Path, name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load
