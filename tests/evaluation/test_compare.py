"""Scoring models and finished results: known values, what is written, and bad input."""

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch

import gramgan
from gramgan.cli.app import run
from gramgan.degradation import build_degradation, seed_of
from gramgan.errors import UserError
from gramgan.evaluation.compare import evaluate
from gramgan.evaluation.entrants import Entrant
from gramgan.evaluation.protocols import FAMILIES, SR_Y_CROP4, Metric, protocol_named, sr_y
from gramgan.evaluation.scoring import Scorer, _Entry
from gramgan.files import sha256
from gramgan.images import read_rgb, write_image
from gramgan.installed import is_installed
from gramgan.metrics import StLpips, psnr_y
from gramgan.networks.foreign import import_spandrel
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.ops.resize import bicubic_up, matlab_bicubic_down
from gramgan.upscaling.export import export_generator
from gramgan.weights.formats import write_pth


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No ST-LPIPS, whatever the user's own cache holds."""
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def hr(tmp_path: Path) -> Path:
    """Two smooth colour images, one of them not a multiple of 4, and a grey one."""
    generator = torch.Generator().manual_seed(0)
    for name, channels, height, width in (("a", 3, 48, 40), ("b", 3, 45, 51), ("grey", 1, 32, 36)):
        small = torch.rand(1, channels, 8, 8, generator=generator)
        image = torch.nn.functional.interpolate(small, (height, width), mode="bicubic").clamp(0, 1)
        write_image(tmp_path / "hr" / f"{name}.png", image[0].numpy())
    return tmp_path / "hr"


def make_lr(hr: Path, folder: Path) -> Path:
    for path in sorted(hr.iterdir()):
        image = SR_Y_CROP4.crop_to_scale(torch.from_numpy(read_rgb(path))[None])
        write_image(folder / f"{path.stem}x4.png", matlab_bicubic_down(image)[0].numpy())
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    write_pth(path, RRDBNet(RRDBConfig(nf=8, nb=1, gc=4)).state_dict())
    return path


def test_bicubic_is_what_the_functions_say(hr: Path) -> None:
    report = evaluate("bicubic", hr)
    (model,) = report.models
    assert [row.image for row in model.images] == ["a.png", "b.png", "grey.png"]
    for row in model.images:
        truth = SR_Y_CROP4.crop_to_scale(torch.from_numpy(read_rgb(hr / row.image))[None])
        sr = bicubic_up(matlab_bicubic_down(truth)).mul(255).round().div(255)
        assert row.scores["psnr_y"] == pytest.approx(psnr_y(sr, truth, 4).item(), abs=1e-6)
    mean = math.fsum(row.scores["psnr_y"] for row in model.images) / 3
    assert model.mean()["psnr_y"] == pytest.approx(mean)
    names = {"psnr_y", "ssim_y", "gram_distance", "colour_drift", "dss", "lr_psnr"}
    assert set(model.mean()) == names | {"texture_distance", "texture_distance_textured"}
    assert "MATLAB" in report.low_resolution


def test_lr_made_by_a_profile_is_the_same_in_every_run(hr: Path, tiny: Path) -> None:
    first = evaluate(["bicubic", tiny], hr, device="cpu", precision="fp32", degradation="realphoto")
    again = evaluate("bicubic", hr, degradation="realphoto")
    assert first.models[0] == again.models[0]
    assert first.low_resolution == "made from HR by realphoto, rounded to 8 bits"
    truth = SR_Y_CROP4.crop_to_scale(torch.from_numpy(read_rgb(hr / "b.png"))[None])
    low = build_degradation("realphoto")(SR_Y_CROP4.quantise(truth), [seed_of("b.png")])
    written = SR_Y_CROP4.quantise(bicubic_up(low))
    [score] = [row.scores["psnr_y"] for row in again.models[0].images if row.image == "b.png"]
    assert score == pytest.approx(float(psnr_y(written, SR_Y_CROP4.quantise(truth))), abs=1e-4)
    assert score < evaluate("bicubic", hr).models[0].images[1].scores["psnr_y"]


