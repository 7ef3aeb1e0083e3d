"""DICOM images come out with their values, places and identifiers; dcmtk and SimpleITK are asked where they are."""

import contextlib
import re
import shutil
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="pydicom is not installed: pip install 'gramgan[medical]'")

import pydicom
from pydicom import config
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from gramgan.errors import UserError
from gramgan.ops import bicubic
from gramgan.scientific.dicom import refusing_dicom
from gramgan.upscaling.jobs import plan_jobs

Enlarge = Callable[..., Path]
Scene = Callable[..., np.ndarray]

pytestmark = pytest.mark.filterwarnings("ignore:::pydicom")
FILES = Path(pydicom.__file__).parent / "data" / "test_files"

REFUSED = {
    "MR_truncated.dcm": "bytes of pixel data is less than expected",
    "examples_palette.dcm": "PALETTE COLOR",
    "rtdose.dcm": "holds doses",
    "rtplan.dcm": "holds no image",
    "test-SR.dcm": "holds no image",
    "no_meta.dcm": "no 'DICM' at byte 128",
    "SC_rgb_rle_32bit.dcm": "samples of 32 in 32 bits",
}


def make(path: Path, frames: np.ndarray, **elements: Any) -> Path:
    """`frames` is `[frames, height, width]` or `[frames, height, width, 3]`."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid(entropy_srcs=[path.name])
    image.StudyInstanceUID, image.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    image.Modality, image.PatientName = "CT", "Doe^Jane"
    image.Rows, image.Columns = frames.shape[1:3]
    if len(frames) > 1:
        image.NumberOfFrames = len(frames)
    image.SamplesPerPixel = 1 if frames.ndim == 3 else 3
    image.PhotometricInterpretation = "MONOCHROME2" if frames.ndim == 3 else "RGB"
    if frames.ndim == 4:
        image.PlanarConfiguration = 0
    image.BitsAllocated = image.BitsStored = 8 * frames.dtype.itemsize
    image.HighBit = image.BitsStored - 1
    image.PixelRepresentation = int(frames.dtype.kind == "i")
    for name, value in elements.items():
        setattr(image, name, value)
    image.HighBit = image.BitsStored - 1
    image.PixelData = frames.tobytes()
    image.save_as(path, enforce_file_format=True)
    return path


def read(path: Path) -> tuple[Dataset, np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = pydicom.dcmread(path)
        return image, image.pixel_array.astype(np.float64)


def test_a_ct_slice(tmp_path: Path, enlarge: Enlarge, scene: Scene) -> None:
    values = scene(1, 64, 96, -900, 1400).astype(np.int16)
    source = make(
        tmp_path / "in.dcm",
        values,
        RescaleSlope=2,
        RescaleIntercept=-100,
        PixelSpacing=[0.5, 0.7],
        ImagerPixelSpacing=[1, 1.4],
        ImagePositionPatient=[10, 20, 30],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        WindowCenter=40,
        WindowWidth=400,
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        SeriesDescription="Head",
        SliceThickness=5,
    )
    target = enlarge(source, tmp_path / "out.dcm")
    before, _ = read(source)
    after, result = read(target)
    assert (after.Rows, after.Columns) == (256, 384)
    assert list(after.PixelSpacing) == [0.125, 0.175]
    assert list(after.ImagerPixelSpacing) == [0.25, 0.35]
    # The corner of the image stays: half a pixel from the middle of its first one.
    np.testing.assert_allclose(after.ImagePositionPatient, [10 - 0.35 + 0.0875, 20 - 0.25 + 0.0625, 30])
    assert (after.WindowCenter, after.WindowWidth, after.SliceThickness) == (40, 400, 5)
    assert (after.RescaleSlope, after.RescaleIntercept) == (2, -100)
    assert list(after.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
    assert after.SeriesDescription == "Head; Gram-GAN 4x, synthesised texture"
    assert "synthesised, not measured" in after.DerivationDescription
    assert "synthesised, not measured" in after.ImageComments
    assert after.SourceImageSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert after.SOPInstanceUID != before.SOPInstanceUID == after.SourceImageSequence[0].ReferencedSOPInstanceUID
    assert after.SeriesInstanceUID != before.SeriesInstanceUID
    assert (after.StudyInstanceUID, after.PatientName) == (before.StudyInstanceUID, "Doe^Jane")  # nobody is hidden
    # In Hounsfield units: stored × 2 − 100.
    hounsfield, given = 2 * result - 100, 2.0 * values[0] - 100
    shrunk = bicubic.shrink(hounsfield[None].astype(np.float32))[0]
    assert abs(hounsfield.mean() - given.mean()) < 1
    assert abs(shrunk.std() / given.std() - 1) < 0.01
    assert np.sqrt(np.square(shrunk - given).mean()) < 0.005 * 4096


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("dtype", "stored"), [("uint8", 8), ("uint16", 12), ("int16", 12), ("uint16", 16), ("int16", 16)]
)
def test_depths_signs_and_polarities(
    tmp_path: Path, enlarge: Enlarge, scene: Scene, dtype: str, stored: int, kind: str
) -> None:
    low, high = (-(2 ** (stored - 1)), 2 ** (stored - 1) - 1) if dtype == "int16" else (0, 2**stored - 1)
    values = scene(2, 40, 40, low, high).astype(dtype)
    values[0, :10] = high  # saturated: what the network adds must not leave the stored bits
    source = make(tmp_path / "in.dcm", values, BitsStored=stored, Modality="MR", PhotometricInterpretation=kind)
    after, result = read(enlarge(source, tmp_path / "out.dcm"))
    assert (after.BitsStored, after.PhotometricInterpretation, after.NumberOfFrames) == (stored, kind, 2)
    assert result.shape == (2, 160, 160)
    assert result.min() >= low
    assert result.max() <= high
    shrunk = bicubic.shrink(result.astype(np.float32))
    assert np.sqrt(np.square(shrunk - values).mean()) < 0.02 * (high - low)


def test_colours_and_padding(tmp_path: Path, enlarge: Enlarge, scene: Scene) -> None:
    colours = scene(3, 30, 40, 0, 255).astype(np.uint8).transpose(1, 2, 0)[None]
    after, result = read(enlarge(make(tmp_path / "rgb.dcm", colours), tmp_path / "out.dcm"))
    assert result.shape == (120, 160, 3)
    assert after.PhotometricInterpretation == "RGB"
    padded = scene(1, 40, 40, 0, 2000).astype(np.int16)
    hole = np.hypot(*np.mgrid[-20:20, -20:20]) > 18
    padded[0][hole] = -2000
    source = make(tmp_path / "ct.dcm", padded, PixelPaddingValue=-2000, PixelRepresentation=1)
    _, result = read(enlarge(source, tmp_path / "padded.dcm"))
    large = hole.repeat(4, 0).repeat(4, 1)
    assert (result[large] == -2000).all()
    assert result[~large].min() > -200  # nothing of the padding is smeared into the patient


def test_a_film_has_three_lines_in_the_log(
    tmp_path: Path, enlarge: Enlarge, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    source = make(tmp_path / "in.dcm", scene(12, 20, 20, 0, 255).astype(np.uint8))
    with caplog.at_level("INFO", "gramgan"):
        enlarge(source, tmp_path / "out.dcm")
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3, lines
    assert "of 12 layers" in lines[1]


def test_a_series_stays_one_series(tmp_path: Path, enlarge: Enlarge, scene: Scene) -> None:
    (tmp_path / "series").mkdir()
    for number in range(3):
        make(tmp_path / "series" / f"1.2.840.{number}", scene(1, 20, 20, 0, 2000, number).astype(np.int16))
    (tmp_path / "series" / "notes.txt").write_text("no image")
    jobs = plan_jobs([tmp_path / "series"], tmp_path / "out")
    assert [job.target.name for job in jobs] == [f"1.2.840.{number}.dcm" for number in range(3)]
    images = [read(enlarge(job.source, job.target))[0] for job in jobs]
    assert len({image.SeriesInstanceUID for image in images}) == 1
    assert len({image.SOPInstanceUID for image in images}) == 3
    again = read(enlarge(jobs[0].source, tmp_path / "again.dcm"))[0]
    assert again.SOPInstanceUID == images[0].SOPInstanceUID  # the same work has the same identifier


def test_frames_with_functional_groups(tmp_path: Path, enlarge: Enlarge, scene: Scene) -> None:
    def item(**elements: Any) -> Dataset:
        data = Dataset()
        for name, value in elements.items():
            setattr(data, name, value)
        return data

    measures = item(PixelSpacing=[2, 2])
    shared = item(
        PixelMeasuresSequence=Sequence([measures]),
        PlaneOrientationSequence=Sequence([item(ImageOrientationPatient=[0, 1, 0, 0, 0, 1])]),
        PixelValueTransformationSequence=Sequence([item(RescaleSlope=3, RescaleIntercept=-1, RescaleType="HU")]),
    )
    frames = [item(PlanePositionSequence=Sequence([item(ImagePositionPatient=[place, 0, 0])])) for place in (5, 6)]
    source = make(
        tmp_path / "in.dcm",
        scene(2, 20, 20, 0, 1000).astype(np.int16),
        SharedFunctionalGroupsSequence=Sequence([shared]),
        PerFrameFunctionalGroupsSequence=Sequence(frames),
    )
    after, _ = read(enlarge(source, tmp_path / "out.dcm"))
    assert list(after.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing) == [0.5, 0.5]
    positions = [
        list(one.PlanePositionSequence[0].ImagePositionPatient) for one in after.PerFrameFunctionalGroupsSequence
    ]
    assert positions == [[5, -0.75, -0.75], [6, -0.75, -0.75]]


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_bigendian.dcm", "SC_rgb_rle_16bit_2frame.dcm"])
def test_dcmtk_reads_the_result(tmp_path: Path, enlarge: Enlarge, name: str) -> None:
    target = enlarge(FILES / name, tmp_path / "out.dcm")
    tools = [tool for tool in ("dcmdump", "dcm2pnm") if shutil.which(tool)]
    for tool in tools:
        extra = [str(tmp_path / "out.pnm")] if tool == "dcm2pnm" else []
        said = subprocess.run([tool, str(target), *extra], check=True, capture_output=True, text=True)
        assert "E: " not in said.stderr
    if not tools:
        pytest.skip("dcmtk is not installed")


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_bigendian.dcm", "SC_rgb_rle_16bit_2frame.dcm"])
def test_simpleitk_reads_the_same_values(tmp_path: Path, enlarge: Enlarge, name: str) -> None:
    target = enlarge(FILES / name, tmp_path / "out.dcm")
    itk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    seen = itk.ReadImage(str(target))
    image, result = read(target)
    scale, offset = float(image.get("RescaleSlope", 1)), float(image.get("RescaleIntercept", 0))
    np.testing.assert_allclose(np.squeeze(itk.GetArrayFromImage(seen)), np.squeeze(scale * result + offset))
    if "PixelSpacing" in image:
        np.testing.assert_allclose(seen.GetSpacing()[:2], [float(one) for one in image.PixelSpacing[::-1]])


@pytest.mark.slow
def test_the_documented_table_is_true(tmp_path: Path, enlarge: Enlarge) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "scientific-images.md").read_text(encoding="utf-8")
    section = page[page.index("pydicom brings test files") : page.index("## OME-TIFF and ImageJ")]
    said_done, said_refused = (set(re.findall(r"`([^`]+\.dcm)`", part)) for part in section.split("| refused | why |"))
    assert said_done | said_refused == {path.name for path in FILES.glob("*.dcm")}
    for name in sorted(said_refused):
        with pytest.raises(UserError):
            enlarge(FILES / name, tmp_path / "out.dcm")
    for name in sorted(said_done):
        _, values = read(FILES / name)
        _, result = read(enlarge(FILES / name, tmp_path / "out.dcm"))
        assert abs(result.mean() - values.mean()) < 0.005 * np.ptp(values), name


@pytest.mark.parametrize(("name", "message"), REFUSED.items())
def test_what_is_refused(tmp_path: Path, enlarge: Enlarge, name: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        enlarge(FILES / name, tmp_path / "out.dcm")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_pydicoms_own_settings_hold_again_when_the_last_reader_is_done(tmp_path: Path) -> None:
    before = config.settings.reading_validation_mode
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        first.enter_context(refusing_dicom(tmp_path))
        second.enter_context(refusing_dicom(tmp_path))
        first.close()
        assert config.settings.reading_validation_mode == config.IGNORE
    assert config.settings.reading_validation_mode == before != config.IGNORE
