"""Writing a DICOM image like another one, larger: where its pixels lie in the patient, and that it is derived."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
from pydicom import DataElement, Dataset, dcmwrite
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from gramgan.errors import UserError, message_of
from gramgan.images import Window
from gramgan.scientific.base import Enlarged, Note, spare_path

MAX_BYTES = 2**32 - 2
"""Of an image that is not compressed."""
DERIVATION = ("113091", "DCM", "Spatial resampling")
_SOURCE_IMAGE = ("121322", "DCM", "Source image for image processing operation")
_MODIFYING = ("109103", "DCM", "Modifying Equipment")
_TEXT = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
_PIXEL_DATA = 0x7FE00010
_ROWS = 512
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PresentationPixelSpacing")
_IN_COLUMNS = (
    "ShutterLeftVerticalEdge",
    "ShutterRightVerticalEdge",
    "RegionLocationMinX0",
    "RegionLocationMaxX1",
    "ReferencePixelX0",
)
_MATRIX = ("TotalPixelMatrixColumns", "TotalPixelMatrixRows")
_IN_MATRIX = ("ColumnPositionInTotalImagePixelMatrix", "RowPositionInTotalImagePixelMatrix")
_ON_SLIDE = ("XOffsetInSlideCoordinateSystem", "YOffsetInSlideCoordinateSystem", "ZOffsetInSlideCoordinateSystem")
_IN_ROWS = (
    "ShutterUpperHorizontalEdge",
    "ShutterLowerHorizontalEdge",
    "RegionLocationMinY0",
    "RegionLocationMaxY1",
    "ReferencePixelY0",
)
_PER_COLUMN, _PER_ROW = "PhysicalDeltaX", "PhysicalDeltaY"
# Values of the old pixels, signatures over them, and what points at their places in ways that are not followed here.
_LEFT_OUT = (
    "PixelData",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
    "PixelDataProviderURL",
    "DigitalSignaturesSequence",
    "MACParametersSequence",
    "IconImageSequence",
    "CenterOfCircularShutter",
    "RadiusOfCircularShutter",
    "VerticesOfThePolygonalShutter",
    "ConcatenationUID",
    "InConcatenationNumber",
    "InConcatenationTotalNumber",
)
_LONGEST = {"SeriesDescription": 64, "DerivationDescription": 1024, "ImageComments": 10240}


def write_dicom(source: Dataset, colours: int, frames: int, result: Enlarged, path: Path, note: Note) -> None:
    """Write `result` to `path` as an uncompressed DICOM file with the data elements of `source`.

    Identifiers are made of those of the source and of `note.identity`: the files of a series get one new series, the
    same work gives the same identifiers, and other settings give others.

    Raises:
        UserError: pydicom cannot write what the source says.
        OSError: the disk is full.
    """
    pixels = spare_path(path)
    try:
        with pixels.open("wb") as file:
            for part in _samples(colours, frames, result):
                file.write(part.data)
            if file.tell() % 2:
                file.write(b"\0")
        with pixels.open("rb") as file:
            try:
                image = derived(source, result.width, result.height, note)
                image[_PIXEL_DATA] = DataElement(_PIXEL_DATA, "OW" if image.BitsAllocated > 8 else "OB", file)
                dcmwrite(path, image, implicit_vr=False, little_endian=True, enforce_file_format=True)
            except (ValueError, TypeError, AttributeError, LookupError, NotImplementedError) as error:
                what = f"the source has data that cannot be written ({message_of(error)})"
                raise UserError(f"{note.target}: {what}") from error
    finally:
        pixels.unlink(missing_ok=True)


def derived(source: Dataset, width: int, height: int, note: Note) -> Dataset:
    """The data elements of a result of `width` × `height` pixels, without its pixels.

    Those that are not changed stay byte for byte, whatever character set is declared.
    """
    image = _kept(source, {tag for name in _LEFT_OUT if (tag := tag_for_keyword(name)) is not None})
    correct_ambiguous_vr(image, is_little_endian=True)
    across, down = width / int(source.Columns), height / int(source.Rows)
    _rescale_geometry(image, across, down)
    image.Rows, image.Columns = height, width
    if image.SamplesPerPixel == 3:
        image.PhotometricInterpretation, image.PlanarConfiguration = "RGB", 0
    _identify(source, image, note)
    return image


def _kept(source: Dataset, left_out: Collection[int] = ()) -> Dataset:
    """The elements for a file of Explicit VR Little Endian; text as it is stored, numbers in the other byte order."""
    image = Dataset()
    for tag in source.keys():  # noqa: SIM118 (a data set gives its elements)
        if tag in left_out or 0x6000 <= tag.group <= 0x60FF:  # overlays are bit maps of the old size
            continue
        stored = source.get_item(tag)
        if not isinstance(stored, RawDataElement):
            element = stored
        else:
            element = convert_raw_data_element(stored, encoding=source.original_character_set, ds=source)
            if element.VR in _TEXT and stored.value is not None:
                element = _raw(tag, element.VR, stored.value)
        if isinstance(element, DataElement) and element.VR == "SQ":
            element = DataElement(tag, "SQ", DicomSequence([_kept(item) for item in element.value or []]))
        image[tag] = element
    # What is written as it stands must not be read and encoded once more.
    image.set_original_encoding(False, True, image._character_set)
    return image


def _raw(tag: int, kind: str, value: bytes) -> RawDataElement:
    value += b"\0" * (len(value) % 2) if kind == "UI" else b" " * (len(value) % 2)
    return RawDataElement(Tag(tag), kind, len(value), value, 0, False, True)


def _append(image: Dataset, name: str, *texts: str) -> None:
    """Add the first of `texts` for which there is room to an element; what it has stays byte for byte."""
    tag = tag_for_keyword(name)
    assert tag is not None
    stored = image.get_item(tag)
    before = stored.value.rstrip(b" \0") if isinstance(stored, RawDataElement) and stored.value else b""
    for text in texts:
        joined = b"; ".join(part for part in (before, text.encode("ascii", "replace")) if part)
        if len(joined) <= _LONGEST[name]:
            image[tag] = _raw(tag, dictionary_VR(tag), joined)
            return


def _identify(source: Dataset, image: Dataset, note: Note) -> None:
    instance, series = str(source.get("SOPInstanceUID", "")), str(source.get("SeriesInstanceUID", ""))
    image.SOPInstanceUID = generate_uid(entropy_srcs=["instance", instance or note.details["SOURCE"], note.identity])
    image.SeriesInstanceUID = generate_uid(entropy_srcs=["series", series, note.identity])
    said = list(source.get("ImageType") or [])
    image.ImageType = ["DERIVED", "SECONDARY", *said[2:]]
    details = f"{note.sentence} Model {note.details['MODEL']}."
    scale = note.details["SCALE"]
    _append(image, "SeriesDescription", f"Gram-GAN {scale}x, synthesised texture", f"Gram-GAN {scale}x")
    _append(image, "DerivationDescription", details, note.sentence)
    _append(image, "ImageComments", note.sentence)
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.get("SOPClassUID", "")
    reference.ReferencedSOPInstanceUID = instance
    reference.PurposeOfReferenceCodeSequence = _code(*_SOURCE_IMAGE)
    image.SourceImageSequence = DicomSequence([*(image.get("SourceImageSequence") or []), reference])
    image.DerivationCodeSequence = DicomSequence([*(image.get("DerivationCodeSequence") or []), *_code(*DERIVATION)])
    equipment = Dataset()
    equipment.Manufacturer = "Gram-GAN"
    equipment.ContributionDescription = details
    equipment.PurposeOfReferenceCodeSequence = _code(*_MODIFYING)
    image.ContributingEquipmentSequence = DicomSequence(
        [*(image.get("ContributingEquipmentSequence") or []), equipment]
    )
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = source.get("SOPClassUID", "")
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID


def _code(value: str, scheme: str, meaning: str) -> DicomSequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return DicomSequence([item])


def _rescale_geometry(image: Dataset, across: float, down: float) -> None:
    """Pixel sizes, positions and places in the image, of the image itself and of its frames."""
    shared = list(image.get("SharedFunctionalGroupsSequence") or [])
    frames = list(image.get("PerFrameFunctionalGroupsSequence") or [])
    common = _geometry(image, *shared)
    for frame in frames:
        own = _geometry(frame)
        _move(
            own["position"],
            own["orientation"] or common["orientation"],
            own["spacing"] or common["spacing"],
            across,
            down,
        )
    if common["position"]:
        _move(common["position"], common["orientation"], common["spacing"], across, down)
    _move_on_slide(image, [*shared, *frames], common["spacing"], across, down)
    for group in (image, *shared, *frames):
        for item in (group, *_items(group)):
            _divide(item, across, down)


def _items(group: Dataset) -> Iterator[Dataset]:
    for name in ("PixelMeasuresSequence", "SequenceOfUltrasoundRegions", "FrameDisplayShutterSequence"):
        yield from group.get(name) or []


def _geometry(*groups: Dataset) -> dict[str, Sequence[Dataset]]:
    """The items that hold position, orientation and spacing, before anything is changed; empty where there are none."""

    def holding(name: str, sequence: str) -> list[Dataset]:
        items = [item for group in groups for item in (group, *(group.get(sequence) or [])) if name in item]
        return [item for item in items if item.get(name)]

    return {
        "position": holding("ImagePositionPatient", "PlanePositionSequence"),
        "orientation": holding("ImageOrientationPatient", "PlaneOrientationSequence"),
        "spacing": holding("PixelSpacing", "PixelMeasuresSequence"),
    }


def _move(
    positions: Sequence[Dataset],
    orientations: Sequence[Dataset],
    spacings: Sequence[Dataset],
    across: float,
    down: float,
) -> None:
    """ImagePositionPatient is the middle of the first pixel, which comes to lie nearer to the image's corner."""
    if not (positions and orientations and spacings):
        return
    shift = _shift(orientations[0].ImageOrientationPatient, spacings[0], across, down)
    for item in positions:
        moved = np.array(item.ImagePositionPatient, np.float64) + shift
        item.ImagePositionPatient = [_decimal(value) for value in moved]


