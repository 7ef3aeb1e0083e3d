"""Records of OpenModelDB: the rules of its `validate-model.ts` and `model-props.ts`, written out here."""

import json
import logging
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import torch
from pydantic import BaseModel, ConfigDict, Field

from gramgan.cli.app import run
from gramgan.errors import UserError
from gramgan.files import sha256
from gramgan.networks.build import load_generator
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.networks.span import SPAN, SPANConfig
from gramgan.upscaling.export import export_generator
from gramgan.upscaling.openmodeldb import Listing
from gramgan.weights.card import SYNTHESISED_TEXTURE, Card, TrainedOn
from gramgan.weights.formats import write_safetensors

Number = Annotated[int, Field(ge=1, strict=True)]
Text = Annotated[str, Field(pattern=r"^\S(.*\S)?$")]
LISTING = Listing("somebody", ("https://example.org/file",), ("photo", "general-upscaler"))


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Resource(Strict):
    platform: Literal["pytorch", "onnx", "ncnn"]
    type: Literal["pth", "onnx", "safetensors"]
    size: Number
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    urls: Annotated[list[str], Field(min_length=1)]


class Record(Strict):
    name: Text
    author: str
    license: str | None
    tags: Annotated[list[str], Field(min_length=1)]
    description: Annotated[str, Field(pattern=r"^\S(?s:.*)\S$")]
    date: date
    architecture: Literal["esrgan", "span"]
    size: list[str]
    scale: Annotated[int, Field(ge=1, le=16)]
    inputChannels: Literal[3]  # noqa: N815
    outputChannels: Literal[3]  # noqa: N815
    resources: Annotated[list[Resource], Field(min_length=1)]
    images: list[Any]
    dataset: Text | None = None
    datasetSize: Number | None = None  # noqa: N815
    trainingIterations: Number | None = None  # noqa: N815
    trainingBatchSize: Number | None = None  # noqa: N815


def made(folder: Path, scale: int = 4, kind: str = "rrdb", **said: Any) -> Path:
    torch.manual_seed(0)
    config = SPANConfig(8, 2, scale) if kind == "span" else RRDBConfig.usual(8, 1, 4, "nearest", scale)
    network = SPAN(config) if isinstance(config, SPANConfig) else RRDBNet(config)
    card = Card(
        **{
            "name": f"own-x{scale}",
            "architecture": {"network": kind, **config.to_dict()},
            "licence": "MIT",
            "trained_on": [
                TrainedOn(name="mine", licence="CC0-1.0", count=12),
                TrainedOn(name="texture database t.lance", licence="CC0-1.0", count=5000),
            ],
            "settings": {"iterations": 300, "batch_size": 4},
            **said,
        }
    )
    write_safetensors(folder / "own.safetensors", network.state_dict(), card)
    return folder / "own.safetensors"


def checked(file: Path | None) -> Record:
    assert file is not None
    text = file.read_text("utf-8")
    record = Record.model_validate_json(text)
    assert file.stem.startswith(f"{record.scale}x-")
    assert text == json.dumps(json.loads(text), indent=4, ensure_ascii=False), "as JSON.stringify(…, null, 4) writes it"
    return record


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "onnx"])
@pytest.mark.parametrize(("scale", "kind"), [(1, "rrdb"), (2, "rrdb"), (4, "rrdb"), (8, "rrdb"), (2, "span")])
def test_a_record_is_valid_and_names_the_file(scale: int, kind: str, suffix: str, tmp_path: Path) -> None:
    done = export_generator(made(tmp_path, scale, kind), tmp_path / "out" / f"own.{suffix}", listing=LISTING)
    assert done.record == tmp_path / "out" / f"{scale}x-own.json"
    record = checked(done.record)
    (resource,) = record.resources
    assert (resource.size, resource.sha256) == (done.path.stat().st_size, sha256(done.path))
    assert (resource.type, resource.platform) == (suffix, "onnx" if suffix == "onnx" else "pytorch")
    assert (record.name, record.license, record.scale) == ("own", "MIT", scale)
    assert (record.architecture, record.size) == (
        "span" if kind == "span" else "esrgan",
        ["8nf", f"{2 - (kind != 'span')}nb"],
    )
    assert (record.dataset, record.datasetSize) == ("mine (CC0-1.0); texture database t.lance (CC0-1.0)", 12)
    assert (record.trainingIterations, record.trainingBatchSize) == (300, 4)
    assert record.description.endswith(SYNTHESISED_TEXTURE)


def test_the_command_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["export", str(made(tmp_path)), "-o", str(tmp_path / "x.safetensors"), "--openmodeldb", "somebody"]
    assert run([*command, "--url", "https://example.org/x", "--tag", "restoration", "--name", "fine"]) == 0
    record = checked(tmp_path / "4x-fine.json")
    assert (record.author, record.tags, record.name) == ("somebody", ["restoration"], "fine")
    assert f"{tmp_path / '4x-fine.json'}: for data/models" in capsys.readouterr().out


def test_what_a_card_does_not_know_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = made(tmp_path, trained_on=[], settings={}, licence="as its training photographs allow")
    with caplog.at_level(logging.WARNING):
        done = export_generator(file, tmp_path / "x.pth", listing=LISTING)
    record = checked(done.record)
    assert record.license is record.dataset is record.datasetSize is record.trainingIterations is None
    assert "no SPDX name" in caplog.text


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--openmodeldb", "Some Body", "--url", "u"], "small letters, digits and hyphens"),
        (["--openmodeldb", "somebody"], "give --url and --tag"),
        (["--url", "u"], "belong to --openmodeldb"),
        (["--openmodeldb", "somebody", "--url", "u", "--format", "xml"], "does not list .xml files"),
    ],
)
def test_what_it_would_refuse_is_one_line(
    more: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out" / "x.safetensors"
    assert run(["export", str(made(tmp_path)), "-o", str(target), *more]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not target.parent.exists()


def test_sub_pixel_upsampling_is_not_esrgans(tmp_path: Path) -> None:
    config = RRDBConfig(nf=8, nb=1, gc=4, upsampler="pixelshuffle")
    card = Card(name="own", architecture={"network": "rrdb", **config.to_dict()}, licence="MIT")
    write_safetensors(tmp_path / "own.safetensors", RRDBNet(config).state_dict(), card)
    with pytest.raises(UserError, match="sub-pixel"):
        LISTING.check("pth", load_generator(tmp_path / "own.safetensors"))
