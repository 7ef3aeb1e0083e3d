"""The ablation of losses: what each row trains with, what is scored, and the table that it writes."""

import argparse
from pathlib import Path

import numpy as np
import pytest

import ablation
from gramgan.config import Config, load_config
from gramgan.evaluation.compare import evaluate
from gramgan.images import write_image


@pytest.fixture
def arguments(tmp_path: Path) -> argparse.Namespace:
    return argparse.Namespace(
        folder=tmp_path, photos=tmp_path / "photos", rows=list(ablation.ROWS), seeds=[0, 1], steps=5, device="cpu"
    )


def config_of(row: str, arguments: argparse.Namespace) -> Config:
    return ablation.settings(arguments, ablation.ROWS[row].settings(load_config(ablation.PRESET)))


@pytest.mark.parametrize("row", ablation.ROWS)
def test_a_row_has_its_losses_at_the_preset_s_weights_and_no_other(row: str, arguments: argparse.Namespace) -> None:
    preset = load_config(ablation.PRESET).losses.weights
    weights = config_of(row, arguments).losses.weights
    wanted = ablation.ROWS[row].losses
    assert {name for name, weight in weights.items() if weight} == set(wanted)
    assert all(weights[name] == preset[name] for name in wanted)


def test_rows_differ_in_losses_mask_and_teacher_alone(arguments: argparse.Namespace) -> None:
    reference, esrgan = config_of("reference", arguments), config_of("esrgan", arguments)
    assert reference.losses == load_config(ablation.PRESET).losses
    assert reference.mask == load_config(ablation.PRESET).mask
    assert esrgan.mask.threshold == 0
    assert esrgan.generator.teacher is None
    same = {"losses", "mask", "generator"}
    assert reference.model_dump(exclude=same) == esrgan.model_dump(exclude=same)
    masked = config_of("mask", arguments)
    assert masked.model_dump(exclude={"mask"}) == esrgan.model_dump(exclude={"mask"})
    assert masked.mask == reference.mask


def test_a_finished_row_is_not_trained_again(
    arguments: argparse.Namespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ablation, "train", lambda *_, **__: pytest.fail("it was trained"))
    (tmp_path / "finished").touch()
    assert ablation.trained(tmp_path, config_of("pixel", arguments), ablation.Told("pixel 0"))


def test_only_what_was_finished_is_scored(
    arguments: argparse.Namespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small_generator: Path
) -> None:
    monkeypatch.setattr(ablation, "START", str(small_generator))
    for name, seed, finished in (("pixel", 0, True), ("pixel", 1, True), ("esrgan", 0, True), ("texture", 0, False)):
        folder = ablation.run_folder(arguments, name, seed)
        folder.mkdir()
        (folder / "gramgan_G_best.safetensors").write_bytes(small_generator.read_bytes())
        if finished:
            (folder / "finished").touch()
    truths = tmp_path / "truths"
    truths.mkdir()
    for number in range(2):
        write_image(truths / f"{number}.png", np.random.default_rng(number).random((3, 96, 96), np.float32))
    report, alone, projected = ablation.score(arguments, truths)
    rows = {str(small_generator): [0], "pixel": [0, 1], "esrgan": [0]}
    for scores in (alone, projected):
        assert {row: sorted(models) for row, models in scores.items()} == rows
    names = [small_generator.stem, "pixel-0", "pixel-1", "esrgan-0"]
    assert [models[seed].name for models in alone.values() for seed in models] == names
    assert [models[seed].name for models in projected.values() for seed in models] == [
        f"{name} back-projected" for name in names
    ]
    # As gramgan upscale --consistency does it.
    asked = evaluate(small_generator, truths, device="cpu", precision="fp32", consistency=True).models[0].mean()
    for scores, near in ((alone, False), (projected, True)):
        found = scores["pixel"][0].mean()["psnr_y"]
        assert (abs(found - asked["psnr_y"]) < 0.01) is near
    picture = ablation.shown(report, alone, projected)
    assert [model.name for model in picture.models] == [
        small_generator.stem,
        "pixel-0",
        "esrgan-0",
        "esrgan-0 back-projected",
    ]
    assert len(report.strips) == 2
    lines = ablation.table(report, alone, "truths, 5 steps").splitlines()
    assert lines[0].startswith("| truths, 5 steps | seeds | PSNR-Y, dB ↑ |")
    assert lines[2].startswith("| the start")
    assert lines[3].startswith("| L_C | 2 | ")
    assert " ± 0.00 | " in lines[3]  # over two seeds with the same weights
    duels = sum(metric.name in ablation.DUELS for metric in report.metrics)
    assert lines[3].endswith("| 0 : 0 " * duels + "|")
    assert lines[4].endswith("|  " * duels + "|")  # a row is not set against itself
    assert {line.count("|") for line in lines} == {lines[0].count("|")}
