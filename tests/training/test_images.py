"""Where a run's images come from: every source gives the same run, and nothing that happens to it ends one."""

import io
import json
import os
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gramgan.config import Config
from gramgan.config.sections import Stage
from gramgan.data.stream import StreamedImages
from gramgan.errors import UserError
from gramgan.images import find_images, read_rgb, write_image
from gramgan.networks.build import load_generator
from gramgan.ops.resize import matlab_bicubic_down
from gramgan.training import images as run_images
from gramgan.training.checkpoint import load_checkpoint
from gramgan.training.folder import read_log
from gramgan.training.images import images_of, settled_way
from gramgan.training.run import Unwatched, train

Tiny = Callable[..., Config]


class Doer(Unwatched):
    """Does something after some iterations."""

    def __init__(self, after: int, what: Callable[[], object]) -> None:
        self.after, self.what = after, what

    def iteration(self, done: int, total: int, stage: Stage) -> None:
        if done == self.after:
            self.what()


def weights(folder: Path) -> torch.Tensor:
    """The end of a run."""
    state = load_checkpoint(folder / "checkpoints")
    return torch.cat([value.flatten() for value in state["generator"].values()])


def stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def pairs(photos: Path, tmp_path: Path) -> Path:
    """HR and LR folders of the photographs; LR is darker than a bicubic one, to be known again."""
    for path in find_images(photos):
        hr = read_rgb(path)
        write_image(tmp_path / "pairs" / "HR" / path.name, hr)
        low = 0.5 * matlab_bicubic_down(torch.from_numpy(hr)[None])[0].numpy()
        write_image(tmp_path / "pairs" / "LR" / f"{path.stem}x4.png", low)
    return tmp_path / "pairs"


@pytest.fixture
def shards(photos: Path, tmp_path: Path) -> Path:
    """The photographs in shards, one of them held out."""
    paths = find_images(photos)
    (tmp_path / "shards").mkdir()
    for name, members in (("train-000000", paths[:2]), ("train-000001", paths[2:4]), ("holdout-000000", paths[4:])):
        with tarfile.open(tmp_path / "shards" / f"{name}.tar", "w") as archive:
            for number, path in enumerate(members):
                record = json.dumps({"licence": f"CC-{name}-{number}", "source": path.name, "x": 0, "y": 0}).encode()
                for suffix, content in ((".png", path.read_bytes()), (".json", record)):
                    member = tarfile.TarInfo(path.stem + suffix)
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return tmp_path / "shards"


