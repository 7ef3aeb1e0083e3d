"""The card of a weight file: one typed record of what the weights are, what they learned from, under which licences."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gramgan.errors import UserError

CARD_KEY = "gramgan.card"
SCHEMA_VERSION = 1

SYNTHESISED_TEXTURE = "Fine texture is synthesised, not measured: it is no evidence of what was in front of the camera."


class _Record(BaseModel):
    # JSON has no infinity, and the PSNR of two equal images is one.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class TrainedOn(_Record):
    """One set of images, or of patches of a texture database, that the weights learned from, and its licences."""

    name: str
    licence: str
    count: Annotated[int, Field(ge=0)] | None = None
    source: str = ""


class Card(_Record):
    """The record that travels inside a weight file; unknown keys are refused.

    `architecture` holds `network` ("rrdb" for a generator, "discriminator", …) and that network's own numbers, for an
    RRDB the fields of `gramgan.networks.rrdb.RRDBConfig`. `licence` is that of the weights themselves, `licences`
    those of everything that went into them (starting weights, data). `started_from` names the weights that training
    began with ("" for none) and `parents` gives SHA-256 digests by name (for example of the starting weights' file).
    `scores` maps a protocol's name to its metrics. `overlap` is the context in low-resolution pixels that a tile
    needs around it to look like the whole image. `psnr_partner` names the PSNR-oriented generator that this one was
    trained from, for `gramgan upscale --strength`: known weights, or a file in the same folder ("" for none).
    `consistent` says that results are to be back-projected, so that they shrink to their input, unless the user decides
    otherwise. `created` is an ISO 8601 time.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str
    architecture: dict[str, int | float | bool | str | list[int] | None]
    licence: str
    licences: list[str] = []
    origin: str = ""
    trained_on: list[TrainedOn] = []
    started_from: str = ""
    parents: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]] = {}
    losses: dict[str, float] = {}
    settings: dict[str, str | int | float | bool | None] = {}
    scores: dict[str, dict[str, float]] = {}
    overlap: Annotated[int, Field(ge=0, le=512)] = 32
    psnr_partner: str = ""
    consistent: bool = False
    created: datetime | None = None
    gramgan_version: str = ""
    notes: list[str] = []

    @field_validator("architecture")
    @classmethod
    def _names_its_network(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(value.get("network"), str):
            raise ValueError("architecture needs the key 'network'")
        return value

    @property
    def scale(self) -> int:
        """How many times larger the generator makes a picture."""
        return self._number("scale", 4)

    @property
    def geometry(self) -> dict[str, Any]:
        """What the upscaling engine needs to know of the generator (see `Upscaler`), but for the overlap."""
        block = self._number("unshuffle", 1)
        return {"name": self.name, "scale": self.scale, "block": block, "align": self._number("align", block)}

    def _number(self, key: str, default: int) -> int:
        value = self.architecture.get(key, default)
        return value if isinstance(value, int) else default

    def to_metadata(self) -> dict[str, str]:
        """The card as safetensors metadata: one JSON text under the key `gramgan.card`."""
        return {CARD_KEY: self.model_dump_json()}


def card_from_metadata(metadata: dict[str, str] | None, source: str) -> Card | None:
    """Read the card out of safetensors metadata; None where there is none. `source` names the file in messages.

    Raises:
        UserError: the card is damaged, has unknown keys, or a newer gramgan wrote it.
    """
    if not metadata or CARD_KEY not in metadata:
        return None
    try:
        return Card.model_validate_json(metadata[CARD_KEY])
    except ValidationError as error:
        raise UserError(f"{source}: {_describe(error)}") from None


def _describe(error: ValidationError) -> str:
    first: dict[str, Any] = dict(error.errors()[0])
    key = ".".join(str(part) for part in first["loc"]) or CARD_KEY
    if key == "schema_version":
        return (
            f"its card has schema version {first['input']!r} and this gramgan reads {SCHEMA_VERSION}; "
            "update gramgan to the version that wrote the file"
        )
    return f"its card is not valid at {key!r} ({first['msg']}); get the file again or write it with this gramgan"
