"""The profiles: what they draw and how often, in which order it is done, and that a seed decides it."""

import dataclasses
import io
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import ndimage
from skimage import data

from gramgan.config import load_config
from gramgan.degradation import PROFILES, SCALE, build_degradation, photo, realphoto, satellite, seed_of
from gramgan.degradation.bicubic import degrade_bicubic
from gramgan.degradation.jpeg import Coding
from gramgan.degradation.noise import sensor_noise
from gramgan.degradation.realphoto import Blur, RealPhoto, RoundPlan, Sinc
from gramgan.degradation.satellite import Satellite, sigma_of_mtf
from gramgan.errors import UserError
from gramgan.images import read_rgb

PLANS = 3000


def photographs(side: int = 96) -> torch.Tensor:
    """Three crops of photographs, `[3, 3, side, side]`."""
    pictures = [data.astronaut(), data.coffee(), data.chelsea()]
    crops = np.stack([picture[100 : 100 + side, 140 : 140 + side] for picture in pictures])
    return torch.from_numpy(crops.transpose(0, 3, 1, 2).copy()).float() / 255


@pytest.fixture(scope="module")
def plans() -> list[realphoto.RealPhotoPlan]:
    return [RealPhoto().plan(seed) for seed in range(PLANS)]


def share(seen: Sequence[bool], expected: float) -> None:
    """Seen as often as expected, to four standard deviations."""
    assert np.mean(seen) == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / len(seen)))


def covers(values: Sequence[float], low: float, high: float) -> None:
    """Uniform between two bounds: none outside, mean in the middle, the ends reached."""
    width = high - low
    assert low <= min(values) < low + 0.05 * width
    assert high - 0.05 * width < max(values) <= high
    assert np.mean(values) == pytest.approx((low + high) / 2, abs=4 * width / math.sqrt(12 * len(values)))