def _move_on_slide(
    image: Dataset, groups: Sequence[Dataset], spacings: Sequence[Dataset], across: float, down: float
) -> None:
    """The frames of a whole slide are tiles of one matrix of pixels, with places in it and on the glass."""
    for name, factor in zip(_MATRIX, (across, down), strict=True):
        if image.get(name):
            setattr(image, name, round(image.get(name) * factor))
    tiles = [item for group in groups for item in group.get("PlanePositionSlideSequence") or []]
    for item in tiles:
        for name, factor in zip(_IN_MATRIX, (across, down), strict=True):
            if item.get(name):  # from 1
                setattr(item, name, round((item.get(name) - 1) * factor) + 1)
    directions = image.get("ImageOrientationSlide")
    if not directions or not spacings:
        return
    shift = _shift(directions, spacings[0], across, down)
    for item in (*tiles, *(image.get("TotalPixelMatrixOriginSequence") or [])):
        for name, distance in zip(_ON_SLIDE, shift, strict=True):
            if item.get(name) is not None:
                setattr(item, name, _decimal(float(item.get(name)) + distance))


def _shift(directions: Sequence[float], spacing: Dataset, across: float, down: float) -> np.ndarray:
    """From the middle of the first pixel to the middle of the smaller one that lies in the same corner."""
    in_row, in_column = np.array(directions, np.float64).reshape(2, 3)
    row_spacing, column_spacing = (float(one) for one in spacing.PixelSpacing)
    return in_row * column_spacing * (1 / across - 1) / 2 + in_column * row_spacing * (1 / down - 1) / 2


