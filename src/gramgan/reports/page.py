"""The one writer of HTML pages: a page is a single file that opens anywhere, without a network and without scripts."""

import base64
import io
import math
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from gramgan.files import write_text
from gramgan.reports.pixels import to_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TableCell = str | float | None
PageImage = np.ndarray | bytes

# Figures draw their text and axes in this colour; on the page it becomes the page's own text colour, light or dark.
FIGURE_INK = "#2b2d31"

# Pixels; `.wide` in the style keeps the former from shrinking beyond reading.
_WIDE = 928
_SMALL = 240
_CSS_DPI = 96
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8\xff"

_STYLE = """
:root { color-scheme: light dark; --paper: #fbfbfa; --card: #ffffff; --ink: #1d1f22; --quiet: #5c626b; --line: #dcdee2;
  --accent: #0b63b5; --best: #e3f1e4; }
@media (prefers-color-scheme: dark) { :root { --paper: #15171a; --card: #1d2024; --ink: #e6e7e9; --quiet: #a0a6af;
  --line: #363a41; --accent: #7ab8f5; --best: #1f3a29; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.55;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
main { max-width: 84rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0.5rem 0 1rem; }
h2 { font-size: 1.3rem; margin: 2.4rem 0 0.6rem; padding-top: 0.6rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.6rem 0 0.4rem; }
p { max-width: 46rem; margin: 0.6rem 0; overflow-wrap: anywhere; }
figure { margin: 1.2rem 0; }
figcaption { color: var(--quiet); font-size: 0.9rem; margin-top: 0.35rem; max-width: 46rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
img, svg { display: block; max-width: 100%; height: auto; }
.scroll > .wide { min-width: 58rem; }
.small { image-rendering: pixelated; }
.zoom { display: block; }
.zoom input { position: absolute; opacity: 0; }
.zoom .scroll { cursor: zoom-in; }
.zoom input:focus-visible + .scroll { outline: 2px solid var(--accent); }
.zoom img { width: 100%; }
.zoom input:checked + .scroll { cursor: zoom-out; max-height: 90vh; overflow: auto; }
.zoom input:checked + .scroll img { width: 300%; max-width: none; image-rendering: pixelated; }
.gallery { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(15rem, 100%), 1fr)); }
.gallery figure { margin: 0; }
.gallery img { width: 100%; border-radius: 3px; }
table { border-collapse: collapse; font-size: 0.95rem; font-variant-numeric: tabular-nums; }
.scroll { margin: 1rem 0 0.5rem; }
td:first-child { min-width: 9rem; }
th, td { padding: 0.35rem 0.8rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: baseline; }
thead th { border-bottom: 2px solid var(--line); font-weight: 600; white-space: nowrap; }
.number { text-align: right; white-space: nowrap; }
.best { background: var(--best); font-weight: 700; }
.note { border-left: 4px solid var(--accent); background: var(--card); padding: 0.6rem 0.9rem; margin: 1rem 0;
  max-width: 46rem; overflow-wrap: anywhere; }
"""

# Nothing may be loaded, not even by mistake: the browser itself refuses.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Numbers are written with `format` and stand at the right. `best` marks the highest or the lowest of them.
    """

    title: str
    format: str = ".3g"
    best: Literal["high", "low"] | None = None


class Page:
    """An HTML page, filled from top to bottom. All texts are plain: they are escaped, not interpreted."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._parts: list[str] = [f"<h1>{escape(title)}</h1>"]
        self._figures = 0

    def heading(self, text: str, level: Literal[2, 3] = 2) -> None:
        """A heading of a section (2) or of a part of one (3)."""
        self._parts.append(f"<h{level}>{escape(text)}</h{level}>")

    def text(self, *paragraphs: str) -> None:
        """Paragraphs."""
        self._parts.extend(f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs)

    def note(self, text: str) -> None:
        """A highlighted paragraph: a limit, a warning, or how to read what follows."""
        self._parts.append(f'<div class="note">{escape(text)}</div>')

    def table(self, columns: Sequence[str | Column], rows: Iterable[Sequence[TableCell]], caption: str = "") -> None:
        """A table; a cell is text, a number, or None for nothing to show.

        Raises:
            ValueError: a row has another number of cells than there are columns.
        """
        columns = [column if isinstance(column, Column) else Column(column) for column in columns]
        rows = [list(row) for row in rows]
        for row in rows:
            if len(row) != len(columns):
                raise ValueError(f"a row of {len(row)} cells in a table of {len(columns)} columns: {row}")
        bests = [_best(column, [row[i] for row in rows]) for i, column in enumerate(columns)]
        numeric = [any(_is_number(row[i]) for row in rows) for i in range(len(columns))]
        head = "".join(
            f'<th scope="col"{_classes(number=right)}>{escape(column.title)}</th>'
            for column, right in zip(columns, numeric, strict=True)
        )
        body = "".join(
            "<tr>" + "".join(_cell(*part) for part in zip(row, columns, bests, numeric, strict=True)) + "</tr>"
            for row in rows
        )
        table = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        self._parts.append(_figure(table, caption) if caption else table)

    def image(self, image: PageImage, caption: str = "", *, zoom: bool = False) -> None:
        """A picture: uint8 `[H, W, 3]`, float `[3, H, W]` in [0, 1], or the bytes of a PNG or JPEG file.

        It is shown at its own size where the page has room for it, and shrunk to the page's width otherwise; on a phone
        it is scrolled, so that labels stay readable. With `zoom` it fills the page's width, and a click, or the space
        bar, makes it three times as large and back.

        Raises:
            ValueError: it is none of these.
        """
        shown = f'<div class="scroll">{_img(image, caption)}</div>'
        if zoom:
            label = escape(f"enlarge: {caption}")
            shown = f'<label class="zoom"><input type="checkbox" aria-label="{label}">{shown}</label>'
        self._parts.append(_figure(shown, caption))

    def gallery(self, items: Iterable[tuple[PageImage, str]]) -> None:
        """Pictures with captions, as many side by side as the screen has room for, scaled to the same width."""
        figures = "".join(_figure(_img(image, caption), caption) for image, caption in items)
        self._parts.append(f'<div class="gallery">{figures}</div>')

    def figure(self, figure: "Figure", caption: str = "") -> None:
        """A matplotlib figure as inline SVG; what it draws in `FIGURE_INK` takes the page's text colour."""
        self._figures += 1
        svg = _svg(figure, prefix=f"f{self._figures}-", label=caption)
        self._parts.append(_figure(f'<div class="scroll">{svg}</div>', caption))

    def html(self) -> str:
        """The whole page."""
        body = "\n".join(self._parts)
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
            f"<title>{escape(self._title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
            "</body>\n</html>\n"
        )

    def save(self, path: Path) -> None:
        """Write the page to `path`, atomically.

        Raises:
            UserError: the folder is not writable or the disk is full.
        """
        write_text(path, self.html())


