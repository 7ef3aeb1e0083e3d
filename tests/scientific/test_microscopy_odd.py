"""OME and ImageJ TIFFs as programs write them: units of any bytes, white that is 0, planes of colours, hostile XML."""

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from gramgan.errors import UserError
from gramgan.ops import bicubic

Enlarge = Callable[..., Path]
Scene = Callable[..., np.ndarray]

COLOURMAP = np.arange(768, dtype=np.uint16).reshape(3, 256) * 85


@pytest.fixture
def values(scene: Scene) -> np.ndarray:
    """One plane of 8 bits."""
    return scene(1, 32, 40, 0, 255)[0].astype(np.uint8)


@pytest.fixture
def colours(scene: Scene) -> np.ndarray:
    """Three planes of 8 bits."""
    return scene(3, 32, 40, 0, 255).astype(np.uint8)


def imagej(path: Path, description: bytes, values: np.ndarray, **options: Any) -> Path:
    """A TIFF with this very description."""
    tifffile.imwrite(path, values, metadata=None, description=description, **{"photometric": "minisblack", **options})
    return path


def description(path: Path) -> bytes:
    with tifffile.TiffFile(path) as file:
        tag = file.pages.first.tags["ImageDescription"]
        file.filehandle.seek(tag.valueoffset)
        return file.filehandle.read(tag.count).rstrip(b"\0")


def near(result: np.ndarray, values: np.ndarray) -> None:
    shrunk = bicubic.shrink(result.reshape(-1, *result.shape[-2:]).astype(np.float32))
    given = values.reshape(shrunk.shape).astype(np.float64)
    assert np.sqrt(np.square(shrunk - given).mean()) < 0.02 * np.ptp(given)


@pytest.mark.parametrize(
    "text",
    [
        b"ImageJ=1.54f\nimages=1\nunit=\xb5m\n",
        b"ImageJ=1.54f\nimages=1\nunit=\xc2\xb5m\n",
        b"ImageJ=1.54f\nimages=1\nunit=\xe5\x8d\x81\x81\n",
        b"ImageJ=1.54f\nunit=\\u00B5m\nmin=0.0\nmax=200.0\n",
        b"ImageJ=1.54f\nimages=1\ncf=0\nc0=-100.0\nc1=0.5\nvunit=HU\n",
        b"ImageJ=1.54f\nimages=1\ncf=20\nc0=1\nc1=2\nc2=3\nvunit=Gray Value\nsomething=else\nloop=false\n",
        b"ImageJ=1.11a\n",
    ],
)
def test_what_imagej_says_stays_byte_for_byte(
    tmp_path: Path, enlarge: Enlarge, values: np.ndarray, text: bytes
) -> None:
    target = enlarge(imagej(tmp_path / "in.tif", text, values), tmp_path / "out.tif")
    assert description(target) == text
    near(tifffile.imread(target), values)


def test_origins_are_counted_in_pixels(tmp_path: Path, enlarge: Enlarge, values: np.ndarray) -> None:
    text = b"ImageJ=1.54f\nimages=1\nxorigin=2.5\nyorigin=-3\nzorigin=7\n"
    target = enlarge(imagej(tmp_path / "in.tif", text, values), tmp_path / "out.tif")
    assert description(target) == b"ImageJ=1.54f\nimages=1\nxorigin=10.0\nyorigin=-12.0\nzorigin=7\n"


