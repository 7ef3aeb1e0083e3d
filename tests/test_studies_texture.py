"""The parts of the texture study and the ablation that decide what their numbers mean."""

import argparse
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import texture_ablation as ablation
import texture_study as study
from gramgan.config import Config
from gramgan.images import read_rgb, write_image
from gramgan.texture.descriptors import DESCRIPTORS, Descriptor


@pytest.fixture(params=DESCRIPTORS)
def case(request: pytest.FixtureRequest) -> Any:
    random = torch.Generator().manual_seed(3)
    hr = torch.rand(2, 3, study.CROP, study.CROP, generator=random)
    sr = (hr + 0.1 * torch.randn(hr.shape, generator=random)).clamp(0, 1)
    return study.make_case(study.Images(hr, sr), Descriptor.default(request.param))


def measured(case: Any, gram: torch.Tensor, ratio: tuple[int, int] = (1, 1)) -> dict[str, float]:
    return study.measure(case, ratio, gram, torch.ones(gram.shape[:2], dtype=torch.bool))


def test_the_hr_patch_as_target_is_a_plain_gram_distance(case: Any) -> None:
    values = measured(case, case.gram_hr, (1, 0))
    assert values["to_query"] == values["to_hr"] == values["entries"] == values["opposed"] == 0
    assert values["to_sr"] == pytest.approx(1, abs=1e-4)
    assert values["turned"] == pytest.approx(0, abs=1e-4)


def test_a_target_on_the_way_to_hr_has_the_same_gradient(case: Any) -> None:
    values = measured(case, case.queries()[study.RATIOS.index((1, 1))])
    assert values["to_query"] == pytest.approx(0, abs=1e-4)
    assert values["to_hr"] == values["to_sr"] == pytest.approx(0.5, abs=1e-3)
    assert values["entries"] == pytest.approx(0, abs=1e-3)
    assert values["turned"] == pytest.approx(0, abs=1e-3)


def test_a_target_beyond_sr_pulls_the_other_way(case: Any) -> None:
    values = measured(case, 2 * case.gram_sr - case.gram_hr)
    assert values["to_hr"] == pytest.approx(2, abs=1e-3)
    assert values["farther"] == values["opposed"] == 1
    assert values["entries"] == pytest.approx(1, abs=1e-3)
    assert values["turned"] == pytest.approx(1, abs=1e-3)


def test_only_the_wanted_patches_count(case: Any) -> None:
    gram = case.gram_hr.clone()
    gram[1] += 5
    which = torch.zeros(gram.shape[:2], dtype=torch.bool)
    which[0] = True
    assert study.measure(case, (1, 0), gram, which)["to_hr"] == 0


def test_nearest_by_size_is_brute_force_at_every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "PIECE", 150)  # sizes end within pieces and between them
    random = torch.Generator().manual_seed(1)
    vectors, queries = torch.randn(700, 6, generator=random), torch.randn(50, 6, generator=random)
    found = study.nearest_by_size(vectors.numpy(), queries, (100, 300, 700))
    for size, (gram, row) in found.items():
        wanted = torch.cdist(queries.double(), vectors[:size].double()).argmin(dim=1)
        assert torch.equal(row, wanted)
        assert torch.equal(gram, vectors[wanted])


def test_a_mosaic_puts_patches_in_their_places(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 12, 12), dtype=np.uint8)
    patches = [image[:, y : y + 4, x : x + 4].transpose(1, 2, 0) for y in range(0, 12, 4) for x in range(0, 12, 4)]
    study.save_mosaic(tmp_path / "mosaic.png", torch.from_numpy(np.stack(patches)))
    np.testing.assert_allclose(read_rgb(tmp_path / "mosaic.png"), image / 255, atol=1e-6)


