"""The photographs that the packages scikit-image and scikit-learn carry inside their wheels.

They are listed in `samples.yaml`.
"""

import importlib.util
from pathlib import Path

from pydantic.dataclasses import dataclass

from gramgan.collect.manifest import Side
from gramgan.errors import UserError
from gramgan.tables import ROW, read_table

_SKIMAGE, _SKLEARN = "scikit-image", "scikit-learn"
_MODULES = {_SKIMAGE: "skimage", _SKLEARN: "sklearn"}
_FOLDERS = {_SKIMAGE: "data", _SKLEARN: "datasets/images"}


@dataclass(frozen=True, config=ROW)
class SamplePhoto:
    """One photograph inside of a package; the fields are those of `manifest.ManifestEntry`."""

    package: str
    file: str
    title: str
    author: str
    licence: str
    licence_url: str
    page_url: str
    group: str
    split: Side = "train"

    @property
    def source(self) -> str:
        """Package and place in it, for the manifest."""
        return f"{self.package}: {_MODULES[self.package]}/{_FOLDERS[self.package]}/{self.file}"


SAMPLES = read_table(Path(__file__).with_name("samples.yaml"), SamplePhoto)


def locate(sample: SamplePhoto) -> Path:
    """Where the sample lies on this machine; the file itself may be missing in another version of the package.

    The package is found, not imported: importing it would take a second.

    Raises:
        UserError: the package is not installed.
    """
    module = importlib.util.find_spec(_MODULES[sample.package])
    if module is None or not module.submodule_search_locations:
        raise UserError(
            f"{sample.package}: not installed, and it carries the sample photographs; "
            "pip install 'gramgan[samples]', or give your own with --from FOLDER"
        )
    return Path(module.submodule_search_locations[0], _FOLDERS[sample.package], sample.file)
