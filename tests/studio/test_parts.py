"""The queue, the form fields and the tiles, without a server."""

import threading
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from served import picture

from gramgan.config import load_config
from gramgan.errors import UserError
from gramgan.images import write_image
from gramgan.progress import Progress
from gramgan.upscaling.settings import Settings

pytest.importorskip("starlette", reason="the extra `studio` is not installed")

from gramgan.studio.forms import training_fields, upscaling_fields, upscaling_settings
from gramgan.studio.jobs import CancelledError, Queue, StudioJob
from gramgan.studio.places import Places
from gramgan.studio.pyramid import PYRAMID_TILE, Pyramids


def _ended(queue: Queue, job: StudioJob) -> StudioJob:
    for _ in range(1000):
        if job.state not in ("waiting", "running"):
            return job
        threading.Event().wait(0.01)
    raise AssertionError(job)


def test_jobs_come_one_after_the_other() -> None:
    queue, order, go = Queue(), [], threading.Event()

    def work(job: StudioJob, progress: object) -> dict[str, object]:
        order.append(job.title)
        go.wait(5)
        order.append(job.title)
        return {}

    jobs = [queue.add("test", name, work) for name in "abc"]
    go.set()
    for job in jobs:
        assert _ended(queue, job).state == "done"
    assert order == list("aabbcc")
    queue.close()


def test_what_fails_is_cleaned_told_in_one_line_and_does_not_end_the_queue(caplog: pytest.LogCaptureFixture) -> None:
    queue, cleaned = Queue(), []

    def wrong(_: StudioJob, __: object) -> dict[str, object]:
        raise UserError("x.png: is broken; get another")

    def worse(_: StudioJob, __: object) -> dict[str, object]:
        raise RuntimeError("two\nlines")

    first = _ended(queue, queue.add("test", "first", wrong, clean=lambda job: cleaned.append(job.title)))
    second = _ended(queue, queue.add("test", "second", worse, clean=lambda job: cleaned.append(job.title)))
    third = _ended(queue, queue.add("test", "third", lambda *_: {"fine": True}))
    assert (first.state, first.error) == ("failed", "x.png: is broken; get another")
    assert (second.state, "\n" in second.error, "RuntimeError" in second.error) == ("failed", False, True)
    assert (third.state, third.result) == ("done", {"fine": True})
    assert cleaned == ["first", "second"]
    assert "two" in caplog.text
    queue.close()


def test_what_is_done_for_want_of_work_is_given_up_for_real_work() -> None:
    queue, began, given_up = Queue(), threading.Event(), threading.Event()

    def idle(_: StudioJob, progress: Progress) -> dict[str, Any]:
        began.set()
        while True:
            try:
                progress(0, 1)
            except CancelledError:
                given_up.set()
                raise
            time.sleep(0.01)

    queue.add("measure", "idle", idle, idle=True)
    assert began.wait(5)
    real = _ended(queue, queue.add("test", "real", lambda *_: {"fine": True}))
    assert given_up.wait(5)
    assert real.state == "done"
    assert queue.all() == [real]
    queue.close()


def test_every_setting_has_a_field_with_its_own_words_and_bounds() -> None:
    by_name = {one.name: one for one in upscaling_fields()}
    assert list(by_name) == [one.name for one in fields(Settings)]
    for one in fields(Settings):
        about, shown = one.metadata["setting"], by_name[one.name]
        assert shown.help == about.help
        assert (shown.low, shown.high) == (about.bounds or (None, None))
    assert by_name["consistency"].kind == "tristate"
    assert by_name["texture_mask"].kind == "flag"
    assert (by_name["quality"].kind, by_name["quality"].whole, by_name["quality"].default) == ("number", True, 95)
    assert "gramgan-x4" in by_name["model"].choices


def test_what_a_form_leaves_empty_is_the_default(tmp_path: Path) -> None:
    places = Places([tmp_path])
    assert upscaling_settings({}, places) == Settings()
    given = {"scale": "", "model": None, "size": "", "bands": "3,2,1 5:nearest", "quality": "80"}
    assert upscaling_settings(given, places) == Settings(bands=("3,2,1", "5:nearest"), quality=80)


