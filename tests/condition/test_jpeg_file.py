import io
import struct
from pathlib import Path

import numpy as np
import pytest
from known_pictures import as_jpeg
from PIL import Image

from gramgan import condition
from gramgan.condition.jpeg_file import Header, jpeg_of, read_jpeg_header
from gramgan.condition.jpeg_pixels import jpeg_in
from gramgan.images import Raster

_ORIENTATION = 0x0112


def coded(width: int = 40, height: int = 24, **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("quality", [1, 10, 35, 50, 75, 92, 100])
def test_the_quality_is_that_of_the_tables(quality: int) -> None:
    header = read_jpeg_header(io.BytesIO(coded(quality=quality)))
    assert header is not None
    jpeg = jpeg_of(header)
    assert (jpeg.quality, jpeg.source, jpeg.offset) == (quality, "file", (0, 0))


@pytest.mark.parametrize(("option", "name"), [(0, "4:4:4"), (1, "4:2:2"), (2, "4:2:0")])
def test_subsampling(option: int, name: str) -> None:
    header = read_jpeg_header(io.BytesIO(coded(quality=80, subsampling=option, progressive=option == 1)))
    assert header is not None
    assert jpeg_of(header).subsampling == name


def test_tables_are_those_that_pillow_reads() -> None:
    data = coded(quality=63)
    header = read_jpeg_header(io.BytesIO(data))
    assert header is not None
    jpeg = jpeg_of(header)
    tables = Image.open(io.BytesIO(data)).quantization  # pyright: ignore[reportAttributeAccessIssue]
    assert [step for row in jpeg.luma_table for step in row] == list(tables[0])
    assert jpeg.chroma_table is not None
    assert [step for row in jpeg.chroma_table for step in row] == list(tables[1])


def test_a_table_of_ones_own_and_a_grey_file() -> None:
    ramp = [2 + place // 2 for place in range(64)]
    header = read_jpeg_header(io.BytesIO(coded(qtables=[ramp, ramp])))
    assert header is not None
    assert 80 <= jpeg_of(header).quality <= 95
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(buffer, "JPEG", quality=40)
    header = read_jpeg_header(io.BytesIO(buffer.getvalue()))
    assert header is not None
    grey = jpeg_of(header)
    assert (grey.quality, grey.chroma_table, grey.subsampling, grey.chroma_offset) == (40, None, None, None)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_grid_lies_where_the_upright_picture_has_it(tmp_path: Path, orientation: int, photographs: list) -> None:
    # 75 and 123 are not multiples of 8, so that each turn moves the grid elsewhere.
    stored = photographs[0][:, :75, :123]
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    path = tmp_path / "turned.jpg"
    Image.fromarray(stored.transpose(1, 2, 0)).save(path, quality=60, exif=exif)
    said = condition.of_file(path).jpeg
    assert said is not None
    assert said.source == "file"
    upright = Raster.open(path).read() * np.float32(255)
    found = jpeg_in([(upright, 0, 0)])
    assert found is not None
    assert said.offset == found.offset
    assert found.quality == said.quality == 60
    assert found.luma_table == said.luma_table


def test_a_table_is_turned_with_the_picture() -> None:
    table = np.arange(1, 65).reshape(8, 8)
    header = Header(123, 75, ((2, 2, 0), (1, 1, 0), (1, 1, 0)), {0: table})
    assert jpeg_of(header, 1).luma_table[0][1] == jpeg_of(header, 6).luma_table[1][0] == 2
    assert jpeg_of(header, 3).offset == (75 % 8, 123 % 8)
    assert jpeg_of(header, 6).offset == (0, 75 % 8)
    assert jpeg_of(header, 8).offset == (123 % 8, 0)
    assert jpeg_of(header, 3).chroma_offset == (75 % 16, 123 % 16)


def test_damaged_headers_say_nothing() -> None:
    whole = coded(quality=50)
    assert read_jpeg_header(io.BytesIO(b"")) is None
    assert read_jpeg_header(io.BytesIO(b"\x89PNG\r\n\x1a\n")) is None
    scan = whole.index(b"\xff\xda")
    for length in range(2, scan):
        assert read_jpeg_header(io.BytesIO(whole[:length])) is None, length
    assert read_jpeg_header(io.BytesIO(b"\xff\xd8" + b"\xff\xd0" * 100_000)) is None
    assert read_jpeg_header(io.BytesIO(b"\xff\xd8" + b"\xff" * 100_000)) is None
    nought = whole.replace(b"\xff\xdb", b"\xff\xdb", 1)
    at = nought.index(b"\xff\xdb") + 5
    assert read_jpeg_header(io.BytesIO(nought[:at] + b"\0" * 64 + nought[at + 64 :])) is None
    assert read_jpeg_header(io.BytesIO(b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 8, 8, 1, 1, 9) + whole[2:])) is None


def test_random_bytes_never_raise() -> None:
    rng = np.random.default_rng(0)
    whole = bytearray(coded(quality=50))
    scan = whole.index(b"\xff\xda")
    for _ in range(500):
        changed = bytearray(whole)
        for place in rng.integers(2, scan, 4):
            changed[place] = rng.integers(256)
        header = read_jpeg_header(io.BytesIO(bytes(changed)))
        if header is not None:
            assert 1 <= jpeg_of(header).quality <= 100


def test_pixels_agree_with_the_file(photographs: list) -> None:
    for quality in (40, 80):
        found = jpeg_in([(as_jpeg(photographs[0], quality).astype(np.float32), 0, 0)])
        assert found is not None
        buffer = io.BytesIO()
        Image.fromarray(photographs[0].transpose(1, 2, 0)).save(buffer, "JPEG", quality=quality)
        header = read_jpeg_header(io.BytesIO(buffer.getvalue()))
        assert header is not None
        assert found.luma_table == jpeg_of(header).luma_table
