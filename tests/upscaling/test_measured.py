"""What a result has to agree with: everything of a clean picture, intervals of a JPEG, what is coarse in noise."""

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage import data

from gramgan.condition import Condition, measure
from gramgan.condition.container import lossy_container
from gramgan.errors import UserError
from gramgan.ops import bicubic
from gramgan.upscaling.api import Upscaling, upscale
from gramgan.upscaling.measured import EVERYTHING, Measured, beyond_quantisation
from gramgan.upscaling.model import OpenModel
from gramgan.upscaling.refine import Refine, back_project_measured
from gramgan.upscaling.settings import Settings
from gramgan.weights.card import Card


def photograph(height: int = 96, width: int = 128) -> np.ndarray:
    """`[H, W, 3]` uint8; shrunk by 3, which averages the film's grain away."""
    small = Image.fromarray(data.astronaut()).reduce(3)
    return np.asarray(small)[:height, 20 : 20 + width]


def planes(picture: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(picture.transpose(2, 0, 1), dtype=np.float32) / 255


def jpeg_condition(picture: np.ndarray, quality: int, subsampling: int, path: Path) -> tuple[np.ndarray, Condition]:
    from gramgan.condition import of_file

    Image.fromarray(picture).save(path, "JPEG", quality=quality, subsampling=subsampling)
    return planes(np.asarray(Image.open(path).convert("RGB"))), of_file(path)


@pytest.mark.parametrize(("quality", "subsampling"), [(30, 0), (50, 2), (75, 1), (90, 2)])
def test_the_original_lies_within_the_intervals_of_its_own_jpeg(quality: int, subsampling: int, tmp_path: Path) -> None:
    original = photograph()
    coded, condition = jpeg_condition(original, quality, subsampling, tmp_path / "a.jpg")
    assert condition.jpeg is not None
    residual = coded - planes(original)
    beyond = beyond_quantisation(residual, condition.jpeg, 0, 0)
    # What is left is 8-bit rounding, clipping, and libjpeg's smooth enlargement of chroma.
    assert np.square(beyond).mean() < 0.1 * np.square(residual).mean()
    luma = np.array([0.299, 0.587, 0.114])[:, None, None]
    assert float(np.abs((beyond * luma).sum(0)).mean()) * 255 < 0.35


def test_what_compression_does_not_explain_is_left(tmp_path: Path) -> None:
    coded, condition = jpeg_condition(photograph(), 50, 2, tmp_path / "a.jpg")
    assert condition.jpeg is not None
    brighter = np.full_like(coded, 30 / 255)
    beyond = beyond_quantisation(brighter, condition.jpeg, 0, 0)
    # Half a step of the mean of 64 pixels, at quality 50: 16 / 2 / 8 = 1 grey level of luma, and none of chroma.
    np.testing.assert_allclose(beyond, 29 / 255, atol=1e-4)


@pytest.mark.parametrize("place", [(0, 0), (3, 5), (8, 16), (13, 9)])
def test_a_part_of_a_picture_sees_the_same_blocks(place: tuple[int, int], tmp_path: Path) -> None:
    coded, condition = jpeg_condition(photograph(), 40, 2, tmp_path / "a.jpg")
    assert condition.jpeg is not None
    residual = coded - planes(photograph()) + 0.05 * np.random.default_rng(0).random(coded.shape, np.float32)
    whole = beyond_quantisation(residual, condition.jpeg, 0, 0)
    top, left = place
    part = beyond_quantisation(residual[:, top:, left:], condition.jpeg, top, left)
    # Blocks that the part cuts are guessed; 16 pixels in, all are whole.
    np.testing.assert_allclose(part[:, 16:, 16:], whole[:, top + 16 :, left + 16 :], atol=1e-5)


def test_noise_does_not_come_back_and_colours_do() -> None:
    random = np.random.default_rng(1)
    truth = planes(photograph())
    noisy = np.clip(truth + random.normal(0, 12 / 255, truth.shape), 0, 1).astype(np.float32)
    clean = np.clip(bicubic.enlarge(truth), 0, 1)
    drifted = np.clip(clean * 0.95 + 0.03, 0, 1)
    measured = Measured(noise=12 / 255, fine=0)
    result, _, _ = back_project_measured(noisy, drifted, measured)
    full, _, _ = back_project_measured(noisy, drifted)

    def error(picture: np.ndarray) -> float:
        return 255 * float(np.sqrt(np.square(picture - clean).mean()))

    assert error(result) < 0.7 * error(drifted)
    assert error(full) > 1.5 * error(result)
    assert abs(float((result - clean).mean())) * 255 < 0.3


def test_denoise_goes_from_everything_to_what_is_coarse() -> None:
    random = np.random.default_rng(2)
    residual = random.normal(0, 0.04, (3, 40, 40)).astype(np.float32)
    sizes = [float(np.square(Measured(noise=0.04, fine=1 - d).missing(residual, 0, 0)).mean()) for d in (0, 0.5, 1)]
    assert sizes[0] == pytest.approx(float(np.square(residual).mean()))
    assert sizes[0] > sizes[1] > sizes[2]
    assert EVERYTHING.missing(residual, 0, 0) is residual


def test_of_a_condition() -> None:
    clean = measure(planes(photograph()))
    assert Measured.of(clean, 1.0) is EVERYTHING
    noise = np.random.default_rng(3).normal(0, 10 / 255, (3, 96, 128))
    noisy = measure(np.clip(planes(photograph()) + noise, 0, 1).astype(np.float32))
    measured = Measured.of(noisy, 0.25)
    assert measured.noise == pytest.approx(10 / 255, rel=0.25)
    assert measured.fine == 0.75


def test_tiles_agree_with_the_whole(tmp_path: Path) -> None:
    coded, condition = jpeg_condition(photograph(96, 128), 50, 2, tmp_path / "a.jpg")
    refine = Refine(measured=Measured.of(condition, 1.0))
    network = np.clip(bicubic.enlarge(coded) * 0.9 + 0.02, 0, 1)
    whole = refine(coded, network)
    context = refine.overlap(0)
    top, left, side = 21, 37, 24
    first, second = top - context if top > context else 0, left - context if left > context else 0
    rows, columns = slice(first, top + side + context), slice(second, left + side + context)
    wide = (slice(None), slice(4 * rows.start, 4 * rows.stop), slice(4 * columns.start, 4 * columns.stop))
    part = refine(coded[:, rows, columns], network[wide], rows.start, columns.start)
    inner = part[:, 4 * (top - first) : 4 * (top - first + side), 4 * (left - second) : 4 * (left - second + side)]
    expected = whole[:, 4 * top : 4 * (top + side), 4 * left : 4 * (left + side)]
    assert float(np.abs(inner - expected).max()) * 255 < 0.6


class Bicubic:
    """A backend that needs no weights."""

    name, batch, side, bytes_per_pixel = "bicubic", 1, None, 100

    def free_bytes(self) -> int:
        return 2**40

    def run(self, tiles: np.ndarray) -> np.ndarray:
        return np.stack([bicubic.enlarge(tile) for tile in tiles])


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the weights that were opened, none of which is really there."""
    names: list[str] = []

    def open_model(spec: str, **_: object) -> OpenModel:
        names.append(spec)
        card = Card(name=spec, architecture={"network": "rrdb"}, licence="CC0-1.0", overlap=4)
        return OpenModel(Bicubic(), card, spec, "0")

    monkeypatch.setattr("gramgan.upscaling.api.open_model", open_model)
    return names


def test_weights_are_chosen_by_what_a_picture_has_been_through(tmp_path: Path, opened: list[str]) -> None:
    picture = photograph()
    Image.fromarray(picture).save(tmp_path / "clean.png")
    noise = np.random.default_rng(4).normal(0, 10, picture.shape)
    Image.fromarray(np.clip(picture + noise, 0, 255).astype(np.uint8)).save(tmp_path / "noisy.png")
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=60)
    (tmp_path / "coded.jpg").write_bytes(buffer.getvalue())
    Image.fromarray(picture).save(tmp_path / "web.webp", quality=60)
    upscaling = Upscaling(Settings())
    for name in ("clean.png", "noisy.png", "coded.jpg", "web.webp", "clean.png"):
        upscaling.file(tmp_path / name, tmp_path / "out" / f"{Path(name).stem}.png")
    assert opened == ["gramgan-x4", "gramgan-x4-photo"]
    assert "Input: JPEG quality 60" in str(Image.open(tmp_path / "out" / "coded.png").info)
    assert "WebP." in str(Image.open(tmp_path / "out" / "web.png").info)
    assert "Input" not in str(Image.open(tmp_path / "out" / "clean.png").info)
    upscaling.array(planes(picture), "array")
    Upscaling(Settings(model="mine")).file(tmp_path / "noisy.png", tmp_path / "mine.png")
    assert opened[2:] == ["mine"]


def test_each_page_is_looked_at_and_frames_are_done_alike(tmp_path: Path, opened: list[str]) -> None:
    clean = Image.fromarray(photograph())
    grain = np.random.default_rng(6).normal(0, 12, photograph().shape)
    noisy = Image.fromarray(np.clip(photograph() + grain, 0, 255).astype(np.uint8))
    clean.save(tmp_path / "in.tif", save_all=True, append_images=[noisy, clean])
    upscale(tmp_path / "in.tif", tmp_path / "out.tif")
    assert opened == ["gramgan-x4", "gramgan-x4-photo"]
    with tifffile.TiffFile(tmp_path / "out.tif") as result:
        said = ["Input: noise" in str(page.tags[270].value) for page in result.pages]  # pyright: ignore
    assert said == [False, True, False]
    opened.clear()
    clean.save(tmp_path / "in.webp", save_all=True, append_images=[noisy, clean], lossless=True)
    upscale(tmp_path / "in.webp", tmp_path / "out.webp")
    assert opened == ["gramgan-x4"]


def test_a_file_read_into_an_array_is_looked_at_as_a_file(tmp_path: Path, opened: list[str]) -> None:
    """Its tables and its format are known whether the result is an array or a file; of an array pixels alone."""
    Image.fromarray(photograph()).save(tmp_path / "a.jpg", quality=50)
    Image.fromarray(photograph()).save(tmp_path / "a.webp", quality=50)
    for name in ("a.jpg", "a.webp"):
        array = upscale(tmp_path / name)
        upscale(tmp_path / name, tmp_path / "out.png")
        assert isinstance(array, np.ndarray)
        assert np.array_equal(array, np.asarray(Image.open(tmp_path / "out.png"))), name
    assert set(opened) == {"gramgan-x4-photo"}
    noisy = photograph() + np.random.default_rng(5).normal(0, 10, photograph().shape)
    upscale(np.clip(noisy, 0, 255).astype(np.uint8), tmp_path / "noisy.png")
    assert "Input: noise " in str(Image.open(tmp_path / "noisy.png").info)


@pytest.mark.parametrize("consistency", [True, False])
def test_denoise_is_not_silently_without_effect(consistency: bool) -> None:
    with pytest.raises(UserError, match=r"denoise: 0\.5 has no effect together with --(no-)?consistency"):
        Settings(denoise=0.5, consistency=consistency).check()
    Settings(denoise=0.5).check()


def test_lossy_formats_are_told_from_lossless_ones(tmp_path: Path) -> None:
    picture = Image.fromarray(photograph())
    for name, expected, options in (
        ("a.webp", "WebP", {"quality": 60}),
        ("b.webp", None, {"lossless": True}),
        ("c.avif", "AVIF", {"quality": 60}),
        ("d.png", None, {}),
        ("e.jpg", None, {}),  # its tables say more
    ):
        picture.save(tmp_path / name, **options)  # pyright: ignore[reportArgumentType]
        assert lossy_container(tmp_path / name) == expected, name
    picture.save(tmp_path / "f.webp", quality=60, icc_profile=b"\0" * 1000, exif=picture.getexif())
    assert lossy_container(tmp_path / "f.webp") == "WebP"
    assert lossy_container(tmp_path / "missing") is None
