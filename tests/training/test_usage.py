"""How often each database patch was chosen."""

from pathlib import Path

import torch

from gramgan.texture.candidates import NO_PATCH
from gramgan.training.usage import PatchUsage


def test_counts_and_shares(tmp_path: Path) -> None:
    usage = PatchUsage()
    assert usage.collect() == {}
    usage.add(torch.tensor([[7, 7, NO_PATCH, 9]]))
    usage.add(torch.tensor([[7, 9, NO_PATCH, NO_PATCH]]))
    assert usage.collect() == {"database_share": 5 / 8, "unique_share": 2 / 5}
    usage.add(torch.tensor([[2**40, 9, 9, 9]]))
    assert usage.collect() == {"database_share": 1.0, "unique_share": 0.5}
    assert usage.most_used(2) == [(9, 5), (7, 3)]
    usage.write_csv(tmp_path / "usage.csv")
    assert (tmp_path / "usage.csv").read_text() == f"patch_id,count\n9,5\n7,3\n{2**40},1\n"


def test_only_local_textures() -> None:
    usage = PatchUsage()
    usage.add(torch.full((2, 4), NO_PATCH))
    assert usage.collect() == {"database_share": 0.0, "unique_share": 0.0}
    assert usage.most_used(5) == []


def test_counts_go_on_from_their_state() -> None:
    one, two = PatchUsage(), PatchUsage()
    one.add(torch.tensor([3, 3, 4]))
    two.load(one.state())  # what was not collected yet is part of it
    for usage in (one, two):
        usage.add(torch.tensor([4, 4, 5]))
        usage.collect()
    assert one.most_used(9) == two.most_used(9) == [(4, 3), (3, 2), (5, 1)]
