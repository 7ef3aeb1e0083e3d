"""What a user may get wrong, as the command line answers it: one line and exit code 2, or a warning and a result."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gramgan.cli.app import run
from gramgan.collect import split
from gramgan.config import Config
from gramgan.errors import UserError
from gramgan.images import write_image
from gramgan.networks.build import load_generator
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.training.checkpoint import checkpoints
from gramgan.training.run import train
from gramgan.weights.formats import write_pth

Tiny = Callable[..., Config]
Refused = Callable[..., str]
PRETRAIN = {"pretrain": 1, "warm_discriminator": 0, "adversarial": 0}


@pytest.fixture
def refused(tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs `gramgan train` with these settings, and gives its one line of error."""

    def command(output: Path | None = None, **sections: dict[str, Any]) -> str:
        config = tmp_path / "settings.yaml"
        config.write_text(tiny(**sections).to_yaml())
        folder = output or tmp_path / "run"
        assert run(["train", "--config", str(config), "-o", str(folder)]) == 2
        lines = capsys.readouterr().err.splitlines()
        [line] = [line for line in lines if not line.startswith("data.source: ")]  # which says how images are read
        assert line.startswith("error: ")
        assert not checkpoints(folder / "checkpoints")
        return line

    return command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "my photos"
    made.mkdir()
    return made


def noise(path: Path, side: int = 96) -> None:
    write_image(path, np.random.default_rng(side).random((3, side, side)).astype(np.float32))


def test_folders_without_photographs(refused: Refused, folder: Path, tmp_path: Path) -> None:
    assert f"{folder}: no images in this folder (it is empty)" in refused(data={"photos": str(folder)})
    for number in range(3):
        (folder / f"notes{number}.txt").write_text("no picture")
    assert f"{folder}: no images in this folder (it holds 3 other files)" in refused(data={"photos": str(folder)})
    missing = tmp_path / "missing"
    assert f"{missing}: no such folder" in refused(data={"photos": str(missing)})


def test_photographs_smaller_than_a_crop(refused: Refused, folder: Path) -> None:
    for number in range(3):
        noise(folder / f"small{number}.png", 60)
    line = refused(data={"photos": str(folder)})
    assert "data.photos: none of 2 images can be trained on: small" in line
    assert "60x60 is smaller than a crop of 64" in line
    assert "at least 64x64 pixels or a smaller data.crop" in line


def test_a_truncated_photograph_among_good_ones_is_skipped_and_counted(
    tiny: Tiny, folder: Path, tmp_path: Path, messages: pytest.LogCaptureFixture
) -> None:
    for number in range(10):
        noise(folder / f"photo{number}.jpg")
    training, held_out = split(folder)
    for cut in (training[0], held_out[0]):
        cut.write_bytes(cut.read_bytes()[:2000])
    noise(training[1], 40)
    assert train(tiny(data={"photos": str(folder)}, stages=PRETRAIN), tmp_path / "run").finished
    assert f"2 of 8 photographs are left out: {training[0].name} (damaged or truncated JPEG" in messages.text
    assert f"{training[1].name} (40x40 is smaller than a crop of 64)" in messages.text
    assert f"left out of the validation: {held_out[0]}: damaged or truncated JPEG" in messages.text
    assert load_generator(tmp_path / "run" / "gramgan_G_best.safetensors").card.trained_on[0].count == 6


def test_a_single_photograph_is_enough(
    tiny: Tiny, folder: Path, tmp_path: Path, messages: pytest.LogCaptureFixture
) -> None:
    noise(folder / "only.png", 64)
    result = train(tiny(data={"photos": str(folder)}, stages=PRETRAIN), tmp_path / "run")
    assert result.finished
    assert set(result.scores) >= {"psnr_y", "gram_distance"}
    assert "a single photograph; it is validated on as well" in messages.text


def test_a_validation_folder_of_its_own(tiny: Tiny, photos: Path, folder: Path, tmp_path: Path) -> None:
    noise(folder / "judge.png")
    data = {"photos": str(photos), "validation": str(folder)}
    train(tiny(data=data, stages=PRETRAIN), tmp_path / "run")
    assert [path.name for path in (tmp_path / "run" / "samples").iterdir()] == ["judge"]


def test_validation_images_that_cannot_be_scored(tiny: Tiny, folder: Path, photos: Path, tmp_path: Path) -> None:
    noise(folder / "tiny.png", 16)
    with pytest.raises(UserError, match=r"data.validation: none of 1 images can be validated on"):
        train(tiny(data={"photos": str(photos), "validation": str(folder)}), tmp_path / "run")


def test_a_database_of_another_descriptor(refused: Refused, database: Path) -> None:
    line = refused(texture={"candidates": "database", "database": str(database), "descriptor": "rgb-centred"})
    assert f"{database}: this texture database holds rgb vectors of 4x4 patches, the run asks for rgb-centred" in line
    assert "set texture.descriptor=rgb texture.k=4" in line
    line = refused(texture={"candidates": "both", "database": str(database), "k": 8})
    assert "the run asks for rgb with k = 8" in line
    line = refused(texture={"candidates": "both", "database": "missing.lance"})
    assert "missing.lance: there is no such texture database; build one: gramgan db build" in line


def test_weights_of_another_architecture(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "wide.pth"
    write_pth(path, RRDBNet(RRDBConfig(16, 2, 4, "pixelshuffle")).state_dict())
    line = refused(generator={"start": str(path)})
    assert f"generator.start: {path} has network=rrdb nf=16 nb=2 gc=4 upsampler=pixelshuffle" in line
    assert "ask for network=rrdb nf=8 nb=1 gc=4 upsampler=nearest" in line
    state = RRDBNet(RRDBConfig(8, 1, 4, "nearest")).state_dict()
    del state["conv_hr.bias"]
    write_pth(path, state)
    assert "1 missing (conv_hr.bias)" in refused(generator={"start": str(path)})
    assert "missing" in refused(discriminator={"start": str(path)})


def test_a_pickle_with_code_in_it_is_not_run(refused: Refused, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    path = tmp_path / "trap.pth"
    torch.save({"params_ema": Trap()}, path)
    assert "could run code, so it is refused" in refused(generator={"start": str(path)})
    path.write_bytes(pickle.dumps(Trap()))
    assert str(path) in refused(generator={"start": str(path)})
    assert not (tmp_path / "sprung").exists()


def test_an_output_folder_that_cannot_be_one(refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    for output in (file, file / "run"):
        assert f"{output}: a file stands where a folder is needed" in refused(output=output)
    assert file.read_text() == "in the way"


def test_a_device_that_is_not_there(refused: Refused) -> None:
    assert "device 'tpu': unknown; use auto, cpu, cuda, cuda:N or mps" in refused(train={"device": "tpu"})


def test_a_missing_trunk_says_the_command_that_brings_it(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    from gramgan.networks.trunks import load_trunk

    monkeypatch.setattr("gramgan.training.build.load_trunk", load_trunk)
    assert "gramgan weights get vgg19" in refused()


def test_photographs_that_were_moved_before_resuming(
    tiny: Tiny, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(photos, moved)
    train(tiny(data={"photos": str(moved)}, stages=PRETRAIN), tmp_path / "run")
    shutil.rmtree(moved)
    assert run(["train", "--resume", str(tmp_path / "run"), "--set", "stages.pretrain=2"]) == 2
    assert f"error: {moved}: no such folder" in capsys.readouterr().err
