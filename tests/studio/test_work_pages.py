"""Training, textures and scores in a real browser."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from served import Served, picture

from gramgan.images import write_image

pytest.importorskip("starlette", reason="the extra `studio` is not installed")
pytest.importorskip("playwright", reason="Playwright is not installed")
pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")

from browsing import SECONDS, check_access_at_all_widths, forget_everything
from playwright.sync_api import Page, expect

TINY = (
    "generator.nf=32\ngenerator.nb=6\ngenerator.gc=16\ndata.crop=160\ntrain.batch_size=4\ntrain.device=cpu\n"
    "train.precision=fp32\ntrain.memory_format=contiguous\nstages.pretrain=5\nstages.warm_discriminator=0\n"
    "stages.adversarial=0\nlog.every=1\nlog.validate_every=5\nlog.best_by=psnr_y"
)


@pytest.fixture(scope="module")
def photographs(served: Served) -> Path:
    folder = served.folder / "photographs"
    folder.mkdir()
    for number in range(5):
        write_image(folder / f"photo{number}.png", picture(number, 200, 240))
    return folder


def _iterations(run: Path) -> list[int]:
    log = run / "log.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return [record["iteration"] for record in map(json.loads, lines) if record["event"] == "step"]


@pytest.mark.browser
def test_a_training_is_started_watched_stopped_and_resumed(
    opened: Callable[..., Page], served: Served, photographs: Path
) -> None:
    page = opened("/train")
    page.fill("#field-photos", str(photographs))
    page.get_by_role("button", name="Check them first").click()
    page.get_by_text("5 of 5 photographs can be used").first.wait_for()
    page.fill("#name", "five steps")
    page.get_by_text("Any other setting").click()
    page.fill("#more", TINY)
    page.get_by_role("button", name="Start training").click()
    run = served.runs / "five steps"
    until = time.monotonic() + 120
    while not _iterations(run):
        assert time.monotonic() < until, (run / "console.log").read_text()
        time.sleep(0.1)
    page.get_by_role("button", name="Stop five steps").click()
    page.get_by_role("button", name="Resume five steps").wait_for()
    stopped = _iterations(run)
    assert 0 < stopped[-1] < 5
    page.get_by_text(f"iteration {stopped[-1]} of 5").first.wait_for()
    page.close()  # which stops nothing
    page = opened("/train", bypass_csp=True)
    page.get_by_role("button", name="Resume five steps").click()
    page.get_by_text("finished").first.wait_for(timeout=2 * SECONDS)
    assert _iterations(run) == [1, 2, 3, 4, 5]
    page.locator("#curves:not([hidden])").wait_for()
    expect(page.locator("#curves")).to_have_js_property("complete", True)
    assert page.evaluate("document.getElementById('curves').naturalWidth") > 0
    page.locator("#samples figure").first.wait_for()
    check_access_at_all_widths(page)
    with page.context.expect_page() as new:
        page.get_by_role("link", name="Full report").click()
    new.value.get_by_role("heading", name="Training run five steps").wait_for()


@pytest.mark.browser
def test_a_run_of_a_terminal_is_watched_and_stopped_as_well(
    opened: Callable[..., Page], served: Served, photographs: Path
) -> None:
    run = served.runs / "terminal"
    sets = [part for line in TINY.replace("pretrain=5", "pretrain=500").splitlines() for part in ("--set", line)]
    command = [
        sys.executable,
        "-m",
        "gramgan",
        "train",
        "--preset",
        "lite",
        "--photos",
        str(photographs),
        "--output",
        str(run),
    ]
    process = subprocess.Popen([*command, *sets], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        page = opened("/train")
        card = page.locator(".card", has_text="terminal")
        card.get_by_text(re.compile(r"running .* of 500")).wait_for(timeout=2 * SECONDS)
        card.get_by_role("button", name="Stop terminal").click()
        assert process.wait(60) == 1  # the command's own code for a run that was stopped
        card.get_by_role("button", name="Resume terminal").wait_for()
        assert (run / "checkpoints").is_dir()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.mark.browser
def test_a_database_is_built_shown_and_searched_by_a_click(
    opened: Callable[..., Page], served: Served, photographs: Path
) -> None:
    forget_everything(served)
    page = opened("/textures", bypass_csp=True)
    page.fill("#field-photos", str(photographs))
    page.fill("#name", "small")
    page.fill("#patches", "300")
    page.fill("#licence", "CC0-1.0")
    page.get_by_role("button", name="Build").click()
    page.get_by_role("radio", name="small.lance").wait_for(timeout=2 * SECONDS)
    page.locator(".job", has_text="Build small.lance: done").wait_for(timeout=2 * SECONDS)
    page.set_input_files("#files", [served.folder / "one.png"])
    stage = page.locator("#viewer .stage").first
    stage.wait_for()
    page.wait_for_timeout(500)
    stage.click()
    page.locator(".matches figure").first.wait_for()
    found = page.locator(".matches").inner_text()
    assert page.locator(".matches img").count() == 5
    assert re.search(r"photo\d\.png", found)
    assert "CC0-1.0" in found
    stage.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.get_by_text(re.compile(r"Pixel \d+, 30: the nearest")).wait_for()
    page.get_by_role("button", name="Map and galleries of small.lance").click()
    page.frame_locator("#map").get_by_role("heading", name="Map of texture space").wait_for(timeout=2 * SECONDS)
    check_access_at_all_widths(page)


@pytest.mark.browser
def test_two_models_are_scored_side_by_side(opened: Callable[..., Page], served: Served) -> None:
    forget_everything(served)
    truth = served.folder / "truth"
    truth.mkdir()
    for number in range(2):
        write_image(truth / f"{number}.png", np.clip(picture(number, 96, 96), 0, 1))
    page = opened("/evaluate", bypass_csp=True)
    page.fill("#field-truth", str(truth))
    page.get_by_label("gramgan-x4", exact=True).uncheck()
    page.get_by_role("button", name="Score and compare").click()
    page.get_by_role("alert").get_by_text("only one to score").wait_for()
    page.fill("#field-weights", str(served.folder / "small.safetensors"))
    page.get_by_role("button", name="Score and compare").click()
    scores = page.frame_locator("#report")
    scores.get_by_role("heading", name="small against bicubic").wait_for(timeout=2 * SECONDS)
    scores.get_by_role("heading", name="Pictures").wait_for()
    with page.expect_download() as loading:
        page.get_by_role("link", name="Table").click()
    assert loading.value.suggested_filename == "scores.csv"
    check_access_at_all_widths(page)


@pytest.mark.browser
def test_an_error_is_one_line_and_said_aloud(opened: Callable[..., Page], served: Served) -> None:
    page = opened("/train")
    page.get_by_role("button", name="Start training").click()
    alert = page.get_by_role("alert")
    expect(alert).to_have_text("photos: is missing; fill it in")
