"""Whether a texture database is whole: every data file against its checksum, every row against itself."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gramgan.files import sha256
from gramgan.progress import Progress, silent
from gramgan.texture.commits import recorded_checksum
from gramgan.texture.table import LanceTable, lance_reason, values

_TOLERANCE = 1e-4  # of a Gram component, whose largest value is 1.4


@dataclass(frozen=True)
class Problem:
    """Something that is wrong: the fragment (None: not of one alone), and what."""

    fragment: int | None
    text: str


@dataclass
class Report:
    """What `verify` found. `patches` are those that can be read."""

    version: int
    fragments: int = 0
    patches: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def damaged(self) -> list[int]:
        """Fragments that can be dropped to go on without them."""
        return sorted({problem.fragment for problem in self.problems if problem.fragment is not None})


def verify_table(table: LanceTable, progress: Progress = silent) -> Report:
    """Read every row of `table`.

    A data file must have the checksum that it was written with. Vectors must be finite and, but for derivatives, which
    need the photograph around a patch, those of the stored pixels; patch ids must be unique.

    Args:
        table: one version of a table.
        progress: told the number of fragments done.
    """
    fragments = table.dataset.get_fragments()
    report = Report(table.version, len(fragments))
    ids: list[np.ndarray] = []
    for number, fragment in enumerate(fragments):
        found = _problem(table, fragment, ids)
        if found is None:
            report.patches += fragment.count_rows()
        else:
            report.problems.append(Problem(fragment.fragment_id, found))
        progress(number + 1, len(fragments))
    every = np.concatenate(ids) if ids else np.zeros(0, np.int64)
    repeated = len(every) - len(np.unique(every))
    if repeated:
        report.problems.append(Problem(None, f"{repeated} patch ids occur more than once"))
    return report


def _problem(table: LanceTable, fragment: Any, ids: list[np.ndarray]) -> str | None:
    """What is wrong with a fragment; its patch ids are appended to `ids` if nothing is."""
    names = ", ".join(f"data/{file.path}" for file in fragment.metadata.files)
    for file in fragment.metadata.files:
        path = table.path / "data" / file.path
        if not path.is_file():
            return f"{names} is missing"
        recorded = recorded_checksum(table.path, file.path)
        try:
            if recorded is not None and sha256(path) != recorded:
                return f"{names} is damaged: it has another SHA-256 than when it was written"
        except OSError as error:
            return f"{names} cannot be read ({error.strerror})"
    found: list[np.ndarray] = []
    try:
        for batch in fragment.to_batches(columns=["patch_id", "patch", "gram"], batch_size=65_536):
            found.append(values(batch.column("patch_id")).copy())
            wrong = _wrong_vectors(table, values(batch.column("patch")), values(batch.column("gram")))
            if wrong is not None:
                return f"{names} holds {wrong}"
        rows = fragment.count_rows()
    except (OSError, ValueError) as error:  # Arrow's and Lance's own
        return f"{names} is damaged ({lance_reason(error)})"
    if sum(map(len, found)) != rows:
        return f"{names} holds {sum(map(len, found))} rows and should hold {rows}"
    ids.extend(found)
    return None


def _wrong_vectors(table: LanceTable, patches: np.ndarray, gram: np.ndarray) -> str | None:
    if not np.isfinite(gram).all():
        return "vectors that are not finite"
    descriptor = table.metadata.descriptor
    pixels = patches.reshape(len(patches), -1, 3).astype(np.float32).transpose(2, 0, 1) / 255
    if descriptor.name == "rgb-centred":
        pixels = pixels - pixels.mean(axis=2, keepdims=True)
    channels = {6: 3, 45: 9}[descriptor.dimension]
    place = 0
    for i in range(3):
        for j in range(i, 3):
            expected = (pixels[i] * pixels[j]).mean(axis=1) * (1 if i == j else np.sqrt(2))
            if np.abs(expected - gram[:, place + j - i]).max(initial=0) > _TOLERANCE:
                return "vectors that are not those of the patches"
        place += channels - i
    return None
