"""OME-TIFF and ImageJ stacks come out plane by plane with pixel sizes divided."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile

from gramgan.errors import UserError
from gramgan.ops import bicubic

Enlarge = Callable[..., Path]
Scene = Callable[..., np.ndarray]

OME = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"


def ome(path: Path, values: np.ndarray, axes: str, **metadata: Any) -> Path:
    tifffile.imwrite(
        path,
        values,
        ome=True,
        photometric="rgb" if axes.endswith("S") else "minisblack",
        metadata={
            "axes": axes,
            "PhysicalSizeX": 0.65,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": 0.5,
            "PhysicalSizeYUnit": "µm",
            "PhysicalSizeZ": 2.0,
            "Channel": {"Name": ["DAPI", "GFP"]} if "C" in axes else None,
            **metadata,
        },
    )
    return path


def close(result: np.ndarray, values: np.ndarray, span: float) -> None:
    shrunk = bicubic.shrink(result.reshape(-1, *result.shape[-2:]).astype(np.float32))
    given = values.reshape(shrunk.shape).astype(np.float64)
    assert np.abs(shrunk.mean(axis=(1, 2)) - given.mean(axis=(1, 2))).max() < 0.001 * span
    assert np.sqrt(np.square(shrunk - given).mean()) < 0.01 * span


def test_ome_stack(tmp_path: Path, enlarge: Enlarge, scene: Scene) -> None:
    values = scene(6, 40, 56, 0, 65535).astype(np.uint16).reshape(3, 2, 40, 56)
    source = ome(tmp_path / "in.ome.tif", values, "ZCYX")
    with tifffile.TiffFile(enlarge(source, tmp_path / "out.ome.tif")) as file:
        assert file.is_ome
        assert file.series[0].axes == "ZCYX"
        result = file.asarray()
        root = ElementTree.fromstring(file.ome_metadata or "")
    assert result.shape == (3, 2, 160, 224)
    assert result.dtype == np.uint16
    close(result, values, 65535)
    pixels = next(root.iter(f"{OME}Pixels"))
    assert float(pixels.get("PhysicalSizeX", "")) == 0.65 / 4
    assert float(pixels.get("PhysicalSizeY", "")) == 0.5 / 4
    assert float(pixels.get("PhysicalSizeZ", "")) == 2
    assert pixels.get("PhysicalSizeXUnit") == "µm"
    assert [channel.get("Name") for channel in root.iter(f"{OME}Channel")] == ["DAPI", "GFP"]
    assert "synthesised" in (next(root.iter(f"{OME}Description")).text or "")


def test_ome_rgb_and_regions(tmp_path: Path, enlarge: Enlarge, scene: Scene) -> None:
    values = scene(3, 30, 41, 0, 255).astype(np.uint8).transpose(1, 2, 0)
    source = ome(tmp_path / "in.tif", values, "YXS")
    with tifffile.TiffFile(source) as file:
        text = file.ome_metadata or ""
    text = text.replace("</OME>", '<ROI ID="ROI:0"><Union><Shape ID="Shape:0"/></Union></ROI></OME>')
    tifffile.tiffcomment(source, text.encode())
    with tifffile.TiffFile(enlarge(source, tmp_path / "out.tif", scale=2)) as file:
        result = file.asarray()
        assert result.shape == (60, 82, 3)
        assert "<ROI" not in (file.ome_metadata or "")
    close(bicubic.enlarge(np.moveaxis(result, 2, 0).astype(np.float32))[:, ::2, ::2], np.moveaxis(values, 2, 0), 255)


def test_imagej_hyperstack(tmp_path: Path, enlarge: Enlarge, scene: Scene) -> None:
    values = scene(6, 40, 56, 0, 60000).astype(np.uint16).reshape(3, 2, 40, 56)
    tifffile.imwrite(
        tmp_path / "in.tif",
        values,
        imagej=True,
        resolution=(1 / 0.65, 1 / 0.5),
        metadata={
            "axes": "ZCYX",
            "unit": "um",
            "spacing": 2.0,
            "mode": "composite",
            "Labels": [f"plane {number}" for number in range(6)],
            "Ranges": (0.0, 4000.0, 0.0, 9000.0),
        },
    )
    with tifffile.TiffFile(enlarge(tmp_path / "in.tif", tmp_path / "out.tif")) as file:
        said = file.imagej_metadata or {}
        assert file.series[0].axes == "ZCYX"
        result = file.asarray()
        tag = file.pages.first.tags["XResolution"].value
    assert tag[0] / tag[1] == pytest.approx(4 / 0.65, rel=1e-6)
    assert (said["unit"], said["spacing"], said["mode"], said["slices"]) == ("um", 2.0, "composite", 3)
    assert said["Labels"][5] == "plane 5"
    assert list(said["Ranges"]) == [0, 4000, 0, 9000]
    assert "synthesised" in said["Info"]
    close(result, values, 60000)


def test_a_single_channel_gets_no_colour(tmp_path: Path, enlarge: Enlarge, scene: Scene) -> None:
    values = scene(1, 32, 32, 0, 4095).astype(np.uint16)[0]
    source = ome(tmp_path / "in.tif", values, "YX", SignificantBits=12)
    with tifffile.TiffFile(enlarge(source, tmp_path / "out.tif")) as file:
        assert file.asarray().shape == (128, 128)
        assert file.pages.first.photometric == tifffile.PHOTOMETRIC.MINISBLACK


def test_what_is_refused(tmp_path: Path, enlarge: Enlarge, scene: Scene) -> None:
    two = tmp_path / "two.tif"
    with tifffile.TiffWriter(two, ome=True) as writer:
        for side in (16, 24):
            writer.write(np.zeros((side, side), np.uint8), photometric="minisblack", metadata={"axes": "YX"})
    ome(tmp_path / "deep.tif", np.zeros((20, 20), np.uint32), "YX")
    ome(tmp_path / "bad.tif", np.zeros((20, 20), np.uint8), "YX")
    tifffile.tiffcomment(tmp_path / "bad.tif", b"<OME><Image>")
    tifffile.imwrite(tmp_path / "short.tif", np.zeros((4, 20, 20), np.uint8), imagej=True)
    (tmp_path / "short.tif").write_bytes((tmp_path / "short.tif").read_bytes()[:900])
    for name, message in {
        "two.tif": "it holds 2 images of different sizes",
        "deep.tif": "its samples are of type uint32",
        "bad.tif": "its OME-XML is damaged",
        "short.tif": "it says 4 planes and has",
    }.items():
        with pytest.raises(UserError, match=message):
            enlarge(tmp_path / name, tmp_path / "out.tif")
    assert not list(tmp_path.glob("*out.tif*"))
