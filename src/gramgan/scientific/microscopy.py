"""OME-TIFF and ImageJ TIFF: stacks of planes over depth, time and channels, with pixel sizes in physical units."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from gramgan.errors import UserError, message_of
from gramgan.images import Window
from gramgan.images.formats.vips_reader import check_pixel_count
from gramgan.scientific.bands import BandChoice
from gramgan.scientific.base import (
    DECODER_ERRORS,
    SAMPLE_TYPES,
    TAGS_LOST,
    Enlarged,
    Layer,
    Note,
    PagedFile,
    Reading,
    is_measurement,
    saying_why,
)
from gramgan.scientific.claims import claimed_pixels
from gramgan.scientific.imagej import IMAGEJ_BLOCKS, Description
from gramgan.scientific.ome_xml import check_ome, enlarged_ome, significant_bits
from gramgan.scientific.radiometry import ValueRange
from gramgan.scientific.sidecars import placing

_log = logging.getLogger(__name__)

TIFF_ERRORS = (tifffile.TiffFileError, ElementTree.ParseError, *DECODER_ERRORS)
"""What tifffile and its decoders raise for damaged files."""

# Decoders that write no more than they are asked for: none, LZW, deflate, PackBits, LZMA, Zstandard.
_BOUNDED = (1, 5, 8, 32773, 32946, 34925, 50000)
_TOLERATED = 4  # times the pixels of a part: strips and tiles at the edge may be padded
_TILE = 256
_CLASSIC_LIMIT = 4_000_000_000  # bytes; offsets in a classic TIFF have 32 bits
_MAX_PAGES = 100_000
_DESCRIPTION, _IMAGEJ_METADATA = 270, 50839
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
# Document, maker, model, page, software, date, author, computer, copyright, ICC profile: of bytes (types 1, 2 and 7).
_KEPT_TAGS = (269, 271, 272, 285, 305, 306, 315, 316, 33432, 34675)
_BYTES = (1, 2, 7)
_ALPHA = (1, 2)  # associated, unassociated
_PRIMARIES = (" red", " green", " blue")


class _Stack(PagedFile):
    """Pages of one size and type in a TIFF; every page is a layer, or as many as it has samples.

    Args:
        path: the file.
        reading: plays no part in how it is read.
        allow_huge: lift the limit of pixels.

    Raises:
        UserError: the file is damaged, or its pages are not of one size and a type that is read.
    """

    suffixes = (".tif", ".tiff")

    def __init__(self, path: Path, reading: Reading, *, allow_huge: bool = False) -> None:
        self.path = path
        del reading
        with self._refusing():
            self._file = tifffile.TiffFile(path)
            try:
                first = self._file.pages.first
                if not all(isinstance(size, int) for size in (first.imagewidth, first.imagelength)):
                    raise UserError(f"{path}: damaged {self.form} (its size is a list); get a whole copy")
                self._look(allow_huge)
            except BaseException:
                self._file.close()
                raise

    def _look(self, allow_huge: bool) -> None:
        first = self._file.pages.first
        dtype = first.dtype
        if dtype is None or dtype.name not in SAMPLE_TYPES:
            raise UserError(
                f"{self.path}: its samples are of type {dtype}; convert them to one of {', '.join(SAMPLE_TYPES)}"
            )
        self.dtype = dtype.newbyteorder("=")
        self.height, self.width, self.samples = first.imagelength, first.imagewidth, first.samplesperpixel
        self._photometric = int(first.photometric)
        known = (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR)
        if first.imagedepth != 1 or self._photometric not in known or len(first.shape) != 2 + (self.samples > 1):
            shape = "x".join(map(str, first.shape))
            raise UserError(f"{self.path}: pages of the shape {shape} are neither grey nor RGB")
        self._has_colours = self._photometric in (_RGB, _YCBCR) and self.samples >= 3
        self._is_planar = self.samples > 1 and first.planarconfig == tifffile.PLANARCONFIG.SEPARATE
        check_pixel_count(self.path, self.width, self.height, allow_huge)
        self.pages = self._count_pages()
        if not 1 <= self.pages * self.samples <= _MAX_PAGES:
            raise UserError(f"{self.path}: damaged {self.form} ({self.pages} pages); get a whole copy")
        lost = [name for code, name in TAGS_LOST.items() if code in first.tags]
        if lost:
            _log.warning("%s: %s left out; a picture keeps it (--plain)", self.path, ", ".join(lost))
        for beside in placing(self.path):
            _log.warning("%s: what it says of %s, such as its place, is not in the result", beside, self.path.name)
        if first.subifds:
            _log.warning("%s: it has pages in several sizes; the result has the largest", self.path)
        self.has_holes = self.dtype.kind == "f"
        natural = self._natural_range()
        inverted = self._photometric == _WHITE_IS_ZERO
        self.layers = tuple(
            Layer(f"plane {page + 1}{name}", natural=natural, inverted=inverted)
            for page in range(self.pages)
            for name in self._sample_names()
        )
        _resolution(first, 1, 1)  # so that damage shows before any work

    def _sample_names(self) -> list[str]:
        if self.samples == 1:
            return [""]
        primaries = _PRIMARIES if self._has_colours else ()
        return [*primaries, *(f" sample {number + 1}" for number in range(len(primaries), self.samples))]

    def _count_pages(self) -> int:
        pages = self._file.pages
        if any(page.shape != pages.first.shape or page.dtype != pages.first.dtype for page in pages):
            raise UserError(f"{self.path}: its pages differ in size or type; split it into files of one kind")
        return len(pages)

    def _natural_range(self) -> ValueRange | None:
        return None

    @property
    def grouping(self) -> tuple[BandChoice, ...]:
        """Red, green and blue of a page; alpha is repeated."""
        colours = 3 if self._has_colours else 1
        choices = []
        for first in range(1, self.samples * self.pages + 1, self.samples):
            if self._has_colours:
                choices.append(BandChoice((first, first + 1, first + 2)))
            for number, kind in enumerate(self._file.pages.first.extrasamples):
                if int(kind) in _ALPHA and colours + number < self.samples:
                    choices.append(BandChoice((first + colours + number,), nearest=True))
        return tuple(choices)

    def close(self) -> None:
        """Close the file."""
        super().close()
        self._file.close()

    def _decode(self, page: int) -> np.ndarray:
        stored = self._file.pages[page]
        self._check_claims(stored)
        return stored.asarray()

    def _check_claims(self, page: tifffile.TiffPage | tifffile.TiffFrame) -> None:
        """Refuse parts of a page that claim to be far larger than they are to be: their decoders believe them."""
        if int(page.compression) in _BOUNDED:
            return
        first = self._file.pages.first
        most = max(first.tilewidth * first.tilelength, first.imagewidth * first.rowsperstrip)
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            self._file.filehandle.seek(offset)
            data = self._file.filehandle.read(count)
            claimed = claimed_pixels(data) if data else 0
            if claimed is None or claimed > _TOLERATED * most:
                raise UserError(
                    f"{self.path}: a part of {most} pixels claims {claimed or 'an unknown number'}; damaged, or of a "
                    "compression that is not read: save it without"
                )

    def _decoded(self, page: int) -> np.ndarray:
        with self._refusing():
            values = np.asarray(self._decode(page))
            if self._is_planar:
                values = np.moveaxis(values.reshape(self.samples, self.height, self.width), 0, -1)
            return values.reshape(self.height, self.width, self.samples)

    def _is_value(self, values: np.ndarray) -> np.ndarray:
        return is_measurement(values)

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        """One line for whatever tifffile finds wrong with the file."""
        try:
            yield
        except UserError:
            raise
        except TIFF_ERRORS as error:
            raise UserError(
                f"{self.path}: damaged {self.form} or one of a kind that cannot be read ({message_of(error)}); convert "
                "it, or install its decoder with pip install 'gramgan[microscopy]'"
            ) from None

    def _bytes(self, width: int, height: int) -> int:
        return width * height * self.samples * self.pages * self.dtype.itemsize

    def _look_of(self, across: float, down: float) -> dict[str, Any]:
        """How samples are shown and how dense pixels are, for a writer."""
        first = self._file.pages.first
        said: dict[str, Any] = {"photometric": "minisblack", **_resolution(first, across, down)}
        if self._has_colours:
            said["photometric"] = "rgb"
        elif self._photometric == _WHITE_IS_ZERO:
            said["photometric"] = "miniswhite"
        elif self._photometric == _PALETTE and first.colormap is not None:
            said |= {"photometric": "palette", "colormap": first.colormap}
        if self.samples > 1:
            said["planarconfig"] = "separate" if self._is_planar else "contig"
            extra = self.samples - (3 if self._has_colours else 1)
            kinds = [int(kind) for kind in first.extrasamples][:extra]
            if extra:
                said["extrasamples"] = kinds + [0] * (extra - len(kinds))
        return said

    def _kept_tags(self) -> list[tuple[int, int, int, bytes, bool]]:
        """Author, date, profile and the like, byte for byte, for a writer."""
        kept, handle = [], self._file.filehandle
        for code in _KEPT_TAGS:
            tag = self._file.pages.first.tags.get(code)
            if tag is not None and int(tag.dtype) in _BYTES:
                handle.seek(tag.valueoffset)
                kept.append((code, int(tag.dtype), tag.count, handle.read(tag.count), True))
        return kept

    def _shape(self, result: Enlarged) -> tuple[int, ...]:
        """Of a page of the result."""
        size = (result.height, result.width)
        if self.samples == 1:
            return size
        return (self.samples, *size) if self._is_planar else (*size, self.samples)

    def _tiles(self, page: int, result: Enlarged) -> Iterator[np.ndarray]:
        """Tiles of a page of the result in the order of the file: `[rows, columns]`, or with samples."""
        layers = range(page * self.samples, (page + 1) * self.samples)
        for group in [[layer] for layer in layers] if self._is_planar else [layers]:
            for top in range(0, result.height, _TILE):
                band = Window(0, top, result.width, min(_TILE, result.height - top))
                rows = np.stack([result.read(layer, band) for layer in group], axis=-1)
                padded = np.zeros((_TILE, -(-result.width // _TILE) * _TILE, len(group)), self.dtype)
                padded[: band.height, : band.width] = rows
                for left in range(0, padded.shape[1], _TILE):
                    tile = padded[:, left : left + _TILE]
                    yield tile[:, :, 0] if len(group) == 1 else tile


class OmeTiff(_Stack):
    """An OME-TIFF. Its XML stays as it is but for sizes, pixel sizes and what would no longer be true."""

    form = "OME-TIFF"

    def _look(self, allow_huge: bool) -> None:
        first = self._file.pages.first
        check_ome(first.description, self.path, first.imagewidth, first.imagelength)
        super()._look(allow_huge)

    def _natural_range(self) -> ValueRange | None:
        bits = significant_bits(self._file.pages.first.description)
        return ValueRange(0, 2**bits - 1) if bits is not None and self.dtype.kind == "u" else None

    def save(self, result: Enlarged, temporary: Path, note: Note) -> None:
        """Write an OME-TIFF page by page in the source's order, deflated, in tiles."""
        xml = enlarged_ome(
            self._file.pages.first.description,
            (self.width, self.height),
            result.width,
            result.height,
            note.sentence,
            note.identity,
        )
        big = self._bytes(result.width, result.height) > _CLASSIC_LIMIT
        with saying_why(temporary, (OSError,)), tifffile.TiffWriter(temporary, bigtiff=big, ome=False) as writer:
            for page in range(self.pages):
                writer.write(
                    self._tiles(page, result),
                    shape=self._shape(result),
                    dtype=self.dtype,
                    tile=(_TILE, _TILE),
                    compression="zlib",
                    predictor=self.dtype.kind != "f",
                    description=xml if page == 0 else None,
                    metadata=None,
                    software=False,
                    extratags=self._kept_tags() if page == 0 else (),
                    **self._look_of(result.width / self.width, result.height / self.height),
                )


