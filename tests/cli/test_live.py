"""What a training shows: a panel on a terminal, plain lines elsewhere."""

import io
import logging
import re
from typing import Any

import pytest
from rich.console import Console

from gramgan.cli.live import LiveView

STEP: dict[str, Any] = {
    "event": "step",
    "stage": "adversarial",
    "iteration": 20,
    "losses": {"texture": 0.0123, "pixel": 0.05, "total": 0.07, "discriminator": 0.61},
    "learning_rate": 1e-4,
    "database": {"target_ratio": 0.437},
    "mask_share": 0.81,
    "ranked_right": 0.75,
    "colour_drift": 2 / 255,
    "gradient_generator": 0.0321,
    "shares": {"texture": 0.4, "pixel": 0.6},
    "iterations_per_second": 2.0,
}
BEST = {
    "event": "validation",
    "iteration": 20,
    "of": "generator",
    "protocol": "p",
    "scores": {"psnr_y": 27.5, "st_lpips": 0.08},
    "best": True,
}
BICUBIC = BEST | {"iteration": 0, "of": "bicubic", "scores": {"psnr_y": 26.0, "st_lpips": 0.3}, "best": False}


def shown(*, terminal: bool, width: int = 120, encoding: str = "utf-8") -> str:
    """Everything that one run writes; of a terminal, with its control codes."""
    buffer = io.TextIOWrapper(io.BytesIO(), encoding, errors="backslashreplace", write_through=True)
    console = Console(file=buffer, force_terminal=terminal, width=width, height=40, soft_wrap=True, highlight=False)
    with LiveView("runs/mine · paper", console) as view:
        view.loading(5, 5)
        view.record(BICUBIC)
        for iteration in range(1, 21):
            view.iteration(iteration, 40, "adversarial")
            if iteration % 5 == 0:
                view.record(STEP | {"iteration": iteration, "losses": STEP["losses"] | {"pixel": 1 / iteration}})
        logging.getLogger("gramgan").warning("the discriminator [has] learnt nothing")
        view.record(BEST)
    assert isinstance(buffer.buffer, io.BytesIO)
    return buffer.buffer.getvalue().decode(encoding)


def test_a_log_file_gets_one_plain_line_for_each_record() -> None:
    lines = shown(terminal=False).splitlines()
    assert len(lines) == 6
    assert not any("\x1b" in line for line in lines)
    assert lines[0][8:] == "       0  bicubic: psnr_y 26.0000  st_lpips 0.3000"
    assert lines[4][8:] == (
        "      20  adversarial: texture 0.0123  pixel 0.05  total 0.07  discriminator 0.61  rate 0.0001  "
        "target ratio 0.437  mask share 81%  ranked right 75%  2.00 it/s  0:00:10 left"
    )
    assert lines[5].endswith("generator: psnr_y 27.5000  st_lpips 0.0800  (best)")


def last_panel(text: str) -> list[str]:
    lines = [line for line in text.replace("\r", "\n").splitlines() if line]
    start = max(i for i, line in enumerate(lines) if "╭" in line)
    return lines[start:]


def test_a_terminal_shows_a_panel_with_everything() -> None:
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown(terminal=True))
    panel = "\n".join(last_panel(text))
    assert "runs/mine · paper" in panel
    assert "20/40" in panel and "50%" in panel
    assert re.search(r"texture +0\.0123 +40% +▁▁▁▁", panel)
    assert re.search(r"pixel +0\.05 +60% +█▃▁▁", panel)
    assert re.search(r"target ratio +0\.437", panel)
    assert re.search(r"mask share +81%", panel)
    assert re.search(r"colour drift +2\.0 of 255", panel)
    assert re.search(r"validation +bicubic +best +last", panel)
    assert re.search(r"psnr y +26 +27\.5 +27\.5", panel)
    assert re.search(r"! [\d:]+ the discriminator \[has\] learnt nothing", panel)
    assert "left at this pace" in panel
    # Validations and messages scroll by above the panel; steps do not.
    assert text.count("generator: psnr_y 27.5000") == 1
    assert "adversarial: texture" not in text


@pytest.mark.parametrize(("width", "encoding"), [(40, "utf-8"), (80, "ascii")])
def test_narrow_and_old_terminals_work(width: int, encoding: str) -> None:
    assert "adversarial" in shown(terminal=True, width=width, encoding=encoding)


def test_the_logger_is_given_back() -> None:
    logger = logging.getLogger("gramgan")
    before = logger.handlers[:]
    shown(terminal=True)
    assert logger.handlers == before


def test_what_the_loop_logs_is_not_told_twice() -> None:
    buffer = io.StringIO()
    with LiveView(console=Console(file=buffer)) as view:
        view.record({"event": "warning", "iteration": 7, "message": "colours drift"})
    assert buffer.getvalue() == ""


def test_a_run_that_goes_back_has_a_pace_again() -> None:
    buffer = io.StringIO()
    with LiveView(console=Console(file=buffer, force_terminal=True, width=100)) as view:
        for done in (50, 51, 52, 40, 41):
            view.iteration(done, 100, "adversarial")
    last = buffer.getvalue().rpartition("41/100")[2]
    assert "left at this pace" in last
    assert "-" not in last.partition("left at this pace")[0].rpartition("so far")[2]  # no time below zero