def test_study_tables_and_result(tmp_path: Path) -> None:
    results = study.Results(tmp_path / "results.jsonl")
    values = dict.fromkeys(("to_query", "to_hr", "to_sr", "farther", "entries", "turned", "opposed"), 0.25)
    for size in (study.LOCAL, 10_000, 1_000_000):
        row = {"descriptor": "rgb", "k": 4, "size": size, "patches": 1, "ratio": (1, 1)}
        results.add(row | {"all": values, "textured": values})
    again = study.Results(results.path)
    assert again.find(descriptor="rgb", k=4, size=10_000, ratio=(1, 1)) is not None
    assert again.find(descriptor="rgb", k=8) is None
    assert "| 1 M | 0.25 | 0.25 | 0.25 | 25.0 % | 25.0 % | 25.0 % | 25.0 % |" in study.tables(again)
    assert study.result_line(again) == "result: rgb_to_query=0.250 rgb_turned=0.250"


def test_tables_go_between_their_comments(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- one -->\nold\n<!-- /one -->\nb <!-- two --> c <!-- /two -->\n")
    study.fill(page, "one", "| new |\n")
    study.fill(page, "one", "| newer |\n")
    assert page.read_text() == "a\n<!-- one -->\n\n| newer |\n\n<!-- /one -->\nb <!-- two --> c <!-- /two -->\n"
    with pytest.raises(ValueError, match="<!-- three -->"):
        study.fill(page, "three", "")


def finished(label: str, seed: int, **of_image: float) -> dict[str, Any]:
    """A line of the ablation's results whose metrics all have the value of their image."""
    setup = next(setup for setup in ablation.setups() if setup.label == label)
    return {
        "event": "run",
        "part": "ablation",
        "label": label,
        "name": setup.name,
        "descriptor": setup.descriptor if setup.candidates else None,
        "k": setup.k,
        "seed": seed,
        "steps": 40,
        "eta_texture": 0.5,
        "target_ratio_last": 0.7,
        "from_database": 0.25,
        "scores": {name: dict.fromkeys(ablation.COLUMNS, value) for name, value in of_image.items()},
    }


def test_every_configuration_has_its_own_label() -> None:
    labels = [setup.label for setup in ablation.setups()]
    assert len(set(labels)) == len(labels) == 14
    assert labels[0] == "none"


def test_a_torn_last_line_is_run_again(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    ablation.Results(path).add(finished("none", 0, a=1.0))
    with path.open("a") as file:
        file.write(json.dumps(finished("local rgb", 0, a=1.0))[:-20])
    results = ablation.Results(path)
    assert len(results.rows) == 1
    results.add(finished("local rgb", 0, a=1.0))
    assert len(ablation.Results(path).rows) == 2


def test_differences_are_paired_by_image_and_seed() -> None:
    baseline = [finished("none", 0, a=1.0, b=5.0), finished("none", 1, a=3.0, b=7.0)]
    rows = [finished("local rgb", 1, a=4.0, b=9.0)]
    mean, error = ablation.paired_difference(rows, baseline, "psnr_y")
    assert mean == pytest.approx(1.5)  # 4 - 3 and 9 - 7
    assert error == pytest.approx(0.5)
    assert math.isnan(ablation.paired_difference(rows, baseline[:1], "psnr_y")[0])


def test_ablation_table_and_result(tmp_path: Path) -> None:
    results = ablation.Results(tmp_path / "results.jsonl")
    for row in (finished("none", 0, a=1.0, b=2.0), finished("local rgb", 0, a=2.0, b=3.0)):
        results.add(row)
    assert "| local rgb | 1 | 0.5 | 0.70 | 25% | 2.50 |" in ablation.ablation_table(results, 40)
    assert ablation.result_line(results, 40) == "result: runs=2"
    results.add(finished("database rgb", 0, a=1.0, b=2.5))
    assert "delta_psnr_y=-0.7500" in ablation.result_line(results, 40)
    assert ablation.result_line(results, 50) == "result: runs=0"  # another budget is another experiment


def test_the_discriminator_is_warmed_up_against_the_resting_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    runs: list[tuple[Path, Config]] = []
    monkeypatch.setattr(ablation, "trained", lambda folder, config, _: runs.append((folder, config)) or True)
    arguments = argparse.Namespace(
        folder=tmp_path, photos=images_in(tmp_path / "photos"), discriminator=None, steps=40, precision="fp32"
    )
    ablation.warm_up_discriminator(arguments)
    ((folder, config),) = runs
    assert arguments.discriminator == folder / "gramgan_G_best_D.safetensors"
    assert (config.stages.warm_discriminator, config.stages.adversarial) == (150, 1)
    assert config.log.validate_every == 151  # weights are kept where a validation was
    assert (config.generator.start, config.discriminator.start, config.losses.texture) == ("realsr-df2k", None, 0)
    ablation.warm_up_discriminator(arguments)
    assert len(runs) == 1  # a named one is taken


def test_a_configuration_is_trained_as_any_run_and_its_log_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configs: list[Config] = []

    def trained(folder: Path, config: Config, _: object) -> bool:
        configs.append(config)
        folder.mkdir(parents=True)
        steps = [
            {
                "event": "step",
                "iteration": 10 * number,
                "losses": {"texture": 4.0 / number},
                "database": {"target_ratio": 0.5 / number, "database_share": 0.25 * number},
                "iterations_per_second": 2.0,
            }
            for number in (1, 2)
        ]
        lines = [{"event": "start", "iteration": 0}, *steps, {"event": "validation", "iteration": 20}]
        (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return True

    monkeypatch.setattr(ablation, "trained", trained)
    monkeypatch.setattr(ablation, "calibrated", lambda *_: 0.5)
    monkeypatch.setattr(ablation, "scored", lambda weights, *_: {"a": {"psnr_y": float(weights.name.startswith("g"))}})
    arguments = argparse.Namespace(
        folder=tmp_path, photos=images_in(tmp_path / "photos"), discriminator=None, steps=20, precision="fp32"
    )
    results = ablation.Results(tmp_path / "results.jsonl")
    ablation.run(ablation.Setup("local", "local"), 3, arguments, results, "ablation", tmp_path)
    (config,) = configs
    assert (config.schedule.warmup, config.schedule.restart_every, config.schedule.minimum) == (5, 20, 1e-6)
    assert (config.stages.total, config.stages.adversarial, config.log.validate_every) == (20, 20, 20)
    assert (config.losses.texture, config.train.seed, config.log.every) == (0.5, 3, 10)
    (row,) = results.rows
    assert (row["target_ratio_last"], row["from_database"], row["seconds_per_step"]) == (0.25, 0.375, 0.5)
    assert (row["losses_first"], row["losses_last"]) == ({"texture": 4.0}, {"texture": 2.0})
    assert row["scores"] == {"a": {"psnr_y": 1.0}}


def test_scores_are_those_of_evaluate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    truths = images_in(tmp_path / "truths")
    arguments = argparse.Namespace(precision="fp32")
    scores = ablation.scored("bicubic", arguments, truths, tmp_path / "pictures")
    assert sorted(scores) == ["0", "1"]
    report = ablation.evaluate("bicubic", truths)
    for image in report.models[0].images:
        found = scores[Path(image.image).stem]
        assert found["psnr_y"] == pytest.approx(image.scores["psnr_y"], abs=1e-6)
        assert found["gram_distance"] == pytest.approx(image.scores["gram_distance"], rel=1e-6)
        assert set(ablation.COLUMNS) - set(found) <= {"st_lpips"}  # which needs weights


def images_in(folder: Path) -> Path:
    for seed in range(2):
        write_image(folder / f"{seed}.png", np.random.default_rng(seed).random((3, 192, 192), dtype=np.float32))
    return folder


def test_held_out_square_is_where_the_texture_is() -> None:
    image = np.full((3, 1024, 1024), 0.5, np.float32)
    image[:, 512:, 448:960] = np.random.default_rng(0).random((3, 512, 512), dtype=np.float32)
    assert ablation.most_textured(image) == (448, 512)


def test_gradient_norm_leaves_the_networks_alone() -> None:
    """Calibration measures; it must not train."""
    generator = torch.nn.Linear(3, 3)
    optimizer = torch.optim.Adam(generator.parameters(), 1e-2)
    parts: Any = SimpleNamespace(generator=generator, generator_optimizer=optimizer, discriminator_optimizer=None)
    before = generator.weight.detach().clone()
    with ablation.kept_gradients(parts) as squares:
        generator(torch.ones(1, 3)).sum().backward(inputs=list(generator.parameters()))
        optimizer.step()
    assert math.sqrt(sum(squares)) == pytest.approx(math.sqrt(12))  # nine weights and three biases, each 1
    assert torch.equal(generator.weight, before)