@pytest.mark.parametrize(
    ("text", "axes"),
    [
        (b"ImageJ=1.11a\nimages=6\n", "IYX"),
        (b"ImageJ=1.11a\nimages=6\nslices=6\n", "ZYX"),
        (b"ImageJ=1.11a\nimages=6\nchannels=2\nslices=3\nhyperstack=true\nmode=composite\n", "ZCYX"),
        (b"ImageJ=1.11a\nimages=6\nframes=3\nchannels=2\nhyperstack=true\n", "TCYX"),
    ],
)
@pytest.mark.parametrize("directories", [6, 1])
def test_stacks(tmp_path: Path, enlarge: Enlarge, scene: Scene, text: bytes, axes: str, directories: int) -> None:
    stack = scene(6, 32, 40, 0, 60000).astype(np.uint16)
    source = imagej(tmp_path / "in.tif", text, stack if directories == 6 else stack[0])
    if directories == 1:  # as ImageJ writes stacks of more than 4 GB: planes without directories behind the first
        with tifffile.TiffFile(source) as file:
            (offset,), (count,) = file.pages.first.dataoffsets, file.pages.first.databytecounts
        assert offset + count == source.stat().st_size
        source.write_bytes(source.read_bytes() + stack[1:].tobytes())
    with tifffile.TiffFile(enlarge(source, tmp_path / "out.tif")) as file:
        assert file.is_imagej
        assert file.series[0].axes == axes
        assert file.series[0].dataoffset is not None  # one behind the other, as ImageJ reads them
        near(file.asarray(), stack)


