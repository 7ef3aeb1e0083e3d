"""The generator that comes with the package: whole, described, and what is used where no weights are named."""

import statistics
from pathlib import Path

import numpy as np
import pytest
import torch

import gramgan
from gramgan.cli.app import run
from gramgan.evaluation.compare import evaluate
from gramgan.files import sha256
from gramgan.images import read_rgb
from gramgan.metrics.psnr import psnr_y
from gramgan.networks.build import load_generator
from gramgan.networks.rrdb import RRDBConfig
from gramgan.networks.span import SPANConfig
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
    assert loaded.config == SPANConfig(48, 6, 4)
    card = loaded.card
    assert (card.name, card.licence) == (name, KNOWN[name].licence)
    # SPAN's own weights had seen DIV2K and Flickr2K.
    assert {"DIV2K", "Flickr2K"} <= {data.name for data in card.trained_on}
    assert card.consistent
    assert card.overlap == {"gramgan-x4-lite": 24, "gramgan-x4-lite-psnr": 16}[name]


def test_the_card_of_the_one_with_texture() -> None:
    card = load_generator("gramgan-x4-lite").card
    assert {"cid22", "gb82", "photos"} <= {data.name for data in card.trained_on}
    assert {"Apache-2.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC0-1.0", "GPL-2+"} <= set(card.licences)
    assert card.started_from == "span-x4"
    assert all(card.losses[name] > 0 for name in ("dists", "lpips", "adversarial", "pixel", "consistency"))


def test_strength_finds_the_small_one_s_partner() -> None:
    partner = find_partner("gramgan-x4-lite")
    assert partner == "gramgan-x4-lite-psnr"
    texture, psnr = (load_generator(name).network.state_dict() for name in ("gramgan-x4-lite", partner))
    between = interpolate(psnr, texture, 0.5, ("psnr", "texture"))
    assert torch.equal(between["conv_1.bias"], (psnr["conv_1.bias"] + texture["conv_1.bias"]) / 2)


def test_the_small_one_has_the_paper_s_score(benchmarks_folder: Path) -> None:
    network = load_generator("gramgan-x4-lite-psnr").network
    scores = []
    for path in sorted((benchmarks_folder / "Set5").glob("*_HR.png")):
        low = path.with_name(path.name.replace("HR", "LR"))
        hr, lr = (torch.from_numpy(read_rgb(each))[None] for each in (path, low))
        with torch.no_grad():
            scores.append(float(psnr_y(network(lr), hr)))
    assert statistics.mean(scores) == pytest.approx(32.20, abs=0.02)  # table 1 of SPAN's paper; bicubic has 28.43


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
