"""One file of every scientific kind, enlarged and drawn: picture and figures of docs/how-to/scientific-images.md.

    python benchmarks/scientific.py --folder OUT [--photos FOLDER] [--model realsr-df2k]
        [--picture docs/images/scientific.jpg]

The scene and the part are made of photographs, with values and places that such files have; the CT slice and the cell
are real. The peer of the table is bicubic enlargement: how far it, shrunk again, is from the input.
"""

import argparse
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import rasterio
import skimage.data
import tifffile
from affine import Affine
from PIL import Image

from gramgan.images import write_image
from gramgan.ops import bicubic
from gramgan.reports.strips import Panel, comparison
from gramgan.upscaling.api import Upscaling
from gramgan.upscaling.settings import Settings

SIDE = (200, 150)
CROP = 64
"""Pixels of the input that are drawn."""


@dataclass(frozen=True)
class Example:
    """A file, how it is enlarged, and how its stored values are read, put into physical units and shown."""

    name: str
    title: str
    unit: str
    options: dict
    read: Callable[[Path], np.ndarray]
    physical: Callable[[np.ndarray], np.ndarray]
    shown: tuple[float, float]
    place: tuple[int, int]


def photograph(path: Path) -> np.ndarray:
    """`[3, h, w]` in [0, 1], linear, shrunk so far that it is sharp to the pixel."""
    image = Image.open(path).convert("RGB")
    factor = SIDE[0] / image.width
    image = image.resize((SIDE[0], round(image.height * factor)), Image.Resampling.LANCZOS).crop((0, 0, *SIDE))
    values = np.asarray(image).transpose(2, 0, 1) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def make_scene(path: Path, photos: Path) -> None:
    red, green, blue = photograph(photos / "dune.jpg")
    bands = np.stack([blue, green, red, np.clip(0.6 * green + 0.4 * red, 0, 1)])
    stored = (1000 + 4000 * bands).astype(np.uint16)  # reflectance up to 0.4, as Sentinel-2 stores it
    y, x = np.mgrid[: SIDE[1], : SIDE[0]]
    stored[:, y + 0.3 * x > 175] = 0
    profile = {"crs": "EPSG:32633", "transform": Affine(10, 0, 399960, 0, -10, 5800020), "nodata": 0}
    with rasterio.open(
        path, "w", driver="GTiff", count=4, width=SIDE[0], height=SIDE[1], dtype="uint16", **profile
    ) as file:
        file.write(stored)


def make_cell(path: Path) -> None:
    cell = np.asarray(Image.open(Path(skimage.data.__file__).parent / "cell.png"))
    metadata = {"axes": "YX", "PhysicalSizeX": 0.32, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.32}
    stored = cell[200:360, 150:350].astype(np.uint16) * 16
    tifffile.imwrite(path, stored, ome=True, photometric="minisblack", metadata={**metadata, "SignificantBits": 12})


def make_part(path: Path, photos: Path) -> None:
    image = Image.open(photos / "wood.jpg").convert("L").resize((400, 300), Image.Resampling.LANCZOS)
    plane = np.asarray(image)[: SIDE[1], : SIDE[0]]
    tifffile.imwrite(
        path,
        np.stack([plane, plane[::-1]]),
        imagej=True,
        resolution=(1 / 25, 1 / 25),
        metadata={"axes": "ZYX", "unit": "um", "spacing": 5.0},
    )


