"""The photographs that the packages scikit-image and scikit-learn carry inside their wheels.

The table is what is left of those packages' images after looking at each: drawings, masks, printed pages, phantoms,
images under 192 pixels, the blurred clock, the hologram of a cell, texture-library materials that may be synthetic
(brick, gravel) and those without a stated licence (moon) are not in it. Authors and licences are as the packages
state them, or the pages that they name.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from gramgan.collect.manifest import Side
from gramgan.errors import UserError

_SKIMAGE, _SKLEARN = "scikit-image", "scikit-learn"
_MODULES = {_SKIMAGE: "skimage", _SKLEARN: "sklearn"}
_FOLDERS = {_SKIMAGE: "data", _SKLEARN: "datasets/images"}
_CC0_URL = "https://creativecommons.org/publicdomain/zero/1.0/"
_CC_BY_URL = "https://creativecommons.org/licenses/by/2.0/"
_NO_RESTRICTIONS = "no known copyright restrictions"
_STEREO_LICENCE = "Middlebury stereo data: use and publication permitted, citation requested"
_STEREO_URL = "https://vision.middlebury.edu/stereo/data/"


@dataclass(frozen=True)
class Sample:
    """One photograph inside of a package; the fields are those of `manifest.Entry`."""

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


# The three of the holdout differ in what they show (fur; glazed and wooden surfaces; leaves and architecture) and have
# no relative on the other side.
SAMPLES = (
    Sample(
        package=_SKIMAGE,
        file="astronaut.png",
        title="Eileen Collins, astronaut",
        author="NASA",
        licence="public domain",
        licence_url="https://www.nasa.gov/nasa-brand-center/images-and-media/",
        page_url="https://flic.kr/p/r9qvLn",
        group="astronaut",
    ),
    Sample(
        package=_SKIMAGE,
        file="camera.png",
        title="Photographer with a camera",
        author="Lav Varshney",
        licence="CC0-1.0",
        licence_url=_CC0_URL,
        page_url="https://github.com/scikit-image/scikit-image/issues/3927",
        group="camera",
    ),
    Sample(
        package=_SKIMAGE,
        file="chelsea.png",
        title="Chelsea the cat",
        author="Stefan van der Walt",
        licence="CC0-1.0",
        licence_url=_CC0_URL,
        page_url="",
        group="chelsea",
        split="holdout",
    ),
    Sample(
        package=_SKIMAGE,
        file="coffee.png",
        title="Coffee cup",
        author="Rachel Michetti",
        licence="CC0-1.0",
        licence_url=_CC0_URL,
        page_url="",
        group="coffee",
        split="holdout",
    ),
    Sample(
        package=_SKIMAGE,
        file="coins.png",
        title="Greek coins from Pompeii",
        author="Brooklyn Museum",
        licence=_NO_RESTRICTIONS,
        licence_url="",
        page_url="https://www.brooklynmuseum.org/opencollection/archives/image/51611",
        group="coins",
    ),
    Sample(
        package=_SKIMAGE,
        file="grass.png",
        title="Grass",
        author="linolafett",
        licence="CC0-1.0",
        licence_url=_CC0_URL,
        page_url="https://www.deviantart.com/linolafett/art/Grass-01-434853879",
        group="grass",
    ),
    Sample(
        package=_SKIMAGE,
        file="hubble_deep_field.jpg",
        title="Hubble eXtreme Deep Field",
        author="NASA",
        licence="public domain",
        licence_url="https://www.nasa.gov/nasa-brand-center/images-and-media/",
        page_url="http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/",
        group="hubble_deep_field",
    ),
    Sample(
        package=_SKIMAGE,
        file="ihc.png",
        title="Stained tissue of colonic glands (photomicrograph)",
        author="Center for Microscopy and Molecular Imaging",
        licence=_NO_RESTRICTIONS,
        licence_url="",
        page_url="",
        group="ihc",
    ),
    Sample(
        package=_SKIMAGE,
        file="motorcycle_left.png",
        title="Motorcycle, left half of a stereo pair",
        author="Nesic, Westling, Wang, Kitajima, Krathwohl, Scharstein (Middlebury College)",
        licence=_STEREO_LICENCE,
        licence_url=_STEREO_URL,
        page_url="http://vision.middlebury.edu/stereo/data/scenes2014/",
        group="motorcycle",
    ),
    Sample(
        package=_SKIMAGE,
        file="motorcycle_right.png",
        title="Motorcycle, right half of a stereo pair",
        author="Nesic, Westling, Wang, Kitajima, Krathwohl, Scharstein (Middlebury College)",
        licence=_STEREO_LICENCE,
        licence_url=_STEREO_URL,
        page_url="http://vision.middlebury.edu/stereo/data/scenes2014/",
        group="motorcycle",
    ),
    Sample(
        package=_SKIMAGE,
        file="retina.jpg",
        title="Fundus photograph of a normal left eye",
        author="Mikael Häggström",
        licence="CC0-1.0",
        licence_url=_CC0_URL,
        page_url="https://commons.wikimedia.org/wiki/File:Fundus_photograph_of_normal_left_eye.jpg",
        group="retina",
    ),
    Sample(
        package=_SKIMAGE,
        file="rocket.jpg",
        title="Launch of DSCOVR on a Falcon 9",
        author="SpaceX",
        licence="public domain",
        licence_url="http://arstechnica.com/tech-policy/2015/03/elon-musk-puts-spacex-photos-into-the-public-domain/",
        page_url="https://www.flickr.com/photos/spacexphotos/16511594820/",
        group="rocket",
    ),
    Sample(
        package=_SKLEARN,
        file="china.jpg",
        title="Pagoda by a lake",
        author="danielbuechele",
        licence="CC-BY-2.0",
        licence_url=_CC_BY_URL,
        page_url="https://www.flickr.com/photos/danielbuechele/6061409035/",
        group="china",
        split="holdout",
    ),
    Sample(
        package=_SKLEARN,
        file="flower.jpg",
        title="Dahlia",
        author="vultilion",
        licence="CC-BY-2.0",
        licence_url=_CC_BY_URL,
        page_url="https://www.flickr.com/photos/vultilion/6056698931/",
        group="flower",
    ),
)


def locate(sample: Sample) -> Path:
    """Where the sample lies on this machine; the file itself may be missing in another version of the package.

    The package is found, not imported: importing it would take a second.

    Raises:
        UserError: the package is not installed.
    """
    module = importlib.util.find_spec(_MODULES[sample.package])
    if module is None or not module.submodule_search_locations:
        raise UserError(
            f"{sample.package}: not installed, and it carries the sample photographs; "
            f"pip install {_SKIMAGE} {_SKLEARN}, or give your own with --from FOLDER"
        )
    return Path(module.submodule_search_locations[0], _FOLDERS[sample.package], sample.file)
