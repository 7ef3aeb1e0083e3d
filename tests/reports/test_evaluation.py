"""The page of an evaluation and its Markdown: what they say, and which pictures they show."""

import numpy as np
import pytest

from gramgan.evaluation.crops import Strip
from gramgan.evaluation.protocols import SR_Y_CROP4
from gramgan.evaluation.report import EvaluationReport, ImageScores, ModelScores
from gramgan.evaluation.scoring import Scorer
from gramgan.reports.evaluation import evaluation_page, strips_picture


def scores(psnr: float, dss: float) -> dict[str, float]:
    return {
        "psnr_y": psnr,
        "ssim_y": 0.8,
        "gram_distance": 0.1,
        "colour_drift": 0.5,
        "dss": dss,
        "lr_psnr": 50.0,
        "texture_distance": 0.1,
        "texture_distance_textured": 0.1,
    }


def report(images: int = 10) -> EvaluationReport:
    """The second model's lead in DSS grows with the image's number, from -4 to 5 hundredths."""
    names = [f"image{i}.png" for i in range(images)]
    first = [ImageScores(name, scores(30.0, 0.8)) for name in names]
    second = [ImageScores(name, scores(29.0, 0.8 + (i - 4) / 100)) for i, name in enumerate(names)]
    square = np.zeros((16, 16, 3), np.uint8)
    strips = [
        Strip(name, 0, 0, square, square[:4, :4], {"one": square, "other": square + np.uint8(i)})
        for i, name in enumerate(names)
    ]
    models = (
        ModelScores("one", "bicubic", "", "", tuple(first)),
        ModelScores("other", "generator", "ab" * 32, "fp32", tuple(second)),
    )
    metrics = Scorer.full(SR_Y_CROP4).metrics
    return EvaluationReport(SR_Y_CROP4, metrics, models, "folder/set", "made", tuple(strips))


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAMGAN_CACHE", str(tmp_path))


def test_page_says_how_everything_was_scored() -> None:
    html = evaluation_page(report()).html()
    assert "Scores on set" in html
    for text in ("sr-y-crop4", "DCT subband similarity", "ab" * 32, "PSNR-Y, dB ↑", "6 of 10 images"):
        assert text in html
    assert "other against one" not in html
    assert html.count("<img") == 1


def test_comparison_counts_and_names_the_better_one() -> None:
    html = evaluation_page(report(), compare=True).html()
    section = html.partition("other against one")[2]
    psnr, dss = (section.partition(title)[2].partition("</tr>")[0] for title in ("PSNR-Y, dB ↑", "DSS ↑"))
    assert ">−1.00<" in psnr
    assert ">one<" in psnr
    assert all(f">{count}<" in dss for count in (5, 4, 1))
    assert "not clear" in dss


def test_comparison_shows_the_largest_differences_both_ways() -> None:
    found = evaluation_page(report(), compare=True, pictures=2)
    strips = {strip.image: strip for strip in report().strips}
    expected = evaluation_page(report(), compare=True, pictures=0)
    assert "<img" not in expected.html()
    wanted = strips_picture(report(), [strips["image9.png"], strips["image0.png"]])
    assert to_data(wanted) in found.html()


def to_data(picture: np.ndarray) -> str:
    import base64

    from gramgan.reports.pixels import to_png

    return base64.b64encode(to_png(picture)).decode("ascii")


def test_markdown_carries_intervals_and_hashes() -> None:
    text = report().markdown(compare=True)
    assert "| other | 29.00 ± 0.00 |" in text
    assert "| DSS ↑ | +0.0050 ± 0.0217 | 5 | 4 | 1 |" in text
    assert "ab" * 32 in text
    assert "Student's t" in text


def test_names_cannot_break_a_table() -> None:
    made = report(2)
    odd = ModelScores("a|b", "results", "", "", made.models[0].images)
    text = EvaluationReport(made.protocol, made.metrics, (odd,), "x", "y").markdown()
    rows = [line for line in text.splitlines() if line.startswith("| a")]
    assert all(line.count("|") == text.splitlines()[2].count("|") for line in rows[:1])