def read_geotiff(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read([3, 2, 1])


def read_dicom(path: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path).pixel_array[None]


def read_tiff(path: Path) -> np.ndarray:
    planes = tifffile.imread(path)
    return planes[None] if planes.ndim == 2 else planes[:1]


EXAMPLES = (
    Example(
        "scene.tif",
        "GeoTIFF, --bands 3,2,1",
        "reflectance",
        {"bands": ("3,2,1", "4"), "radiometry": "percentile"},
        read_geotiff,
        lambda stored: (stored - 1000.0) / 10000,
        (0, 0.4),
        (90, 30),
    ),
    Example(
        "ct.dcm",
        "DICOM, CT",
        "HU",
        {},
        read_dicom,
        lambda stored: stored - 1024.0,
        (-224, 276),
        (40, 30),
    ),
    Example(
        "cell.ome.tif",
        "OME-TIFF, --texture-mask",
        "counts",
        {"radiometry": "minmax", "texture_mask": True},
        read_tiff,
        lambda stored: stored.astype(float),
        (700, 1400),
        (70, 40),
    ),
    Example(
        "part.tif",
        "ImageJ stack",
        "grey levels",
        {},
        read_tiff,
        lambda stored: stored.astype(float),
        (0, 255),
        (60, 40),
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=Path("../shared/photos"))
    parser.add_argument("--model", default="realsr-df2k")
    parser.add_argument("--folder", type=Path, required=True, help="for files and results; results there are kept")
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    make_scene(folder / "scene.tif", arguments.photos)
    shutil.copy(Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm", folder / "ct.dcm")
    make_cell(folder / "cell.ome.tif")
    make_part(folder / "part.tif", arguments.photos)
    print("| file | mean | in the result | deviation | shrunk again | difference (rms) | of bicubic |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    rows = []
    for example in EXAMPLES:
        source = folder / example.name
        stem, _, suffix = example.name.partition(".")
        target = folder / f"{stem}_x4.{suffix}"
        if not target.exists():
            Upscaling(Settings(model=arguments.model, **example.options)).file(source, target)
        given, result = (example.physical(example.read(path)) for path in (source, target))
        valid = given.min(axis=0) > -0.05 if example.unit == "reflectance" else np.ones(given.shape[1:], bool)
        print(row(example, given, result, valid))
        rows.append(panels(example, given, result))
    if arguments.picture is not None:
        write_image(arguments.picture, comparison(rows, zoom=1).transpose(2, 0, 1) / np.float32(255), quality=90)


def row(example: Example, given: np.ndarray, result: np.ndarray, valid: np.ndarray) -> str:
    inner = eroded(valid, 4)  # shrinking looks at four pixels around
    large = valid.repeat(4, 0).repeat(4, 1)
    shrunk = bicubic.shrink(result.astype(np.float32))
    plain = bicubic.shrink(bicubic.enlarge(given.astype(np.float32)))
    rms = [float(np.sqrt(np.square(one - given)[:, inner].mean())) for one in (shrunk, plain)]
    figures = (
        given[:, valid].mean(),
        result[:, large].mean(),
        given[:, inner].std(),
        shrunk[:, inner].std(),
        *rms,
    )
    return f"| {example.title} ({example.unit}) | " + " | ".join(f"{figure:.4g}" for figure in figures) + " |"


def eroded(mask: np.ndarray, reach: int) -> np.ndarray:
    padded = np.pad(mask, reach, constant_values=True)
    height, width = mask.shape
    around = [padded[y : y + height, x : x + width] for y in range(2 * reach + 1) for x in range(2 * reach + 1)]
    return np.logical_and.reduce(around)


def panels(example: Example, given: np.ndarray, result: np.ndarray) -> list[Panel]:
    low, high = example.shown
    x, y = example.place

    def shown(values: np.ndarray, scale: int) -> np.ndarray:
        crop = values[:, scale * y : scale * (y + CROP), scale * x : scale * (x + CROP)]
        unit = np.clip((crop - low) / (high - low), 0, 1)
        if example.unit == "reflectance":
            unit = unit ** (1 / 2.2)
        return np.repeat(unit, 3, axis=0) if len(unit) == 1 else unit

    bicubic_result = bicubic.enlarge(given.astype(np.float32))
    return [
        Panel(shown(given, 1), "input", example.title),
        Panel(shown(bicubic_result, 4), "bicubic"),
        Panel(shown(result, 4), "gramgan upscale"),
    ]


if __name__ == "__main__":
    main()
