"""DICOM as scanners write it: signs that are wrong, slopes of single frames, texts outside of their character set."""

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="pydicom is not installed: pip install 'gramgan[medical]'")

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.utils import pixel_array
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from gramgan.errors import UserError

Enlarge = Callable[..., Path]
Scene = Callable[..., np.ndarray]

pytestmark = pytest.mark.filterwarnings("ignore:::pydicom")
FILES = Path(pydicom.__file__).parent / "data" / "test_files"
TEXT = ["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"]
PADDING, PADDING_LIMIT = 0x00280120, 0x00280121
# What a result says of itself, and where its pixels lie.
CHANGED = (
    *("SOPInstanceUID", "SeriesInstanceUID", "ImageType", "SeriesDescription", "DerivationDescription"),
    *("ImageComments", "PixelSpacing", "ImagePositionPatient", "ImagerPixelSpacing", "PhotometricInterpretation"),
)


def item(**elements: Any) -> Dataset:
    data = Dataset()
    for name, value in elements.items():
        setattr(data, name, value)
    return data


def image(path: Path, frames: np.ndarray, **elements: Any) -> Dataset:
    """A CT image of these frames that can be saved to `path`."""
    data = pydicom.dcmread(FILES / "CT_small.dcm")
    for name in ("PixelPaddingValue", "RescaleSlope", "RescaleIntercept", "PixelSpacing"):
        if name in data:
            del data[name]
    data.Rows, data.Columns, data.NumberOfFrames = *frames.shape[1:3], len(frames)
    data.BitsAllocated = data.BitsStored = 8 * frames.dtype.itemsize
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(frames.dtype.kind == "i")
    for name, value in elements.items():
        setattr(data, name, value)
    data.PixelData = frames.tobytes()
    data["PixelData"].VR = "OW" if frames.dtype.itemsize > 1 else "OB"
    data.save_as(path)
    return data


@pytest.mark.parametrize(
    ("dtype", "kind", "stored", "fill"),
    [
        ("int16", "US", 63536, -2000),
        ("int16", "SS", -2000, -2000),
        ("uint16", "SS", -1536, 64000),
        ("uint16", "US", 64000, 64000),
    ],
)
@pytest.mark.parametrize("limit", [0, 50])
def test_padding_is_a_hole_whatever_sign_it_is_said_with(
    tmp_path: Path, enlarge: Enlarge, scene: Scene, dtype: str, kind: str, stored: int, fill: int, limit: int
) -> None:
    values = scene(1, 40, 40, 0, 2000).astype(dtype)
    hole = np.hypot(*np.mgrid[-20:20, -20:20]) > 18
    values[0][hole] = fill
    values[0][:, 0] = fill + limit
    hole[:, 0] = True
    data = image(tmp_path / "in.dcm", values)
    data.add_new(PADDING, kind, stored)
    if limit:
        data.add_new(PADDING_LIMIT, kind, stored + limit)
    data.save_as(tmp_path / "in.dcm")
    target = enlarge(tmp_path / "in.dcm", tmp_path / "out.dcm", radiometry="0,2000")
    result = pydicom.dcmread(target)
    large = hole.repeat(4, 0).repeat(4, 1)
    np.testing.assert_array_equal(pixel_array(result)[large], values[0].repeat(4, 0).repeat(4, 1)[large])
    assert np.abs(pixel_array(result)[~large].astype(int) - 1000).max() < 1400  # nothing of the padding
    assert result[PADDING].value == stored


