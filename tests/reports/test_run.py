import json
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from gramgan.cli.app import run as gramgan
from gramgan.cli.live import LiveView
from gramgan.config import load_config
from gramgan.errors import UserError
from gramgan.images import write_image
from gramgan.reports.run import write_run_report
from gramgan.texture.database import Source, TextureDatabase
from gramgan.training.run import train

TINY = [
    "generator.start=null",
    "generator.nf=8",
    "generator.nb=1",
    "generator.gc=4",
    "generator.upsampler=pixelshuffle",
    "data.crop=64",
    "train.batch_size=2",
    "train.device=cpu",
    "train.precision=fp32",
    "train.memory_format=contiguous",
    "losses.perceptual=0",
    "losses.adversarial=0",
    "losses.disc_perceptual=0",
    "log.every=1",
    "log.validate_every=2",
    "log.validation_crop=96",
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for name in ("brick & mortar", "leaf", "water"):
        coarse = random.random((3, 24, 30), np.float32).repeat(4, axis=1).repeat(4, axis=2)
        write_image(folder / f"{name}.png", (coarse + 0.1 * random.random((3, 96, 120), np.float32)) / 1.1)
    return folder


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """A run with a texture database, kept as it is: tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAMGAN_CACHE", str(folder / "cache"))  # no ST-LPIPS: its network would take longer than the run
        database = folder / "texture.lance"
        sources = [Source(path, "CC0-1.0") for path in sorted(photos.glob("*.png"))]
        TextureDatabase.build(database, sources, patches=300)
        own = [
            f"data.photos={photos}",
            f"texture.database={database}",
            "stages.pretrain=2",
            "stages.warm_discriminator=0",
            "stages.adversarial=4",
        ]
        train(load_config("quick", overrides=TINY + own), folder / "tiny")
    return folder / "tiny"


@pytest.fixture
def copied_run(finished_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished_run, tmp_path / "tiny")


def text_of(path: Path) -> str:
    """The words of a page, without tags and pictures."""
    html = path.read_text(encoding="utf-8")
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)))


def table_under(html: str, first_column: str) -> dict[str, list[str]]:
    """Rows by their first cell, of the table whose first column has this title."""
    for table in re.findall(r"<table>.*?</table>", html, flags=re.DOTALL):
        head = re.findall(r"<th scope[^>]*>(.*?)</th>", table)
        if head[0] == first_column:
            rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in table.split("<tr>")[2:]]
            return {"": head[1:], **{row[0]: row[1:] for row in rows}}
    raise AssertionError(f"no table with the column {first_column!r}")


def hand_made(folder: Path, records: list[dict[str, object]], *overrides: str) -> Path:
    folder.mkdir()
    config = load_config("paper", overrides=[*TINY, *overrides])
    (folder / "config.yaml").write_text(config.to_yaml())
    (folder / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def validation(of: str, iteration: int, psnr: float, gram: float, **more: object) -> dict[str, object]:
    scores = {"psnr_y": psnr, "gram_distance": gram}
    return {"event": "validation", "iteration": iteration, "of": of, "protocol": "p", "scores": scores, **more}


def step(iteration: int, stage: str, speed: float) -> dict[str, object]:
    return {
        "event": "step",
        "iteration": iteration,
        "stage": stage,
        "losses": {"pixel": 0.1},
        "learning_rate": 1e-4,
        "iterations_per_second": speed,
    }


def test_report_of_a_real_run(finished_run: Path) -> None:
    path = write_run_report(finished_run)
    assert path == finished_run / "report.html"
    html, text = path.read_text(encoding="utf-8"), text_of(path)
    scores = table_under(html, "")
    # The learned metrics follow where their weights are in the cache.
    expected = ["iteration", "PSNR-Y, dB ↑", "SSIM-Y ↑", "Gram distance ↓", "colour drift, ΔE ↓"]
    assert scores[""][:5] == expected
    assert "texture distance ↓" in scores[""]
    assert list(scores) == ["", "bicubic", "start (noise)", *list(scores)[3:]]
    assert "best and last" in scores or {"best", "last"} <= set(scores)
    settings = table_under(html, "setting")
    assert settings["generator.nf"] == ["8"]
    assert settings["texture.databases.0.version"] != ["none"]
    pace = table_under(html, "stage")
    assert pace["pretrain"][0] == "2"
    assert pace["adversarial"][0] == "4"
    assert table_under(html, "licence of patches")["CC0-1.0"][1] == "100.0%"
    assert "target distance / half gap" in text
    assert "Most used patches" in text
    assert "it is no evidence" in text
    assert html.count("data:image/png") == 2  # samples and patches
    assert html.count("<svg") == 2
    assert not re.search(r"(src|href)=.(http|file|//)", html)


def test_database_figures_are_those_of_the_log(finished_run: Path) -> None:
    from gramgan.training.folder import read_log

    write_run_report(finished_run)
    ratios = [record["database"]["target_ratio"] for record in read_log(finished_run) if record.get("database")]
    html = (finished_run / "report.html").read_text(encoding="utf-8")
    rows = next(
        table
        for table in re.findall(r"<table>.*?</table>", html, flags=re.DOTALL)
        if "target distance / half gap" in table
    )
    shown = re.findall(r"<td[^>]*>(.*?)</td>", rows)[1:4]
    assert [float(value) for value in shown] == pytest.approx(
        [ratios[0], ratios[-1], sum(ratios) / len(ratios)], rel=0.01
    )


def test_a_database_that_is_gone_is_said_and_the_rest_is_shown(copied_run: Path, tmp_path: Path) -> None:
    path = copied_run / "config.yaml"
    path.write_text(re.sub(r"- path: .*", f"- path: {tmp_path / 'gone.lance'}", path.read_text(), count=1))
    text = text_of(write_run_report(copied_run))
    assert "gone.lance: there is no such texture database" in text
    assert "Most used patches" not in text
    assert "target distance / half gap" in text


def test_patches_of_another_database_are_not_shown(copied_run: Path) -> None:
    (copied_run / "patch_usage.csv").write_text("patch_id,count\n12345,9\n")
    text = text_of(write_run_report(copied_run))
    assert "no longer holds patch 12345" in text


def test_best_and_last_are_the_loops(tmp_path: Path) -> None:
    records = [
        validation("bicubic", 0, 28.0, 0.3),
        validation("start", 0, 26.0, 0.4),
        validation("generator", 10, 27.0, 0.01),  # of pretraining: the best number, but not kept
        validation("generator", 20, 27.5, 0.1, best=True),
        validation("generator", 30, 27.6, 0.05, best=True),
        validation("generator", 40, 27.7, 0.2),
    ]
    html = write_run_report(hand_made(tmp_path / "run", records)).read_text(encoding="utf-8")
    assert table_under(html, "") == {
        "": ["iteration", "PSNR-Y, dB ↑", "Gram distance ↓"],
        "bicubic": ["–", "28.00", "0.3"],
        "start (noise)": ["0", "26.00", "0.4"],
        "best": ["30", "27.60", "0.05"],
        "last": ["40", "27.70", "0.2"],
    }
    assert "best Gram distance" in html  # ST-LPIPS was asked for, and its weights were not there


def test_speed_by_stage(tmp_path: Path) -> None:
    records = [step(10, "pretrain", 5.0), step(20, "pretrain", 10.0), step(24, "adversarial", 1.0)]
    html = write_run_report(hand_made(tmp_path / "run", records)).read_text(encoding="utf-8")
    pace = table_under(html, "stage")
    assert pace["pretrain"] == ["20", "6.67", "13.3", "3.0 s"]
    assert pace["adversarial"] == ["4", "1", "2", "4.0 s"]


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    records = [validation("bicubic", 0, 28.0, 0.3), validation("start", 0, 26.0, 0.4)]
    text = text_of(write_run_report(hand_made(tmp_path / "run", records)))
    assert "stands at iteration 0 of 600,000" in text
    assert "gramgan train --resume" in text
    assert "No weights were kept yet" in text
    assert "start (noise)" in text


def test_an_empty_log(tmp_path: Path) -> None:
    assert "Nothing was validated yet" in text_of(write_run_report(hand_made(tmp_path / "run", [])))


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a training run"):
        write_run_report(tmp_path)


def test_train_command_writes_it_also_when_stopped(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(_view: object, done: int, *_: object) -> None:
        if done == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(LiveView, "iteration", stop)
    run = tmp_path / "run"
    settings = [part for setting in [*TINY, "texture.candidates=local"] for part in ("--set", setting)]
    assert gramgan(["train", "--preset", "paper", "--photos", str(photos), "-o", str(run), *settings]) == 1
    assert "report:" in capsys.readouterr().out
    assert "stands at iteration 2 of" in text_of(run / "report.html")
