"""The page in a real browser."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from served import Served, chromium, picture, started

from gramgan.images import write_image

pytest.importorskip("starlette", reason="the extra `studio` is not installed")

pytest.importorskip("playwright", reason="Playwright is not installed")

from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

axe_playwright_python = pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")

PATHS = ("/", "/train", "/textures", "/evaluate")
SECONDS = 60_000  # in milliseconds


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = chromium()
    with sync_playwright() as running:
        opened = running.chromium.launch(executable_path=path)
        yield opened
        opened.close()


@pytest.fixture
def opened(browser: Browser, served: Served) -> Iterator[Callable[..., Page]]:
    """Opens pages; at the end none may have asked another host for anything, or complained on its console."""
    foreign: list[str] = []
    complaints: list[str] = []
    contexts = []

    def watch(page: Page) -> None:
        page.set_default_timeout(SECONDS)
        page.on("request", lambda one: foreign.append(one.url) if not _own(one.url, served) else None)
        page.on(
            "console",
            lambda one: complaints.append(one.text) if one.type in ("error", "warning") and not _refusal(one) else None,
        )
        page.on("pageerror", lambda one: complaints.append(str(one)))

    def open_page(path: str = "/", **options: Any) -> Page:
        context = browser.new_context(accept_downloads=True, **options)
        contexts.append(context)
        page = context.new_page()
        watch(page)
        page.goto(served.address + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert foreign == []
    assert complaints == []


def _own(address: str, served: Served) -> bool:
    return address.startswith((served.address + "/", "data:", "blob:", "about:"))


def _refusal(message: ConsoleMessage) -> bool:
    """Whether the browser itself notes that a request was refused with 400, as those of wrong input are."""
    return "status of 400" in message.text


def _forget_everything(served: Served) -> None:
    """What a test before has left on the page."""
    jobs = [job["id"] for job in served.get("/api/jobs").json["jobs"] if job["kind"] != "measure"]
    served.post("/api/jobs/cancel", {"jobs": jobs})
    for number in jobs:
        served.wait(number)
    served.post("/api/jobs/remove", {"jobs": jobs})
    served.post(
        "/api/pictures/remove", {"pictures": [one["id"] for one in served.get("/api/pictures").json["pictures"]]}
    )


def _choose_small(page: Page, served: Served) -> None:
    """The generator that takes no time, by torch alone: so that two runs give the same bits."""
    page.select_option("#field-model", "file")
    page.fill("#file-model", str(served.folder / "small.safetensors"))
    page.get_by_text("More settings").click()
    page.fill("#field-backend", "torch")
    page.fill("#field-precision", "fp32")


def _add(page: Page, *paths: Path) -> None:
    page.set_input_files("#files", list(paths))
    for path in paths:
        page.locator(".card", has_text=path.name).locator(".plan", has_text="→").wait_for()


def _check_access(page: Page) -> None:
    """axe-core finds nothing, and nothing has to be scrolled sideways."""
    axe = Path(str(axe_playwright_python.__file__)).parent / "axe.min.js"
    page.evaluate(axe.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]] == [], page.url
    assert len(found["passes"]) > 10
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


def _check_access_at_all_widths(page: Page) -> None:
    for width in (390, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(200)
        _check_access(page)


@pytest.mark.parametrize("path", PATHS)
def test_the_page_opens_in_a_browser(opened: Callable[..., Page], path: str) -> None:
    """The short path of `make test`; the others are in `make studio-test`."""
    page = opened(path)
    page.locator("h1").wait_for(state="attached")
    assert page.locator("[aria-current]").count() == 1
    page.wait_for_load_state("networkidle")


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_axe_finds_nothing(opened: Callable[..., Page], served: Served, width: int, scheme: str) -> None:
    _forget_everything(served)
    number = served.post("/api/pictures", {"path": str(served.folder / "one.png")}).json["pictures"][0]["id"]
    settings = {"model": str(served.folder / "small.safetensors")}
    job = served.post("/api/upscale", {"pictures": [number], "settings": settings}).json["jobs"][0]
    assert served.wait(job)["state"] == "done"
    for path in PATHS:
        page = opened(path, viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(300)
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        _check_access(page)


@pytest.mark.browser
def test_upload_compare_download_is_the_commands_file(
    opened: Callable[..., Page], served: Served, tmp_path: Path
) -> None:
    _forget_everything(served)
    page = opened()
    source = served.folder / "deep.png"
    _choose_small(page, served)
    _add(page, source)
    card = page.locator(".card")
    expect(card).to_contain_text("48x40, 16 bits RGB with alpha", timeout=SECONDS)
    expect(card).to_contain_text("192 × 160 with small.safetensors")
    page.click("#go")
    page.get_by_role("link", name=re.compile("Download deep.png")).wait_for()
    with page.expect_download() as loading:
        page.get_by_role("link", name=re.compile("Download deep.png")).click()
    loading.value.save_as(tmp_path / "page.png")
    weights = ["--model", str(served.folder / "small.safetensors"), "--backend", "torch", "--precision", "fp32"]
    command = [sys.executable, "-m", "gramgan", "upscale", str(source), "-o", str(tmp_path / "command.png"), *weights]
    subprocess.run(command, check=True)
    assert (tmp_path / "page.png").read_bytes() == (tmp_path / "command.png").read_bytes()

    viewer = page.locator("#viewer")
    divider = viewer.get_by_label("Divider between left and right")
    stage = viewer.locator(".stage").first
    pictures = []
    for value in ("0", "100"):
        divider.fill(value)
        page.wait_for_timeout(200)
        pictures.append(stage.screenshot())
    assert pictures[0] != pictures[1]
    divider.focus()
    page.keyboard.press("ArrowLeft")
    assert divider.input_value() == "99"
    stage.focus()
    page.keyboard.press("1")
    expect(viewer.locator("output")).to_have_text("100 %")
    page.keyboard.press("+")
    expect(viewer.locator("output")).to_have_text("150 %")
    viewer.get_by_role("button", name="800 %").click()
    expect(viewer.locator("output")).to_have_text("800 %")


@pytest.mark.browser
def test_the_zoomed_view_shows_the_results_own_pixels(opened: Callable[..., Page], served: Served) -> None:
    _forget_everything(served)
    page = opened()
    _choose_small(page, served)
    _add(page, served.folder / "one.png")
    page.click("#go")
    page.get_by_role("link", name=re.compile("Download one.png")).wait_for()
    viewer = page.locator("#viewer")
    viewer.get_by_label("Divider between left and right").fill("0")
    viewer.get_by_role("button", name="800 %").click()
    page.wait_for_timeout(500)
    job = served.jobs("upscale")[-1]
    own = pyvips.Image.new_from_buffer(served.get(f"/results/{job['id']}").data, "").numpy()[..., :3]
    stage = pyvips.Image.new_from_buffer(viewer.locator(".stage").first.screenshot(), "").numpy()[..., :3]
    y, x = (
        stage.shape[0] // 2,
        stage.shape[1] // 2,
    )  # shows the middle of the result, 240 x 320 pixels, 8 times as large
    shown = [[stage[y + 20 + 8 * row, x + 20 + 8 * column].tolist() for column in range(6)] for row in range(6)]
    assert shown == own[120 + 20 // 8 :, 160 + 20 // 8 :][:6, :6].tolist()


@pytest.mark.browser
def test_a_third_view_follows_the_others(opened: Callable[..., Page], served: Served) -> None:
    _forget_everything(served)
    page = opened()
    _choose_small(page, served)
    _add(page, served.folder / "one.png")
    for count, scale in ((1, "4"), (2, "8")):
        page.fill("#field-scale", scale)
        page.locator("#go:not(:disabled)").click()
        expect(page.locator(".job a.button")).to_have_count(count, timeout=SECONDS)
    third = page.get_by_label("Third view")
    third.wait_for()
    assert page.locator(".stage:visible").count() == 2
    before = page.locator(".stage").nth(1).screenshot()
    page.locator(".stage").first.focus()
    for _ in range(6):
        page.keyboard.press("+")
    page.wait_for_timeout(500)
    assert page.locator(".stage").nth(1).screenshot() != before
    third.select_option("")
    expect(page.locator(".stage:visible")).to_have_count(1)


@pytest.mark.browser
def test_a_folder_of_thirty(opened: Callable[..., Page], served: Served, tmp_path: Path) -> None:
    _forget_everything(served)
    folder = served.folder / "thirty"
    folder.mkdir()
    for number in range(30):
        write_image(folder / f"{number:02d}.png", picture(number, 16, 24))
    page = opened()
    _choose_small(page, served)
    page.get_by_role("button", name="On this computer…").click()
    page.get_by_role("button", name=str(served.folder)).click()
    page.get_by_role("button", name="▸ thirty").click()
    page.get_by_role("button", name="Use this folder").click()
    page.get_by_role("button", name="Enlarge 30 pictures").wait_for()
    page.get_by_label("beside the picture").check()
    page.get_by_role("button", name="Enlarge 30 pictures").click()
    expect(page.locator(".job a.button")).to_have_count(30, timeout=SECONDS)
    assert sorted(path.name for path in folder.iterdir() if "_x4" in path.name) == [
        f"{n:02d}_x4.png" for n in range(30)
    ]
    with page.expect_download() as loading:
        page.get_by_role("link", name="Download all").click()
    loading.value.save_as(tmp_path / "all.zip")
    import zipfile

    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 30
    import shutil

    shutil.rmtree(folder)


@pytest.mark.browser
def test_cancel_reload_and_two_pages(opened: Callable[..., Page], served: Served) -> None:
    _forget_everything(served)
    write_image(served.folder / "wide.png", picture(5, 500, 500))
    first, second = opened(), opened()
    _choose_small(first, served)
    first.fill("#field-tile", "32")
    first.fill("#field-scale", "8")
    _add(first, served.folder / "wide.png")
    first.click("#go")
    running = re.compile(r"running, [1-9]\d* of \d+")
    first.locator(".job", has_text=running).wait_for()
    first.reload()
    first.locator(".job", has_text=running).wait_for()  # found again
    second.locator(".job", has_text=running).wait_for()  # by the other page too
    _choose_small(second, served)
    _add(second, served.folder / "one.png")
    second.locator("#go:not(:disabled)").click()
    job = served.jobs("upscale")[0]["id"]
    first.locator(".job", has_text=running).get_by_role("button", name=re.compile("Cancel")).click()
    assert served.wait(job)["state"] == "cancelled"
    assert not list(served.work.rglob(f"results/{job}"))
    second.get_by_role("link", name=re.compile("Download one.png")).wait_for()
    first.get_by_role("link", name=re.compile("Download one.png")).wait_for()
    (served.folder / "wide.png").unlink()


@pytest.mark.browser
def test_a_name_is_never_html(opened: Callable[..., Page], served: Served, tmp_path: Path) -> None:
    _forget_everything(served)
    evil = "<img src=x onerror=document.title='taken'><b>.png"
    write_image(tmp_path / evil, picture(3, 20, 20))
    for path in ("/", "/textures"):
        page = opened(path)
        page.set_input_files("#files", [tmp_path / evil])
        page.get_by_text("onerror").first.wait_for(state="attached")
        page.wait_for_timeout(300)
        assert page.locator("img[src=x]").count() == 0
        assert "taken" not in page.title()
        assert page.locator("main b").count() == 0


@pytest.mark.browser
def test_an_error_is_one_line_and_said_aloud(opened: Callable[..., Page], served: Served) -> None:
    page = opened("/train")
    page.get_by_role("button", name="Start training").click()
    alert = page.get_by_role("alert")
    expect(alert).to_have_text("photos: is missing; fill it in")


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
    _check_access_at_all_widths(page)
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
    _forget_everything(served)
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
    _check_access_at_all_widths(page)


@pytest.mark.browser
def test_two_models_are_scored_side_by_side(opened: Callable[..., Page], served: Served) -> None:
    _forget_everything(served)
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
    _check_access_at_all_widths(page)


@pytest.mark.browser
def test_from_the_command_to_a_usable_page_it_takes_four_seconds_at_most(browser: Browser, place: Path) -> None:
    taken = []
    for _ in range(5):  # a machine may have other work
        began = time.monotonic()
        with started(place) as studio:
            page = browser.new_page()
            page.goto(studio.address)
            page.locator("#estimate", has_text="No picture yet.").wait_for()
            taken.append(time.monotonic() - began)
            page.close()
        if taken[-1] <= 4:
            break
    print("from the command to a usable page:", taken)
    assert min(taken) <= 4


@pytest.mark.browser
def test_through_the_page_a_picture_takes_no_longer(
    opened: Callable[..., Page], served: Served, tmp_path: Path
) -> None:
    """From the click to the result, with the page watching, against the command from its start to its end."""
    _forget_everything(served)
    write_image(served.folder / "timed.png", picture(8, 256, 256))
    page = opened()
    page.select_option("#field-model", "gramgan-x4-lite")
    page.get_by_text("More settings").click()
    page.fill("#field-backend", "torch")
    page.fill("#field-precision", "fp32")
    _add(page, served.folder / "timed.png")
    same = ["--model", "gramgan-x4-lite", "--backend", "torch", "--precision", "fp32"]
    command = [sys.executable, "-m", "gramgan", "upscale", str(served.folder / "timed.png"), "-o"]
    pairs = []
    for number in range(1, 6):
        began = time.monotonic()
        page.locator("#go:not(:disabled)").click()
        expect(page.locator(".job a.button")).to_have_count(number, timeout=SECONDS)
        by_page = time.monotonic() - began
        began = time.monotonic()
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([*command, str(tmp_path / f"{number}.png"), *same], check=True, env=environment)
        pairs.append((by_page, time.monotonic() - began))
        if number > 1 and by_page <= 1.05 * pairs[-1][1]:
            break
    print("seconds by the page, by the command:", pairs)
    assert any(by_page <= 1.05 * by_command for by_page, by_command in pairs)
