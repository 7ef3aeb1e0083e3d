"""The overlap is measured, not guessed."""

import numpy as np
import pytest
import torch

from gramgan.networks.context import LONGEST_REACH, MEASURED_SIDE, Run, context_error, measure_overlap
from gramgan.networks.rrdb import RRDBNet
from gramgan.upscaling.backends.torch_backend import TorchBackend


def noise(side: int = MEASURED_SIDE) -> np.ndarray:
    return np.random.default_rng(0).random((3, side, side), dtype=np.float32)


def looking(distance: int, strength: float = 1.0) -> Run:
    """A network whose every result depends on the pixels `distance` to the left, right, above and below."""

    def run(tiles: np.ndarray) -> np.ndarray:
        padded = np.pad(tiles, ((0, 0), (0, 0), (distance, distance), (distance, distance)))
        height, width = tiles.shape[2:]
        near, far = slice(0, None), slice(2 * distance, None)
        total = sum(
            padded[:, :, rows, columns][:, :, :height, :width]
            for rows, columns in (
                (slice(distance, None), near),
                (slice(distance, None), far),
                (near, slice(distance, None)),
                (far, slice(distance, None)),
            )
        )
        return (tiles / 2 + strength * np.asarray(total) / 8).repeat(4, 2).repeat(4, 3)

    return run


@pytest.mark.parametrize("distance", [1, 7, 40, 95])
def test_the_error_ends_where_the_network_sees_no_farther(distance: int) -> None:
    error = context_error(looking(distance), noise(MEASURED_SIDE + 11))
    assert error.shape == (LONGEST_REACH,)
    assert error[distance - 1] > 0.05
    assert error[distance:].max(initial=0) == 0
    assert (np.diff(error) <= 0).all()


@pytest.mark.parametrize(("distance", "overlap"), [(1, 4), (4, 4), (5, 8), (40, 40), (95, LONGEST_REACH)])
def test_the_overlap_is_the_next_multiple_of_four(distance: int, overlap: int) -> None:
    assert measure_overlap(looking(distance), [noise()]) == overlap


def test_what_nobody_sees_does_not_count() -> None:
    assert measure_overlap(looking(40, strength=0.005), [noise()]) == 0
    assert measure_overlap(looking(40, strength=0.005), [noise()], tolerance=1e-4) == 40


def test_the_worst_image_counts() -> None:
    assert measure_overlap(looking(9), [np.zeros((3, MEASURED_SIDE, MEASURED_SIDE), np.float32), noise()]) == 12


def test_a_network_of_known_reach(network: RRDBNet) -> None:
    """`network` depends on 18.25 pixels to each side; its far end is weak."""
    run = TorchBackend(network, "tiny", "fp32", "cpu").run
    error = context_error(run, noise())
    assert error[19:].max() < 1e-5
    assert error[4] > 1 / 255
    assert 8 <= measure_overlap(run, [noise()]) <= 20
    with torch.no_grad():
        for parameter in network.body.parameters():
            parameter.zero_()
    assert measure_overlap(TorchBackend(network, "tiny", "fp32", "cpu").run, [noise()]) <= 8


def test_too_small_or_no_images() -> None:
    with pytest.raises(ValueError, match="or more, not 224x100"):
        context_error(looking(1), noise()[:, :, :100])
    with pytest.raises(ValueError, match="no image"):
        measure_overlap(looking(1), [])
