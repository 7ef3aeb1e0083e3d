"""Every command of the fields in docs/tutorials runs as it stands there: small networks, few steps, small pictures."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from gramgan.cli.app import run
from gramgan.images import write_image
from gramgan.networks import discriminator, trunks
from gramgan.training.fitting import Fit

pytestmark = pytest.mark.usefixtures("no_figures")

TUTORIALS = Path(__file__).parents[1] / "docs" / "tutorials"
FIELDS = ("satellite", "medical", "art", "fabric-and-faces", "industrial")
PAGES = [TUTORIALS / f"{name}.md" for name in ("own-domain", *FIELDS)]
FOLDERS = ("my_tiles", "slides", "held_out", "scans", "cloth", "portraits", "line_7", "new_parts")
PICTURES = ("tile.png", "slide.png", "print.png", "portrait.png", "part.png")
BY_COMMAND = {
    "db build": ["--patches", "300"],
    "train": [
        part
        for setting in (
            "generator.start=null",
            "generator.nf=8",
            "generator.nb=1",
            "generator.gc=4",
            "data.crop=64",
            "losses.perceptual=0",
            "stages.pretrain=1",
            "stages.warm_discriminator=1",
            "stages.adversarial=2",
            "train.batch_size=2",
            "train.device=cpu",
            "train.precision=fp32",
            "train.memory_format=contiguous",
            "log.every=1",
            "log.validate_every=2",
            "log.checkpoint_every=2",
            "log.validation_crop=96",
        )
        for part in ("--set", setting)
    ],
    "upscale": ["--backend", "torch"],
}


def commands(page: Path) -> list[list[str]]:
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]
    return [shlex.split(line) for line in lines]


def made_small(arguments: list[str]) -> list[str]:
    for command, more in BY_COMMAND.items():
        words = command.split()
        if arguments[: len(words)] == words:
            return [*arguments, *more]
    return arguments


@pytest.fixture
def small_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the pictures that the pages speak of; no network, no weights, no measuring."""
    random = np.random.default_rng(0)
    for folder in FOLDERS:
        for number in range(4):
            coarse = random.random((3, 25, 25), np.float32).repeat(8, axis=1).repeat(8, axis=2)
            noise = random.random((3, 200, 200), np.float32)
            write_image(tmp_path / folder / f"{folder}{number}.png", 0.8 * coarse + 0.2 * noise)
    for name in PICTURES:
        write_image(tmp_path / name, random.random((3, 24, 20), np.float32))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(discriminator, "_WIDTHS", (8,) * 11)
    monkeypatch.setattr("gramgan.weights.catalog.fetch_weights", lambda name, progress: trunks.SPECS)
    monkeypatch.setattr("gramgan.weights.catalog.weight_path", lambda name: tmp_path / name)
    monkeypatch.setattr("gramgan.training.fitting.measure_fit", lambda config: Fit(1, 1, 1, 100))
    torch.manual_seed(0)
    return tmp_path


def test_the_first_page_leads_to_every_field() -> None:
    links = re.findall(r"\]\(([\w-]+)\.md\)", (TUTORIALS / "own-domain.md").read_text(encoding="utf-8"))
    assert set(FIELDS) <= set(links)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_runs(page: Path, small_world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if page.stem == "own-domain":
        (small_world / "runs").mkdir()
    found = commands(page)
    assert found
    for program, *arguments in found:
        assert program == "gramgan"
        assert run(made_small(arguments)) == 0, f"{' '.join(arguments)}: {capsys.readouterr().err}"
    results = [Path(arguments[arguments.index("-o") + 1]) for _, *arguments in found if "-o" in arguments]
    assert all(result.exists() for result in results)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_settings_and_presets_in_the_text_exist(page: Path) -> None:
    from gramgan.config import _known_keys, preset_names

    text = page.read_text(encoding="utf-8")
    keys = set(re.findall(r"`(?:--set )?([a-z]+\.[a-z_]+)(?==|`)", text))
    assert keys <= set(_known_keys()) | {"manifest.csv"}
    assert set(re.findall(r"--preset ([a-z]+)", text)) <= set(preset_names())
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (page.parent / link).exists()