class ImageJTiff(_Stack):
    """A TIFF that ImageJ or Fiji wrote. The result keeps its metadata, except for regions of interest."""

    form = "ImageJ TIFF"

    def _look(self, allow_huge: bool) -> None:
        first = self._file.pages.first
        self._description = Description(self._raw_description(), self.path)
        self._metadata: dict[str, Any] = {}
        if _IMAGEJ_METADATA in first.tags:
            self._metadata = dict(first.tags[_IMAGEJ_METADATA].value)
        super()._look(allow_huge)
        lost = [name for name in self._metadata if name not in IMAGEJ_BLOCKS]
        if lost:
            _log.warning("%s: %s left out: places in the old image or unknown", self.path, ", ".join(lost))
            for name in lost:
                del self._metadata[name]

    def _raw_description(self) -> bytes:
        """As it is stored: it says nothing of its character set."""
        tag = self._file.pages.first.tags[_DESCRIPTION]
        handle = self._file.filehandle
        handle.seek(tag.valueoffset)
        return handle.read(tag.count).rstrip(b"\0")

    def _count_pages(self) -> int:
        pages, said = self._file.pages, self._description.images
        # ImageJ writes one directory only for stacks of more than 4 GB.
        found = len(pages)
        if found == 1 and said > 1 and pages.first.is_contiguous:
            found = (self._file.filehandle.size - pages.first.dataoffsets[0]) // self._stored
        if not (said == found or (len(pages) == 1 and 1 <= said <= found)):
            raise UserError(f"{self.path}: it says {said} planes and has {found}; get a whole copy")
        return said if len(pages) == 1 else super()._count_pages()

    @property
    def _stored(self) -> int:
        """Bytes of a page that is not compressed."""
        return self.width * self.height * self.samples * self.dtype.itemsize

    def _decode(self, page: int) -> np.ndarray:
        first = self._file.pages.first
        if len(self._file.pages) == self.pages:
            return super()._decode(page)
        assert first.dtype is not None
        handle = self._file.filehandle
        handle.seek(first.dataoffsets[0] + page * self._stored)
        stored = first.dtype.newbyteorder(self._file.byteorder)
        return handle.read_array(stored, self._stored // stored.itemsize)

    def check_result(self, width: int, height: int, target: Path) -> None:
        """Refuse results above 4 GB: ImageJ reads no larger TIFF of its own kind."""
        if self._bytes(width, height) > _CLASSIC_LIMIT:
            raise UserError(
                f"{target}: {width}x{height} in {self.pages} planes is more than the 4 GB that an ImageJ TIFF holds; "
                "use a smaller --scale, or save the source as OME-TIFF first"
            )

    def save(self, result: Enlarged, temporary: Path, note: Note) -> None:
        """Write an ImageJ TIFF, uncompressed, as ImageJ wants it."""
        across, down = result.width / self.width, result.height / self.height
        before = str(self._metadata.get("Info", "") or "")
        metadata = {**self._metadata, "Info": f"{before}\n{note.sentence}" if before else note.sentence}
        with saying_why(temporary, (OSError,)), tifffile.TiffWriter(temporary, byteorder=">") as writer:
            writer.write(
                self._planes(result),
                shape=(self.pages, *self._shape(result)),
                dtype=self.dtype,
                description=self._description.enlarged(across, down),
                metadata=None,
                software=False,
                extratags=[*self._kept_tags(), *tifffile.imagej_metadata_tag(metadata, ">")],
                **self._look_of(across, down),
            )

    def _planes(self, result: Enlarged) -> Iterator[np.ndarray]:
        whole = Window(0, 0, result.width, result.height)
        for page in range(self.pages):
            layers = range(page * self.samples, (page + 1) * self.samples)
            planes = [result.read(layer, whole) for layer in layers]
            if self._is_planar:
                yield from planes
            else:
                yield np.stack(planes, axis=-1) if self.samples > 1 else planes[0]


def _resolution(page: tifffile.TiffPage, across: float, down: float) -> dict[str, Any]:
    """Pixels per unit, as a TIFF has it; nothing where it says nothing."""
    tags = page.tags
    if "XResolution" not in tags or "YResolution" not in tags:
        return {}
    values = [
        tag.value[0] / tag.value[1] if tag.value[1] else 0.0 for tag in (tags["XResolution"], tags["YResolution"])
    ]
    unit = int(tags["ResolutionUnit"].value) if "ResolutionUnit" in tags else 1
    return {"resolution": (values[0] * across, values[1] * down), "resolutionunit": unit if unit in (1, 2, 3) else 1}
