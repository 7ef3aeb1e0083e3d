"""The folders, the studio and the browser of a module's tests."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from served import Served, chromium, picture, started

from gramgan.images import write_image
from gramgan.networks.rrdb import RRDBConfig, RRDBNet
from gramgan.weights.card import Card
from gramgan.weights.formats import write_safetensors

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a module's studio works in: some pictures and a generator that takes next to no time."""
    place = tmp_path_factory.mktemp("studio")
    folder = place / "pictures"
    folder.mkdir()
    write_image(folder / "one.png", picture(1, 60, 80))
    write_image(folder / "deep.png", np.concatenate([picture(2, 40, 48), picture(3, 40, 48)[:1]]), bits=16)
    config = RRDBConfig(nf=4, nb=1, gc=2, upsampler="nearest")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = RRDBNet(config)
    card = Card(name="small", architecture={"network": "rrdb", **config.to_dict()}, licence="CC0-1.0", overlap=20)
    write_safetensors(folder / "small.safetensors", network.state_dict(), card)
    return place


@pytest.fixture(scope="module")
def served(place: Path) -> Iterator[Served]:
    with started(place) as studio:
        yield studio


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        opened = running.chromium.launch(executable_path=path)
        yield opened
        opened.close()


@pytest.fixture
def opened(browser: "Browser", served: Served) -> Iterator[Callable[..., "Page"]]:
    """Opens pages; at the end none may have asked another host for anything, or complained on its console."""
    from browsing import SECONDS, own, refusal

    foreign: list[str] = []
    complaints: list[str] = []
    contexts = []

    def watch(page: "Page") -> None:
        page.set_default_timeout(SECONDS)
        page.on("request", lambda one: foreign.append(one.url) if not own(one.url, served) else None)
        page.on(
            "console",
            lambda one: complaints.append(one.text) if one.type in ("error", "warning") and not refusal(one) else None,
        )
        page.on("pageerror", lambda one: complaints.append(str(one)))

    def open_page(path: str = "/", **options: Any) -> "Page":
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