def _divide(item: Dataset, across: float, down: float) -> None:
    for name in _SPACINGS:
        if item.get(name):
            rows, columns = (float(one) for one in item.get(name))
            setattr(item, name, [_decimal(rows / down), _decimal(columns / across)])
    for names, factor in ((_IN_COLUMNS, across), (_IN_ROWS, down)):
        for name in names:
            if item.get(name) is not None:
                setattr(item, name, round(int(item.get(name)) * factor))
    for name, factor in ((_PER_COLUMN, across), (_PER_ROW, down)):
        if item.get(name) is not None:
            setattr(item, name, float(item.get(name)) / factor)


def _decimal(value: float) -> str:
    """A decimal string (DS), which has 16 characters."""
    for digits in range(16, 0, -1):
        text = f"{value:.{digits}g}"
        if len(text) <= 16:
            return text
    return "0"


def _samples(colours: int, frames: int, result: Enlarged) -> Iterator[np.ndarray]:
    """The pixel data in their order, little-endian."""
    for frame in range(frames):
        for top in range(0, result.height, _ROWS):
            window = Window(0, top, result.width, min(_ROWS, result.height - top))
            planes = [result.read(frame * colours + colour, window) for colour in range(colours)]
            samples = np.stack(planes, axis=-1)
            yield np.ascontiguousarray(samples, samples.dtype.newbyteorder("<"))
