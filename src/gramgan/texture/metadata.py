"""What a texture database says of itself: identity, descriptor and how it was built."""

import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gramgan.errors import UserError
from gramgan.files import parse_json
from gramgan.texture.descriptors import Descriptor

TEXTURE_KEY = "gramgan.texture"
_FORMAT = 2  # 1 had no identity, and no column `warped`
_READABLE = (1, 2)


@dataclass(frozen=True)
class Metadata:
    """Identity, descriptor and settings of a table; the same in every version of it.

    `identity` is made anew by every build and merge, so that a table which was built again under an old name is not
    mistaken for the old one. `build` are the settings of the build (empty for a merged table); `add` samples as they
    say.
    """

    identity: str
    descriptor: Descriptor
    build: dict[str, Any] = field(default_factory=dict)
    format: int = _FORMAT

    @classmethod
    def new(cls, descriptor: Descriptor, build: dict[str, Any]) -> "Metadata":
        """Metadata of a new table, with a new identity."""
        return cls(str(uuid.uuid4()), descriptor, build)

    @classmethod
    def from_json(cls, path: Path, raw: str) -> "Metadata":
        """Read what `to_json` wrote; `path` is the file that errors speak of.

        Raises:
            UserError: damaged, or written by another version of the program.
        """
        try:
            values = parse_json(raw)
            written = values["format"]
            if written not in _READABLE:
                raise UserError(
                    f"{path}: written in format {written}, this version reads up to {_FORMAT}; build it again"
                )
            descriptor = Descriptor(values["descriptor"], values["k"], tuple(values["scale"]))
            # Tables of format 1 are told apart by their settings and scale.
            identity = values.get("identity") or str(uuid.uuid5(uuid.NAMESPACE_OID, raw))
            return cls(identity, descriptor, values.get("build", {}), written)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: its metadata are damaged ({error}); build it again: gramgan db build") from None

    def to_json(self) -> str:
        """One line of JSON."""
        descriptor = self.descriptor
        values = {"format": self.format, "identity": self.identity, "descriptor": descriptor.name, "k": descriptor.k}
        return json.dumps(values | {"scale": list(descriptor.scale), "build": self.build})