def test_lookup_tables_labels_and_unknown_blocks(
    tmp_path: Path, enlarge: Enlarge, values: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    tables = [np.tile(np.arange(256, dtype=np.uint8), (3, 1)), np.tile(np.arange(256, dtype=np.uint8)[::-1], (3, 1))]
    said = {"Info": "hello", "Labels": ["a", "b"], "Ranges": (0.0, 9.0, 1.0, 8.0), "LUTs": tables}
    metadata = {"axes": "CYX", "mode": "composite", **said, "Overlays": [b"\0" * 8]}
    tifffile.imwrite(tmp_path / "in.tif", np.stack([values] * 2), imagej=True, metadata=metadata)
    with tifffile.TiffFile(enlarge(tmp_path / "in.tif", tmp_path / "out.tif")) as file:
        found = file.imagej_metadata or {}
    assert (found["Labels"], found["Ranges"]) == (["a", "b"], (0.0, 9.0, 1.0, 8.0))
    np.testing.assert_array_equal(found["LUTs"], tables)
    assert found["Info"].startswith("hello\nUpscaled 4x")
    assert "Overlays" not in found
    assert "in.tif: Overlays left out" in caplog.text


def ome(path: Path, values: np.ndarray, axes: str, *changes: tuple[str, str], **options: Any) -> Path:
    metadata = {"axes": axes, "PhysicalSizeX": 0.5}
    tifffile.imwrite(path, values, ome=True, metadata=metadata, **{"photometric": "minisblack", **options})
    if changes:
        with tifffile.TiffFile(path) as file:
            xml = file.pages.first.description
        for before, after in changes:
            assert before in xml
            xml = xml.replace(before, after)
        tifffile.tiffcomment(path, xml.encode())
    return path


def write(path: Path, form: str, values: np.ndarray, axes: str, **options: Any) -> Path:
    if form == "OME":
        return ome(path, values, axes, **options)
    return imagej(path, b"ImageJ=1.54f\nimages=1\n", values, **options)


@pytest.mark.parametrize("form", ["OME", "ImageJ"])
def test_white_that_is_0_stays_white(tmp_path: Path, enlarge: Enlarge, values: np.ndarray, form: str) -> None:
    source = write(tmp_path / "in.tif", form, values, "YX", photometric="miniswhite")
    with tifffile.TiffFile(enlarge(source, tmp_path / "out.tif")) as file:
        assert file.pages.first.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        near(file.asarray(), values)


@pytest.mark.parametrize("form", ["OME", "ImageJ"])
def test_a_lookup_table_of_8_bits_stays(tmp_path: Path, enlarge: Enlarge, values: np.ndarray, form: str) -> None:
    source = write(tmp_path / "in.tif", form, values, "YX", photometric="palette", colormap=COLOURMAP)
    with tifffile.TiffFile(enlarge(source, tmp_path / "out.tif")) as file:
        np.testing.assert_array_equal(file.pages.first.colormap, COLOURMAP)
        near(file.asarray(), values)


@pytest.mark.parametrize("form", ["OME", "ImageJ"])
@pytest.mark.parametrize("planar", ["separate", "contig"])
@pytest.mark.parametrize("alpha", [False, True])
def test_colours_in_planes_or_in_pixels(
    tmp_path: Path, enlarge: Enlarge, colours: np.ndarray, form: str, planar: str, alpha: bool
) -> None:
    options: dict[str, Any] = {"photometric": "rgb", "planarconfig": planar}
    if alpha:
        opaque = np.full((1, 32, 40), 255, np.uint8)
        opaque[:, :8] = 0
        colours = np.concatenate([colours, opaque])
        options["extrasamples"] = ["unassalpha"]
    stored, axes = (colours, "SYX") if planar == "separate" else (np.moveaxis(colours, 0, -1), "YXS")
    source = write(tmp_path / "in.tif", form, stored, axes, **options)
    with tifffile.TiffFile(enlarge(source, tmp_path / "out.tif")) as file:
        page = file.pages.first
        result = page.asarray() if planar == "separate" else np.moveaxis(page.asarray(), -1, 0)
    assert (page.photometric, page.planarconfig) == (tifffile.PHOTOMETRIC.RGB, tifffile.PLANARCONFIG[planar.upper()])
    assert [int(kind) for kind in page.extrasamples] == ([2] if alpha else [])
    near(result[:3], colours[:3])
    if alpha:
        np.testing.assert_array_equal(result[3], colours[3].repeat(4, 0).repeat(4, 1))


def test_samples_that_are_no_colours(tmp_path: Path, enlarge: Enlarge, colours: np.ndarray) -> None:
    options: dict[str, Any] = {"planarconfig": "contig", "extrasamples": ["unspecified"]}
    source = ome(tmp_path / "in.tif", np.moveaxis(colours[:2], 0, -1), "YXS", **options)
    with tifffile.TiffFile(enlarge(source, tmp_path / "out.tif")) as file:
        near(np.moveaxis(file.asarray(), -1, 0), colours[:2])


def test_series_pyramids_and_large_offsets(
    tmp_path: Path, enlarge: Enlarge, values: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    with tifffile.TiffWriter(tmp_path / "in.tif", ome=True, bigtiff=True) as writer:
        for _ in range(2):
            writer.write(
                np.stack([values] * 2), subifds=1, tile=(16, 16), photometric="minisblack", metadata={"axes": "ZYX"}
            )
            writer.write(np.stack([values[::2, ::2]] * 2), subfiletype=1, tile=(16, 16), photometric="minisblack")
    with tifffile.TiffFile(enlarge(tmp_path / "in.tif", tmp_path / "out.tif")) as file:
        assert [(series.axes, series.shape) for series in file.series] == [("ZYX", (2, 128, 160))] * 2
    assert "in.tif: it has pages in several sizes; the result has the largest" in caplog.text


@pytest.mark.parametrize("missing", ['SizeX="40"', 'SizeY="32"', 'PhysicalSizeX="0.5"'])
def test_what_the_xml_leaves_out(tmp_path: Path, enlarge: Enlarge, values: np.ndarray, missing: str) -> None:
    source = ome(tmp_path / "in.tif", values, "YX", (missing, ""))
    with tifffile.TiffFile(enlarge(source, tmp_path / "out.tif")) as file:
        assert 'SizeX="160"' in file.pages.first.description
        assert ('PhysicalSizeX="0.125"' in file.pages.first.description) == ("Physical" not in missing)


DEEP = "<StructuredAnnotations>" + "<a>" * 100_000 + "</a>" * 100_000 + "</StructuredAnnotations></OME>"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('PhysicalSizeX="0.5"', 'PhysicalSizeX="abc"'), "says PhysicalSizeX 'abc', which is no number"),
        (('PhysicalSizeX="0.5"', 'PhysicalSizeX="nan"'), "says PhysicalSizeX 'nan', which is no number"),
        (('SizeX="40"', f'SizeX="{"9" * 5000}"'), "says SizeX '9999999999999999999999999999999999999999', and its"),
        (('SizeY="32"', 'SizeY="x"'), "says SizeY 'x', and its pages have 32 pixels"),
        (("</OME>", DEEP), "damaged (more than 100 elements inside one another)"),
        (("</OME>", "<!ENTITY a 'b'></OME>"), "is not of the kind that is read"),
    ],
)
def test_hostile_xml_is_one_line(
    tmp_path: Path, enlarge: Enlarge, values: np.ndarray, change: tuple[str, str], message: str
) -> None:
    source = ome(tmp_path / "in.tif", values, "YX", change)
    with pytest.raises(UserError) as caught:
        enlarge(source, tmp_path / "out.tif")
    assert str(caught.value).startswith(f"{source}: its OME-XML ")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"xorigin=abc", "its xorigin is 'abc', which is no number"),
        (b"yorigin=nan", "its yorigin is 'nan', which is no number"),
        (b"images=" + b"9" * 5000, "its images is '9999999999999999999999999999999999999999', which is no number"),
        (b"images=-1", "it says -1 planes and has 1"),
        (b"images=7", "it says 7 planes and has 1"),
    ],
)
def test_numbers_of_imagej_that_are_none(
    tmp_path: Path, enlarge: Enlarge, values: np.ndarray, line: bytes, message: str
) -> None:
    source = imagej(tmp_path / "in.tif", b"ImageJ=1.54f\n" + line + b"\n", values)
    with pytest.raises(UserError, match=message):
        enlarge(source, tmp_path / "out.tif")