@pytest.mark.parametrize("where", ["Shared", "PerFrame"])
def test_a_frame_has_its_own_slope_and_unit(
    tmp_path: Path, enlarge: Enlarge, scene: Scene, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    values = np.stack([scene(1, 24, 24, 0, 2000)[0]] * 2).astype(np.int16)
    lines = ((1, -1024), (2, 100)) if where == "PerFrame" else ((2, 100),)
    groups = [
        item(PixelValueTransformationSequence=Sequence([item(RescaleSlope=a, RescaleIntercept=b, RescaleType="HU")]))
        for a, b in lines
    ]
    image(tmp_path / "in.dcm", values, **{f"{where}FunctionalGroupsSequence": Sequence(groups)})
    with caplog.at_level("INFO", "gramgan"):
        target = enlarge(tmp_path / "in.dcm", tmp_path / "out.dcm", radiometry="0,2000")
    for frame in range(2):
        slope, intercept = lines[frame % len(lines)]
        mean = slope * values[frame].mean(dtype=np.float64) + intercept
        (line,) = (one.getMessage() for one in caplog.records if f"frame {frame + 1}: mean" in one.getMessage())
        assert f"mean {mean:.6g}," in line
        assert line.endswith("(HU)")
    transformations = pydicom.dcmread(target)[f"{where}FunctionalGroupsSequence"].value
    assert [one.PixelValueTransformationSequence[0].RescaleSlope for one in transformations] == [a for a, _ in lines]


def test_stored_values_are_not_called_hounsfield_units(
    tmp_path: Path, enlarge: Enlarge, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    image(tmp_path / "in.dcm", scene(1, 24, 24, 0, 2000).astype(np.int16))
    with caplog.at_level("INFO", "gramgan"):
        enlarge(tmp_path / "in.dcm", tmp_path / "out.dcm")
    assert "frame 1: mean" in caplog.text
    assert "HU" not in caplog.text


def texts(data: Dataset, place: str = "") -> Iterator[tuple[str, bytes]]:
    """Every text as its bytes in the file, of sequences too; pydicom decodes nothing of them."""
    for tag in data.keys():  # noqa: SIM118 (a data set gives its elements)
        stored = data.get_item(tag)
        kind = stored.VR if stored is not None and stored.VR is not None else data[tag].VR
        if kind == "SQ":
            for number, below in enumerate(data[tag].value or []):
                yield from texts(below, f"{place}{tag}[{number}]")
        elif isinstance(stored, RawDataElement) and kind in TEXT:
            yield f"{place}{tag}", stored.value or b""


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "image_dfl.dcm",
        pytest.param("examples_ybr_color.dcm", marks=pytest.mark.slow),  # thirty frames
        "SC_rgb_small_odd.dcm",
        "MR_small_expb.dcm",
    ],
)
def test_what_is_not_changed_stays_byte_for_byte(tmp_path: Path, enlarge: Enlarge, name: str) -> None:
    target = enlarge(FILES / name, tmp_path / "out.dcm")
    before, after = (dict(texts(pydicom.dcmread(path))) for path in (FILES / name, target))
    changed = {str(Tag(one)) for one in CHANGED}
    assert len(before) > 15
    for place, value in before.items():
        if place not in changed:
            assert after[place] == value, place


@pytest.mark.parametrize("charset", ["ISO_IR 192", "ISO_IR 100", "ISO 2022 IR 87", "", "ISO_IR 999"])
@pytest.mark.parametrize("implicit", [False, True])
def test_texts_outside_of_their_character_set(
    tmp_path: Path, enlarge: Enlarge, scene: Scene, charset: str, implicit: bool
) -> None:
    odd = {
        "PatientName": b"M\xfcller^J\xe9\xff",
        "InstitutionName": b"\xff\xfe\x80C",
        "SeriesDescription": b"\xe4\xf6\xfcS",
    }
    nested = b"\x93\xfa\x96{xx"
    data = image(tmp_path / "in.dcm", scene(1, 24, 24, 0, 2000).astype(np.int16))
    data.SpecificCharacterSet = charset
    for name, value in odd.items():
        setattr(data, name, name[0] * len(value))
    data.RequestAttributesSequence = Sequence([item(ScheduledProcedureStepDescription="Q" * len(nested))])
    if implicit:
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    data.save_as(tmp_path / "in.dcm", implicit_vr=implicit, little_endian=True)
    content = (tmp_path / "in.dcm").read_bytes()
    for name, value in odd.items():
        assert content.count(name[0].encode() * len(value)) == 1
        content = content.replace(name[0].encode() * len(value), value)
    (tmp_path / "in.dcm").write_bytes(content.replace(b"Q" * len(nested), nested))
    result = pydicom.dcmread(enlarge(tmp_path / "in.dcm", tmp_path / "out.dcm"))
    found = dict(texts(result))
    tags = {name: str(Tag(name)) for name in odd}
    assert found[tags["PatientName"]] == odd["PatientName"]
    assert found[tags["InstitutionName"]] == odd["InstitutionName"]
    assert found[tags["SeriesDescription"]].rstrip() == odd["SeriesDescription"] + b"; Gram-GAN 4x, synthesised texture"
    assert nested in found.values()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Thorax", "Thorax; Gram-GAN 4x, synthesised texture"),
        ("x" * 40, "x" * 40 + "; Gram-GAN 4x"),
        ("x" * 60, "x" * 60),
        ("", "Gram-GAN 4x, synthesised texture"),
    ],
)
def test_a_description_is_never_lost_for_ours(
    tmp_path: Path, enlarge: Enlarge, scene: Scene, said: str, expected: str
) -> None:
    source = Sequence([item(ReferencedSOPInstanceUID="1.2.3")])
    values = scene(1, 24, 24, 0, 2000).astype(np.int16)
    image(tmp_path / "in.dcm", values, SeriesDescription=said, SourceImageSequence=source)
    result = pydicom.dcmread(enlarge(tmp_path / "in.dcm", tmp_path / "out.dcm"))
    assert result.SeriesDescription == expected
    assert len(result.SourceImageSequence) == 2  # what it had been made of, and what it is made of now
    assert "synthesised" in result.ContributingEquipmentSequence[-1].ContributionDescription


