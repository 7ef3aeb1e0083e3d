"""Generators between two others, and which partner a card names."""

import logging
from pathlib import Path

import pytest
import torch

from gramgan.errors import UserError
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.weights.card import Card
from gramgan.weights.formats import write_safetensors
from gramgan.weights.interpolate import find_partner, interpolate, similarity

NAMES = ("psnr", "texture")


def state(seed: int = 0, gc: int = 4) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RRDBNet(RRDBConfig(nf=8, nb=1, gc=gc)).state_dict()


def moved(before: dict[str, torch.Tensor], by: float) -> dict[str, torch.Tensor]:
    return {name: tensor + by * tensor.abs().mean() for name, tensor in before.items()}


def test_the_ends_are_the_two_and_the_middle_is_their_mean() -> None:
    psnr, texture = state(), moved(state(), 0.1)
    for strength in (0.0, 0.25, 1.0):
        between = interpolate(psnr, texture, strength, NAMES)
        assert list(between) == list(texture)
        for name, tensor in between.items():
            torch.testing.assert_close(tensor, (1 - strength) * psnr[name] + strength * texture[name])


def test_half_precision_becomes_single() -> None:
    half = {name: tensor.half() for name, tensor in state().items()}
    assert all(tensor.dtype == torch.float32 for tensor in interpolate(half, state(), 0.5, NAMES).values())


def test_unrelated_networks_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "gramgan"):
        interpolate(state(), moved(state(), 0.1), 0.5, NAMES)
        assert not caplog.text
        interpolate(state(), state(seed=1), 0.5, NAMES)
    assert "psnr and texture were not trained from one another" in caplog.text
    assert similarity(state(), state()) == pytest.approx(1)


def test_other_architectures_are_refused() -> None:
    with pytest.raises(UserError, match="psnr: its network is another than that of texture"):
        interpolate(state(gc=6), state(), 0.5, NAMES)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_strengths_out_of_range(strength: float) -> None:
    with pytest.raises(UserError, match=r"strength: .* is outside of 0 to 1"):
        interpolate(state(), state(), strength, NAMES)


def card(partner: str) -> Card:
    return Card(name="t", architecture={"network": "rrdb"}, licence="CC0-1.0", psnr_partner=partner)


def test_the_card_names_the_partner(tmp_path: Path) -> None:
    path = tmp_path / "texture.safetensors"
    write_safetensors(path, state(), card("realsr-df2k"))
    assert find_partner(path) == "realsr-df2k"
    write_safetensors(path, state(), card("psnr.safetensors"))
    with pytest.raises(UserError, match=r"the PSNR-oriented .*psnr\.safetensors is not there"):
        find_partner(path)
    write_safetensors(tmp_path / "psnr.safetensors", state(), card(""))
    assert find_partner(path) == tmp_path / "psnr.safetensors"


def test_without_a_partner_it_is_asked_for(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "t.safetensors", state(), card(""))
    for spec in ("real-esrgan-x4plus", tmp_path / "t.safetensors", tmp_path / "no.pth"):
        with pytest.raises(UserError, match=r"name no PSNR-oriented generator .* --psnr-model"):
            find_partner(spec)
    (tmp_path / "t.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match="not a safetensors file"):
        find_partner(tmp_path / "t.safetensors")
