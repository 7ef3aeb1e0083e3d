"""The study of trainings that ask a database: what is retrieved, what losses and D make of it, and the comparison."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import texture_evidence as evidence
import texture_training as study
from gramgan.networks.trunks import PerceptualTrunk

SIDE = evidence.CROP + 2 * evidence.MARGIN


def degrade(hr: Tensor, seed: int) -> Tensor:
    return F.avg_pool2d(hr, evidence.SCALE)


def enlarge(lr: Tensor) -> Tensor:
    return F.interpolate(lr, scale_factor=evidence.SCALE, mode="nearest")


@pytest.fixture(scope="module")
def parts() -> tuple[evidence.Bank, evidence.Pool, evidence.Shallow]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pictures = [amount * torch.rand(1, 3, SIDE, SIDE) for amount in (0.1, 0.5, 1.0)]
        shallow = evidence.Shallow(PerceptualTrunk("st-vgg16", ["conv3_3"]), pictures)
    bank = evidence.Bank.of(pictures, shallow, enlarge, degrade)
    pool = evidence.Pool.of(pictures, [0, 1, 2, 2], bank, shallow, enlarge, degrade)
    return bank, pool, shallow


def test_answers_are_of_places_that_look_alike_and_drawn_ones_are_not(parts: Any) -> None:
    bank, pool, shallow = parts
    step = {drawn: evidence.Step(bank, shallow, pool, None, seed=0, drawn=drawn) for drawn in (False, True)}
    found = {}
    for drawn, each in step.items():
        hr, lr = each.crops(0, 4, evidence.CROP)
        found[drawn] = {name: float(value) for name, value in each.distances(enlarge(lr), hr).items()}
    assert found[False]["each"] < 0.5 * found[True]["each"]
    assert found[False]["nearest"] <= found[False]["each"]
    assert found[False]["start"] == found[True]["start"]
    assert (bank.source[pool.rows[0]] == 0).float().mean() > 0.9  # the faint picture is like itself


def test_a_picture_of_the_database_does_not_answer_itself(parts: Any) -> None:
    bank, _, _ = parts
    rows = bank.nearest(bank.keys[bank.source == 1][None], torch.tensor([1]))
    assert 1 not in bank.source[rows]


def test_losses_pull_to_what_they_say(parts: Any) -> None:
    bank, pool, shallow = parts
    step = evidence.Step(bank, shallow, pool, None, seed=0, drawn=False)
    hr, lr = step.crops(1, 2, evidence.CROP)
    sr = enlarge(lr)
    assert float(step.sliced(hr, hr, share=1.0)) == 0
    halves = [float(step.sliced(sr, hr, share=share)) for share in (0.0, 0.5, 1.0)]
    assert halves[1] == pytest.approx((halves[0] + halves[2]) / 2, rel=1e-5)
    sr.requires_grad_()
    for loss in (step.best(sr, hr), step.gram(sr), step.sliced(sr, hr, share=0.0)):
        (gradient,) = torch.autograd.grad(loss, sr)
        assert gradient.isfinite().all()
        assert float(gradient.norm()) > 0
    assert study.weight_of(step.best, step, enlarge) > 0


def test_the_judge_is_shown_the_answers_of_what_it_judges(parts: Any) -> None:
    bank, pool, shallow = parts
    others = evidence.Pool(*(each.flip(0) for each in vars(pool).values()))
    step = evidence.Step(bank, shallow, pool, others, seed=5, drawn=False)
    hr, lr = step.crops(0, 2, evidence.CROP)
    of_real, of_sr = step.shown(hr), step.shown(enlarge(lr))
    assert of_real.shape == of_sr.shape == (2, evidence.COUNT, *hr.shape[1:])
    assert not torch.equal(of_real, of_sr)  # real crops are others here
    row = pool.rows[(pool.hr.float() / 255 == hr[0]).flatten(1).all(dim=1)][0, 4, 0]  # of the middle window
    side = evidence.WINDOW
    assert torch.equal(of_real[0, 0, :, side : 2 * side, side : 2 * side], bank.patches[row].float() / 255)
    assert evidence.Judge(step.shown, width=8)(hr).shape == (2, 1, evidence.CROP // 4, evidence.CROP // 4)


def row_of(texture: float, psnr: float, st_lpips: float) -> dict[str, dict[str, list[float]]]:
    one = {"texture_distance": texture, "psnr_y": psnr, "st_lpips": st_lpips, "lpips_alex": 0.3, "dists": 0.2}
    return {domain: {metric: 3 * [value] for metric, value in one.items()} for domain in study.DOMAINS}


def write(folder: Path, name: str, *points: tuple[float, float, float]) -> None:
    strengths = map(str, study.STRENGTHS[-len(points) :])
    scores = dict(zip(strengths, (row_of(*point) for point in points), strict=True))
    known = {"start": 2.0} | {f"{a} {b}": 1.0 for a in ("retrieved", "drawn") for b in ("each", "mean", "nearest")}
    folder.mkdir(exist_ok=True)
    (folder / f"degraded-{name}.json").write_text(json.dumps({"scores": scores, "known": known}))


def test_arms_are_compared_at_the_psnr_of_the_one_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "results"
    write(folder, "start", (0.4, 30.0, 0.5))
    for seed in range(3):
        more = 0.001 * seed
        write(folder, f"base-{seed}", (0.36, 29.5, 0.4), (0.34, 29.0, 0.35), (0.3 + more, 28.5, 0.3))
        write(folder, f"sliced-{seed}", (0.3, 29.0, 0.32), (0.2 + more, 28.0, 0.28), (0.1, 27.0, 0.2))
        write(folder, f"evidence-{seed}", (0.36, 29.5, 0.4), (0.34, 29.0, 0.35), (0.29 + more, 28.6, 0.3))
    results = study.Results(folder, "degraded")
    half_way = (0.25, 28.5, 0.3)  # from 28 to 29 dB
    assert results.at_base("sliced", 0, "materials") == pytest.approx(np.array([half_way, (0.3, 28.5, 0.3)]))
    nearer = results.at_base("evidence", 0, "materials")[0]  # as it is
    assert nearer == pytest.approx(np.array((0.29, 28.6, 0.3)))
    texture, st_lpips, passed = results.compared("sliced", "photographs")
    assert (texture.value, st_lpips.value) == (pytest.approx(-0.167, abs=1e-3), pytest.approx(0, abs=1e-9))
    assert passed
    assert not results.compared("evidence", "photographs")[2]
    of = results.rows["sliced"][1]["scores"]["1.0"]["photographs"]
    for metric, value in (("psnr_y", 20.0), ("texture_distance", 5.0)):  # its network burst on one picture
        of[metric][2] = value
    assert results.unsteady("sliced", 1, "photographs") == {2}
    assert results.burst() == (1, 3 * 3 * 6)
    assert results.compared("sliced", "photographs")[0] == texture
    study.tables(argparse.Namespace(folder=tmp_path, page=None))
    said = capsys.readouterr().out
    assert "| D sees 8 beside | 3 | 0.291 ± 0.002 / 0.291 ± 0.002 | 28.60 ± 0.00" in said
    assert "| degraded | 0.50 |" in said
    assert "degraded_sliced_materials_texture=-0.16" in said


def test_what_is_finished_is_not_done_again_and_seeds_go_together(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small_generator: Path
) -> None:
    done: list[tuple[str, int]] = []

    def run_arm(name: str, seed: int, *_: object) -> dict[str, Any]:
        done.append((name, seed))
        return {"seconds": 0.0, "scores": {study.FULL: row_of(0.3, 28.0, 0.3)}}

    pictures = study.Pictures([torch.zeros(1, 3, 8, 8)], [], {})
    monkeypatch.setattr(study, "fetch_weights", lambda _: small_generator)
    monkeypatch.setattr(study.Pictures, "of", lambda _: pictures)
    monkeypatch.setattr(study, "Scores", lambda _: lambda networks, regime: {study.FULL: row_of(0.4, 30.0, 0.5)})
    monkeypatch.setattr(study, "ready", lambda *_: argparse.Namespace(start=small_generator, regime=None))
    monkeypatch.setattr(study, "known", lambda _: {})
    monkeypatch.setattr(study, "run_arm", run_arm)
    write(tmp_path / "results", "best-1", (0.4, 30.0, 0.5))
    (tmp_path / "results" / "degraded-best-1.json").rename(tmp_path / "results" / "unpaired-gram-0.json")
    arguments = argparse.Namespace(
        folder=tmp_path, photos=tmp_path, regimes=["unpaired"], arms=["base", "best", "gram"], seeds=[0, 1], steps=1
    )
    study.run(arguments)
    assert done == [("base", 0), ("base", 1), ("gram", 1)]  # `best` looks at HR, which nobody knows here
    assert len(list((tmp_path / "results").glob("unpaired-*.json"))) == 1 + 4


def test_without_truths_no_loss_looks_at_them(tmp_path: Path) -> None:
    arguments = argparse.Namespace(folder=tmp_path, warm=1, steps=1)
    for name, regime in study.REGIMES.items():
        losses = study.load_config("lite", overrides=study.overrides(regime, arguments)).losses
        used = {loss for loss, weight in losses.weights.items() if weight}
        assert used == ({"pixel", "perceptual", "adversarial", "artifact"} if regime.truths else {"adversarial"}), name
    assert all(not arm.needs_truths for arm in study.arms_of("unpaired").values())
    assert len(study.arms_of("unpaired")) < len(study.arms_of("degraded")) == len(study.ARMS)
