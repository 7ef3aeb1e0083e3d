import math
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gramgan.reports.page import Page
from gramgan.reports.plots import PALETTE, loss_curves, score_curves

Record = dict[str, Any]


def step(iteration: int, stage: str = "adversarial", **losses: float | None) -> Record:
    return {
        "event": "step",
        "stage": stage,
        "iteration": iteration,
        "losses": losses or {"texture": 1 / iteration, "pixel": 0.1, "total": 1.0},
        "learning_rate": 1e-4,
        "database": {"target_ratio": 0.9, "unique_share": 0.4},
        "mask_share": 0.8,
        "iterations_per_second": 1.5,
    }


def validation(iteration: int, **scores: float) -> Record:
    return {"event": "validation", "iteration": iteration, "scores": scores}


def plot(figure: Figure, title: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_title("left").startswith(title))


def curve(axes: Axes, index: int = 0) -> tuple[list[float], list[float]]:
    line = axes.get_lines()[index]
    return list(map(float, np.asarray(line.get_xdata()))), list(map(float, np.asarray(line.get_ydata())))


def test_one_plot_for_each_quantity_in_the_log() -> None:
    figure = loss_curves([step(i) for i in range(1, 11)])
    titles = [axes.get_title("left") for axes in figure.axes]
    assert titles == [
        "texture, L_PT",
        "pixel, L_C",
        "total of the generator",
        "target distance / half gap",
        "share of distinct patches chosen",
        "share of pixels the mask keeps",
        "learning rate",
        "iterations per second",
    ]
    xs, ys = curve(plot(figure, "texture"))
    assert xs == list(range(1, 11))
    assert ys == pytest.approx([1 / i for i in range(1, 11)])


def test_a_loss_of_another_name_is_drawn_too() -> None:
    assert plot(loss_curves([step(1, colour=0.5), step(2, colour=0.4)]), "colour")


def test_values_that_are_missing_or_not_finite_leave_gaps() -> None:
    records = [
        step(1, pixel=0.3),
        step(2, pixel=math.nan),
        step(3, pixel=math.inf),
        step(4, pixel=None),
        step(5, pixel=1.0),
    ]
    xs, ys = curve(plot(loss_curves(records), "pixel"))
    assert xs == [1, 2, 3, 4, 5]
    assert ys[0] == 0.3 and ys[4] == 1.0 and np.isnan(ys[1:4]).all()


def test_a_wide_range_is_drawn_logarithmically() -> None:
    figure = loss_curves([step(i, discriminator=10.0**-i, pixel=0.5) for i in range(1, 5)])
    assert plot(figure, "discriminator").get_yscale() == "log"
    assert plot(figure, "pixel").get_yscale() == "linear"


def test_many_points_are_smoothed_over_the_raw_ones() -> None:
    rng = np.random.default_rng(0)
    values = 1 + 0.3 * rng.standard_normal(400)
    axes = plot(loss_curves([step(i + 1, pixel=float(v)) for i, v in enumerate(values)]), "pixel")
    raw, smooth = curve(axes, 0)[1], curve(axes, 1)[1]
    assert raw == pytest.approx(values)
    assert smooth[200] == pytest.approx(values[190:211].mean())
    assert smooth[0] == pytest.approx(values[:11].mean())


def test_stages_follow_one_another_however_they_count() -> None:
    through = [step(i, "warm-discriminator") for i in (1, 2, 3)] + [step(i, "adversarial") for i in (4, 5)]
    again = [step(i, "warm-discriminator") for i in (1, 2, 3)] + [step(i, "adversarial") for i in (1, 2)]
    for records in (through, again):
        figure = loss_curves(records)
        assert curve(plot(figure, "texture"))[0] == [1, 2, 3, 4, 5]
        assert curve(plot(figure, "texture"), 1)[0] == [4, 4], "a line where the second stage begins"
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["adversarial begins"]


