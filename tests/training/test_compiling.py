"""Compiling changes speed alone, and its absence is one warning."""

import pytest
import torch

from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.networks.trunks import PerceptualTrunk
from gramgan.training.compiling import compile_networks
from gramgan.training.ema import averaged

CPU = torch.device("cpu")


@pytest.fixture
def network() -> RRDBNet:
    torch.manual_seed(0)
    return RRDBNet(RRDBConfig(8, 2, 4))


def gradients(network: RRDBNet) -> list[torch.Tensor]:
    lr = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    return list(torch.autograd.grad(network(lr).square().mean(), list(network.parameters())))


def test_compiled_blocks_have_the_same_gradients_and_names(network: RRDBNet) -> None:
    names, expected = list(network.state_dict()), gradients(network)
    if not compile_networks(network, None, CPU):
        pytest.skip("torch finds no compiler here")
    torch._dynamo.reset()  # pyright: ignore[reportPrivateImportUsage]
    counters = torch._dynamo.utils.counters  # pyright: ignore[reportAttributeAccessIssue]
    counters.clear()
    torch.testing.assert_close(gradients(network), expected, rtol=1e-4, atol=1e-7)
    assert counters["stats"]["unique_graphs"] == 1, "both blocks share one program"
    assert list(network.state_dict()) == names
    assert list(averaged(network, 0.9).module.state_dict()) == names


def test_compiled_blocks_may_be_computed_again_in_the_backward_pass(network: RRDBNet) -> None:
    expected = gradients(network)
    network.checkpointing = True
    if not compile_networks(network, None, CPU):
        pytest.skip("torch finds no compiler here")
    torch._dynamo.reset()  # pyright: ignore[reportPrivateImportUsage]
    torch.testing.assert_close(gradients(network), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_the_compiled_trunk_has_the_same_features(network: RRDBNet) -> None:
    trunk = PerceptualTrunk("st-vgg16")
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    expected = trunk(image)
    if not compile_networks(network, trunk, CPU):
        pytest.skip("torch finds no compiler here")
    torch._dynamo.reset()  # pyright: ignore[reportPrivateImportUsage]
    torch.testing.assert_close(trunk(image), expected, rtol=1e-4, atol=1e-5)


def test_without_a_compiler_one_warning_and_the_plain_network(
    network: RRDBNet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, "no-such-compiler"))
    monkeypatch.setattr("torch._inductor.config.force_disable_caches", True)
    torch._dynamo.reset()  # pyright: ignore[reportPrivateImportUsage]
    expected = gradients(network)
    assert not compile_networks(network, None, CPU)
    torch._dynamo.reset()  # pyright: ignore[reportPrivateImportUsage]
    (warning,) = [record.message for record in caplog.records if record.name.startswith("gramgan")]
    assert warning.startswith("train.compile: nothing is compiled, torch finds no compiler for cpu here: ")
    torch.testing.assert_close(gradients(network), expected, rtol=0, atol=0)
