"""Several runs on one page."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from gramgan.cli.app import run as gramgan
from gramgan.config import load_config
from gramgan.errors import UserError
from gramgan.images import write_image
from gramgan.reports.side_by_side import write_side_by_side

Records = list[dict[str, object]]


def make(folder: Path, records: Records, *overrides: str, samples: dict[str, int] | None = None) -> Path:
    """A run's folder by hand; `samples` are validation images by name, their truth a shade of grey, at iteration 20."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(load_config("paper", overrides=list(overrides)).to_yaml())
    (folder / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    for name, grey in (samples or {}).items():
        for kind in ("truth", "bicubic", "0000020"):
            write_image(folder / "samples" / name / f"{kind}.png", np.full((3, 120, 120), grey / 255, np.float32))
    return folder


def validation(of: str, iteration: int, protocol: str = "p on 2 images", **scores: float) -> dict[str, object]:
    best = of == "generator"
    return {
        "event": "validation",
        "iteration": iteration,
        "of": of,
        "protocol": protocol,
        "scores": scores,
        "best": best,
    }


def step(iteration: int, stage: str = "adversarial") -> dict[str, object]:
    losses = {"pixel": 0.1 / iteration}
    common = {"event": "step", "iteration": iteration, "stage": stage, "learning_rate": 1e-4}
    return {**common, "losses": losses, "iterations_per_second": 2.0}


def page(runs: list[Path], target: Path) -> tuple[str, str]:
    """The page's HTML, and its words alone."""
    write_side_by_side(runs, target)
    html = target.read_text(encoding="utf-8")
    without_style = re.sub(r"<style>.*?</style>|<svg.*?</svg>", "", html, flags=re.DOTALL)
    return html, re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", without_style))


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    bicubic = validation("bicubic", 0, psnr_y=26.0, gram_distance=0.2)
    one = [bicubic, step(10, "pretrain"), step(20), validation("generator", 20, psnr_y=27.0, gram_distance=0.1)]
    other = [bicubic, step(20), validation("generator", 20, psnr_y=28.0, gram_distance=0.3)]
    warned: Records = [{"event": "warning", "stage": "adversarial", "iteration": 20, "message": "colours drift"}]
    return [
        make(tmp_path / "one", one, "losses.texture=0.5", samples={"leaf": 80, "stone": 120}),
        make(tmp_path / "other", other + warned, "data.crop=128", samples={"leaf": 80, "stone": 90}),
    ]


def rows(html: str, first_column: str) -> list[list[str]]:
    table = next(t for t in re.findall(r"<table>.*?</table>", html, re.DOTALL) if f">{first_column}</th>" in t)
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in table.split("<tr>")[2:]]


def test_two_runs(two: list[Path], tmp_path: Path) -> None:
    html, text = page(two, tmp_path / "page.html")
    assert rows(html, "setting") == [["data.crop", "192", "128"], ["losses.texture", "0.5", "1"]]
    assert "The other" in text and "settings are the same in all runs" in text
    scores = next(t for t in re.findall(r"<table>.*?</table>", html, re.DOTALL) if "PSNR-Y" in t)
    found = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in scores.split("<tr>")[2:]]
    assert found == [
        ["bicubic", "–", "26.00", "0.2"],
        ["one, best", "20", "27.00", "0.1"],
        ["other, best", "20", "28.00", "0.3"],
    ]
    assert '<td class="number best">28.00' in html
    assert "colours drift" in text
    assert html.count("<svg") == 2  # losses and scores, each with both runs
    assert html.count("data:image/png") == 1
    assert not re.search(r"(src|href)=.(http|file|//)", html)
    assert "cannot be compared" not in text


def test_other_protocols_are_not_compared(two: list[Path], tmp_path: Path) -> None:
    bicubic = validation("bicubic", 0, "q", psnr_y=30.0)
    third = make(tmp_path / "third", [bicubic, validation("generator", 20, "q", psnr_y=33.0)])
    html, text = page([two[0], third], tmp_path / "page.html")
    assert "their scores cannot be compared" in text
    assert "best" not in re.findall(r'class="([^"]*)"', html)
    assert "p on 2 images / q" in text


def test_other_validation_images_are_not_compared(two: list[Path], tmp_path: Path) -> None:
    third = make(tmp_path / "third", [validation("bicubic", 0, psnr_y=31.0), validation("generator", 9, psnr_y=33.0)])
    assert "validated on different images" in page([two[0], third], tmp_path / "page.html")[1]


def test_runs_that_have_only_begun_and_one_that_was_never_validated(two: list[Path], tmp_path: Path) -> None:
    begun, never = make(tmp_path / "begun", []), make(tmp_path / "never", [step(10)])
    html, text = page([begun, never, two[0]], tmp_path / "page.html")
    assert "Not validated: begun, never." in text
    assert "stands at 0" in text
    assert "Of one alone: no other run has been validated yet" in text
    assert html.count("<svg") == 2
    assert (
        page([begun, make(tmp_path / "begun2", [])], tmp_path / "nothing.html")[1].count("Nothing was validated") == 1
    )


def test_a_moved_run_is_shown_under_its_new_name(two: list[Path], tmp_path: Path) -> None:
    moved = two[1].rename(tmp_path / "elsewhere")
    assert "elsewhere, best" in page([two[0], moved], tmp_path / "page.html")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["one", "one"], "one: is named twice; name every run once"),
        (["one", "nothing"], "nothing: is not a training run"),
        (["one", "damaged"], "log.jsonl: line 2 is damaged, it is no record of a training; delete that line"),
        (["damaged"], "log.jsonl: line 2 is damaged"),
    ],
)
def test_bad_input_is_one_line(
    two: list[Path], tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = make(tmp_path / "damaged", [step(10)])
    with (damaged / "log.jsonl").open("a") as file:
        file.write('{"event": "step", "itera\n')
    assert gramgan(["report", *(str(tmp_path / name) for name in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_command_writes_where_it_is_told(
    two: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "deep" / "page.html"
    assert gramgan(["report", *map(str, two), "-o", str(target)]) == 0
    assert capsys.readouterr().out == f"written: {target}\n"
    assert target.exists()
    assert gramgan(["report", str(two[0])]) == 0
    assert (two[0] / "report.html").exists()


def test_named_twice_also_through_another_path(two: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="named twice"):
        write_side_by_side([two[0], tmp_path / "other" / ".." / "one"], tmp_path / "page.html")
