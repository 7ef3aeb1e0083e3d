"""Tables that travel in the package as YAML files, each beside the module that reads it."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from gramgan.errors import UserError

_Row = TypeVar("_Row")
ROW = ConfigDict(extra="forbid")
"""The configuration of a `pydantic.dataclasses.dataclass` that is a row of a table: unknown fields are refused."""


def read_table(path: Path, row: type[_Row]) -> tuple[_Row, ...]:
    """The rows of the table at `path`, each a `row`.

    Raises:
        UserError: the file is missing or damaged.
    """
    kind: Any = tuple[row, ...]
    try:
        return TypeAdapter(kind).validate_python(yaml.safe_load(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError):
        raise UserError(f"{path}: missing or damaged, and it is part of gramgan; install gramgan again") from None
