"""The study of pictures as people have them: its files, and what it writes of scores."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import photo
from gramgan.evaluation.compare import evaluate
from gramgan.images import read_rgb
from gramgan.upscaling.settings import Settings


def scene(seed: int = 0, width: int = 96, height: int = 72) -> Image.Image:
    """Shapes of several sizes in several colours, not too dark."""
    random = np.random.default_rng(seed)
    small = (60 + 180 * random.random((height // 8, width // 8, 3))).astype(np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("kind", photo.KINDS)
def test_every_kind_is_a_quarter_in_size_alike_in_every_run_and_true_in_colour(kind: str, tmp_path: Path) -> None:
    image = scene()
    high, low = photo.make({"a": image, "b": scene(1)}, kind, tmp_path / "one")
    _, again = photo.make({"a": image}, kind, tmp_path / "two")
    (file,) = [path for path in low.iterdir() if path.stem == "a"]
    assert file.read_bytes() == (again / file.name).read_bytes()
    picture = Image.open(file)
    assert picture.size == (24, 18)
    assert picture.format == ("WEBP" if kind == "reupload" else "JPEG")
    assert np.array_equal(np.asarray(Image.open(high / "a.png")), np.asarray(image))
    means = [np.asarray(each.convert("RGB"), float).mean((0, 1)) for each in (picture, image)]
    assert np.abs(means[0] - means[1]).max() < 6


def test_noise_grows_with_light_and_is_correlated_by_demosaicing() -> None:
    random = np.random.default_rng(0)
    noise = [photo.sensor(np.full((128, 128, 3), light), 0.004, 0.006, random) - light for light in (0.05, 0.8)]
    dark, bright = (each[8:-8, 8:-8] for each in noise)
    assert np.abs(dark.mean((0, 1))).max() < 0.002
    assert bright.std() > 2 * dark.std()
    red = bright[..., 0]
    assert np.corrcoef(red[:, :-1].ravel(), red[:, 1:].ravel())[0, 1] > 0.3
    expected = np.sqrt(0.004 * 0.8 + 0.006**2)
    assert red[::2, ::2].std() == pytest.approx(expected, rel=0.05)  # where the mosaic has red itself


def test_held_out_photographs_are_there(benchmarks_folder: Path) -> None:
    if not (benchmarks_folder.parent / "cid22").is_dir():
        pytest.skip("the folder ../shared/cid22 is not beside this checkout")
    images = photo.truths()
    assert len(images) == 5 + 14 + 12
    for image in images.values():
        assert max(image.size) <= photo.SIDE
        assert image.width % 8 == image.height % 8 == 0


def test_with_and_without_consistency_and_as_it_comes(
    small_generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Settings] = []

    class Copying:
        def __init__(self, settings: Settings) -> None:
            asked.append(settings)

        def file(self, source: Path, target: Path) -> None:
            image = Image.open(source).convert("RGB")
            target.parent.mkdir(parents=True, exist_ok=True)
            image.resize((4 * image.width, 4 * image.height)).save(target)

    monkeypatch.setattr(photo, "Upscaling", Copying)
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path / "cache"))  # without learned metrics, which take their time
    photo.make({"a": scene(), "b": scene(1)}, "jpeg", tmp_path)
    everyone = photo.contestants([str(small_generator)])
    for one in everyone:
        photo.enlarge_all(one, tmp_path, ["jpeg"], "cpu")
    assert [(each.model, each.consistency) for each in asked][-3:] == [
        (str(small_generator), False),
        (str(small_generator), True),
        (None, None),
    ]
    report = evaluate(
        "bicubic",
        tmp_path / "truths",
        tmp_path / "jpeg" / "low",
        results=[tmp_path / "jpeg" / one.name for one in everyone],
        strip_side=32,
    )
    models = photo.together({"jpeg": report, "again": report})
    assert [len(model.images) for model in models] == [4] * len(models)
    metrics = [metric for metric in report.metrics if metric.name == "psnr_y"]
    table = photo.table(metrics, models)
    assert table.count("**") == 2 * sum(model.mean()["psnr_y"] == best(models) for model in models)
    text = photo.page_text({"jpeg": report}, models, 0.08, 2, "images/x.webp", "python studies/photo.py")
    for words in (
        "- **camera**:",
        "`gramgan upscale` minus `real-esrgan-x4plus`",
        "2 truths",
        "0.080",
        "images/x.webp",
    ):
        assert words in text
    picture = photo.picture_of({"jpeg": report}, ["bicubic", photo.AS_IT_COMES])
    assert picture.shape[2] == 3
    buffer = io.BytesIO(photo.to_webp(picture))
    assert Image.open(buffer).size == (picture.shape[1], picture.shape[0])
    assert read_rgb(tmp_path / "truths" / "a.png").shape == (3, 72, 96)


def best(models: list) -> float:
    return max(model.mean()["psnr_y"] for model in models)
