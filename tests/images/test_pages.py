"""Several images in one file: what `PagesWriter` writes, tifffile and Pillow read, and `Raster` reads again."""

import logging
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from gramgan.errors import UserError
from gramgan.images import MULTI_PAGE_SUFFIXES, Animation, PagesWriter, Raster, Window, write_image
from gramgan.images.formats import tiff_pages
from gramgan.images.formats.tiff_pages import concatenate

RNG = np.random.default_rng(9)
KINDS = [(3, 40, 50, 8), (1, 300, 270, 16), (4, 20, 31, 16), (3, 33, 44, 32), (2, 5, 5, 8)]
PAGES = [(RNG.integers(0, 65536, (c, h, w)) / 65535).astype(np.float32) for c, h, w, _ in KINDS]
SMOOTH = np.asarray(
    Image.fromarray(RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((64, 48)), np.float32
).transpose(2, 0, 1) / np.float32(255)


def write_pages(path: Path) -> None:
    with PagesWriter(path) as writer:
        for (channels, height, width, bits), array in zip(KINDS, PAGES, strict=True):
            with writer.page(
                width,
                height,
                colour_channels=3 if channels > 2 else 1,
                has_alpha=channels in (2, 4),
                bits=bits,  # pyright: ignore[reportArgumentType]
                comment=f"{channels} channels",
            ) as page:
                page.write(Window(0, 0, width, height), array)


@pytest.mark.parametrize("limit", [10, 10**9], ids=["BigTIFF", "classic"])
def test_pages_of_every_kind(tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_pages, "_LIMIT", limit)
    write_pages(tmp_path / "a.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert (file.is_bigtiff, len(file.pages)) == (limit == 10, len(PAGES))
        for number, (array, (channels, _, _, bits)) in enumerate(zip(PAGES, KINDS, strict=True)):
            page = file.pages[number]
            assert isinstance(page, tifffile.TiffPage)
            stored = page.asarray()
            white = 1 if bits == 32 else 2**bits - 1
            wanted = array if bits == 32 else np.floor(array.astype(np.float64) * white + 0.5)
            np.testing.assert_array_equal(stored, wanted.transpose(1, 2, 0).squeeze())
            assert page.tags["ImageDescription"].value == f"{channels} channels"
            assert page.tags["PageNumber"].value == (number, len(PAGES))
    for number, array in enumerate(PAGES):
        raster = Raster.open(tmp_path / "a.tif", page=number)
        assert (raster.info.pages, raster.info.animation, raster.info.bits) == (5, None, KINDS[number][3])
        np.testing.assert_allclose(raster.read(), array, atol=0.51 / 255)


def test_exif_of_each_page(tmp_path: Path) -> None:
    for name in ("first", "second"):
        exif = Image.Exif()
        exif[0x0110] = name
        exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
        exif.get_ifd(0x8825)[1] = "N"
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / f"{name}.jpg", exif=exif)
    with PagesWriter(tmp_path / "a.tif") as writer:
        for name in ("first", "second"):
            raster = Raster.open(tmp_path / f"{name}.jpg")
            with writer.page(8, 8, like=raster.info) as page:
                page.write(Window(0, 0, 8, 8), raster.read())
    for number, name in enumerate(("first", "second")):
        again = Raster.open(tmp_path / "a.tif", page=number).info.exif
        exif = Image.Exif()
        exif.load(again or b"")
        assert exif[0x0110] == name
        assert exif.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
        assert exif.get_ifd(0x8825)[1] == "N"


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
@pytest.mark.parametrize("loop", [0, 1, 3])
def test_animations(tmp_path: Path, suffix: str, loop: int) -> None:
    animation = Animation((50, 100, 70, 40), loop)
    frames = [np.roll(SMOOTH, 6 * number, axis=2) for number in range(4)]
    if suffix == ".gif":
        frames[2] = frames[1]  # a frame like the one before it is still a frame; WebP's encoder joins the two
    with PagesWriter(tmp_path / f"a{suffix}", animation=animation) as writer:
        for frame in frames:
            with writer.page(64, 48, quality=100, comment="synthesised") as page:
                page.write(Window(0, 0, 64, 48), frame)
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]
    with Image.open(tmp_path / f"a{suffix}") as image:
        assert getattr(image, "n_frames", 1) == len(frames)
        for number, frame in enumerate(frames):
            image.seek(number)
            image.load()
            assert image.info["duration"] == animation.delays_ms[number]
            shown = np.asarray(image.convert("RGB")).transpose(2, 0, 1) / 255
            assert np.abs(shown - frame).mean() < (0.03 if suffix == ".gif" else 1e-6)
            raster = Raster.open(tmp_path / f"a{suffix}", page=number)
            assert (raster.info.pages, raster.info.animation) == (4, animation)
            np.testing.assert_allclose(raster.read()[:3], shown, atol=1e-6)


