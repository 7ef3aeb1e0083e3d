"""The generator that comes with the package: whole, described, and what is used where no weights are named."""

from pathlib import Path

import numpy as np
import pytest
import torch

import gramgan
from gramgan.cli.app import run
from gramgan.evaluation.compare import evaluate
from gramgan.files import sha256
from gramgan.networks.build import load_generator
from gramgan.networks.rrdb import RRDBConfig
from gramgan.ops.resize import bicubic_up, matlab_bicubic_down
from gramgan.upscaling.model import DEFAULT_MODEL
from gramgan.weights.catalog import KNOWN, fetch_weights, is_cached, weight_path
from gramgan.weights.interpolate import find_partner, interpolate

PACKAGED = ("gramgan-x4", "gramgan-x4-lite", "gramgan-x4-lite-psnr")


@pytest.mark.parametrize("name", PACKAGED)
def test_the_file_is_the_one_of_the_table(name: str) -> None:
    known = KNOWN[name]
    path = weight_path(known.name)
    assert known.packaged
    assert is_cached(known)
    assert path.is_relative_to(Path(gramgan.__file__).parent)
    assert sha256(path) == known.files[0].sha256


@pytest.mark.parametrize("name", PACKAGED[1:])
def test_cards_of_the_small_ones(name: str) -> None:
    loaded = load_generator(name)
    assert loaded.config == RRDBConfig(32, 4, 16, "nearest")
    assert sum(parameter.numel() for parameter in loaded.network.parameters()) < 1_500_000
    card = loaded.card
    assert (card.name, card.licence) == (name, KNOWN[name].licence)
    # The teacher's data are among them: RealSR's weights had seen DIV2K and Flickr2K.
    assert {"DIV2K", "Flickr2K"} <= {data.name for data in card.trained_on}
    assert {"CC-BY-4.0", "CC-BY-SA-4.0", "GPL-2+"} <= set(card.licences)
    assert card.started_from in card.parents
    assert not Path(card.started_from).is_absolute()
    assert card.consistent
    assert card.scores


def test_strength_finds_the_small_one_s_partner() -> None:
    partner = find_partner("gramgan-x4-lite")
    assert partner == "gramgan-x4-lite-psnr"
    texture, psnr = (load_generator(name).network.state_dict() for name in ("gramgan-x4-lite", partner))
    between = interpolate(psnr, texture, 0.5, ("psnr", "texture"))
    assert torch.equal(between["conv_first.bias"], (psnr["conv_first.bias"] + texture["conv_first.bias"]) / 2)


def test_the_small_one_beats_bicubic_by_two_and_a_half_decibels(benchmarks_folder: Path) -> None:
    report = evaluate(["bicubic", "gramgan-x4-lite-psnr"], benchmarks_folder / "Set5", device="cpu", precision="fp32")
    bicubic, small = (model.mean()["psnr_y"] for model in report.models)
    assert bicubic == pytest.approx(28.43, abs=0.02)
    assert small - bicubic > 2.5


@pytest.mark.slow
def test_it_is_sharper_and_nearer_to_the_truth_than_its_start(benchmarks_folder: Path) -> None:
    if not is_cached(KNOWN["st-lpips-alex"]):
        pytest.skip("the weights of ST-LPIPS are not in the cache (gramgan weights get st-lpips-alex)")
    (own,) = evaluate(DEFAULT_MODEL, benchmarks_folder / "Set5", device="cpu").models
    assert own.back_projected
    # RealSR DF2K has 30.39 dB and 0.0490, SRGAN 29.19 dB and 0.0772, the ablation's L_C + L_P + L_G 30.47 and 0.0480.
    assert own.mean()["psnr_y"] > 30.39 + 0.5
    assert own.mean()["st_lpips"] < 0.047


def test_its_card_says_what_went_into_it() -> None:
    loaded = load_generator(DEFAULT_MODEL)
    assert loaded.config == RRDBConfig(64, 23, 32, "nearest")
    card = loaded.card
    assert card.name == DEFAULT_MODEL
    assert card.licence == "Apache-2.0"
    assert card.started_from == "realsr-df2k"
    assert {"DIV2K", "Flickr2K", "photos"} <= {data.name for data in card.trained_on}
    assert {"Apache-2.0", "CC-BY-4.0", "CC-BY-SA-4.0", "GPL-2+"} <= set(card.licences)
    assert all(card.losses[name] > 0 for name in ("texture", "disc_perceptual", "perceptual", "adversarial", "pixel"))
    assert card.scores
    assert card.overlap >= 32
    assert card.consistent


def test_it_agrees_with_its_input_and_is_sharper_than_bicubic() -> None:
    side = torch.arange(64, dtype=torch.float32)
    hr = 0.5 + 0.3 * torch.sign(torch.sin(side[:, None] / 5) + torch.sin(side / 7)).expand(1, 3, 64, 64)
    lr = matlab_bicubic_down(hr)
    with torch.no_grad():
        sr = load_generator(DEFAULT_MODEL).network(lr).clamp(0, 1)
    inner = (..., slice(8, -8), slice(8, -8))
    error = (matlab_bicubic_down(sr, quantise=False) - lr).square().mean().sqrt()
    assert error < 0.03
    assert (sr - hr)[inner].abs().mean() < (bicubic_up(lr) - hr)[inner].abs().mean() / 2


def test_it_needs_no_network_and_no_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path))
    result = gramgan.upscale(np.full((6, 8, 3), 128, np.uint8), device="cpu", backend="torch", precision="fp32")
    assert isinstance(result, np.ndarray)
    assert result.shape == (24, 32, 3)
    assert abs(float(result.mean()) - 128) < 4
    path = weight_path(DEFAULT_MODEL)
    assert fetch_weights(DEFAULT_MODEL) == path
    assert run(["weights", "clear", DEFAULT_MODEL]) == 0
    assert run(["weights", "clear"]) == 0
    assert run(["weights", "path", DEFAULT_MODEL]) == 0
    assert str(path) in capsys.readouterr().out.replace("\n", "")
    assert path.is_file()
