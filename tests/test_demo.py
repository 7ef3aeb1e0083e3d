"""The demo's own pieces; the whole of it is `make demo`."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from gramgan.cli.app import run
from gramgan.collect import collect_folder
from gramgan.demo import Screen, run_demo
from gramgan.images import read_rgb, write_image
from gramgan.networks.span import SPAN, SPANConfig
from gramgan.progress import silent
from gramgan.training.run import Unwatched
from gramgan.weights.card import Card
from gramgan.weights.formats import write_safetensors


def test_an_earlier_demo_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "demo" / "gram-gan" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "0000050.pt").write_bytes(b"")
    assert run(["demo", "--output", str(tmp_path / "demo"), "--photos", str(tmp_path / "photos")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--output" in error
    assert not (tmp_path / "photos").exists()


@pytest.mark.network
@pytest.mark.usefixtures("st_lpips_paths")
def test_the_whole_chain_with_a_small_generator(tmp_path: Path) -> None:
    for seed in range(4):
        blocks = np.random.default_rng(seed).random((3, 26, 26), dtype=np.float32)
        write_image(tmp_path / "mine" / f"{seed}.png", np.kron(blocks, np.ones((1, 8, 8), np.float32)))
    collect_folder(tmp_path / "mine", tmp_path / "photos")
    config = SPANConfig(nf=8, nb=1)
    torch.manual_seed(0)
    card = Card(name="tiny", architecture={"network": "span", **config.to_dict()}, licence="none", overlap=4)
    write_safetensors(tmp_path / "tiny.safetensors", SPAN(config).state_dict(), card)
    small = ["generator.nf=8", "generator.nb=1", f"generator.start={tmp_path / 'tiny.safetensors'}"]
    short = [
        "data.crop=64",
        "train.batch_size=2",
        "stages.warm_discriminator=1",
        "stages.adversarial=2",
        "train.precision=fp32",
        "schedule.rate=0.01",  # two steps are to be seen in 8 bits
    ]
    told: list[str] = []
    watch = Screen(told.append, lambda text: nullcontext(silent), lambda: nullcontext(Unwatched()))
    result = run_demo(
        tmp_path / "demo", tmp_path / "photos", watch, [*small, *short], str(tmp_path / "tiny.safetensors")
    )
    assert result.picture.read_bytes().startswith(b"\x89PNG")
    page = result.report.read_text()
    assert "What 2 steps can show" in page
    assert page.count("<img") >= 3
    assert list(result.scores) == ["bicubic", "start", "L_C alone", "five losses", "gramgan-x4"]
    assert result.scores["start"] != result.scores["five losses"]
    first = tmp_path / "demo" / "first-picture.png"
    (photo,) = (line.rpartition(" ")[2] for line in told if str(first) in line)
    assert read_rgb(first).shape[1:] == tuple(4 * side for side in read_rgb(photo).shape[1:])
    assert told.index(next(line for line in told if str(first) in line)) == 2  # before anything is fetched or trained
    assert (tmp_path / "demo" / "gram-gan" / "gramgan_G_best_D.pth").exists()