def _figure(content: str, caption: str) -> str:
    return f"<figure>{content}{f'<figcaption>{escape(caption)}</figcaption>' if caption else ''}</figure>"


def _img(image: PageImage, caption: str) -> str:
    file = image if isinstance(image, bytes) else to_png(image)
    if file.startswith(_PNG_SIGNATURE):
        kind, (width, height) = "png", struct.unpack(">II", file[16:24])
    elif file.startswith(_JPEG_SIGNATURE):
        kind, (width, height) = "jpeg", _jpeg_size(file)
    else:
        raise ValueError("the bytes of a picture must be those of a PNG or JPEG file")
    data = base64.b64encode(file).decode("ascii")
    size = f'width="{width}" height="{height}"'
    # A thumbnail may be enlarged by the page: then its pixels stay squares.
    classes = _classes(wide=width > _WIDE, small=width < _SMALL and kind == "png")
    return f'<img{classes} {size} alt="{escape(caption)}" src="data:image/{kind};base64,{data}">'


def _jpeg_size(file: bytes) -> tuple[int, int]:
    import pyvips

    try:
        image = pyvips.Image.new_from_buffer(file, "")
    except pyvips.Error:
        raise ValueError("the bytes of a picture must be those of a whole PNG or JPEG file") from None
    return image.width, image.height


def _is_number(cell: TableCell) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _best(column: Column, cells: list[TableCell]) -> float | None:
    numbers = [float(cell) for cell in cells if isinstance(cell, int | float) and not math.isnan(cell)]
    if column.best is None or len(numbers) < 2:
        return None
    return max(numbers) if column.best == "high" else min(numbers)


def _cell(cell: TableCell, column: Column, best: float | None, right: bool) -> str:
    if isinstance(cell, int | float):
        shown = _number(cell, column.format)
        # Compared as shown: of two values that read the same, neither is marked alone.
        is_best = best is not None and shown == _number(best, column.format)
    else:
        shown, is_best = "–" if cell is None else cell, False
    return f"<td{_classes(number=right, best=is_best)}>{escape(shown)}</td>"


def _number(value: float, form: str) -> str:
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if isinstance(value, int) and form.endswith("g"):
        return f"{value:,}"
    return format(value, form).replace("-", "−")


def _classes(**wanted: bool) -> str:
    names = " ".join(name for name, want in wanted.items() if want)
    return f' class="{names}"' if names else ""


def _svg(figure: "Figure", prefix: str, label: str) -> str:
    import matplotlib

    buffer = io.BytesIO()
    # A fixed salt and no date: the same run writes the same page.
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "gramgan"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue().decode("utf-8")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    # Several figures share a page, so names in one must not be those of another.
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'href="#', f'href="#{prefix}', svg)
    svg = svg.replace("url(#", f"url(#{prefix}")
    svg = svg.replace(FIGURE_INK, "currentColor")
    classes = _classes(wide=figure.get_figwidth() * _CSS_DPI > _WIDE)
    return svg.replace("<svg ", f'<svg{classes} role="img" aria-label="{escape(label or "figure")}" ', 1).strip()
