"""Sources of target textures against brute force over explicit candidate lists."""

import numpy as np
import pytest
import torch

from gramgan.images import write_image
from gramgan.ops.resize import matlab_bicubic_down
from gramgan.share import Share
from gramgan.texture.candidates import (
    NO_PATCH,
    DatabaseSource,
    LocalSource,
    NearerSource,
    Targets,
    combined_query,
    target_ratio,
)
from gramgan.texture.database import Source, TextureDatabase
from gramgan.texture.descriptors import DESCRIPTORS, Descriptor, DescriptorName


def images(count: int = 2, height: int = 32, width: int = 40, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def local(descriptor: DescriptorName = "rgb", warp: float = 0.003, seed: int = 5) -> LocalSource:
    return LocalSource(Descriptor.default(descriptor), torch.Generator().manual_seed(seed), warp)


def excess(
    targets: Targets, candidates: torch.Tensor, alpha: float, beta: float, g: torch.Tensor, e: torch.Tensor
) -> torch.Tensor:
    """Excess of a target's α‖p - g‖² + β‖p - e‖² over the smallest among `candidates` `[B, M, D]`: `[B, N]`."""

    def cost(p: torch.Tensor) -> torch.Tensor:  # [B, N, M', D] → [B, N, M']
        to_g = (p.double() - g.double().unsqueeze(2)).square().sum(-1)
        to_e = (p.double() - e.double().unsqueeze(2)).square().sum(-1)
        return alpha * to_g + beta * to_e

    return cost(targets.gram.unsqueeze(2)).squeeze(2) - cost(candidates.unsqueeze(1)).min(dim=2).values


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> TextureDatabase:
    folder = tmp_path_factory.mktemp("database")
    write_image(folder / "a.png", images(1, 64, 64, seed=9)[0].numpy())
    return TextureDatabase.build(folder / "t.lance", [Source(folder / "a.png")], patches=900)


def test_candidates_are_the_patches_of_the_crop_and_its_copies() -> None:
    hr = images()
    source = local(warp=0)
    found = source.candidates(hr)
    copies = [hr, *(matlab_bicubic_down(hr, factor, quantise=False).clamp(0, 1) for factor in (2, 4))]
    numbers = [((c.shape[2] - 4) // 2 + 1) * ((c.shape[3] - 4) // 2 + 1) for c in copies]
    assert found.shape == (2, sum(numbers), 6)
    assert numbers == [15 * 19, 7 * 9, 3 * 4]
    for copy, part in zip(copies, found.split(numbers, dim=1), strict=True):
        columns = (copy.shape[3] - 4) // 2 + 1
        for row, column in ((0, 0), (1, 2), (2, columns - 1)):
            patch = copy[..., 2 * row : 2 * row + 4, 2 * column : 2 * column + 4]
            torch.testing.assert_close(part[:, row * columns + column], source.descriptor.encode(patch)[:, 0])


def test_the_warped_copy_is_near_the_crop_and_makes_up_no_pixels() -> None:
    white = torch.ones(4, 3, 64, 48)
    expected = local(warp=0).descriptor.encode(torch.ones(1, 3, 4, 4))[0, 0]
    plain = local(warp=0).candidates(white).shape[1]
    for warp in (0.003, 0.03):
        source = local(warp=warp)
        for _ in range(10):
            found = source.candidates(white)
            assert found.shape[1] > plain
            torch.testing.assert_close(found, expected.expand_as(found))  # made-up pixels would be black
    smooth = torch.nn.functional.avg_pool2d(images(1, 80, 80), 9, stride=1)
    copies = local().candidates(smooth)[0]
    warped, unwarped = copies[local(warp=0).candidates(smooth).shape[1] :], copies[: 35 * 35]
    nearest = torch.cdist(warped, unwarped).min(dim=1).values
    assert 0 < nearest.median() < 0.2 * torch.cdist(warped, unwarped).median()


def test_small_crops_leave_out_copies_that_hold_no_patch() -> None:
    assert local(warp=0.1).candidates(images(1, 8, 8)).shape[1] == 9 + 1
    assert local(warp=0.1).candidates(images(1, 4, 4)).shape[1] == 1


@pytest.mark.parametrize("descriptor", DESCRIPTORS)
def test_local_targets_minimise_the_weighted_distances(descriptor: DescriptorName) -> None:
    hr, sr = images(), images(seed=1)
    random = torch.Generator().manual_seed(2)
    for _ in range(5):
        alpha, beta = (float(v) for v in torch.rand(2, generator=random) * 3)
        seed = int(torch.randint(1000, (), generator=random))
        encode = Descriptor.default(descriptor).encode
        g, e = encode(hr), encode(sr)
        query = combined_query(g, e, alpha, beta)
        targets = local(descriptor, seed=seed).targets(query, hr)
        candidates = local(descriptor, seed=seed).candidates(hr)  # the same seed gives the same warp
        scale = float(query.square().sum(-1).mean())
        assert float(excess(targets, candidates, alpha, beta, g, e).abs().max()) <= 1e-6 * scale
        torch.testing.assert_close(targets.distance, (targets.gram - query).norm(dim=-1), rtol=1e-4, atol=1e-5)
        assert (targets.patch_id == NO_PATCH).all()
        assert targets.gram.shape == g.shape


def test_every_image_has_its_own_candidates() -> None:
    hr = images()
    source = local(warp=0)
    query = source.descriptor.encode(hr)
    own = source.targets(query, hr).distance
    swapped = source.targets(query, hr.flip(0)).distance
    assert own.abs().max() < 1e-3  # every HR patch at stride 4 is a candidate at stride 2
    assert swapped.min() > 1e-3


def test_database_targets_minimise_the_weighted_distances(database: TextureDatabase) -> None:
    source = DatabaseSource(database)
    vectors = torch.from_numpy(database.vectors())
    ids = torch.from_numpy(database.patch_ids())
    g, e = (source.descriptor.encode(images(seed=seed)) for seed in (3, 4))
    random = torch.Generator().manual_seed(6)
    for _ in range(5):
        alpha, beta = (float(v) for v in torch.rand(2, generator=random) * 3)
        query = combined_query(g, e, alpha, beta)
        targets = source.targets(query, images())
        assert float(excess(targets, vectors.unsqueeze(0), alpha, beta, g, e).abs().max()) <= 1e-5
        row = (ids == targets.patch_id.unsqueeze(-1)).int().argmax(dim=-1)
        assert torch.equal(vectors[row], targets.gram)


def test_nearer_of_two_sources(database: TextureDatabase) -> None:
    hr, sr = images(), images(seed=1)
    from_database = DatabaseSource(database)
    descriptor = from_database.descriptor

    def own() -> LocalSource:
        return LocalSource(descriptor, torch.Generator().manual_seed(8))

    g, e = descriptor.encode(hr), descriptor.encode(sr)
    query = combined_query(g, e, 1, 3)
    targets = NearerSource(from_database, own()).targets(query, hr)
    every = torch.cat((torch.from_numpy(database.vectors()).expand(2, -1, -1), own().candidates(hr)), dim=1)
    assert float(excess(targets, every, 1, 3, g, e).abs().max()) <= 1e-5
    torch.testing.assert_close(targets.distance, (targets.gram - query).norm(dim=-1), rtol=1e-4, atol=1e-5)
    a, b = from_database.targets(query, hr), own().targets(query, hr)
    local_chosen = targets.patch_id == NO_PATCH
    assert torch.equal(local_chosen, b.distance < a.distance)
    assert local_chosen.any()
    assert not local_chosen.all()
    assert torch.equal(targets.patch_id[~local_chosen], a.patch_id[~local_chosen])


def test_two_sources_need_one_descriptor(database: TextureDatabase) -> None:
    with pytest.raises(ValueError, match="same descriptor"):
        NearerSource(DatabaseSource(database), local())


def test_no_gradient_flows_through_targets(database: TextureDatabase) -> None:
    hr, sr = images().requires_grad_(), images(seed=1).requires_grad_()
    g, e = (local().descriptor.encode(x) for x in (hr, sr))
    query = combined_query(g, e, 1, 1)
    assert not query.requires_grad
    for source in (local(), DatabaseSource(database)):
        targets = source.targets(g + e, hr)  # even if the caller forgot to detach
        assert not targets.gram.requires_grad
        assert not targets.distance.requires_grad


def test_the_warp_follows_the_seed() -> None:
    hr = images()
    first, second, other = (local(seed=seed).candidates(hr) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    source = local(seed=1)
    source.candidates(hr)
    assert not torch.equal(source.candidates(hr), first)  # a new warp at every step


def test_combined_query_and_ratio() -> None:
    g, e = torch.rand(2, 1, 5, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(combined_query(g, e, 1, 3), 0.25 * g + 0.75 * e)
    for alpha, beta in ((-1.0, 2.0), (0.0, 0.0)):
        with pytest.raises(ValueError, match="alpha and beta"):
            combined_query(g, e, alpha, beta)
    gap = (g - e).norm(dim=-1).mean()
    assert float(target_ratio(gap.expand(1, 5), g, e)) == pytest.approx(2)
    assert np.isfinite(float(target_ratio(torch.zeros(1, 5), g, g)))


def test_a_diverged_image_reaches_the_losses_as_nan(database: TextureDatabase) -> None:
    hr = images()
    query = local().descriptor.encode(hr)
    query[0, 3] = torch.nan
    for source in (local(), DatabaseSource(database)):
        targets = source.targets(query, hr)
        assert targets.distance.isnan().nonzero().tolist() == [[0, 3]]
        assert targets.gram.isfinite().all()


def test_processes_draw_the_warps_of_one_batch() -> None:
    hr = images(4)
    whole = local().candidates(hr)
    for rank in range(2):
        source = LocalSource(
            Descriptor.default("rgb"), torch.Generator().manual_seed(5), 0.003, share=Share(rank, world=2)
        )
        torch.testing.assert_close(source.candidates(hr[2 * rank : 2 * rank + 2]), whole[2 * rank : 2 * rank + 2])
