"""Which patches of a photograph are drawn, and what is stored of them."""

import numpy as np
import pytest
import torch

from gramgan.ops.resize import matlab_bicubic_down
from gramgan.texture.cutting import cut_warped, warp_margin
from gramgan.texture.descriptors import DESCRIPTORS, DescriptorName
from gramgan.texture.distinct import NEAR_LEVELS, keep_distinct
from gramgan.texture.encoding import encode
from gramgan.texture.sampling import Patches, photograph_key, sample_patches


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (3, height, width), dtype=np.uint8)


def sample(
    photograph: np.ndarray,
    wanted: int,
    *,
    descriptor: DescriptorName = "rgb",
    k: int = 4,
    flat_share: float = 0.1,
    warp_share: float = 0.0,
    seed: int = 0,
) -> Patches:
    return sample_patches(
        photograph,
        wanted,
        key=photograph_key(photograph),
        descriptor=descriptor,
        k=k,
        flat_share=flat_share,
        warp_share=warp_share,
        seed=seed,
    )


def copies(photograph: np.ndarray) -> dict[float, np.ndarray]:
    """The 8-bit copies at scales 1, ½ and ¼."""
    result = {1.0: photograph}
    for factor in (2, 4):
        height, width = (side // factor * factor for side in photograph.shape[1:])
        image = torch.from_numpy(photograph[None, :, :height, :width]).float() / 255
        result[1 / factor] = matlab_bicubic_down(image, factor)[0].mul(255).round().to(torch.uint8).numpy()
    return result


def deviation(pixels: np.ndarray) -> np.ndarray:
    rgb = pixels.reshape(len(pixels), -1, 3) / 255
    return (rgb @ [0.299, 0.587, 0.114]).std(axis=1)


@pytest.mark.parametrize("descriptor", DESCRIPTORS)
@pytest.mark.parametrize("k", [4, 5])
def test_pixels_and_gram_vectors_are_those_of_the_position(descriptor: DescriptorName, k: int) -> None:
    photograph = noise(70, 55)
    patches = sample(photograph, 3000, descriptor=descriptor, k=k)
    assert set(patches.scale.tolist()) == {1.0, 0.5, 0.25}
    for scale, copy in copies(photograph).items():
        here = patches.scale == scale
        x, y = patches.x[here], patches.y[here]
        rows = (y[:, None] + np.arange(k))[:, :, None]
        columns = (x[:, None] + np.arange(k))[:, None, :]
        expected = copy[:, rows, columns].transpose(1, 2, 3, 0).reshape(len(x), -1)
        np.testing.assert_array_equal(patches.pixels[here], expected)
        every = encode(torch.from_numpy(copy[None]).float() / 255, descriptor, k, stride=1)[0].numpy()
        expected = every[y * (copy.shape[2] - k + 1) + x]
        np.testing.assert_allclose(patches.gram[here], expected, rtol=1e-5, atol=1e-6)
        assert {0, copy.shape[1] - k} <= set(y.tolist())  # borders take part


def test_scales_have_their_parts_and_small_copies_leave_theirs_to_the_larger() -> None:
    patches = sample(noise(200, 200), 700)
    assert [int((patches.scale == scale).sum()) for scale in (1, 0.5, 0.25)] == [400, 200, 100]
    small = noise(60, 40)  # the ¼ copy has 12 x 7 positions
    patches = sample(small, 1400)
    assert len(patches) == 1400
    assert int((patches.scale == 0.25).sum()) == 12 * 7


def test_all_positions_of_a_small_photograph_are_found() -> None:
    patches = sample(noise(11, 9), 10_000)
    assert len(patches) == 8 * 6 + 2 * 1
    assert len(set(patches.patch_id.tolist())) == len(patches)


@pytest.mark.parametrize("shape", [(3, 3), (4, 3), (1, 100)])
def test_photograph_smaller_than_a_patch_gives_none(shape: tuple[int, int]) -> None:
    for descriptor in DESCRIPTORS:
        patches = sample(noise(*shape), 100, descriptor=descriptor)
        assert len(patches) == 0
        assert patches.pixels.shape == (0, 48)


@pytest.mark.parametrize("shape", [(4, 4), (7, 7), (8, 5)])
def test_photograph_smaller_than_two_patches(shape: tuple[int, int]) -> None:
    assert len(sample(noise(*shape), 100)) == (shape[0] - 3) * (shape[1] - 3)


@pytest.mark.parametrize("flat_share", [0.0, 0.1, 0.5, 1.0])
def test_flat_share(flat_share: float) -> None:
    photograph = noise(96, 96)
    gradient = np.linspace(0, 40, 96).astype(np.uint8)
    photograph[:, :, 24:] = gradient[:72] * np.uint8(3)  # three quarters without texture, but not all identical
    photograph[:, :24] = 100 + gradient[:24, None]
    patches = sample(photograph, 1000, flat_share=flat_share)
    share = float((deviation(patches.pixels) < 0.008).mean())
    assert share <= flat_share + 1e-9
    if flat_share == 0.1:
        assert share > 0.005  # most of them are nearly identical


def test_a_flat_photograph_gives_no_patches_but_where_they_are_wanted() -> None:
    flat = np.full((3, 64, 64), 90, np.uint8)
    assert len(sample(flat, 100)) == 0
    merged = sample(flat, 100, flat_share=1)
    assert len(merged) == 1  # at all scales
    assert int(merged.count[0]) >= 100


def test_nearly_identical_patches_are_kept_once_and_counted() -> None:
    tile = noise(8, 8, seed=4) // 2 + 60
    photograph = np.tile(tile, (1, 6, 6))
    photograph += np.random.default_rng(1).integers(0, NEAR_LEVELS + 1, photograph.shape, dtype=np.uint8)
    patches = sample(photograph, 4000)
    full = patches.scale == 1
    assert 64 <= int(full.sum()) < 90  # of 2025; a pattern with period 8 has 64 different patches
    assert int(patches.count[full].sum()) == 45 * 45
    exact = sample(np.tile(tile, (1, 6, 6)), 4000)
    assert int((exact.scale == 1).sum()) == 64
    assert len(np.unique(exact.pixels, axis=0)) == len(exact)


def test_near_is_a_bound_on_every_value() -> None:
    rows = noise(4, 4, seed=2).reshape(3, 4, 4, 1) // 2 + np.zeros((1, 1, 1, 5), np.uint8)
    rows[:, :, :, 1] += np.uint8(NEAR_LEVELS)
    rows[1, 2, 3, 2] += np.uint8(NEAR_LEVELS + 1)  # one value is too far away
    rows[2, 0, 0, 4] -= np.uint8(NEAR_LEVELS)
    kept, count = keep_distinct(rows)
    assert kept.tolist() == [0, 2]
    assert count.tolist() == [4, 1]


def test_patches_of_smaller_copies_are_compared_with_those_of_larger_ones() -> None:
    photograph = np.zeros((3, 64, 64), np.uint8)
    photograph[:, :, 32:] = 200  # an upright edge looks the same at all scales, away from where they blur it
    patches = sample(photograph, 2000, flat_share=1.0)
    assert len(patches) < 40
    assert int(patches.count.sum()) > 300


def test_the_draw_depends_on_seed_and_content_and_ids_do_not_depend_on_the_draw() -> None:
    photograph = noise(90, 80)
    first, again, other = (sample(photograph, 500, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.patch_id, again.patch_id)
    np.testing.assert_array_equal(first.gram, again.gram)
    assert not np.array_equal(first.patch_id, other.patch_id)

    def by_place(patches: Patches) -> dict[tuple[int, int, float], int]:
        places = zip(patches.x.tolist(), patches.y.tolist(), patches.scale.tolist(), strict=True)
        return dict(zip(places, patches.patch_id.tolist(), strict=True))

    a, b = by_place(first), by_place(other)
    common = a.keys() & b.keys()
    assert common
    assert all(a[place] == b[place] for place in common)
    changed = photograph.copy()
    changed[0, 0, 0] ^= 1
    assert not set(a.values()) & set(sample(changed, 500, seed=1).patch_id.tolist())


def test_texture_is_drawn_by_its_energy() -> None:
    photograph = np.full((3, 120, 240), 128, np.uint8)
    swing = np.random.default_rng(5).integers(-10, 11, photograph.shape)
    photograph[:, :, :120] = (128 + swing[:, :, :120]).astype(np.uint8)
    photograph[:, :, 120:] = (128 + 4 * swing[:, :, 120:]).astype(np.uint8)
    patches = sample(photograph, 3000)
    full = (patches.scale == 1) & (np.abs(patches.x - 118) > 4)
    right = int((patches.x[full] > 120).sum())
    assert 3.2 < right / (full.sum() - right) < 4.4  # 4, less for what was drawn already
    x, y = patches.x[full], patches.y[full]
    assert np.histogram(y, 4, (0, 117))[0].min() > 0.2 * len(y)  # from the whole photograph
    assert np.histogram(x[x > 120], 4, (120, 237))[0].min() > 0.2 * right


@pytest.mark.parametrize("descriptor", DESCRIPTORS)
@pytest.mark.parametrize("k", [4, 8])
def test_warped_patches(descriptor: DescriptorName, k: int) -> None:
    row, column = np.mgrid[:140, :150]
    wave = np.stack([127 + 90 * np.sin(row / 3.1 + shift) * np.cos(column / 2.7) for shift in (0, 1, 2)])
    photograph = wave.astype(np.uint8)
    patches = sample(photograph, 1500, descriptor=descriptor, k=k, warp_share=0.4)
    plain = sample(photograph, 1500, descriptor=descriptor, k=k)
    assert not plain.warped.any()
    assert 0.2 < patches.warped.mean() < 0.4
    assert set(patches.scale[patches.warped].tolist()) >= {1.0, 0.5}
    here = patches.warped & (patches.scale == 1)
    margin = warp_margin(k, int(descriptor == "rgb-gradient"))
    x, y = patches.x[here], patches.y[here]
    assert min(x.min(), y.min()) >= margin
    assert x.max() + k + margin <= 150
    assert y.max() + k + margin <= 140
    rows, columns = (start[:, None] + np.arange(k) for start in (y, x))
    straight = photograph[:, rows[:, :, None], columns[:, None]].transpose(1, 2, 3, 0).reshape(len(x), -1)
    difference = np.abs(straight.astype(int) - patches.pixels[here])
    assert 1 < difference.mean() < 25  # much the same texture
    assert (difference.max(axis=1) > NEAR_LEVELS).mean() > 0.9
    if descriptor != "rgb-gradient":
        shown = torch.from_numpy(patches.pixels[here].reshape(-1, k, k, 3).copy()).permute(0, 3, 1, 2).float() / 255
        np.testing.assert_allclose(patches.gram[here], encode(shown, descriptor, k, k)[:, 0], rtol=1e-5, atol=1e-6)
    assert len(set(patches.patch_id.tolist())) == len(patches)


def test_a_warp_is_bicubic_interpolation_around_the_centre() -> None:
    photograph = noise(40, 40, seed=6)
    maps = np.zeros((3, 6), np.float32)
    maps[1, 4:] = (0.25, -0.5)
    maps[2] = (0.1, -0.05, 0.08, -0.1, 0.3, 0.2)
    x = y = np.array([17, 17, 17])
    patches = cut_warped(photograph, x, y, maps, 4, 0)
    np.testing.assert_array_equal(patches[..., 0], photograph[:, 17:21, 17:21])

    def cubic(t: np.ndarray) -> np.ndarray:
        t = np.abs(t)
        return np.where(t <= 1, 1.5 * t**3 - 2.5 * t**2 + 1, np.where(t < 2, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2, 0))

    grid = np.arange(40)
    for number in (1, 2):
        a, b, c, d, shift_x, shift_y = maps[number].astype(float)
        for row in range(4):
            for column in range(4):
                right, down = column - 1.5, row - 1.5
                at_x = 18.5 + right + a * right + b * down + shift_x
                at_y = 18.5 + down + c * right + d * down + shift_y
                expected = cubic(grid - at_y) @ photograph @ cubic(grid - at_x)
                np.testing.assert_allclose(patches[:, row, column, number], expected.clip(0, 255), atol=0.51)


@pytest.mark.parametrize("shape", [(16, 16), (5, 40)])
def test_a_photograph_too_small_for_warps(shape: tuple[int, int]) -> None:
    patches = sample(noise(*shape), 50, warp_share=1.0)
    assert len(patches) >= 0
    assert len(patches) == 50 or shape == (5, 40)


def test_photographs_with_the_same_bytes_in_another_shape_differ() -> None:
    photograph = noise(20, 30)
    assert photograph_key(photograph) != photograph_key(photograph.reshape(3, 30, 20))


def test_few_patches() -> None:
    photograph = noise(64, 64)
    assert [len(sample(photograph, wanted)) for wanted in (0, 1, 2, 3, 10)] == [0, 1, 2, 3, 10]