def test_what_a_crash_lost_is_left_out() -> None:
    crashed = [step(i, pixel=9.0) for i in range(1, 8)]
    resumed = [step(i, pixel=1.0) for i in range(5, 7)]
    xs, ys = curve(plot(loss_curves(crashed + resumed), "pixel"))
    assert xs == [1, 2, 3, 4, 5, 6]
    assert ys == [9, 9, 9, 9, 1, 1]


def test_a_crash_may_throw_a_run_back_into_an_earlier_stage() -> None:
    crashed = [step(1, "pretrain", pixel=9.0), step(2, "pretrain", pixel=9.0), step(3, "adversarial", pixel=9.0)]
    resumed = [step(2, "pretrain", pixel=1.0), step(3, "adversarial", pixel=1.0)]
    assert curve(plot(loss_curves(crashed + resumed), "pixel")) == ([1, 2, 3], [9, 1, 1])


def test_other_runs_are_drawn_beside_in_other_colours() -> None:
    figure = loss_curves([step(1), step(2)], {"L_C alone": [step(1, pixel=0.2), step(2, pixel=0.1)]}, "Gram-GAN")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Gram-GAN", "L_C alone"]
    assert [line.get_color() for line in plot(figure, "pixel").get_lines()] == list(PALETTE[:2])
    assert len(plot(figure, "texture").get_lines()) == 1


def test_scores_ring_the_best_in_the_metric_s_own_direction() -> None:
    records = [step(5), validation(5, psnr_y=28.0, st_lpips=0.2), step(10), validation(10, psnr_y=30.0, st_lpips=0.1)]
    records += [step(15), validation(15, psnr_y=29.0, st_lpips=0.3)]
    figure = score_curves(records)
    assert curve(plot(figure, "PSNR-Y"))[0] == [5, 10, 15]
    assert curve(plot(figure, "PSNR-Y"), 1) == ([10], [30])
    assert curve(plot(figure, "ST-LPIPS"), 1) == ([10], [0.1])
    assert "higher is better" in plot(figure, "PSNR-Y").get_title("left")
    assert "lower is better" in plot(figure, "ST-LPIPS").get_title("left")


def test_scores_show_baselines() -> None:
    figure = score_curves([validation(5, psnr_y=29.0)], baselines={"bicubic": {"psnr_y": 28.43, "st_lpips": 0.3}})
    line = plot(figure, "PSNR-Y").get_lines()[-1]
    assert list(np.asarray(line.get_ydata())) == [28.43, 28.43] and line.get_linestyle() == "--"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["this run", "bicubic"]


def test_validation_of_a_lost_iteration_is_left_out() -> None:
    records = [step(1), step(2), validation(2, psnr_y=20.0), step(2), validation(2, psnr_y=25.0)]
    assert curve(plot(score_curves(records), "PSNR-Y")) == ([2], [25])


@pytest.mark.parametrize(("draw", "records"), [(loss_curves, [validation(1, psnr_y=1.0)]), (score_curves, [step(1)])])
def test_an_empty_log_is_an_error(draw: Any, records: list[Record]) -> None:
    with pytest.raises(ValueError, match="in this log"):
        draw(records)


def test_figures_render_on_a_page() -> None:
    page = Page("run")
    records = [step(i) for i in range(1, 200)] + [validation(199, psnr_y=28.0)]
    page.figure(loss_curves(records), "losses")
    page.figure(score_curves(records, baselines={"bicubic": {"psnr_y": 27.0}}), "scores")
    assert page.html().count("<svg ") == 2


def test_palette_stays_apart_for_the_colour_blind() -> None:
    # Viénot, Brettel and Mollon 1999: linear RGB as a deuteranope and a protanope see it.
    matrices = {
        "deuteranope": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
        "protanope": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    }
    colours = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in PALETTE]) ** 2.2
    for matrix in matrices.values():
        seen = (colours @ np.array(matrix).T).clip(0, 1) ** (1 / 2.2)
        distances = np.linalg.norm(seen[:, None] - seen[None], axis=2)[np.triu_indices(len(PALETTE), 1)]
        assert distances.min() > 0.1