@pytest.mark.parametrize("compression", ["zlib", "zstd", "lzma", "lzw"])
@pytest.mark.parametrize("form", ["OME", "ImageJ"])
def test_a_compressed_bomb_takes_no_memory(
    tmp_path: Path, enlarge: Enlarge, values: np.ndarray, form: str, compression: str
) -> None:
    """The file claims 32×40 pixels, and its strip holds 300 MB."""
    pytest.importorskip("imagecodecs", reason="imagecodecs is not installed: pip install 'gramgan[microscopy]'")
    bomb = tmp_path / "bomb.tif"
    zeros = np.zeros((300_000, 1000), np.uint8)
    tifffile.imwrite(bomb, zeros, compression=compression, rowsperstrip=len(zeros), metadata=None)
    with tifffile.TiffFile(bomb) as file:
        (offset,), (count,) = file.pages.first.dataoffsets, file.pages.first.databytecounts
    content = bomb.read_bytes()[offset : offset + count]
    source = write(tmp_path / "in.tif", form, values, "YX", compression=compression, rowsperstrip=32)
    with tifffile.TiffFile(source, mode="r+") as file:
        file.pages.first.tags["StripOffsets"].overwrite([source.stat().st_size])
        file.pages.first.tags["StripByteCounts"].overwrite([len(content)])
    source.write_bytes(source.read_bytes() + content)
    tracemalloc.start()
    try:
        enlarge(source, tmp_path / "out.tif")
    except UserError as error:
        assert str(error).startswith(str(source))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000_000


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "webp", "png"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_compressed_pictures_are_read(
    tmp_path: Path, enlarge: Enlarge, colours: np.ndarray, compression: str, tile: tuple[int, int] | None
) -> None:
    pytest.importorskip("imagecodecs", reason="imagecodecs is not installed: pip install 'gramgan[microscopy]'")
    stored = np.moveaxis(colours, 0, -1)
    source = ome(tmp_path / "in.tif", stored, "YXS", photometric="rgb", compression=compression, tile=tile)
    result = tifffile.imread(enlarge(source, tmp_path / "out.tif"))
    near(np.moveaxis(result, -1, 0), np.moveaxis(tifffile.imread(source), -1, 0))


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000"])
@pytest.mark.parametrize("form", ["OME", "ImageJ"])
def test_a_picture_inside_that_claims_any_size_takes_no_memory(
    tmp_path: Path, enlarge: Enlarge, values: np.ndarray, form: str, compression: str
) -> None:
    pytest.importorskip("imagecodecs", reason="imagecodecs is not installed: pip install 'gramgan[microscopy]'")
    source = write(tmp_path / "in.tif", form, values, "YX", compression=compression, rowsperstrip=32)
    content = bytearray(source.read_bytes())
    if compression == "jpeg":
        frame = content.index(b"\xff\xc0", content.index(b"\xff\xd8"))
        struct.pack_into(">HH", content, frame + 5, 65000, 65000)
    else:
        size = content.index(b"\xff\x4f\xff\x51")
        struct.pack_into(">II", content, size + 8, 65000, 65000)
    source.write_bytes(content)
    with pytest.raises(UserError, match="a part of 1280 pixels claims 4225000000; damaged"):
        enlarge(source, tmp_path / "out.tif")


