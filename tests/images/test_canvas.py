"""What is written resumably: windows, plans, and reading it as a picture."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gramgan.errors import UserError
from gramgan.images import RasterInfo, Window
from gramgan.images.canvas import Canvas, remove_steps
from gramgan.images.resize import resize_array

ROWS = [Window(0, top, 20, 5) for top in (0, 5, 10)]


def pixels(bands: int = 3, height: int = 15) -> np.ndarray:
    return np.random.default_rng(0).random((bands, height, 20), dtype=np.float32)


def canvas(folder: Path, bands: int = 3, dtype: Any = np.uint16, **about: Any) -> Canvas:
    return Canvas(folder / "a.tif", (15, 20, bands), np.dtype(dtype), **about)


def fill(one: Canvas, image: np.ndarray, windows: list[Window] = ROWS) -> None:
    for window in windows:
        one.write(window, image[:, window.y : window.y + window.height])


def like(width: int, height: int, bands: int) -> RasterInfo:
    colours = 3 if bands > 2 else 1
    return RasterInfo(Path("a.tif"), width, height, colours, has_alpha=bands in (2, 4), dtype="uint8", dpi=(72, 72))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_it_is_read_as_a_picture_of_any_size(tmp_path: Path, bands: int, dtype: Any) -> None:
    image = pixels(bands)
    with canvas(tmp_path, bands, dtype) as one:
        fill(one, image)
        whole, small = one.read_as(like(20, 15, bands)), one.read_as(like(10, 7, bands))
        assert (whole.info.dtype, whole.info.dpi) == ("float32", (72, 72))
        step = {np.uint8: 1 / 255, np.uint16: 1 / 65535, np.float32: 1e-7}[dtype]
        np.testing.assert_allclose(whole.read(), image, atol=step / 1.9)
        np.testing.assert_allclose(whole.read(Window(3, 6, 4, 2)), image[:, 6:8, 3:7], atol=step / 1.9)
        np.testing.assert_allclose(small.read(), resize_array(whole.read(), 10, 7, bands in (2, 4)), atol=1e-5)
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_open_on_the_journal_s_number(tmp_path: Path) -> None:
    """A file object that outlives its lock would flush into whatever has the number by then."""
    with canvas(tmp_path, key="key") as one:
        fill(one, pixels())
    assert one._journal.closed
    with pytest.raises(KeyboardInterrupt), canvas(tmp_path, key="key") as stopped_one:
        fill(stopped_one, pixels(), ROWS[:1])
        raise KeyboardInterrupt
    assert stopped_one._journal.closed


def test_what_is_not_whole_is_not_read(tmp_path: Path) -> None:
    with canvas(tmp_path) as one:
        fill(one, pixels(), ROWS[:2])
        with pytest.raises(ValueError, match=r"a\.tif: 100 pixels were never written"):
            one.read_as(like(20, 15, 3))


def stopped(folder: Path, windows: list[Window] = ROWS, **about: Any) -> None:
    with pytest.raises(KeyboardInterrupt), canvas(folder, key="key", **about) as one:
        one.follow({"rows": 5})
        fill(one, pixels(), windows)
        raise KeyboardInterrupt


def test_of_another_plan_only_what_is_to_be_kept_stays(tmp_path: Path) -> None:
    stopped(tmp_path)
    with pytest.raises(KeyboardInterrupt), canvas(tmp_path, key="key") as one:
        one.follow({"rows": 5}, keep=lambda _: pytest.fail("the plan is the same"))
        assert one.finished == set(ROWS)
        one.follow({"rows": 3}, keep=lambda window: window.y < 10)
        assert one.finished == set(ROWS[:2])
        one.write(Window(0, 10, 20, 3), pixels()[:, 10:13])
        raise KeyboardInterrupt
    with canvas(tmp_path, key="key") as one:
        assert one.plan == {"rows": 3}
        assert one.finished == {*ROWS[:2], Window(0, 10, 20, 3)}
        one.write(Window(0, 13, 20, 2), pixels()[:, 13:])
        np.testing.assert_allclose(one.read_as(like(20, 15, 3)).read(), pixels(), atol=1e-5)


def test_steps_are_apart_and_those_of_another_job_are_removed(tmp_path: Path) -> None:
    for step in range(4):
        stopped(tmp_path, step=step)
    names = {".a.tif", ".a.tif.pass1", ".a.tif.pass2", ".a.tif.pass3"}
    assert {path.name for path in tmp_path.iterdir()} == {f"{n}.{kind}" for n in names for kind in ("part", "journal")}
    with canvas(tmp_path, key="key", step=2) as used:
        remove_steps(tmp_path / "a.tif", 2)
        assert used.finished == set(ROWS)
        with (
            pytest.raises(UserError, match=r"a\.tif: another process is writing this file"),
            Canvas(tmp_path / "a.tif", (15, 20, 3), np.dtype(np.uint16), "key", step=2),
        ):
            pass
        left = {".a.tif", ".a.tif.pass1", ".a.tif.pass2"}
        assert {path.name for path in tmp_path.iterdir()} == {
            f"{name}.{kind}" for name in left for kind in ("part", "journal")
        }
    remove_steps(tmp_path / "a.tif", 1)
    assert {path.name for path in tmp_path.iterdir()} == {".a.tif.part", ".a.tif.journal"}