def data_of(source: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    if source == "pairs":
        folder = request.getfixturevalue("pairs")
        return {"photos": str(folder / "HR"), "low": str(folder / "LR")}
    return {"photos": str(request.getfixturevalue("shards" if source == "shards" else "photos"))}


@pytest.mark.parametrize("source", ["folder", "shards", "pairs"])
def test_resuming_is_bit_exact_and_the_same_as_from_memory(
    source: str, tiny: Tiny, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    data = data_of(source, request)
    train(tiny(data={**data, "source": "resident"}), tmp_path / "resident")
    streamed = tiny(data={**data, "source": source, "workers": 2})
    train(streamed, tmp_path / "whole")
    assert not train(streamed, tmp_path / "halves", observer=Doer(3, stop)).finished
    # Other workers, even another way of reading: the crops are the same.
    other = tiny(data={**data, "source": "resident" if source == "folder" else source, "workers": 1})
    assert train(other, tmp_path / "halves", resume=True).finished
    assert torch.equal(weights(tmp_path / "whole"), weights(tmp_path / "resident"))
    assert torch.equal(weights(tmp_path / "halves"), weights(tmp_path / "resident"))
    [position] = {load_checkpoint(tmp_path / run / "checkpoints")["data"]["position"] for run in ("whole", "halves")}
    assert position == 12


def test_a_killed_worker_and_a_broken_file_are_in_the_records(
    tiny: Tiny, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "photos"
    for path in find_images(photos):
        write_image(folder / path.name, read_rgb(path))
    monkeypatch.setattr(run_images, "photographs", lambda config: (find_images(folder)[:4], find_images(folder)[4:]))
    sources: list[StreamedImages] = []
    started = StreamedImages._started

    def kept(source: StreamedImages) -> Any:
        sources.append(source)
        return started(source)

    monkeypatch.setattr(StreamedImages, "_started", kept)

    def harm() -> None:
        for path in find_images(folder)[:2]:
            path.write_bytes(path.read_bytes()[:300])
        for process in sources[-1].processes():
            os.kill(process, signal.SIGKILL)

    config = tiny(
        data={"photos": str(folder), "source": "folder", "workers": 2},
        stages={"pretrain": 30, "warm_discriminator": 0, "adversarial": 0},
        log={"every": 5},
    )
    assert train(config, tmp_path / "run", observer=Doer(2, harm)).finished
    feeding = [record["data"] for record in read_log(tmp_path / "run") if record["event"] == "step"]
    assert len(feeding) >= 6
    assert all(0 <= data["wait_share"] <= 1 for data in feeding)
    troubles = {name: what for data in feeding for name, what in data.get("troubles", {}).items()}
    named = {str(path) for path in find_images(folder)[:2]}
    assert named <= troubles.keys()
    assert all("damaged" in troubles[name] for name in named)
    assert any(what.startswith("killed by SIGKILL") for what in troubles.values())
    assert sum(data["replaced_crops"] for data in feeding) > 0
    assert sources[-1].processes() == []  # the run has ended its workers


def test_auto_says_what_it_takes(
    tiny: Tiny, shards: Path, pairs: Path, messages: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = {
        "folder": tiny(),
        "shards": tiny(data={"photos": str(shards)}),
        "pairs": tiny(data={"photos": str(pairs / "HR"), "low": str(pairs / "LR")}),
    }
    for config in configs.values():
        assert settled_way(config, "cpu") == "resident"
    assert messages.messages[0].startswith("data.source: resident (4 images would take about ")
    monkeypatch.setattr("gramgan.data.choice.free_device_bytes", lambda device: 1000)
    for way, config in configs.items():
        assert settled_way(config, "cpu") == way
        assert messages.messages[-1].startswith(f"data.source: {way} (")
    assert settled_way(tiny(data={"source": "resident"}), "cpu") == "resident"


def test_pairs_are_trained_and_validated_on_as_they_are(tiny: Tiny, pairs: Path, tmp_path: Path) -> None:
    config = tiny(
        data={"photos": str(pairs / "HR"), "low": str(pairs / "LR")},
        stages={"pretrain": 1, "warm_discriminator": 0, "adversarial": 0},
    )
    images = images_of(config)
    assert (len(images.training), len(images.validation)) == (4, 1)
    result = train(config, tmp_path / "run")
    records = [record for record in read_log(tmp_path / "run") if record["event"] == "validation"]
    assert {record["protocol"] for record in records} == {"sr-y-crop4 on 1 validation images, LR as given"}
    assert next(r["scores"]["psnr_y"] for r in records if r["of"] == "bicubic") < 15  # half as bright
    assert result.finished
    own = tmp_path / "own"
    for name, path in (("a_HR.png", images.validation[0].high), ("a_LR.png", images.validation[0].low)):
        assert path is not None
        write_image(own / name, read_rgb(path.path))
    config = tiny(data={"photos": str(pairs / "HR"), "low": str(pairs / "LR"), "validation": str(own)})
    [item] = images_of(config).validation
    assert item.low is not None
    assert item.low.path.name == "a_LR.png"
    write_image(pairs / "LR" / "photo0x4.png", np.zeros((3, 24, 21), np.float32))
    with pytest.raises(UserError, match=r"photo0x4\.png: 21x24 is not exactly a quarter of photo0\.png, 80x96"):
        images_of(config)


def test_shards_bring_their_licences_and_what_is_held_out(
    tiny: Tiny, shards: Path, photos: Path, tmp_path: Path
) -> None:
    config = tiny(data={"photos": str(shards)}, stages={"pretrain": 1, "warm_discriminator": 0, "adversarial": 0})
    train(config, tmp_path / "run")
    card = load_generator(tmp_path / "run" / "gramgan_G_best.safetensors").card
    assert card is not None
    expected = [f"CC-train-{shard:06d}-{number}" for shard in range(2) for number in range(2)]
    assert card.licences == expected
    assert card.trained_on[-1].licence == ", ".join(expected)
    assert card.trained_on[-1].count == 4
    (shards / "holdout-000000.tar").unlink()
    with pytest.raises(UserError, match="holds no shard named holdout-… to validate on"):
        images_of(config)
    own = images_of(tiny(data={"photos": str(shards), "validation": str(photos)}))
    assert (len(own.training), len(own.validation)) == (4, 5)
