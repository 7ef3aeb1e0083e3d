"""Several databases in one source of targets."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gramgan.errors import UserError
from gramgan.images import write_image
from gramgan.share import Share
from gramgan.texture.candidates import DatabasePart, DatabaseSource
from gramgan.texture.database import Source, TextureDatabase
from gramgan.texture.mixing import MixedSource, database_source


def picture(path: Path, contrast: float, seed: int) -> Path:
    random = np.random.default_rng(seed)
    write_image(path, (0.5 + contrast * (random.random((3, 96, 96)) - 0.5)).astype(np.float32))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mixing")


@pytest.fixture(scope="module")
def soft(folder: Path) -> TextureDatabase:
    """1,000 patches of weak contrast, of the domains photo and art."""
    one, other = picture(folder / "soft.png", 0.1, 1), picture(folder / "art.png", 0.3, 2)
    return TextureDatabase.build(folder / "soft.lance", [Source(one), Source(other, domain="art")], patches=1000)


@pytest.fixture(scope="module")
def strong(folder: Path) -> TextureDatabase:
    """100 patches of strong contrast."""
    return TextureDatabase.build(folder / "strong.lance", [Source(picture(folder / "strong.png", 1, 3))], patches=100)


def random() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def queries(number: int = 4000) -> Tensor:
    return torch.randn(2, number // 2, 6, generator=torch.Generator().manual_seed(6)) + 1


HR = torch.zeros(2, 3, 8, 8)


def test_a_weight_is_a_share_of_targets_whatever_sizes_and_distances(
    soft: TextureDatabase, strong: TextureDatabase
) -> None:
    parts = [DatabasePart(soft), DatabasePart(strong)]
    mixed = database_source(parts, [3, 1], random())
    assert isinstance(mixed, MixedSource)
    targets = mixed.targets(queries(), HR)
    from_strong = np.isin(targets.patch_id.numpy(), strong.patch_ids())
    assert from_strong.mean() == pytest.approx(0.25, abs=0.03)
    # Each patch has the exact nearest neighbour of its own database.
    own = [DatabaseSource([part], descriptor=soft.descriptor) for part in parts]
    expected = [source.targets(queries(), HR) for source in own]
    chosen = torch.from_numpy(from_strong)
    assert torch.equal(targets.distance, torch.where(chosen, expected[1].distance, expected[0].distance))
    assert torch.equal(targets.patch_id, torch.where(chosen, expected[1].patch_id, expected[0].patch_id))
    torch.testing.assert_close((targets.gram - queries()).norm(dim=-1), targets.distance)


def test_the_draw_follows_the_generator(soft: TextureDatabase, strong: TextureDatabase) -> None:
    parts = [DatabasePart(soft), DatabasePart(strong)]
    generator = random()
    mixed = database_source(parts, [1, 1], generator)
    state = generator.get_state()
    first, second = (mixed.targets(queries(), HR).patch_id for _ in range(2))
    generator.set_state(state)
    assert torch.equal(mixed.targets(queries(), HR).patch_id, first)
    assert not torch.equal(first, second)


def test_a_database_that_no_patch_is_given_to(soft: TextureDatabase, strong: TextureDatabase) -> None:
    mixed = database_source([DatabasePart(soft), DatabasePart(strong)], [1e9, 1e-9], random())
    assert np.isin(mixed.targets(queries(), HR).patch_id.numpy(), soft.patch_ids()).all()


def test_without_weights_all_are_searched_as_one(soft: TextureDatabase, strong: TextureDatabase) -> None:
    parts = [DatabasePart(soft), DatabasePart(strong)]
    together = database_source(parts, None, random())
    assert isinstance(together, DatabaseSource)
    found = together.targets(queries(), HR)
    each = [DatabaseSource([part], descriptor=soft.descriptor).targets(queries(), HR) for part in parts]
    assert torch.equal(found.distance, torch.minimum(each[0].distance, each[1].distance))
    assert len(together) == len(soft) + len(strong)


def test_the_first_database_s_scale_rules(soft: TextureDatabase, strong: TextureDatabase) -> None:
    assert soft.descriptor.scale != strong.descriptor.scale
    mixed = database_source([DatabasePart(soft), DatabasePart(strong)], [1, 1], random())
    assert mixed.descriptor == soft.descriptor
    vectors = torch.from_numpy(strong.natural_vectors() / np.asarray(soft.descriptor.scale, np.float32))
    targets = mixed.targets(vectors.unsqueeze(0), HR[:1])
    mine = torch.from_numpy(np.isin(targets.patch_id.numpy(), strong.patch_ids()))
    assert mine.any()
    assert float(targets.distance[mine].max()) == 0


def test_one_domain(soft: TextureDatabase) -> None:
    source = database_source([DatabasePart(soft, "art")], None, random())
    ids = source.targets(queries(), HR).patch_id
    assert {row["domain"] for row in soft.rows(set(ids.flatten().tolist()))} == {"art"}
    with pytest.raises(UserError) as error:
        database_source([DatabasePart(soft, "satellite")], None, random())
    assert str(error.value).startswith(f"{soft.path}: holds no patches of the domain satellite, only of art, photo; ")
    assert "\n" not in str(error.value)


def test_another_descriptor_or_k(folder: Path, soft: TextureDatabase) -> None:
    photo = Source(folder / "soft.png")
    others = (
        TextureDatabase.build(folder / "centred.lance", [photo], patches=50, descriptor="rgb-centred"),
        TextureDatabase.build(folder / "large.lance", [photo], patches=50, k=8),
    )
    for other in others:
        with pytest.raises(UserError, match=f"{other.path.name}: this texture database holds"):
            database_source([DatabasePart(soft), DatabasePart(other)], None, random())


def test_weights_that_are_none(soft: TextureDatabase, strong: TextureDatabase) -> None:
    sources = [DatabaseSource(soft), DatabaseSource(strong)]
    with pytest.raises(ValueError, match="same descriptor and scale"):
        MixedSource(sources, [1, 1], random())
    for weights in ([1], [1, 0], []):
        with pytest.raises(ValueError, match="weights above 0"):
            MixedSource(sources, weights, random())


def test_processes_draw_the_databases_of_one_batch(soft: TextureDatabase, strong: TextureDatabase) -> None:
    parts = [DatabasePart(soft), DatabasePart(strong)]
    query = torch.rand(4, 9, soft.descriptor.dimension, generator=random())
    hr = torch.zeros(4, 3, 12, 12)
    whole = database_source(parts, [0.5, 0.5], random()).targets(query, hr).patch_id
    for rank in range(2):
        rows = slice(2 * rank, 2 * rank + 2)
        part = database_source(parts, [0.5, 0.5], random(), share=Share(rank, world=2)).targets(query[rows], hr[rows])
        assert torch.equal(part.patch_id, whole[rows])
