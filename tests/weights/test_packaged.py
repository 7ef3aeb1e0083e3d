"""The generator that comes with the package: whole, described, and what is used where no weights are named."""

from pathlib import Path

import numpy as np
import pytest
import torch

import gramgan
from gramgan.cli.app import run
from gramgan.files import sha256
from gramgan.networks.build import load_generator
from gramgan.networks.rrdb import RRDBConfig
from gramgan.ops.resize import bicubic_up, matlab_bicubic_down
from gramgan.upscaling.models import DEFAULT_MODEL
from gramgan.weights.catalog import KNOWN, fetch_weights, is_cached, weight_path


def test_the_file_is_the_one_of_the_table() -> None:
    known = KNOWN[DEFAULT_MODEL]
    path = weight_path(known.name)
    assert known.packaged
    assert is_cached(known)
    assert path.is_relative_to(Path(gramgan.__file__).parent)
    assert sha256(path) == known.files[0].sha256


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