@pytest.mark.parametrize("form", ["OME", "ImageJ"])
def test_author_date_and_profile_stay_and_the_rest_has_a_line(
    tmp_path: Path, enlarge: Enlarge, values: np.ndarray, caplog: pytest.LogCaptureFixture, form: str
) -> None:
    kept = {269: b"slide 7\0", 305: b"Bio-Formats\0", 306: b"2026:01:02 03:04:05\0", 315: b"M\xfcller\0"}
    profile = bytes(range(200))
    tags = [(code, "s", len(text), text, True) for code, text in kept.items()]
    tags += [(34675, 7, len(profile), profile, True), (33723, "B", 4, b"\x1c\2\0\0", True)]
    source = write(tmp_path / "in.tif", form, values, "YX", extratags=tags, software=False)
    with tifffile.TiffFile(enlarge(source, tmp_path / "out.tif")) as file:
        for code, text in {**kept, 34675: profile}.items():
            tag = file.pages.first.tags[code]
            file.filehandle.seek(tag.valueoffset)
            assert file.filehandle.read(tag.count) == text
    assert "in.tif: IPTC left out; a picture keeps it (--plain)" in caplog.text


@pytest.mark.parametrize("form", ["OME", "ImageJ"])
def test_a_world_file_beside_a_stack_has_a_line(
    tmp_path: Path, enlarge: Enlarge, values: np.ndarray, caplog: pytest.LogCaptureFixture, form: str
) -> None:
    source = write(tmp_path / "in.tif", form, values, "YX")
    (tmp_path / "in.tfw").write_text("1\n0\n0\n-1\n5\n5\n")
    enlarge(source, tmp_path / "out.tif")
    assert "in.tfw: what it says of in.tif, such as its place, is not in the result" in caplog.text


@pytest.mark.parametrize("tag", ["ImageWidth", "ImageLength"])
@pytest.mark.parametrize("kind", ["OME-TIFF", "ImageJ TIFF"])
def test_a_size_that_is_a_list_is_one_line(
    tmp_path: Path, enlarge: Enlarge, values: np.ndarray, kind: str, tag: str
) -> None:
    source = ome(tmp_path / "a.tif", values, "YX")
    if kind == "ImageJ TIFF":
        tifffile.imwrite(source, values, imagej=True)
    with tifffile.TiffFile(source) as file:
        count = file.pages.first.tags[tag].offset + 4
    data = bytearray(source.read_bytes())
    data[count : count + 4] = (200).to_bytes(4, "big" if data[:2] == b"MM" else "little")
    source.write_bytes(data)
    with pytest.raises(UserError, match=rf"a\.tif: damaged {kind} ") as caught:
        enlarge(source, tmp_path / "b.tif")
    assert len(str(caught.value)) - len(str(source)) < 200
