import json
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from gramgan.errors import UserError
from gramgan.weights.card import CARD_KEY, Card, TrainedOn, card_from_metadata

CARD = Card(
    name="mine",
    architecture={"network": "rrdb", "nf": 8, "upsampler": "nearest"},
    licence="Apache-2.0",
    licences=["Apache-2.0", "BSD-3-Clause"],
    origin="runs/mine",
    trained_on=[TrainedOn(name="photos", licence="CC0-1.0", count=12)],
    started_from="real-esrgan-x4plus",
    parents={"real-esrgan-x4plus.bin": "713ee713" * 8},
    losses={"patch_texture": 1.0},
    settings={"train.batch_size": 8, "train.precision": "bf16", "train.ema": None},
    scores={"set5-x4-y": {"psnr_y": 30.1}},
    overlap=24,
    created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    gramgan_version="0.1.0",
    notes=["×4 only"],
)


def test_round_trip_through_metadata() -> None:
    metadata = CARD.to_metadata()
    assert list(metadata) == [CARD_KEY]
    assert card_from_metadata(metadata, "file") == CARD


def test_no_card() -> None:
    assert card_from_metadata(None, "file") is None
    assert card_from_metadata({"format": "pt"}, "file") is None


def _changed(**changes: object) -> dict[str, str]:
    return {CARD_KEY: json.dumps(json.loads(CARD.to_metadata()[CARD_KEY]) | changes)}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"colour": "red"}, "'colour'"),
        ({"overlap": -1}, "'overlap'"),
        ({"trained_on": [{"name": "x"}]}, "'trained_on.0.licence'"),
        ({"architecture": {"nf": 8}}, "'architecture'"),
        ({"parents": {"x": "not a hash"}}, "'parents.x'"),
        ({"schema_version": 2}, "schema version 2 and this gramgan reads 1; update gramgan"),
    ],
)
def test_wrong_cards_are_one_line_that_names_the_key(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(UserError) as caught:
        card_from_metadata(_changed(**changes), "a.safetensors")
    assert str(caught.value).startswith("a.safetensors: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_json() -> None:
    with pytest.raises(UserError, match=r"a.safetensors: its card is not valid"):
        card_from_metadata({CARD_KEY: "{"}, "a.safetensors")


def test_unknown_keys_are_refused_when_writing_too() -> None:
    with pytest.raises(ValidationError):
        Card(name="x", architecture={"network": "rrdb"}, licence="y", colour="red")  # type: ignore[call-arg]


def test_an_infinite_score_survives() -> None:
    card = CARD.model_copy(update={"scores": {"self": {"psnr_y": float("inf")}}})
    assert card_from_metadata(card.to_metadata(), "file") == card
