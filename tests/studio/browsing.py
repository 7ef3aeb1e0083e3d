"""What the tests in a browser have in common."""

from pathlib import Path

import axe_playwright_python
from playwright.sync_api import ConsoleMessage, Page
from served import Served

SECONDS = 60_000  # in milliseconds: how long a page may take for anything


def own(address: str, served: Served) -> bool:
    return address.startswith((served.address + "/", "data:", "blob:", "about:"))


def refusal(message: ConsoleMessage) -> bool:
    """Whether the browser itself notes that a request was refused with 400, as those of wrong input are."""
    return "status of 400" in message.text


def forget_everything(served: Served) -> None:
    """What a test before has left on the page."""
    jobs = [job["id"] for job in served.get("/api/jobs").json["jobs"] if job["kind"] != "measure"]
    served.post("/api/jobs/cancel", {"jobs": jobs})
    for number in jobs:
        served.wait(number)
    served.post("/api/jobs/remove", {"jobs": jobs})
    served.post(
        "/api/pictures/remove", {"pictures": [one["id"] for one in served.get("/api/pictures").json["pictures"]]}
    )


def check_access(page: Page) -> None:
    """axe-core finds nothing, and nothing has to be scrolled sideways."""
    axe = Path(str(axe_playwright_python.__file__)).parent / "axe.min.js"
    page.evaluate(axe.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]] == [], page.url
    assert len(found["passes"]) > 10
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


def check_access_at_all_widths(page: Page) -> None:
    for width in (390, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(200)
        check_access(page)
