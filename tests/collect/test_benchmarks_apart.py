"""No image that results are judged on is trained on: not the same file, nor the same pixels or the same picture."""

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from gramgan.collect.examine import examine
from gramgan.collect.gather import collect_samples
from gramgan.images import find_images, read_rgb, write_image
from gramgan.images.fingerprint import Lookalikes, thumbnail, turned
from gramgan.images.pairing import truths


def shared_pictures(trained_on: Iterable[Path], judged_on: Iterable[Path]) -> list[str]:
    """Each picture of `judged_on` that is in `trained_on` too, also turned, mirrored, resized or compressed."""
    found, hashes, pictures = [], {}, Lookalikes()
    for path in judged_on:
        seen = examine(path)
        hashes |= {seen.sha256: path.name, seen.pixels_sha256: path.name}
        pictures.add(path.name, turned(thumbnail(read_rgb(path))))
    for path in trained_on:
        seen = examine(path)
        same = hashes.get(seen.sha256) or hashes.get(seen.pixels_sha256)
        near = pictures.nearest(seen.fingerprint)
        if same or near:
            found.append(f"{path.name}: {same or near}")
    return found


@pytest.fixture(scope="module")
def benchmarks(benchmarks_folder: Path) -> list[Path]:
    found = [path for folder in ("Set5", "Set14") for path in truths(benchmarks_folder / folder)]
    assert len(found) == 19
    return found


def test_the_photographs_to_train_on_hold_no_benchmark(photos_folder: Path, benchmarks: list[Path]) -> None:
    assert shared_pictures(find_images(photos_folder), benchmarks) == []


def test_the_collected_samples_hold_no_benchmark(tmp_path: Path, benchmarks: list[Path]) -> None:
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    collect_samples(tmp_path / "samples")
    samples = find_images(tmp_path / "samples")
    assert len(samples) > 5
    assert shared_pictures(samples, benchmarks) == []


@pytest.mark.parametrize("disguise", ["copy", "bits", "small", "turned", "mirrored", "jpeg"])
def test_a_benchmark_in_disguise_is_found(disguise: str, tmp_path: Path, benchmarks: list[Path]) -> None:
    for judged in benchmarks[::6]:
        image = torch.from_numpy(read_rgb(judged))
        target = tmp_path / f"{judged.stem}.{'jpg' if disguise == 'jpeg' else 'png'}"
        match disguise:
            case "copy":
                target.write_bytes(judged.read_bytes())
            case "bits":
                write_image(target, image.numpy(), bits=16)
            case "small":
                half = torch.nn.functional.interpolate(image[None], scale_factor=0.6, mode="bicubic", antialias=True)
                write_image(target, half[0].clamp(0, 1).numpy())
            case "turned":
                write_image(target, image.rot90(1, (1, 2)).contiguous().numpy())
            case "mirrored":
                write_image(target, image.flip(2).numpy())
            case "jpeg":
                write_image(target, (image * 0.95).numpy())
        assert shared_pictures([target], benchmarks), judged.name
