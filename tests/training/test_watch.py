"""The collapse watch on made-up logs."""

from collections.abc import Iterable
from typing import Any

import pytest

from gramgan.training.watch import Record, Watch

HEALTHY: dict[str, Any] = {
    "event": "step",
    "stage": "adversarial",
    "losses": {"discriminator": 0.4, "pixel": 0.1, "total": 1.0},
    "shares": {"pixel": 0.1, "perceptual": 0.8, "adversarial": 0.1},
    "database": {"target_ratio": 0.8},
    "ranked_right": 0.8,
    "accuracy_real": 0.8,
    "accuracy_fake": 0.8,
    "mask_share": 0.9,
    "colour_drift": 0.005,
    "gradient_generator": 1.0,
    "gradient_discriminator": 2.0,
}
UNDECIDED = {"losses": {"discriminator": 0.694}, "ranked_right": 0.51}
SEPARATED = {"losses": {"discriminator": 1e-4}, "accuracy_real": 1.0, "accuracy_fake": 1.0, "ranked_right": 1.0}

# What a log has to say for a warning, and what the warning says.
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "discriminator_learns_nothing": (
        UNDECIDED,
        "the discriminator has learnt nothing for 500 iterations: its loss is 0.694 (undecided: 0.693) and it ranks "
        "51% of pairs right",
    ),
    "discriminator_separates": (
        SEPARATED,
        "the discriminator separates perfectly for 500 iterations: it knows 100.0% of the real and 100.0% of the "
        "generated images (loss 0.0001)",
    ),
    "one_loss_dominates": (
        {"shares": {"pixel": 0.005, "perceptual": 0.99, "adversarial": 0.005}},
        "the loss perceptual makes up 99.0% of the total for 500 iterations",
    ),
    "targets_too_far": (
        {"database": {"target_ratio": 3.8}},
        "the chosen textures are too far away for 500 iterations: 3.8 times half the distance",
    ),
    "targets_trivial": (
        {"database": {"target_ratio": 0.018}},
        "the chosen textures are what was searched for, for 500 iterations (target ratio 0.018)",
    ),
    "mask_hides_all": ({"mask_share": 0.01}, "the texture mask leaves 1.0% of the pixels for 500 iterations"),
    "colours_drift": ({"colour_drift": 0.04}, "the generator's colours lie 10.2 grey levels from the truth"),
}


def records(iterations: Iterable[int], **changes: Any) -> list[Record]:
    return [HEALTHY | changes | {"iteration": iteration} for iteration in iterations]


def seen(watch: Watch, log: Iterable[Record]) -> list[tuple[int, str]]:
    return [(record["iteration"], finding.kind) for record in log for finding in watch.see(record)]


def test_a_healthy_training_is_left_alone() -> None:
    assert seen(Watch(500), records(range(100, 5001, 100))) == []


@pytest.mark.parametrize("kind", BAD)
def test_each_collapse_is_told_once_in_words(kind: str) -> None:
    changes, expected = BAD[kind]
    watch = Watch(500)
    log = records(range(100, 1001, 100)) + records(range(1100, 3001, 100), **changes)
    found = [(record["iteration"], finding) for record in log for finding in watch.see(record)]
    [(iteration, finding)] = found
    assert finding.kind == kind
    assert 1100 <= iteration <= 1500  # a mean over 500 iterations may tell before all of them are bad

    whole = Watch(500)
    [finding] = [found for record in records(range(100, 501, 100), **changes) for found in whole.see(record)]
    assert finding.message.startswith(expected)
    assert "; " in finding.message  # and what to do
    assert "\n" not in finding.message


def test_nothing_is_said_before_enough_was_seen() -> None:
    for every in (1, 7, 100, 250, 500, 600):
        found = seen(Watch(500), records(range(every, 3001, every), **UNDECIDED))
        assert found == [(-(-500 // every) * every, "discriminator_learns_nothing")], every


def test_it_comes_again_after_it_was_better() -> None:
    log = [
        *records(range(100, 1001, 100), **UNDECIDED),
        *records(range(1100, 2001, 100)),
        *records(range(2100, 3001, 100), **UNDECIDED),
    ]
    assert [iteration for iteration, _ in seen(Watch(500), log)] == [500, 2500]


def test_a_new_stage_begins_afresh() -> None:
    warming = records(range(100, 401, 100), stage="warm_discriminator", **UNDECIDED)
    log = warming + records(range(500, 901, 100), **UNDECIDED)
    assert [iteration for iteration, _ in seen(Watch(500), log)] == [900]


def test_a_discriminator_that_is_warmed_up_may_separate() -> None:
    assert seen(Watch(500), records(range(100, 3001, 100), stage="warm_discriminator", **SEPARATED)) == []


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_gradients_that_explode(network: str) -> None:
    name = f"gradient_{network}"
    calm, wild = records(range(100, 2001, 100)), records(range(2100, 3001, 100), **{name: 50.0})
    watch = Watch(500)
    found = [finding for record in calm + wild for finding in watch.see(record)]
    [finding] = found
    assert finding.kind == f"{network}_explodes"
    usual = 1 if network == "generator" else 2
    assert finding.message.startswith(f"the gradient of the {network} has grown from {usual} to 50")
    clip = "train.clip" if network == "generator" else "train.clip_discriminator"
    assert f"{clip}={2 * usual}" in finding.message
    # One wild record is no trend.
    assert seen(Watch(500), calm + wild[:1] + records(range(2200, 3001, 100))) == []


def test_pretraining_has_none_of_these_numbers() -> None:
    log = [
        {
            "event": "step",
            "stage": "pretrain",
            "iteration": i,
            "losses": {"pixel": 0.1, "total": 0.1},
            "colour_drift": 0.1,
        }
        for i in range(100, 2001, 100)
    ]
    assert seen(Watch(500), log) == []


def test_a_resumed_run_is_told_what_it_was_about_to_be_told() -> None:
    log = records(range(100, 1001, 100), **UNDECIDED)
    other = {"event": "validation", "iteration": 300, "scores": {}}
    for cut in range(len(log)):
        watch = Watch(500)
        watch.replay([*log[:cut], other])
        expected = [500] if cut < 5 else []
        assert [iteration for iteration, _ in seen(watch, log[cut:])] == expected