def test_a_profile_with_nothing_to_make_is_refused(
    hr: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lr = make_lr(hr, tmp_path / "lr")
    with pytest.raises(UserError, match=f"degradation satellite: there are LR images in {lr}; leave it out"):
        evaluate("bicubic", hr, lr, degradation="satellite")
    assert run(["evaluate", str(hr), "--model", "bicubic", "--degradation", "foto", "-o", str(tmp_path)]) == 2
    assert "choose one of bicubic, photo, realphoto, satellite" in capsys.readouterr().err


def test_given_lr_images_score_like_made_ones(hr: Path, tmp_path: Path) -> None:
    lr = make_lr(hr, tmp_path / "lr")
    made, given = evaluate("bicubic", hr), evaluate("bicubic", hr, lr)
    assert given.models[0].images == made.models[0].images
    assert given.low_resolution == str(lr)


def test_published_set5_and_set14(benchmarks_folder: Path) -> None:
    for name, expected in (("Set5", 28.43), ("Set14", 26.09)):
        mean = evaluate("bicubic", benchmarks_folder / name).models[0].mean()
        assert mean["psnr_y"] == pytest.approx(expected, abs=0.02)


def test_results_are_rounded_and_cropped_like_models(hr: Path, tmp_path: Path) -> None:
    for path in hr.iterdir():
        image = torch.from_numpy(read_rgb(path))[None]
        cropped = SR_Y_CROP4.crop_to_scale(image)
        sr = bicubic_up(matlab_bicubic_down(cropped))
        if path.stem == "b":  # other programs keep the size of the truth
            sr = torch.nn.functional.pad(sr, (0, image.shape[3] - sr.shape[3], 0, image.shape[2] - sr.shape[2]))
        write_image(tmp_path / "sr" / f"{path.stem}_SR.png", sr[0].numpy(), bits=16)
    report = evaluate(["bicubic"], hr, results=[tmp_path / "sr"])
    bicubic, results = report.models
    assert (results.name, results.kind, results.weights_sha256) == ("sr", "results", "")
    for one, other in zip(bicubic.images, results.images, strict=True):
        assert one.scores == pytest.approx(other.scores, rel=1e-3)


def test_generators_are_enlarged_and_identified(hr: Path, tiny: Path) -> None:
    calls: list[tuple[int, int]] = []
    report = evaluate(
        ["bicubic", tiny], hr, device="cpu", precision="fp32", progress=lambda done, total: calls.append((done, total))
    )
    _, model = report.models
    assert (model.name, model.kind, model.precision) == ("tiny", "generator", "fp32")
    assert model.weights_sha256 == sha256(tiny)
    assert calls == [(done, 6) for done in range(0, 7, 2)]  # image by image, of two entrants
    network = RRDBNet(RRDBConfig(nf=8, nb=1, gc=4))
    network.load_state_dict(torch.load(tiny, weights_only=True)["params_ema"])
    truth = torch.from_numpy(read_rgb(hr / "a.png"))[None]
    with torch.no_grad():
        sr = network(matlab_bicubic_down(truth)).clamp(0, 1).mul(255).round().div(255)
    assert model.images[0].scores["psnr_y"] == pytest.approx(psnr_y(sr, truth, 4).item(), abs=1e-3)


def test_models_of_one_file_name_keep_apart(hr: Path, tiny: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "tiny.pth"
    other.parent.mkdir()
    other.write_bytes(tiny.read_bytes())
    report = evaluate([tiny, other], hr, device="cpu", precision="fp32")
    assert [model.name for model in report.models] == [f"{path.parent.name}/{path.name}" for path in (tiny, other)]


def test_every_written_number_carries_its_protocol(hr: Path, tiny: Path, tmp_path: Path) -> None:
    report = evaluate(["bicubic", tiny], hr, device="cpu", precision="fp32")
    report.to_csv(tmp_path / "out" / "scores.csv")
    with (tmp_path / "out" / "scores.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * 4 * 8  # models, images and their mean, metrics
    for line in lines:
        assert line["protocol"] == "sr-y-crop4"
        assert line["metric_version"]
        assert line["gramgan_version"] == gramgan.__version__
        assert "MATLAB" in line["low_resolution"]
        assert bool(line["low"]) == (line["image"] == "mean")
        assert line["model_sha256"] == (sha256(tiny) if line["model"] == "tiny" else "")
    means = {
        line["metric"]: float(line["value"]) for line in lines if line["image"] == "mean" and line["model"] == "tiny"
    }
    assert means == report.models[1].mean()
    report.to_json(tmp_path / "out" / "scores.json")
    read = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert read["protocol"]["name"] == "sr-y-crop4"
    assert read["models"][1]["mean"] == report.models[1].mean()
    assert read["models"][1]["weights_sha256"] == sha256(tiny)


def test_infinite_psnr_is_valid_json(hr: Path, tmp_path: Path) -> None:
    report = evaluate([], hr, results=[hr])
    report.to_json(tmp_path / "scores.json")
    text = (tmp_path / "scores.json").read_text()
    read = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert read["models"][0]["mean"]["psnr_y"] == "inf"
    assert read["models"][0]["mean"]["ssim_y"] == pytest.approx(1)


def test_two_folders_of_results_are_compared_image_by_image(
    hr: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = torch.Generator().manual_seed(1)
    for path in hr.iterdir():
        image = torch.from_numpy(read_rgb(path))
        noise = torch.randn(image.shape, generator=generator)
        # The second program is better but for one image.
        for folder, strength in (("first", 0.03), ("second", 0.1 if path.stem == "b" else 0.01)):
            write_image(tmp_path / folder / f"{path.stem}_x4.png", (image + strength * noise).clamp(0, 1).numpy())
    out = tmp_path / "out"
    folders = ["--results", str(tmp_path / "first"), "--results", str(tmp_path / "second")]
    assert run(["evaluate", str(hr), *folders, "--compare", "--protocol", "rgb", "-o", str(out)]) == 0
    assert "second minus first" in capsys.readouterr().out
    with (out / "comparison.csv").open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["metric"] == "psnr_rgb"]
    assert [(line["image"], line["outcome"]) for line in lines] == [
        ("a.png", "win"),
        ("b.png", "loss"),
        ("grey.png", "win"),
        ("mean", "2 wins, 1 losses, 0 ties"),
    ]
    assert {line["protocol"] for line in lines} == {"rgb"}
    with (out / "scores.csv").open(newline="") as file:
        scores = {(line["model"], line["image"]): float(line["value"]) for line in csv.DictReader(file)
                  if line["metric"] == "psnr_rgb"}  # fmt: skip
    differences = [scores["second", line["image"]] - scores["first", line["image"]] for line in lines]
    assert [float(line["difference"]) for line in lines] == pytest.approx(differences)
    half = scipy.stats.t.ppf(0.975, 2) * np.std(differences[:3], ddof=1) / math.sqrt(3)
    assert float(lines[-1]["high"]) - float(lines[-1]["difference"]) == pytest.approx(half, rel=1e-6)
    assert "image by image" in (out / "scores.md").read_text()
    assert "second against first" in (out / "report.html").read_text()


def test_lr_consistency_is_that_of_the_lr_images_given(hr: Path, tmp_path: Path) -> None:
    lr = make_lr(hr, tmp_path / "lr")
    for path in lr.iterdir():
        write_image(path, 1 - read_rgb(path))
    given, made = (evaluate([], hr, folder, results=[hr]).models[0].mean()["lr_psnr"] for folder in (lr, None))
    assert made == math.inf
    assert given < 20


def test_generators_are_back_projected_as_the_card_or_the_caller_says(hr: Path, tiny: Path, tmp_path: Path) -> None:
    consistent = tmp_path / "consistent.safetensors"
    export_generator(tiny, consistent, consistency=True)
    low = {}
    for asked in (None, True, False):
        models = evaluate([tiny, consistent], hr, device="cpu", precision="fp32", consistency=asked).models
        low[asked] = [model.mean()["lr_psnr"] for model in models]
    assert [model.back_projected for model in evaluate([tiny, consistent], hr).models] == [False, True]
    assert low[None] == [low[False][0], low[True][1]]
    assert low[True] == pytest.approx([low[True][0]] * 2)
    assert low[True][0] > low[False][0] + 20


def test_protocols_differ_as_they_say(hr: Path, tmp_path: Path) -> None:
    for path in hr.iterdir():
        image = torch.from_numpy(read_rgb(path))
        image[:, :4] = 1 - image[:, :4]  # wrong at the border alone
        write_image(tmp_path / "sr" / path.name, image.numpy())
    means = {name: evaluate([], hr, results=[tmp_path / "sr"], protocol=name).models[0].mean() for name in FAMILIES}
    assert means["sr-y-crop"]["psnr_y"] == means["rgb-crop"]["psnr_rgb"] == math.inf
    assert means["rgb"]["psnr_rgb"] < 30
    assert means["rgb"]["ssim_rgb"] < 0.999 < means["rgb-crop"]["ssim_rgb"]


def of_scale(folder: Path, scale: int) -> Path:
    torch.manual_seed(0)
    path = folder / f"tiny-x{scale}.pth"
    write_pth(path, RRDBNet(RRDBConfig.usual(8, 1, 4, "nearest", scale)).state_dict())
    return path


@pytest.mark.parametrize("scale", [1, 2, 3, 8])
def test_models_of_every_scale_are_scored_at_their_own(scale: int, hr: Path, tmp_path: Path) -> None:
    (hr / "grey.png").unlink()  # cropped to a multiple of 3 it would be too small
    for path in hr.iterdir():
        truth = sr_y(scale).crop_to_scale(torch.from_numpy(read_rgb(path))[None])
        mark = f"x{scale}" if scale > 1 else ""
        write_image(tmp_path / "lr" / f"{path.stem}{mark}.png", matlab_bicubic_down(truth, scale)[0].numpy())
    made = evaluate(["bicubic", of_scale(tmp_path, scale)], hr, device="cpu", precision="fp32")
    given = evaluate(["bicubic", of_scale(tmp_path, scale)], hr, tmp_path / "lr", device="cpu", precision="fp32")
    assert made.protocol == given.protocol == sr_y(scale)
    assert [model.images for model in made.models] == [model.images for model in given.models]
    for row in made.models[0].images:
        truth = sr_y(scale).crop_to_scale(torch.from_numpy(read_rgb(hr / row.image))[None])
        sr = bicubic_up(matlab_bicubic_down(truth, scale), scale).mul(255).round().div(255)
        assert row.scores["psnr_y"] == pytest.approx(psnr_y(sr, truth, scale).item(), abs=1e-6)


def test_the_scale_of_results_is_said_by_the_protocol_or_the_option(hr: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["evaluate", str(hr), "--results", str(hr), "-o", str(out)]
    for more in (["--scale", "2"], ["--protocol", "sr-y-crop2"], ["--protocol", "rgb", "--scale", "2"]):
        assert run([*command, *more]) == 0
        assert json.loads((out / "scores.json").read_text("utf-8"))["protocol"]["scale"] == 2


def test_scales_that_differ_are_refused(
    hr: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    double = of_scale(tmp_path, 2)
    command = ["evaluate", str(hr), "-o", str(tmp_path / "out"), "--model", str(double)]
    mixed = one_error_line([*command, "--model", str(tiny)], capsys)
    assert "tiny-x2 x2 and tiny x4 cannot be scored together" in mixed
    assert "is for x4, but what is scored enlarges x2" in one_error_line([*command, "--protocol", "rgb-crop4"], capsys)
    assert "the model enlarges x2; leave --scale out" in one_error_line([*command, "--scale", "3"], capsys)
    with pytest.raises(UserError, match="is for x4, but what is scored enlarges x2"):
        evaluate(double, hr, protocol=SR_Y_CROP4)
    with pytest.raises(UserError, match="unknown"):
        protocol_named("rgb4")


@pytest.mark.skipif(not is_installed("spandrel"), reason="spandrel is not installed")
def test_a_community_file_is_scored_at_its_own_scale(hr: Path, tmp_path: Path) -> None:
    import_spandrel()
    from spandrel.architectures.Compact import Compact

    torch.manual_seed(0)
    torch.save({"params": Compact(num_feat=16, num_conv=2, upscale=2).state_dict()}, tmp_path / "2x-small.pth")
    report = evaluate(tmp_path / "2x-small.pth", hr, device="cpu")
    assert report.protocol == sr_y(2)
    assert (report.models[0].name, report.models[0].precision) == ("2x-small", "fp32")


def test_a_network_of_ones_own_can_take_part(hr: Path) -> None:
    own = Entrant("mine", "generator", bicubic_up, weights_sha256="abc", precision="fp32")
    report = evaluate(["bicubic", own], hr)
    assert report.models[1].name == "mine"
    assert report.models[1].weights_sha256 == "abc"
    assert report.models[1].images == report.models[0].images


def test_strips_show_the_same_square_of_everything(hr: Path) -> None:
    strip = evaluate("bicubic", hr, strip_side=24).strips[0]
    truth = (read_rgb(hr / "a.png") * 255).round().astype(np.uint8).transpose(1, 2, 0)
    assert (strip.top % 4, strip.left % 4) == (0, 0)
    assert np.array_equal(strip.truth, truth[strip.top : strip.top + 24, strip.left : strip.left + 24])
    assert strip.results["bicubic"].shape == (24, 24, 3)
    assert strip.low.shape == (6, 6, 3)
    assert np.abs(strip.results["bicubic"].mean((0, 1)) - strip.truth.mean((0, 1))).max() < 8
    assert evaluate("bicubic", hr, strip_side=1000).strips[0].truth.shape == (40, 40, 3)


def test_scorer_rounds_first_and_adds_what_is_given() -> None:
    torch.manual_seed(0)
    network = StLpips()
    metric = Metric("st_lpips", "random", higher_is_better=False, weights_sha256="abc")
    scorer = Scorer(SR_Y_CROP4, [_Entry(metric, lambda sr, hr, lr: network(sr, hr))])
    hr = torch.rand(2, 3, 32, 32).mul(255).round().div(255)
    rows = scorer.score(hr + 0.4 / 255, hr)
    assert all(math.isinf(row["psnr_y"]) and row["st_lpips"] == 0 for row in rows)
    assert [metric.name for metric in scorer.metrics] == list(rows[0])
    assert scorer.metrics[-1].weights_sha256 == "abc"
    beyond = scorer.score(torch.full((1, 3, 32, 32), 1.5), torch.ones(1, 3, 32, 32))
    assert math.isinf(beyond[0]["psnr_y"])


def test_without_their_weights_metrics_are_left_out_and_said(hr: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="gramgan"):
        report = evaluate("bicubic", hr)
    for weights in ("st-lpips-alex", "lpips-alex", "dists-vgg16"):
        assert f"gramgan weights get {weights}" in caplog.text
    assert not {metric.name for metric in report.metrics} & {"st_lpips", "lpips_alex", "dists"}
    assert {"texture_distance", "texture_distance_textured"} <= {metric.name for metric in report.metrics}


def test_command_writes_scores_and_says_where(hr: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "out"
    assert run(["evaluate", str(hr), "--model", "bicubic", "--results", str(hr), "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "PSNR-Y, dB ↑" in printed
    assert "sr-y-crop4" in printed
    assert str(out) in printed.splitlines()[-1]
    for name in ("scores.csv", "scores.json", "scores.md", "report.html"):
        assert name in printed.splitlines()[-1]
        assert (out / name).is_file()
    assert not (out / "comparison.csv").exists()


def test_several_folders_by_one_command(hr: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("BSD100", "Urban100"):
        (tmp_path / name / "HR").mkdir(parents=True)
    for name, image in (("BSD100", "a.png"), ("Urban100", "b.png")):
        (tmp_path / name / "HR" / image).write_bytes((hr / image).read_bytes())
    out = tmp_path / "out"
    folders = [str(tmp_path / name / "HR") for name in ("BSD100", "Urban100")]
    assert run(["evaluate", *folders, "--model", "bicubic", "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    for name, image in (("BSD100-HR", "a.png"), ("Urban100-HR", "b.png")):
        alone = json.loads((out / name / "scores.json").read_text())
        assert [row["image"] for row in alone["models"][0]["images"]] == [image]
        assert (out / name / "report.html").is_file()
    summary = printed.partition("means on every folder")[2]
    psnr = [evaluate("bicubic", folder).models[0].mean()["psnr_y"] for folder in folders]
    (line,) = (line for line in summary.splitlines() if line.startswith("PSNR-Y"))
    assert line.split()[-2:] == [f"{value:.2f}" for value in psnr]


def test_several_folders_go_with_no_results(hr: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other").mkdir()
    command = ["evaluate", str(hr), str(tmp_path / "other"), "-o", str(tmp_path / "out")]
    assert "--lr and --results belong to one" in one_error_line([*command, "--results", str(hr)], capsys)
    assert "no images" in one_error_line([*command, "--model", "bicubic"], capsys)
    assert not (tmp_path / "out").exists()
    assert "given twice" in one_error_line(["evaluate", str(hr), str(hr), "-o", str(tmp_path / "out")], capsys)


def one_error_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert run(arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_bad_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rest = ["--model", "bicubic", "-o", str(tmp_path / "out")]
    assert "no such folder" in one_error_line(["evaluate", str(tmp_path / "nowhere"), *rest], capsys)
    (tmp_path / "empty").mkdir()
    assert "no images" in one_error_line(["evaluate", str(tmp_path / "empty"), *rest], capsys)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("words")
    assert "1 other file" in one_error_line(["evaluate", str(tmp_path / "texts"), *rest], capsys)


def test_unmatched_and_mis_sized_images(hr: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lr = make_lr(hr, tmp_path / "lr")
    command = ["evaluate", str(hr), "--lr", str(lr), "--model", "bicubic", "-o", str(tmp_path / "out")]
    write_image(lr / "ax4.png", np.zeros((3, 12, 12), dtype=np.float32))
    assert "12x12, but a.png needs 10x12" in one_error_line(command, capsys)
    (lr / "ax4.png").unlink()
    assert "no LR image for a.png" in one_error_line(command, capsys)


def test_results_of_another_size(hr: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_lr(hr, tmp_path / "sr")
    command = ["evaluate", str(hr), "--results", str(tmp_path / "sr"), "-o", str(tmp_path / "out")]
    assert "give images of the same size" in one_error_line(command, capsys)


def test_tiny_and_damaged_truths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rest = ["--model", "bicubic", "-o", str(tmp_path / "out")]
    write_image(tmp_path / "small" / "s.png", np.zeros((3, 40, 23), dtype=np.float32))
    assert "s.png: 23x40 is too small" in one_error_line(["evaluate", str(tmp_path / "small"), *rest], capsys)
    write_image(tmp_path / "broken" / "t.png", np.random.default_rng(0).random((3, 64, 64)).astype(np.float32))
    whole = (tmp_path / "broken" / "t.png").read_bytes()
    (tmp_path / "broken" / "t.png").write_bytes(whole[: len(whole) // 2])
    assert "t.png" in one_error_line(["evaluate", str(tmp_path / "broken"), *rest], capsys)


@pytest.mark.parametrize("damage", ["header", "body"])
@pytest.mark.parametrize("which", ["truth", "LR image", "result"])
def test_one_damaged_file_is_left_out_for_all(
    hr: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], which: str, damage: str
) -> None:
    lr, results = make_lr(hr, tmp_path / "lr"), tmp_path / "theirs"
    shutil.copytree(hr, results)
    bad = {"truth": hr / "b.png", "LR image": lr / "bx4.png", "result": results / "b.png"}[which]
    whole = bad.read_bytes()
    bad.write_bytes(whole[: len(whole) // 2] if damage == "body" else b"no picture")
    out = tmp_path / "out"
    command = ["evaluate", str(hr), "--lr", str(lr), "--model", "bicubic", "--results", str(results), "-o", str(out)]
    assert run([*command, "--compare"]) == 1
    printed = capsys.readouterr()
    (line,) = (line for line in printed.err.splitlines() if line.startswith("left out for all models: "))
    assert str(bad) in line
    assert "mean of 2" in printed.out
    scores = json.loads((out / "scores.json").read_text())
    assert [[row["image"] for row in model["images"]] for model in scores["models"]] == [["a.png", "grey.png"]] * 2
    assert [each["image"] for each in scores["left_out"]] == ["b.png"]
    for page in ("scores.md", "report.html"):
        assert "Left out for all models: " in (out / page).read_text()
        assert "2 images" in (out / page).read_text()


def test_nothing_is_scored_where_all_are_damaged(hr: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in hr.iterdir():
        path.write_bytes(path.read_bytes()[:60])
    out = tmp_path / "out"
    assert "(and 2 others, which are all" in one_error_line(
        ["evaluate", str(hr), "--model", "bicubic", "-o", str(out)], capsys
    )
    assert list(out.iterdir()) == []


def test_unknown_models_and_settings(hr: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", str(hr), "-o", str(tmp_path / "out"), "--model"]
    assert "real-esrgan-x4plus" in one_error_line([*command, "real-esrgan-x4"], capsys)
    assert "gramgan weights get" in one_error_line([*command, "real-esrgan-x4plus"], capsys)
    assert "precision" in one_error_line([*command, str(tiny), "--precision", "fp8"], capsys)
    assert "device" in one_error_line([*command, str(tiny), "--device", "tpu"], capsys)
    assert "rgb-crop" in one_error_line([*command, "bicubic", "--protocol", "y"], capsys)
    assert "use lpips-vgg" in one_error_line([*command, "bicubic", "--also", "fid"], capsys)
    assert "gramgan weights get vgg16" in one_error_line([*command, "bicubic", "--also", "lpips-vgg"], capsys)
    assert "only one to score" in one_error_line([*command, "bicubic", "--compare"], capsys)


def test_output_that_is_a_file(hr: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    command = ["evaluate", str(hr), "--model", "bicubic", "-o", str(tmp_path / "file")]
    assert "a file stands where a folder is needed" in one_error_line(command, capsys)


def test_nothing_to_score(hr: Path) -> None:
    with pytest.raises(UserError, match="nothing to score"):
        evaluate([], hr)