def test_transparency_in_one_frame_of_an_animation(tmp_path: Path) -> None:
    with PagesWriter(tmp_path / "a.webp", animation=Animation((50, 50), 0)) as writer:
        with writer.page(64, 48, quality=100) as page:
            page.write(Window(0, 0, 64, 48), SMOOTH)
        with writer.page(64, 48, has_alpha=True, colour_channels=1, quality=100) as page:
            page.write(Window(0, 0, 64, 48), np.full((2, 48, 64), 0.2, np.float32))
    with Image.open(tmp_path / "a.webp") as image:
        assert np.asarray(image.convert("RGBA"))[..., 3].min() == 255
        image.seek(1)
        np.testing.assert_array_equal(np.asarray(image.convert("RGBA"))[5, 5], [51, 51, 51, 51])


def test_more_frames_than_files_may_be_open(tmp_path: Path) -> None:
    with PagesWriter(tmp_path / "a.gif") as writer:
        for number in range(40):
            with writer.page(8, 8) as page:
                page.write(Window(0, 0, 8, 8), np.full((3, 8, 8), number / 40, np.float32))
    assert Raster.open(tmp_path / "a.gif").info.pages == 40


def test_suffixes() -> None:
    assert {".gif", ".webp", ".tif", ".tiff"} == MULTI_PAGE_SUFFIXES


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.avif"])
def test_formats_of_one_image(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="holds one image and there are several"):
        PagesWriter(tmp_path / name)


def test_frames_of_two_sizes(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=r"page 2 is 9x8 and the first is 8x8"),
        PagesWriter(tmp_path / "a.gif") as writer,
    ):
        with writer.page(8, 8) as page:
            page.write(Window(0, 0, 8, 8), np.zeros((3, 8, 8), np.float32))
        writer.page(9, 8)
    assert list(tmp_path.iterdir()) == []


def test_a_frame_that_is_too_large(tmp_path: Path) -> None:
    with PagesWriter(tmp_path / "b.tif") as writer, writer.page(4, 4) as page:
        page.write(Window(0, 0, 4, 4), np.zeros((3, 4, 4), np.float32))
    with pytest.raises(UserError, match="too large for WebP"), PagesWriter(tmp_path / "a.webp") as writer:
        writer.page(20_000, 8)
    assert [path.name for path in tmp_path.iterdir()] == ["b.tif"]


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"old")
    with pytest.raises(RuntimeError), PagesWriter(tmp_path / "a.tif") as writer:
        with writer.page(8, 8) as page:
            page.write(Window(0, 0, 8, 8), np.zeros((3, 8, 8), np.float32))
        with writer.page(8, 8):
            raise RuntimeError
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.tif", b"old")]


def test_pages_that_were_not_finished_are_a_defect(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="0 of 0 pages"), PagesWriter(tmp_path / "a.tif"):
        pass
    with pytest.raises(ValueError, match="1 of 1 pages"), PagesWriter(tmp_path / "a.tif") as writer:
        writer.page(8, 8)
    assert list(tmp_path.iterdir()) == []


