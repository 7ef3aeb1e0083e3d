"""Which patches of a photograph are drawn, and what is stored of them."""

import numpy as np
import pytest
import torch

from gramgan.ops.resize import matlab_bicubic_down
from gramgan.texture.descriptors import DESCRIPTORS, DescriptorName, encode
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
    seed: int = 0,
) -> Patches:
    return sample_patches(
        photograph,
        wanted,
        key=photograph_key(photograph),
        descriptor=descriptor,
        k=k,
        flat_share=flat_share,
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
        assert share > 0.05


def test_a_flat_photograph_gives_no_patches_but_where_they_are_wanted() -> None:
    flat = np.full((3, 64, 64), 90, np.uint8)
    assert len(sample(flat, 100)) == 0
    merged = sample(flat, 100, flat_share=1)
    assert len(merged) == 3  # one for each scale
    assert (merged.count > 1).all()


def test_identical_patches_are_merged_and_counted() -> None:
    tile = noise(8, 8, seed=4)
    patches = sample(np.tile(tile, (1, 6, 6)), 4000)
    full = patches.scale == 1
    assert int(full.sum()) == 64  # a pattern with period 8 has 64 different patches
    assert int(patches.count[full].sum()) == 45 * 45
    assert len(np.unique(patches.pixels[full], axis=0)) == 64


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


def test_photographs_with_the_same_bytes_in_another_shape_differ() -> None:
    photograph = noise(20, 30)
    assert photograph_key(photograph) != photograph_key(photograph.reshape(3, 30, 20))


def test_few_patches() -> None:
    photograph = noise(64, 64)
    assert [len(sample(photograph, wanted)) for wanted in (0, 1, 2, 3, 10)] == [0, 1, 2, 3, 10]