def test_fields_of_a_training_have_the_presets_values() -> None:
    config = load_config("lite")
    by_name = {one.name: one for one in training_fields(config)}
    assert by_name["train.batch_size"].default == config.train.batch_size
    assert by_name["texture.candidates"].choices == ("local", "database", "both")
    assert by_name["stages.pretrain"].help == "L_C alone"
    assert all(one.help for one in by_name.values())


def test_databases_are_found_in_the_folders_and_not_behind_links(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    for path in (
        outside / "far.lance",
        inside / "a.lance" / "data.lance",
        inside / "deep" / "b.lance",
        inside / ".x.lance",
    ):
        path.mkdir(parents=True)
    (inside / "out").symlink_to(outside)
    (inside / "c.lance").symlink_to(outside / "far.lance")
    found = Places([inside]).find([".lance"])
    assert found == [inside / "a.lance", inside / "deep" / "b.lance"]


@pytest.mark.parametrize(("height", "width"), [(40, 30), (PYRAMID_TILE, PYRAMID_TILE), (700, 1100), (3, 2000)])
def test_tiles_are_the_pictures_own_pixels(tmp_path: Path, height: int, width: int) -> None:
    pixels = picture(1, height, width)
    write_image(tmp_path / "a.png", pixels)
    pyramids = Pyramids(tmp_path / "shown", trusted=tmp_path / "results")
    shape = pyramids.shape(tmp_path / "a.png")
    assert (shape.width, shape.height) == (width, height)
    shown = np.zeros((height, width, 3), np.uint8)
    for row in range(-(-height // PYRAMID_TILE)):
        for column in range(-(-width // PYRAMID_TILE)):
            tile = pyvips.Image.new_from_buffer(pyramids.tile(tmp_path / "a.png", 0, column, row), "").numpy()
            shown[
                row * PYRAMID_TILE : row * PYRAMID_TILE + tile.shape[0],
                column * PYRAMID_TILE : column * PYRAMID_TILE + tile.shape[1],
            ] = tile
    assert np.array_equal(shown, np.rint(pixels.transpose(1, 2, 0) * 255).astype(np.uint8))
    for level, column, row in ((0, -(-width // PYRAMID_TILE), 0), (shape.levels, 0, 0), (0, -1, 0)):
        with pytest.raises(IndexError):
            pyramids.tile(tmp_path / "a.png", level, column, row)


def test_each_level_has_half_the_pixels_and_the_coarsest_is_one_tile(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", picture(1, 1500, 2100))
    pyramids = Pyramids(tmp_path / "shown", trusted=tmp_path / "results")
    shape = pyramids.shape(tmp_path / "a.png")
    last = pyvips.Image.new_from_buffer(pyramids.tile(tmp_path / "a.png", shape.levels - 1, 0, 0), "")
    assert (last.width, last.height) == (2100 >> shape.levels - 1, 1500 >> shape.levels - 1)
    assert max(last.width, last.height) <= PYRAMID_TILE


def test_a_changed_picture_is_shown_anew(tmp_path: Path) -> None:
    pyramids = Pyramids(tmp_path / "shown", trusted=tmp_path / "results")
    write_image(tmp_path / "a.png", np.zeros((3, 20, 20), np.float32))
    assert not pyvips.Image.new_from_buffer(pyramids.thumbnail(tmp_path / "a.png"), "").numpy().any()
    write_image(tmp_path / "a.png", np.ones((3, 20, 30), np.float32))
    assert pyvips.Image.new_from_buffer(pyramids.thumbnail(tmp_path / "a.png"), "").numpy().all()


def test_a_folder_of_many_entries_says_how_many_are_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abcde":
        (tmp_path / f"{name}.png").touch()
    monkeypatch.setattr("gramgan.studio.places._LISTED", 3)
    found = Places([tmp_path]).listing(str(tmp_path))
    assert [path.name for path in found.entries] == ["a.png", "b.png", "c.png"]
    assert found.more == 2
