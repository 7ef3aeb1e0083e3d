import base64
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import pyvips
from matplotlib.figure import Figure

from gramgan.errors import UserError
from gramgan.reports.page import FIGURE_INK, Column, Page
from gramgan.reports.pixels import to_jpeg, to_png

_VOID = {"meta", "img", "input", "br", "path", "use", "rect", "stop"}


class _Balance(HTMLParser):
    """Collects attributes and fails on a tag that is closed out of order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parse(page: Page) -> _Balance:
    parser = _Balance()
    parser.feed(page.html())
    parser.close()
    assert parser.open == []
    return parser


def line_plot() -> Figure:
    figure = Figure()
    axes = figure.add_subplot()
    axes.plot([0, 1], [1, 2], color=FIGURE_INK)
    axes.set_title("a & b", color=FIGURE_INK)
    return figure


def full_page() -> Page:
    page = Page("A <title> & more")
    page.heading("Section")
    page.heading("Part", 3)
    page.text("One <b>plain</b> paragraph.", "Another.")
    page.note("Mind & look.")
    page.table(["name", Column("score", ".2f", "high")], [["a", 1.0], ["b", None]], "A <caption>")
    page.image(np.zeros((3, 4, 5), np.float32), 'quote " and <')
    page.gallery([(np.zeros((4, 4, 3), np.uint8), "one"), (np.zeros((4, 4, 3), np.uint8), "two")])
    page.figure(line_plot(), "A figure")
    page.figure(line_plot())
    return page


def test_page_is_well_formed_and_texts_are_escaped() -> None:
    parsed = parse(full_page())
    for text in ("A <title> & more", "One <b>plain</b> paragraph.", "Mind & look.", "A <caption>", 'quote " and <'):
        assert text in parsed.text
    assert ("img", "alt", 'quote " and <') in parsed.attributes


def test_page_loads_nothing_from_elsewhere() -> None:
    parsed = parse(full_page())
    for tag, name, value in parsed.attributes:
        if name in ("src", "href", "xlink:href", "action", "srcset", "data"):
            assert value.startswith(("data:image/png;base64,", "#")), (tag, name, value[:60])
        assert not name.startswith("on"), (tag, name)
    html = full_page().html()
    assert "<script" not in html and "@import" not in html and "<link" not in html
    assert not re.search(r"url\((?!#)", html)
    assert "default-src 'none'" in html


def test_page_fits_phones_and_dark_screens() -> None:
    html = full_page().html()
    assert 'name="viewport"' in html and "width=device-width" in html
    assert "prefers-color-scheme: dark" in html


def test_image_is_embedded_without_loss() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    page = Page("t")
    page.image(picture)
    page.image(to_png(picture))
    sources = [v for tag, name, v in parse(page).attributes if (tag, name) == ("img", "src")]
    for source in sources:
        png = base64.b64decode(source.removeprefix("data:image/png;base64,"))
        assert (pyvips.Image.new_from_buffer(png, "").numpy() == picture).all()
    assert len(sources) == 2
    assert ("img", "width", "9") in parse(page).attributes and ("img", "height", "6") in parse(page).attributes


def test_bytes_that_are_not_png_are_refused() -> None:
    with pytest.raises(ValueError, match="PNG"):
        Page("t").image(b"\xff\xd8\xff\xe0 a JPEG")


def cells(page: Page) -> list[tuple[str, str]]:
    """Class and text of every cell of the body."""
    return re.findall(r'<td(?: class="([^"]*)")?>([^<]*)</td>', page.html())


def test_table_marks_the_best_of_a_column() -> None:
    page = Page("t")
    columns = ["model", Column("PSNR-Y", ".2f", "high"), Column("ST-LPIPS", ".3f", "low"), Column("seconds", ".1f")]
    page.table(columns, [["a", 28.43, 0.326, 1.0], ["b", 29.917, 0.1, 9.0], ["c", 29.921, math.nan, 5.0]])
    best = [text for kind, text in cells(page) if "best" in kind]
    assert best == ["29.92", "0.100", "29.92"], "values that read the same are marked alike, NaN never"


def test_a_single_number_is_not_the_best() -> None:
    page = Page("t")
    page.table([Column("score", best="high")], [[1.0], [None]])
    assert all("best" not in kind for kind, _ in cells(page))


def test_table_writes_numbers_and_gaps() -> None:
    page = Page("t")
    page.table(["x", Column("y", ".2e")], [[1234567, math.inf], [None, -0.00012], ["text", math.nan]])
    assert [text for _, text in cells(page)] == ["1,234,567", "∞", "–", "−1.20e−04", "text", "–"]


def test_table_refuses_a_row_of_another_length() -> None:
    with pytest.raises(ValueError, match="3 cells in a table of 2 columns"):
        Page("t").table(["a", "b"], [["1", "2"], ["1", "2", "3"]])


def test_figures_take_the_colour_of_the_text_and_share_no_names() -> None:
    html = full_page().html()
    assert html.count("<svg ") == 2
    assert FIGURE_INK not in html and "currentColor" in html
    names = re.findall(r'\bid="([^"]+)"', html)
    assert len(names) == len(set(names))
    for reference in re.findall(r'(?:href="#|url\(#)([^")]+)', html):
        assert reference in names


def test_the_same_content_gives_the_same_file() -> None:
    assert full_page().html() == full_page().html()


def test_save_replaces_the_file_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    Page("first").save(path)
    full_page().save(path)
    assert path.read_text(encoding="utf-8") == full_page().html()
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_save_where_a_file_stands_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="a file stands where a folder is needed"):
        Page("t").save(tmp_path / "file" / "report.html")


def test_photographs_are_embedded_as_jpeg() -> None:
    jpeg = to_jpeg(np.full((30, 50, 3), 120, np.uint8))
    page = Page("t")
    page.image(jpeg, "a photograph")
    (source,) = [value for tag, name, value in parse(page).attributes if (tag, name) == ("img", "src")]
    assert base64.b64decode(source.removeprefix("data:image/jpeg;base64,")) == jpeg
    assert 'width="50" height="30"' in page.html()


def test_a_picture_that_a_click_enlarges() -> None:
    page = Page("t")
    page.image(np.zeros((10, 10, 3), np.uint8), "a <map>", zoom=True)
    attributes = parse(page).attributes
    assert ("input", "type", "checkbox") in attributes
    assert ("input", "aria-label", "enlarge: a <map>") in attributes
    assert ("label", "class", "zoom") in attributes
    assert "<script" not in page.html()
