"""Scientific files through the page: said with bands and units, enlarged whole, shown."""

from pathlib import Path

import numpy as np
import pytest
from served import Served, picture

pytest.importorskip("starlette", reason="the extra `studio` is not installed")
rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed: pip install 'gramgan[geo]'")


@pytest.fixture
def scene(served: Served) -> Path:
    """Five bands of 16 bits with a place on Earth, a hole, and units."""
    path = served.folder / "scene.tif"
    values = np.round(picture(4, 40, 48) * 9000).astype(np.uint16)
    bands = np.concatenate([values, values[:2]]) + 1
    bands[:, :4, :4] = 0
    transform = rasterio.transform.from_origin(500000, 5000000, 10, 10)
    form = {"driver": "GTiff", "width": 48, "height": 40, "count": 5, "dtype": "uint16", "nodata": 0}
    with rasterio.open(path, "w", **form, crs="EPSG:32633", transform=transform) as file:
        file.write(bands)
        for band in range(1, 6):
            file.set_band_unit(band, "K")
    return path


def test_a_geotiff_keeps_its_bands_and_its_place(served: Served, scene: Path, tmp_path: Path) -> None:
    number = served.post("/api/pictures", {"path": str(scene)}).json["pictures"][0]["id"]
    settings = {"model": str(served.folder / "small.safetensors"), "radiometry": "1,9001"}
    planned = served.post("/api/plan", {"picture": number, "settings": settings}).json
    assert planned["facts"].startswith("GeoTIFF, 48x40, uint16")
    assert planned["facts"].count(" in K") == 5
    assert planned["plan"]["bytes"] == 192 * 160 * 5 * 2
    job = served.wait(served.post("/api/upscale", {"pictures": [number], "settings": settings}).json["jobs"][0])
    assert job["state"] == "done", job
    (tmp_path / "result.tif").write_bytes(served.get(f"/results/{job['id']}").data)
    with rasterio.open(scene) as before, rasterio.open(tmp_path / "result.tif") as after:
        assert (after.count, after.width, after.height, after.dtypes) == (5, 192, 160, before.dtypes)
        assert after.crs == before.crs
        assert after.bounds == pytest.approx(before.bounds)
        assert after.units == before.units
        assert not after.read(1)[:16, :16].any()


def test_a_geotiff_is_shown(served: Served, scene: Path) -> None:
    number = served.post("/api/pictures", {"path": str(scene)}).json["pictures"][0]["id"]
    shape = served.get(f"/api/shown/picture-{number}").json
    assert (shape["width"], shape["height"]) == (48, 40)
    assert served.get(f"/api/shown/picture-{number}/0/0/0").data.startswith(b"\x89PNG")