@pytest.mark.parametrize("kind", ["TILED_FULL", "TILED_SPARSE"])
@pytest.mark.parametrize("scale", [4, 2])
def test_a_whole_slide_is_larger_as_a_whole(
    tmp_path: Path, enlarge: Enlarge, scene: Scene, kind: str, scale: int
) -> None:
    tiles = scene(4, 32, 32, 0, 255).astype(np.uint8)
    places = [(row, column) for row in (1, 33) for column in (1, 33)]
    slide = {
        name: Sequence([item(XOffsetInSlideCoordinateSystem=20, YOffsetInSlideCoordinateSystem=40)])
        for name in ("TotalPixelMatrixOriginSequence",)
    }
    frames = [
        item(
            PlanePositionSlideSequence=Sequence(
                [
                    item(
                        ColumnPositionInTotalImagePixelMatrix=column,
                        RowPositionInTotalImagePixelMatrix=row,
                        XOffsetInSlideCoordinateSystem=20 - 0.5 * (row - 1),
                        YOffsetInSlideCoordinateSystem=40 - 0.5 * (column - 1),
                        ZOffsetInSlideCoordinateSystem=0,
                    )
                ]
            )
        )
        for row, column in places
    ]
    if kind == "TILED_SPARSE":
        slide["PerFrameFunctionalGroupsSequence"] = Sequence(frames)
    measures = Sequence([item(PixelMeasuresSequence=Sequence([item(PixelSpacing=[0.5, 0.5])]))])
    image(
        tmp_path / "in.dcm",
        tiles,
        Modality="SM",
        DimensionOrganizationType=kind,
        TotalPixelMatrixColumns=60,
        TotalPixelMatrixRows=50,
        ImageOrientationSlide=[0, -1, 0, -1, 0, 0],
        SharedFunctionalGroupsSequence=measures,
        **slide,
    )
    result = pydicom.dcmread(enlarge(tmp_path / "in.dcm", tmp_path / "out.dcm", scale=scale))
    assert (result.TotalPixelMatrixColumns, result.TotalPixelMatrixRows) == (60 * scale, 50 * scale)
    shift = 0.5 * (1 - 1 / scale) / 2  # mm from the middle of a pixel to that of the smaller one in its corner
    origin = result.TotalPixelMatrixOriginSequence[0]
    assert float(origin.XOffsetInSlideCoordinateSystem) == pytest.approx(20 + shift)
    assert float(origin.YOffsetInSlideCoordinateSystem) == pytest.approx(40 + shift)
    if kind == "TILED_SPARSE":
        found = [one.PlanePositionSlideSequence[0] for one in result.PerFrameFunctionalGroupsSequence]
        assert [
            (one.RowPositionInTotalImagePixelMatrix, one.ColumnPositionInTotalImagePixelMatrix) for one in found
        ] == [((row - 1) * scale + 1, (column - 1) * scale + 1) for row, column in places]
        assert float(found[3].XOffsetInSlideCoordinateSystem) == pytest.approx(4 + shift)


