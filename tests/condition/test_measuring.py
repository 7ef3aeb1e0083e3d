"""Whole pictures: what must be called clean, and pictures of every kind."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from known_pictures import Picture, as_grey, as_jpeg, from_pil, load, resized, to_pil, with_noise
from PIL import Image, ImageDraw

from gramgan.condition import Condition, measure, of_file
from gramgan.images import write_image

_TEXTURES = 200


def looked_at(picture: Picture) -> Condition:
    return measure(picture / np.float32(255))


def test_the_benchmarks_lr_pictures_are_clean(shared: Callable[[str], list[Path]]) -> None:
    paths = shared("benchmarks/Set5/*LR.png") + shared("benchmarks/Set14/*LR.png")
    assert len(paths) == 19
    assert [path.name for path in paths if not of_file(path).clean] == []


def _textured(path: Path, most: int = 6) -> list[tuple[float, Picture]]:
    """The regions of a picture in which the least textured places have the most texture, and that figure."""
    picture = load(path)
    height, width = picture.shape[1:]
    found = []
    for side in (256, 384, 512):
        for y in range(0, height - side + 1, side // 2):
            for x in range(0, width - side + 1, side // 2):
                region = picture[:, y : y + side, x : x + side]
                grey = region.mean(axis=0, dtype=np.float32)
                places = grey[: side // 16 * 16, : side // 16 * 16].reshape(side // 16, 16, side // 16, 16)
                found.append((float(np.percentile(places.std(axis=(1, 3)), 5)), region))
    return sorted(found, key=lambda one: -one[0])[:most]


@pytest.mark.slow
def test_two_hundred_textures_are_clean(shared: Callable[[str], list[Path]]) -> None:
    skimage = pytest.importorskip("skimage.data")
    folder = Path(skimage.__file__).parent
    names = ("grass", "gravel", "brick", "chelsea", "coffee", "astronaut", "camera", "coins")
    own = [folder / f"{name}.png" for name in names]
    regions = [
        (score, region, 2.0 if path.suffix == ".jpg" else 1.5)  # the JPEGs among them are shrunk until it is gone
        for path in shared("photos/*.jpg") + shared("cid22/*.png") + shared("gb82/*.png") + own
        for score, region in _textured(path)
    ]
    regions.sort(key=lambda one: -one[0])
    rng = np.random.default_rng(0)
    kinds = (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BOX)
    dirty = []
    for number, (_, region, least) in enumerate(regions[:_TEXTURES]):
        picture = resized(region, 1 / max(least, rng.choice([1.5, 2, 3, 4])), kinds[rng.integers(3)])
        for one in (picture, as_grey(picture)):
            condition = looked_at(one)
            if not condition.clean:
                dirty.append((number, one.shape, condition.describe()))
    assert dirty == [], dirty


def test_photographs_that_were_never_compressed_show_no_jpeg(photographs: list[Picture]) -> None:
    for number, picture in enumerate(photographs):
        changed = (as_grey(picture), resized(picture, 2), with_noise(picture, 6))[number % 3]
        assert looked_at(picture).jpeg is None
        assert looked_at(changed).jpeg is None


@pytest.mark.slow
def test_no_photograph_shows_jpeg_whatever_else_was_done_to_it(photographs: list[Picture]) -> None:
    for picture in photographs:
        for one in (picture, as_grey(picture), resized(picture, 2), with_noise(picture, 6)):
            assert looked_at(one).jpeg is None


@pytest.mark.slow
def test_no_jpeg_in_any_of_the_photographs_beside_this_checkout(shared: Callable[[str], list[Path]]) -> None:
    for path in shared("cid22/*.png") + shared("gb82/*.png"):
        assert of_file(path).jpeg is None, path.name


def test_noise_before_jpeg(photographs: list[Picture]) -> None:
    told = [looked_at(as_jpeg(with_noise(picture, 10), 60)) for picture in photographs]
    assert all(one.jpeg is not None and abs(one.jpeg.quality - 60) <= 5 for one in told)
    levels = [one.noise_level for one in told if one.noise_level]
    assert len(levels) >= len(told) // 3
    # Noise of 10 in each channel is sqrt(0.299² + 0.587² + 0.114²) · 10 in luma.
    assert np.median(levels) == pytest.approx(6.7, abs=1)
    quiet = [looked_at(as_jpeg(picture, 60)).noise_level for picture in photographs]
    assert sum(level > 0 for level in quiet) <= 1


def test_of_two_jpegs_with_a_resize_between_the_second_counts(photographs: list[Picture]) -> None:
    for picture in photographs:
        twice = as_jpeg(resized(as_jpeg(picture, 50), 0.8), 80, cut=(3, 5))
        jpeg = looked_at(twice).jpeg
        assert jpeg is not None
        assert abs(jpeg.quality - 80) <= 5
        assert jpeg.offset == (5, 3)


def test_noise_that_depends_on_the_signal_and_was_demosaiced() -> None:
    """Poisson-Gaussian noise on a Bayer mosaic over ramps, demosaiced bilinearly."""
    ramp = np.linspace(40, 215, 320)[None, None] + np.zeros((3, 240, 1))
    rng = np.random.default_rng(0)
    variance = 4 + 0.2 * ramp
    noise = rng.normal(0, 1, ramp.shape) * np.sqrt(variance)
    mask = np.zeros(ramp.shape, bool)
    mask[0, ::2, ::2] = mask[1, ::2, 1::2] = mask[1, 1::2, ::2] = mask[2, 1::2, 1::2] = True
    colour, green = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4, np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 4
    spread = []
    for channel, kernel in enumerate((colour, green, colour)):
        padded = np.pad(noise[channel] * mask[channel], 1, mode="reflect")
        views = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
        spread.append((views * kernel).sum(axis=(2, 3)))
    there = np.stack(spread)
    condition = looked_at(np.clip(np.round(ramp + there), 0, 255).astype(np.uint8))
    assert condition.noise is not None
    assert condition.noise.kind == "independent"
    assert condition.noise.level == pytest.approx(there.std(), rel=0.25)
    assert condition.noise.coarse > 2
    brightness, sigma = np.array(condition.noise.levels).T
    assert len(sigma) >= 4
    assert np.corrcoef(brightness, sigma)[0, 1] > 0.8
    white = looked_at(np.clip(np.round(ramp + noise), 0, 255).astype(np.uint8))
    assert white.noise is not None
    assert white.noise.by_signal is not None
    start, slope = white.noise.by_signal
    assert slope == pytest.approx(0.2, abs=0.05)
    assert start + 128 * slope == pytest.approx(4 + 0.2 * 128, rel=0.15)


def test_channels_have_noise_of_their_own(photographs: list[Picture]) -> None:
    rng = np.random.default_rng(0)
    sigma = np.array([4, 3, 7])
    picture = photographs[0]
    noise = rng.normal(0, 1, picture.shape) * sigma[:, None, None]
    condition = looked_at(np.clip(np.round(picture + noise), 0, 255).astype(np.uint8))
    assert condition.noise is not None
    assert condition.noise.sigma == pytest.approx(sigma, abs=1)


def test_grain_that_is_the_same_in_all_channels() -> None:
    smooth = np.linspace(50, 200, 160)[None, None] + np.zeros((3, 120, 1))
    grain = np.random.default_rng(0).normal(0, 5, (1, 120, 160))
    condition = looked_at(np.round(smooth + grain).astype(np.uint8))
    assert condition.noise is not None
    assert condition.noise.kind == "grey"
    assert condition.noise.level == pytest.approx(5, abs=0.5)
    assert condition.describe() == "noise 5"


def test_grey_deep_and_transparent_files(tmp_path: Path, photographs: list[Picture]) -> None:
    noisy = with_noise(photographs[1], 8)
    grey = with_noise(as_grey(photographs[1]), 8)
    assert looked_at(grey).noise_level == pytest.approx(8, abs=1)
    write_image(tmp_path / "deep.png", noisy / np.float32(255), bits=16)
    alpha = np.concatenate([noisy, np.zeros_like(noisy[:1])]) / np.float32(255)
    write_image(tmp_path / "alpha.png", alpha)
    for name in ("deep.png", "alpha.png"):
        assert of_file(tmp_path / name).noise_level == pytest.approx(8, abs=1), name


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 2), (8, 8), (9, 15), (16, 16)])
@pytest.mark.parametrize("channels", [1, 3])
def test_tiny_pictures(size: tuple[int, int], channels: int) -> None:
    pixels = np.random.default_rng(0).random((channels, *size), np.float32)
    condition = measure(pixels)
    assert (condition.height, condition.width) == size
    assert condition.jpeg is None
    if min(size) < 8:
        assert condition.clean
        assert condition.describe() == "too small to tell"
    condition.to_dict()


def test_flat_and_odd_values() -> None:
    for value in (0.0, 0.5, 1.0):
        condition = measure(np.full((3, 64, 64), value, np.float32))
        assert condition.clean
        assert condition.describe() == "clean"
    odd = np.full((3, 64, 64), np.nan, np.float32)
    odd[:, ::2] = np.inf
    assert measure(odd).describe()
    with pytest.raises(ValueError, match="got \\[4, 8, 8\\]"):
        measure(np.zeros((4, 8, 8), np.float32))


def _screenshot() -> Picture:
    image = Image.new("RGB", (640, 400), (245, 246, 248))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 640, 40), fill=(38, 70, 120))
    for line in range(18):
        draw.text(
            (20, 50 + 18 * line), f"{line}: The quick brown fox jumps over the lazy dog, 0123456789", fill=(20, 20, 30)
        )
    for number in range(8):
        draw.ellipse((480 + 9 * number, 60 + 30 * number, 520 + 9 * number, 90 + 30 * number), outline=(200, 40, 40))
    return from_pil(image)


def test_screenshots_and_line_art_are_not_noisy() -> None:
    art = Image.new("L", (400, 400), 255)
    draw = ImageDraw.Draw(art)
    for number in range(60):
        draw.line((200, 200, 200 + 190 * np.cos(number / 9), 200 + 190 * np.sin(number / 7)), fill=0)
    for picture in (_screenshot(), from_pil(art), from_pil(art.resize((123, 123), Image.Resampling.BICUBIC))):
        condition = looked_at(picture)
        assert condition.clean, condition.describe()
    assert looked_at(as_jpeg(_screenshot(), 70)).noise_level == 0


def test_what_was_enlarged_before_is_too_large(photographs: list[Picture]) -> None:
    for picture in photographs:
        small = resized(picture, 0.5)
        before = looked_at(small).softness
        assert before is not None
        large = looked_at(resized(small, 4))
        assert large.softness is not None
        assert 2.4 <= large.softness.enlarged / before.enlarged <= 4.8
        assert large.too_large
        assert "too large for its detail" in large.describe()


def test_a_hundred_megapixels_from_samples(tmp_path: Path, photographs: list[Picture]) -> None:
    tile = with_noise(photographs[0][:, :160, :240], 6)
    path = tmp_path / "large.jpg"
    to_pil(np.tile(tile, (1, 20, 14))).save(path, quality=98, subsampling=0)
    condition = of_file(path)
    assert condition.measured < 1.4e6 < condition.width * condition.height
    assert condition.noise_level == pytest.approx(6, abs=1)
    pixels = np.broadcast_to(np.tile(tile / np.float32(255), (1, 5, 1))[:, :, :240], (3, 800, 240))
    huge = np.lib.stride_tricks.as_strided(
        np.ascontiguousarray(pixels), (3, 800, 125_000), (800 * 240 * 4, 240 * 4, 0), writeable=False
    )
    started = time.process_time()
    assert measure(huge).measured < 1.4e6
    assert time.process_time() - started < 5  # half a second on an idle core
