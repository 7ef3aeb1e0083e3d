from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gramgan.errors import UserError
from gramgan.networks.build import infer_rrdb, load_generator
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.weights.card import Card
from gramgan.weights.formats import write_pth, write_safetensors

CONFIG = RRDBConfig(nf=8, nb=2, gc=4)
CARD = Card(name="tiny", architecture={"network": "rrdb", **CONFIG.to_dict()}, licence="Apache-2.0", overlap=9)


@pytest.fixture
def network() -> RRDBNet:
    torch.manual_seed(0)
    return RRDBNet(CONFIG).eval()


@pytest.mark.parametrize("nb", [0, 1, 3, 12])
@pytest.mark.parametrize("upsampler", ["pixelshuffle", "nearest"])
def test_architecture_from_shapes(nb: int, upsampler: str) -> None:
    config = RRDBConfig(nf=6, nb=nb, gc=3, upsampler=upsampler)  # type: ignore[arg-type]
    with torch.device("meta"):
        state = RRDBNet(config).state_dict()
    if nb == 0:
        with pytest.raises(UserError, match=r"body.0.rdb1.conv1.weight missing"):
            infer_rrdb(state)
    else:
        assert infer_rrdb(state) == config


@pytest.mark.parametrize("as_text", [True, False])
def test_safetensors_with_card(tmp_path: Path, network: RRDBNet, as_text: bool) -> None:
    path = tmp_path / "w.safetensors"
    write_safetensors(path, network.state_dict(), CARD)
    loaded = load_generator(str(path) if as_text else path)
    assert loaded.config == CONFIG
    assert loaded.card == CARD
    assert not loaded.network.training
    x = torch.rand(1, 3, 5, 4)
    with torch.no_grad():
        assert torch.equal(loaded.network(x), network(x))


def test_pth_gets_a_plain_card(tmp_path: Path, network: RRDBNet) -> None:
    write_pth(tmp_path / "w.pth", network.state_dict())
    loaded = load_generator(tmp_path / "w.pth")
    assert (loaded.card.name, loaded.card.licence) == ("w", "unknown")
    assert loaded.card.architecture == {"network": "rrdb", **CONFIG.to_dict()}


def test_a_loaded_generator_can_be_trained(tmp_path: Path, network: RRDBNet) -> None:
    write_pth(tmp_path / "w.pth", network.state_dict())
    loaded = load_generator(tmp_path / "w.pth").network.train()
    loaded(torch.rand(1, 3, 8, 8)).mean().backward()
    assert all(parameter.grad is not None for parameter in loaded.parameters())


def _refused(spec: str | Path, *expected: str) -> None:
    with pytest.raises(UserError) as caught:
        load_generator(spec)
    for text in expected:
        assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network(tmp_path: Path, network: RRDBNet) -> None:
    path = tmp_path / "d.pth"
    write_pth(path, {"features.0.weight": torch.zeros(4, 3, 3, 3), "features.0.bias": torch.zeros(4)})
    _refused(path, f"{path}: not an RRDBNet generator", "it has 2 others such as features.0.weight")
    state = network.state_dict()
    state["conv_first.weight"] = torch.zeros(8, 5, 3, 3)
    write_pth(path, state)
    _refused(path, "takes 5 channels, neither RGB nor RGB in blocks of 2×2 or 4×4")
    state = network.state_dict()
    state["conv_up1.weight"] = torch.zeros(16, 8, 3, 3)
    write_pth(path, state)
    _refused(path, "conv_up1 has 16 channels, neither 8 nor 32")


def test_the_cards_network_and_numbers_must_agree(tmp_path: Path, network: RRDBNet) -> None:
    path = tmp_path / "w.safetensors"
    write_safetensors(
        path, network.state_dict(), CARD.model_copy(update={"architecture": {"network": "discriminator"}})
    )
    _refused(path, "its card says 'discriminator'")
    other = {"network": "rrdb", **replace(CONFIG, nb=3).to_dict()}
    write_safetensors(path, network.state_dict(), CARD.model_copy(update={"architecture": other}))
    _refused(path, "its card says nb=3 and its tensors say 2")


@pytest.mark.parametrize("key", ["conv_last.bias", "body.1.rdb3.conv5.weight", "body.0.rdb2.conv1.bias"])
def test_partial_weights_list_what_is_missing(tmp_path: Path, network: RRDBNet, key: str) -> None:
    state = network.state_dict()
    del state[key]
    write_pth(tmp_path / "w.pth", state)
    _refused(tmp_path / "w.pth", f"1 missing ({key})")


def test_blocks_with_a_hole_and_absurd_block_numbers(tmp_path: Path, network: RRDBNet) -> None:
    state = {name.replace("body.1.", "body.999999999."): tensor for name, tensor in network.state_dict().items()}
    write_pth(tmp_path / "w.pth", state)
    _refused(tmp_path / "w.pth", "30 missing (body.1.", "30 unexpected (body.999999999.")


def test_unknown_names_and_paths(tmp_path: Path, network: RRDBNet) -> None:
    _refused("real-esrgan-x4pluss", "did you mean real-esrgan-x4plus or gramgan-x4?")
    write_pth(tmp_path / "mine_best.pth", network.state_dict())
    _refused(tmp_path / "mine_bst.pth", "did you mean mine_best.pth?")
    _refused(tmp_path, "a folder, not a weight file")
    _refused("vgg19", "not a generator", "real-esrgan-x4plus")


def test_known_weights_that_are_not_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path))
    _refused("realsr-df2k", "run `gramgan weights get realsr-df2k`")


@pytest.mark.network
def test_known_generator(real_esrgan_path: Path) -> None:
    loaded = load_generator("real-esrgan-x4plus")
    assert loaded.config == RRDBConfig(nf=64, nb=23, gc=32, upsampler="nearest")
    assert (loaded.card.licence, loaded.card.overlap) == ("BSD-3-Clause", 80)
    # A smooth ramp must come out as the same ramp: wrong channel order, scale or layer order would not do that.
    ramp = torch.linspace(0.3, 0.7, 10).view(1, 1, 1, 10) * torch.tensor([1.0, 0.6, 0.3]).view(1, 3, 1, 1)
    ramp = ramp.expand(1, 3, 10, 10)
    with torch.inference_mode():
        result = loaded.network(ramp)
    small = torch.nn.functional.avg_pool2d(result, 4)
    assert (small - ramp)[..., 3:-3, 3:-3].abs().max() < 0.05
