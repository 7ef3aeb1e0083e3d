"""A result for which there is no room: one line, nothing half-written, and what stood there is as it was."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("resource", reason="there are no limits of this kind")
pytest.importorskip("rasterio", reason="rasterio is not installed: pip install 'gramgan[geo]'")
pytest.importorskip("pydicom", reason="pydicom is not installed: pip install 'gramgan[medical]'")

import resource

import pydicom
import rasterio
import tifffile

from gramgan.errors import UserError, WriteFailedError
from gramgan.scientific.dicom import Dicom
from gramgan.scientific.geotiff import GeoTiff
from gramgan.scientific.microscopy import ImageJTiff, OmeTiff

Enlarge = Callable[..., Path]

DICOM = Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm"


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """`limit(bytes)`: files that are being saved get no larger, as with `ulimit -f`."""
    _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def set_to(size: int) -> None:
        for kind in (GeoTiff, Dicom, OmeTiff, ImageJTiff):
            save = kind.save

            def limited(*arguments: Any, save: Callable[..., None] = save) -> None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
                try:
                    save(*arguments)
                finally:
                    resource.setrlimit(resource.RLIMIT_FSIZE, before)

            monkeypatch.setattr(kind, "save", limited)

    yield set_to
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write(path: Path, kind: str) -> Path:
    values = np.random.default_rng(0).integers(0, 60000, (3, 40, 40)).astype(np.uint16)
    if kind == "DICOM":
        path.write_bytes(DICOM.read_bytes())
    elif kind == "GeoTIFF":
        with rasterio.open(
            path, "w", driver="GTiff", width=40, height=40, count=3, dtype="uint16", crs="EPSG:3857"
        ) as file:
            file.write(values)
    else:
        options: dict[str, Any] = {"imagej": True} if kind == "ImageJ" else {"ome": True}
        tifffile.imwrite(path, values, photometric="minisblack", metadata={"axes": "ZYX"}, **options)
    return path


@pytest.mark.parametrize("size", [0, 5000, 60_000])
@pytest.mark.parametrize(
    ("kind", "suffix", "options"),
    [
        ("GeoTIFF", ".tif", {}),
        ("GeoTIFF", ".tif", {"cog": True}),
        ("DICOM", ".dcm", {}),
        ("OME", ".ome.tif", {}),
        ("ImageJ", ".tif", {}),
    ],
)
def test_there_is_no_room(
    tmp_path: Path,
    enlarge: Enlarge,
    limit: Callable[[int], None],
    kind: str,
    suffix: str,
    options: dict[str, Any],
    size: int,
) -> None:
    source, target = write(tmp_path / f"in{suffix}", kind), tmp_path / f"out{suffix}"
    target.write_bytes(b"an older result")
    limit(size)
    with pytest.raises(UserError) as caught:
        enlarge(source, target, **options)
    assert isinstance(caught.value, WriteFailedError)
    assert str(caught.value).startswith(f"{target}: cannot be written (File too large)")
    assert "\n" not in str(caught.value)
    assert target.read_bytes() == b"an older result"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([source.name, target.name])