def test_published_low_resolution_images(benchmarks_folder: Path) -> None:
    """At most one grey level, four LR pixels from the border, on all 19 images of Set5 and Set14."""
    degradation = build_degradation("bicubic")
    truths = sorted(benchmarks_folder.rglob("*HR.png"))
    assert len(truths) == 19
    for path in truths:
        hr = torch.from_numpy(read_rgb(path))[None]
        hr = hr[..., : hr.shape[-2] // SCALE * SCALE, : hr.shape[-1] // SCALE * SCALE]
        published = torch.from_numpy(read_rgb(path.with_name(path.name.replace("HR", "LR"))))[None]
        difference = (degradation(hr, [0]) - published).abs()[..., 4:-4, 4:-4] * 255
        assert float(difference.max()) < 1.5, path.name


def test_bicubic_is_the_function() -> None:
    hr = photographs()
    assert torch.equal(build_degradation("bicubic")(hr, [1, 2, 3]), degrade_bicubic(hr))
    assert build_degradation("bicubic").describe(1) == ["MATLAB's bicubic, ×1/4"]


@pytest.mark.parametrize("name", PROFILES)
def test_what_every_profile_gives(name: str) -> None:
    degradation, hr = build_degradation(name), photographs()
    lr = degradation(hr, [5, 6, 7])
    assert degradation.name == name
    assert lr.shape == (3, 3, 24, 24)
    assert lr.dtype == torch.float32
    assert lr.is_contiguous()
    assert float(lr.min()) >= 0
    assert float(lr.max()) <= 1
    torch.testing.assert_close(lr * 255, (lr * 255).round(), atol=1e-4, rtol=0)
    # It is the same picture, in its place.
    small = degrade_bicubic(hr)
    for one, other in zip(lr, small, strict=True):
        assert float(torch.corrcoef(torch.stack((one.flatten(), other.flatten())))[0, 1]) > 0.6
    last = degradation(hr.contiguous(memory_format=torch.channels_last), [5, 6, 7])
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(last, lr)
    assert all(degradation.describe(5))


@pytest.mark.parametrize("name", ["photo", "realphoto", "satellite"])
def test_a_seed_decides_whatever_the_batch_and_the_global_generator(name: str) -> None:
    degradation, hr = build_degradation(name), photographs()
    torch.manual_seed(1)
    seeds = [2**63 - 1, 8, 11]
    together = degradation(hr, seeds)
    torch.manual_seed(2)
    assert torch.equal(together, build_degradation(name)(hr, seeds))
    for i, seed in enumerate(seeds):
        assert torch.equal(degradation(hr[i : i + 1], [seed])[0], together[i])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(degradation(hr, seeds), together)
    assert not torch.equal(degradation(hr, [9, 8, 11])[0], together[0])
    assert degradation.describe(8) == build_degradation(name).describe(8) != degradation.describe(9)


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("size", [(32, 32), (32, 236), (4, 4)])  # the smallest crop; next to nothing
def test_small_and_long_images(name: str, size: tuple[int, int]) -> None:
    lr = build_degradation(name)(torch.rand(12, 3, *size), range(12))
    assert lr.shape[-2:] == (size[0] // 4, size[1] // 4)
    assert bool(lr.isfinite().all())


def test_wrong_input() -> None:
    degradation = build_degradation("realphoto")
    for shape, seeds, message in (
        ((1, 1, 8, 8), [0], "needs RGB images"),
        ((3, 8, 8), [0], "needs RGB images"),
        ((1, 3, 10, 8), [0], "image of 10x8 cannot be divided by 4"),
        ((2, 3, 8, 8), [0], "2 images need as many seeds, got 1"),
    ):
        with pytest.raises(ValueError, match=message):
            degradation(torch.zeros(shape), seeds)
    with pytest.raises(
        UserError, match="degradation foto: there is no such profile; choose one of bicubic, photo, real"
    ):
        build_degradation("foto")


def test_settings_name_the_profiles() -> None:
    assert load_config("realphoto").data.degradation == "realphoto"
    assert [load_config("paper", overrides=[f"data.degradation={name}"]).data.degradation for name in PROFILES] == list(
        PROFILES
    )
    with pytest.raises(UserError, match=r"data\.degradation: 'foto' is unknown; use bicubic, photo, realphoto, sat"):
        load_config("paper", overrides=["data.degradation=foto"])


def test_seeds_of_names_stay_what_they_are() -> None:
    assert seed_of("baby") == seed_of("baby") != seed_of("bird")
    assert seed_of("baby") == 2272035134


@pytest.mark.parametrize("stage", ["first", "second"])
def test_probabilities_of_a_stage(plans: list[realphoto.RealPhotoPlan], stage: str) -> None:
    numbers: realphoto.Round = {"first": realphoto.FIRST_ROUND, "second": realphoto.SECOND_ROUND}[stage]
    drawn: list[RoundPlan] = [getattr(plan, stage) for plan in plans]
    blurs = [one.blur for one in drawn if one.blur is not None]
    if numbers.blur < 1:
        share([one.blur is not None for one in drawn], numbers.blur)
    else:
        assert len(blurs) == PLANS
    share([isinstance(one, Sinc) for one in blurs], 0.1)
    shaped = [one for one in blurs if isinstance(one, Blur)]
    table = {("Gaussian", True): 0.45, ("Gaussian", False): 0.25, ("generalised Gaussian", True): 0.12}
    table |= {("generalised Gaussian", False): 0.03, ("plateau", True): 0.12, ("plateau", False): 0.03}
    for (shape, isotropic), probability in table.items():
        same = [one.shape == shape and (one.sigma[0] == one.sigma[1]) is isotropic for one in shaped]
        share(same, probability)
    for size in range(7, 22, 2):
        share([one.size == size for one in blurs], 1 / 8)
    covers([one.sigma[0] for one in shaped], *numbers.sigma)
    covers([one.angle for one in shaped if one.sigma[0] != one.sigma[1]], -math.pi, math.pi)
    generalised = [one.beta for one in shaped if one.shape == "generalised Gaussian"]
    share([beta < 1 for beta in generalised], 0.5)
    covers([beta for beta in generalised if beta < 1], 0.5, 1)
    covers([beta for beta in generalised if beta >= 1], 1, 4)
    covers([one.beta for one in shaped if one.shape == "plateau"], 1, 2)
    sincs = [one for one in blurs if isinstance(one, Sinc)]
    covers([one.cutoff for one in sincs if one.size < 13], math.pi / 3, math.pi)
    covers([one.cutoff for one in sincs if one.size >= 13], math.pi / 5, math.pi)

    scales = [one.scale for one in drawn]
    for seen, probability in zip(([s > 1 for s in scales], [s < 1 for s in scales]), numbers.resize, strict=False):
        share(seen, probability)
    share([s == 1 for s in scales], numbers.resize[2])
    covers([s for s in scales if s < 1], numbers.scale[0], 1)
    covers([s for s in scales if s > 1], 1, numbers.scale[1])
    for name in ("area", "bilinear", "bicubic"):
        share([one.filter == name for one in drawn], 1 / 3)

    noises = [one.noise for one in drawn]
    share([noise.kind == "Gaussian" for noise in noises], 0.5)
    share([noise.grey for noise in noises], 0.4)
    covers([noise.strength for noise in noises if noise.kind == "Gaussian"], *numbers.gaussian_sigma)
    covers([noise.strength for noise in noises if noise.kind == "Poisson"], *numbers.poisson_scale)
    assert len({noise.seed for noise in noises}) == PLANS
    covers([one.coding.quality for one in drawn], 30, 95)
    for axis in (0, 1):
        assert set(Counter(one.coding.offset[axis] for one in drawn)) == set(range(16))


def test_probabilities_of_the_end(plans: list[realphoto.RealPhotoPlan]) -> None:
    share([plan.sinc is not None for plan in plans], 0.8)
    share([plan.jpeg_last for plan in plans], 0.5)
    for name in ("area", "bilinear", "bicubic"):
        share([plan.filter == name for plan in plans], 1 / 3)
    covers([plan.sinc.cutoff for plan in plans if plan.sinc is not None], math.pi / 3, math.pi)


def test_numbers_are_those_of_the_published_training() -> None:
    first, second = realphoto.FIRST_ROUND, realphoto.SECOND_ROUND
    assert dataclasses.astuple(first) == (
        *(1.0, (0.2, 3.0), (0.2, 0.7, 0.1), (0.15, 1.5), (1.0, 30.0), (0.05, 3.0)),
        *(0.1, 0.5, 0.4, (30, 95)),
    )
    assert dataclasses.astuple(second) == (
        *(0.8, (0.2, 1.5), (0.3, 0.4, 0.3), (0.3, 1.2), (1.0, 25.0), (0.05, 2.5)),
        *(0.1, 0.5, 0.4, (30, 95)),
    )


def pillow(image: np.ndarray, coding: Coding) -> np.ndarray:
    """`[3, H, W]` in [0, 1] through libjpeg, the blocks beginning `offset` before the image."""
    top, left = coding.offset
    around = np.pad(image, ((0, 0), (top, 0), (left, 0)), "symmetric")
    file = io.BytesIO()
    picture = Image.fromarray(np.rint(around.clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0))
    picture.save(file, "JPEG", quality=coding.quality, subsampling="4:2:0")
    return np.asarray(Image.open(file)).transpose(2, 0, 1)[:, top:, left:].astype(np.float64) / 255


def resized(image: np.ndarray, size: tuple[int, int], how: str) -> np.ndarray:
    centred: dict[str, bool] = {} if how == "area" else {"align_corners": False}
    return F.interpolate(torch.from_numpy(image)[None], size=size, mode=how, **centred)[0].numpy()  # pyright: ignore[reportArgumentType]


def test_the_pipeline_is_its_plan_in_order(plans: list[realphoto.RealPhotoPlan]) -> None:
    """Against SciPy and Pillow, in float64: within half a grey level on average."""
    hr = photographs()
    # Where Gaussian noise alone is added: rounding cannot change how many random numbers are drawn.
    still = [i for i, plan in enumerate(plans) if {plan.first.noise.kind, plan.second.noise.kind} == {"Gaussian"}]
    chosen = [next(i for i in still if plans[i].jpeg_last is last and plans[i].sinc) for last in (True, False)]
    chosen.append(next(i for i in still if plans[i].second.blur is None and plans[i].sinc is None))
    lr = RealPhoto()(hr, chosen)
    for image, result, seed in zip(hr, lr, chosen, strict=True):
        plan = plans[seed]
        made = image.double().numpy()
        for stage, side in ((plan.first, 96), (plan.second, 24)):
            if stage.blur is not None:
                made = ndimage.convolve(made, stage.blur.kernel().numpy()[None], mode="reflect")
            scaled = round(side * stage.scale)
            # The noise itself is float32's, the one that the seed stands for.
            quiet = torch.from_numpy(resized(made, (scaled, scaled), stage.filter)).float()
            made = stage.noise.add(quiet).double().numpy()
            if stage is plan.first or not plan.jpeg_last:
                made = pillow(made, stage.coding)
        made = resized(made, (24, 24), plan.filter)
        if plan.sinc is not None:
            made = ndimage.convolve(made, plan.sinc.kernel().numpy()[None], mode="reflect")
        if plan.jpeg_last:
            made = pillow(made, plan.second.coding)
        difference = np.abs(np.rint(made.clip(0, 1) * 255) - result.numpy() * 255)
        assert difference.mean() < 0.5, (seed, difference.mean(), difference.max(), plan.lines())


def test_what_the_satellites_draw() -> None:
    plans = [Satellite().plan(seed) for seed in range(PLANS)]
    covers([plan.mtf[0] for plan in plans], 0.15, 0.36)
    assert all(0.15 <= along <= across for across, along in (plan.mtf for plan in plans))
    assert min(along / across for across, along in (plan.mtf for plan in plans)) == pytest.approx(2 / math.pi, abs=0.02)
    covers([plan.angle for plan in plans], 0, math.pi)
    covers([plan.shift[0] for plan in plans], -0.5, 0.5)
    covers([plan.shift[1] for plan in plans], -0.5, 0.5)
    covers([plan.snr for plan in plans], 45, 170)
    share([plan.bits == 11 for plan in plans], 0.5)
    covers([plan.used for plan in plans], 0.1, 0.5)
    share([plan.coding is not None for plan in plans], 0.3)
    covers([plan.coding.quality for plan in plans if plan.coding is not None], 85, 95)


@pytest.mark.parametrize("mtf", [0.15, 0.36])
def test_the_sensor_passes_its_mtf_at_nyquist(mtf: float) -> None:
    kernel = satellite.SatellitePlan((mtf, 0.2), 0.0, (0, 0), 100, 12, 0.5, None, 0).kernel().numpy()
    wave = np.cos(2 * np.pi / 8 * (np.arange(21) - 10))
    assert (kernel.sum(0) * wave).sum() == pytest.approx(mtf, abs=0.002)
    assert (kernel.sum(1) * wave).sum() == pytest.approx(0.2, abs=0.002)
    assert math.exp(-2 * (math.pi * sigma_of_mtf(mtf) / 8) ** 2) == pytest.approx(mtf)


def quiet(**changes: object) -> satellite.SatellitePlan:
    """A sensor with nothing but its optics."""
    plan = satellite.SatellitePlan((0.3, 0.3), 0.0, (0.0, 0.0), 1e5, 12, 1.0, None, 0)
    return dataclasses.replace(plan, **changes)  # pyright: ignore[reportArgumentType]


def test_the_optics_are_a_gaussian_sampled_at_pixel_centres() -> None:
    hr = photographs()[0]
    expected = ndimage.gaussian_filter(hr.double().numpy(), (0, *(2 * (sigma_of_mtf(0.3),))), radius=(0, 10, 10))
    centres = np.stack(np.meshgrid(*(2 * (4 * np.arange(24) + 1.5,)), indexing="ij"))
    expected = np.stack([ndimage.map_coordinates(channel, centres, order=3, mode="reflect") for channel in expected])
    assert np.abs(quiet().run(hr).numpy() - expected)[:, 2:-2, 2:-2].max() < 1.5 / 255


@pytest.mark.parametrize("shift", [(0.5, 0.0), (-0.31, 0.44)])
def test_pictures_stay_in_their_place_whatever_the_sensors_grid(shift: tuple[float, float]) -> None:
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    wave = (0.5 + 0.4 * torch.sin(2 * math.pi * (x + 2 * y) / 48)).expand(3, -1, -1)
    moved = (quiet(shift=shift).run(wave) - quiet().run(wave)).abs()[:, 3:-3, 3:-3]
    assert float(moved.max()) < 0.01  # half an LR pixel would be 0.15


def test_shot_noise_has_the_stated_ratio() -> None:
    flat = torch.full((3, 512, 512), satellite.MID_GREY)
    noisy = quiet(snr=100.0).run(flat)
    assert float(noisy.mean() / noisy.std()) == pytest.approx(100, rel=0.03)


def test_few_bits_are_few_levels() -> None:
    ramp = torch.linspace(0, 1, 256).expand(3, 64, 256)
    assert len(quiet(bits=4, used=0.5).run(ramp).unique()) == 8
    sampled: Callable[[], torch.Tensor] = quiet(bits=11, used=0.1).run(ramp).mul(204.7).round
    torch.testing.assert_close(sampled() / 204.7, quiet(bits=11, used=0.1).run(ramp), atol=1e-5, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", PROFILES)
def test_on_a_gpu(name: str) -> None:
    hr, degradation = photographs(), build_degradation(name)
    one, two = degradation(hr.cuda(), [1, 2, 3]), degradation(hr.cuda(), [1, 2, 3])
    assert torch.equal(one, two)
    if name == "bicubic":
        assert (one.cpu() - degradation(hr, [1, 2, 3])).abs().max() < 1.5 / 255
    else:  # other noise of the same strength
        assert (one.cpu() - degradation(hr, [1, 2, 3])).abs().mean() < 0.1


def test_photo_faults_are_as_frequent_as_said() -> None:
    faults = photo.Faults()
    drawn = [photo.Photo().plan(seed) for seed in range(PLANS)]
    share([plan.shrink is not None for plan in drawn], faults.clean)
    dirty = [plan for plan in drawn if plan.shrink is None]
    share([plan.grain is not None for plan in dirty], faults.noise)
    share([plan.coding is not None for plan in dirty], faults.compressed)
    share([plan.sharpening is not None for plan in dirty], faults.sharpened)
    share([plan.size > 1 for plan in dirty], faults.larger)
    share([plan.size < 1 for plan in dirty], faults.smaller)
    share([plan.second is not None or plan.webp is not None for plan in dirty], faults.again)
    covers([math.log(plan.grain.sigma) for plan in dirty if plan.grain], *map(math.log, faults.grain))
    covers([plan.coding.quality for plan in dirty if plan.coding], *faults.quality)
    assert any(plan.webp is not None for plan in dirty)
    assert not any(plan.webp is not None and plan.second is not None for plan in dirty)


def test_photo_leaves_clean_pictures_as_the_benchmarks_are() -> None:
    seed = next(seed for seed in range(100) if photo.Photo().plan(seed).shrink == "bicubic")
    hr = photographs()
    assert torch.equal(build_degradation("photo")(hr, [seed] * 3), degrade_bicubic(hr))


def test_sensor_noise_has_the_stated_spread_correlation_and_signal() -> None:
    flat = torch.full((3, 256, 256), 0.5)
    plain = sensor_noise(flat, 0.02, 0.5, 0.0, 0.0, seed=1) - flat
    smooth = sensor_noise(flat, 0.02, 0.5, 0.8, 0.0, seed=1) - flat
    for noise in (plain, smooth):
        assert float(noise.std()) == pytest.approx(0.02, rel=0.05)

    def neighbours(noise: torch.Tensor) -> float:
        pairs = torch.stack((noise[:, :, 1:].flatten(), noise[:, :, :-1].flatten()))
        return float(torch.corrcoef(pairs)[0, 1])

    assert abs(neighbours(plain)) < 0.02
    assert neighbours(smooth) > 0.5
    dark, light = (sensor_noise(torch.full((3, 128, 128), v), 0.02, 0.9, 0, 0, seed=2) - v for v in (0.1, 0.9))
    assert float(light.std() / dark.std()) == pytest.approx(math.sqrt((0.1 + 1.8 * 0.9) / (0.1 + 1.8 * 0.1)), rel=0.05)
