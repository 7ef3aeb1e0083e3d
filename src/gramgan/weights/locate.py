"""Which file a user means by the name of weights. Imports no framework."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from gramgan.errors import UserError
from gramgan.files import sha256
from gramgan.places import as_place
from gramgan.weights.catalog import KNOWN, KnownWeights, weight_path

WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".param", ".bin")
"""Weight files that are read into a network."""
GRAPH_SUFFIXES = (".onnx", ".xml")
"""Whole networks, as `gramgan export` writes them: they can be run, not trained."""
HINT = "give weights of an ESRGAN-type generator"


@dataclass(frozen=True)
class Located:
    """A generator's file, and its line of the table where it is one of the known ones."""

    path: Path
    known: KnownWeights | None

    @property
    def is_graph(self) -> bool:
        """Whether the file is a whole network (`GRAPH_SUFFIXES`)."""
        return self.path.suffix.lower() in GRAPH_SUFFIXES

    def digest(self) -> str:
        """SHA-256 of the file; of the file that holds the numbers, for the formats that are a pair of files.

        Raises:
            UserError: that file is not there, or it is a damaged one of the known weights.
        """
        path = self.path
        if path.suffix.lower() in (".param", ".xml"):
            path = path.with_suffix(".bin")
        if not path.is_file():
            raise UserError(f"{path}: not there; it belongs beside {self.path.name}")
        digest = sha256(path)
        if self.known is not None and digest not in {file.sha256 for file in self.known.files}:
            mend = "install gramgan again" if self.known.packaged else f"run `gramgan weights get {self.known.name}`"
            raise UserError(f"{path}: damaged; {mend}")
        return digest


def locate_generator(spec: str | Path) -> Located:
    """The file of known weights (a name of `gramgan weights list`) or of a path.

    A name of the table wins over a file of the same name; write `./NAME` for the file.

    Raises:
        UserError: there is no such name or file, it is not a generator, or the known weights are not in the cache yet
            (the message says the command that brings them).
    """
    known = KNOWN.get(str(spec))
    if known is None:
        path = as_place(spec)
        if not path.is_file():
            raise _not_there(path)
        return Located(path, None)
    if known.kind != "generator":
        raise UserError(f"{spec}: {known.title}, not a generator; {HINT}, for example {', '.join(_generators())}")
    return Located(weight_path(known.name), known)


def _generators() -> list[str]:
    return [name for name, known in KNOWN.items() if known.kind == "generator"]


def _not_there(path: Path) -> UserError:
    beside = []
    if path.parent.is_dir():
        suffixes = (*WEIGHT_SUFFIXES, *GRAPH_SUFFIXES)
        beside = [file.name for file in path.parent.iterdir() if file.suffix.lower() in suffixes]
    near = difflib.get_close_matches(path.name, [*_generators(), *sorted(beside)], n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"give a file or one of {', '.join(_generators())}"
    what = "a folder, not a weight file" if path.is_dir() else "neither a weight file nor known weights"
    return UserError(f"{path}: {what}; {hint}")