@pytest.mark.parametrize("offsets", [True, False])
@pytest.mark.parametrize(("frames", "fragments"), [(1, 1), (1, 3), (2, 1)])
def test_frames_in_fragments(
    tmp_path: Path, enlarge: Enlarge, scene: Scene, frames: int, fragments: int, offsets: bool
) -> None:
    values = scene(frames, 32, 32, 0, 60000).astype(np.uint16)
    data = image(tmp_path / "in.dcm", values)
    data.compress(RLELossless)
    parts = list(generate_frames(data.PixelData, number_of_frames=frames))
    data.PixelData = encapsulate(parts, fragments_per_frame=fragments, has_bot=offsets)
    data["PixelData"].is_undefined_length = True
    data.save_as(tmp_path / "in.dcm")
    result = pixel_array(pydicom.dcmread(enlarge(tmp_path / "in.dcm", tmp_path / "out.dcm")))
    boxes = result.reshape(frames, 32, 4, 32, 4).mean((2, 4))
    assert np.abs(boxes - values).mean() < 0.02 * 60000


def test_lookup_tables_for_display_stay(tmp_path: Path, enlarge: Enlarge, scene: Scene) -> None:
    table = item(LUTExplanation="steep")
    table.add_new(0x00283002, "US", [4, 0, 16])
    table.add_new(0x00283006, "OW", struct.pack("<4H", 0, 9, 99, 999))
    values = scene(1, 24, 24, 0, 2000).astype(np.int16)
    image(tmp_path / "in.dcm", values, VOILUTSequence=Sequence([table]), PhotometricInterpretation="MONOCHROME1")
    result = pydicom.dcmread(enlarge(tmp_path / "in.dcm", tmp_path / "out.dcm"))
    assert result.VOILUTSequence[0].LUTData == table.LUTData
    assert result.PhotometricInterpretation == "MONOCHROME1"


def test_a_deflated_bomb_takes_no_memory(tmp_path: Path, enlarge: Enlarge, scene: Scene) -> None:
    resource = pytest.importorskip("resource", reason="memory is not told here")
    data = image(tmp_path / "in.dcm", scene(1, 24, 24, 0, 2000).astype(np.int16))
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data.save_as(tmp_path / "in.dcm", enforce_file_format=True)
    enlarge(tmp_path / "in.dcm", tmp_path / "out.dcm")
    content = (tmp_path / "in.dcm").read_bytes()
    begin = 144 + struct.unpack_from("<I", content, 140)[0]
    inflated = zlib.decompress(content[begin:], -zlib.MAX_WBITS)
    bomb = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    parts = [bomb.compress(inflated), *(bomb.compress(bytes(1 << 24)) for _ in range(64)), bomb.flush()]
    (tmp_path / "in.dcm").write_bytes(content[:begin] + b"".join(parts))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"in\.dcm: it inflates to more than 512 MB; if you trust this file"):
        enlarge(tmp_path / "in.dcm", tmp_path / "out.dcm")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


@pytest.mark.parametrize("name", ["SC_rgb_jpeg.dcm", "JPEG2000.dcm", "MR_small_jpeg_ls_lossless.dcm"])
def test_a_frame_that_claims_any_size_takes_no_memory(tmp_path: Path, enlarge: Enlarge, name: str) -> None:
    content = bytearray((FILES / name).read_bytes())
    pixels = content.index(b"\xe0\x7f\x10\x00")
    if b"\xff\x4f\xff\x51" in content[pixels:]:
        struct.pack_into(">II", content, content.index(b"\xff\x4f\xff\x51", pixels) + 8, 65000, 65000)
    else:
        begin = content.index(b"\xff\xd8", pixels)
        frame = min(at for mark in (b"\xff\xc0", b"\xff\xf7") if (at := content.find(mark, begin)) > 0)
        struct.pack_into(">HH", content, frame + 5, 65000, 65000)
    (tmp_path / "in.dcm").write_bytes(content)
    with pytest.raises(UserError, match="a frame claims 4225000000 pixels, and it has"):
        enlarge(tmp_path / "in.dcm", tmp_path / "out.dcm")
