"""The batch that fits: the estimate from small steps against the memory of large ones."""

from collections.abc import Callable

import pytest

from gramgan.config import Config
from gramgan.training import fitting
from gramgan.training.fitting import Fit, measure_fit


@pytest.mark.parametrize("perceptual", [0.0, 1.0])
def test_the_estimate_is_what_a_larger_batch_of_larger_crops_takes(
    tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, perceptual: float
) -> None:
    config = tiny(data={"crop": 128}, losses={"perceptual": perceptual}, generator={"nf": 16, "nb": 3, "gc": 8})
    estimate = measure_fit(config)
    monkeypatch.setattr(fitting, "_CROP", 128)
    trained: list[fitting._Trained] = []

    def begin() -> None:
        trained.append(fitting._Trained(config))
        trained[0].step(1)

    kept = fitting._measured("cpu", begin).kept
    peak = kept + fitting._measured("cpu", lambda: trained[0].step(6)).peak
    assert estimate.fixed_bytes + 6 * estimate.image_bytes == pytest.approx(peak, rel=0.1)
    assert estimate.parameters == sum(parameter.numel() for parameter in trained[0].generator.parameters())


def test_nothing_is_kept_of_a_piece_of_work_that_frees_what_it_took() -> None:
    import torch

    found = fitting._measured("cpu", lambda: torch.zeros(1000, 1000).add(1).sum().item())
    assert 8_000_000 <= found.peak < 9_000_000
    assert found.kept < 1000


def test_the_batch_leaves_a_tenth_free() -> None:
    assert Fit(1, fixed_bytes=100, image_bytes=50, free_bytes=1000).batch == 16
    assert Fit(1, fixed_bytes=1000, image_bytes=50, free_bytes=1000).batch == 0