def test_pages_that_are_not_there(tmp_path: Path) -> None:
    write_pages(tmp_path / "a.tif")
    write_image(tmp_path / "a.png", SMOOTH)
    for name, has in (("a.tif", 5), ("a.png", 1)):
        with pytest.raises(UserError, match=f"there is no page 6, it has {has}"):
            Raster.open(tmp_path / name, page=5)
    with pytest.raises(ValueError, match="counted from 0"):
        Raster.open(tmp_path / "a.tif", page=-1)


def test_frames_become_pages_and_it_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="gramgan"):
        PagesWriter(tmp_path / "a.tif", animation=Animation((50,), 0))
    assert "TIFF is no animation" in caplog.text


def test_byte_orders_do_not_mix(tmp_path: Path) -> None:
    for order in "<>":
        tifffile.imwrite(tmp_path / f"{ord(order)}.tif", np.zeros((4, 4), np.uint8), byteorder=order)  # pyright: ignore
    with pytest.raises(ValueError, match="byte order"):
        concatenate(sorted(tmp_path.iterdir()), tmp_path / "out")
    with pytest.raises(ValueError, match="at least one page"):
        concatenate([], tmp_path / "out")


def filled(value: float) -> np.ndarray:
    return np.full((3, 8, 8), value, np.float32)


def stopped_after_two_pages(path: Path, key: str) -> None:
    with pytest.raises(KeyboardInterrupt), PagesWriter(path, resume_key=key) as writer:
        for value in (0.0, 0.2):
            with writer.page(8, 8) as page:
                page.write(Window(0, 0, 8, 8), filled(value))
        with writer.page(8, 8) as page:
            page.write(Window(0, 0, 8, 4), filled(0.4)[:, :4])
            raise KeyboardInterrupt


@pytest.mark.parametrize(("suffix", "skipped"), [(".tif", [0, 1]), (".gif", [1])])
def test_a_job_that_was_stopped_is_continued(tmp_path: Path, suffix: str, skipped: list[int]) -> None:
    path = tmp_path / f"a{suffix}"
    stopped_after_two_pages(path, "key")
    assert [one.name for one in tmp_path.iterdir()] == [f".a{suffix}.pages"]
    passed_over = []
    with PagesWriter(path, resume_key="key") as writer:
        for number in range(3):
            if writer.skip_finished():
                passed_over.append(number)
                continue
            with writer.page(8, 8) as page:
                rows = Window(0, 0, 8, 4)
                assert page.holds(rows) == (number == 2)
                if not page.holds(rows):
                    page.write(rows, filled(number * 0.2)[:, :4])
                page.write(Window(0, 4, 8, 4), filled(number * 0.2)[:, :4])
    assert passed_over == skipped
    assert [one.name for one in tmp_path.iterdir()] == [f"a{suffix}"]
    for number in range(3):
        np.testing.assert_allclose(Raster.open(path, page=number).read()[:3], number * 0.2, atol=0.01)


def test_what_another_job_left_is_discarded(tmp_path: Path) -> None:
    stopped_after_two_pages(tmp_path / "a.tif", "key")
    with PagesWriter(tmp_path / "a.tif", resume_key="other") as writer:
        assert not writer.skip_finished()
        with writer.page(8, 8) as page:
            page.write(Window(0, 0, 8, 8), filled(1))
    assert Raster.open(tmp_path / "a.tif").info.pages == 1


def test_a_failed_job_leaves_nothing_to_continue(tmp_path: Path) -> None:
    with pytest.raises(UserError), PagesWriter(tmp_path / "a.tif", resume_key="key") as writer:
        with writer.page(8, 8) as page:
            page.write(Window(0, 0, 8, 8), filled(1))
        raise UserError("broken")
    assert list(tmp_path.iterdir()) == []


def test_two_jobs_do_not_write_one_file(tmp_path: Path) -> None:
    with PagesWriter(tmp_path / "a.tif", resume_key="key") as writer:
        with pytest.raises(UserError, match="another process"), PagesWriter(tmp_path / "a.tif", resume_key="key"):
            pass
        with writer.page(8, 8) as page:
            page.write(Window(0, 0, 8, 8), filled(1))
    assert Raster.open(tmp_path / "a.tif").info.pages == 1
