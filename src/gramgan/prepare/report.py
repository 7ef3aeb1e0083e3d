"""What `gramgan prepare` found: one line for each file, as a table for programs and as a page for people."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gramgan.errors import UserError
from gramgan.files import write_csv
from gramgan.images import read_rgb8
from gramgan.prepare.checks import Check
from gramgan.reports.page import Column, Page, TableCell
from gramgan.reports.pixels import fit, to_jpeg

CSV = "report.csv"
HTML = "report.html"

BLURRED = 0.6
"""Blur above which a photograph is worth a look: 39 sharp ones had 0.19 to 0.58 (docs/how-to/collecting.md)."""

BLOCKY = 3.0
"""Blockiness above which it is: JPEG of quality 50 has 2.7, of 30 4.1, in the middle of the same photographs."""

_COLUMNS = (
    *("file", "used", "problem", "notes", "format", "width", "height", "bits", "channels", "blur", "blockiness"),
    *("duplicate_of", "leaks", "sub_images"),
)
_PAIRS = 12  # pictures beside what they are duplicates of
_SIDE = 240  # pixels of a thumbnail


def remarks(check: Check) -> list[str]:
    """What is worth knowing of a file, measures included."""
    found = list(check.notes)
    if check.blur is not None and check.blur > BLURRED:
        found.append("blurred")
    if check.blockiness is not None and check.blockiness > BLOCKY:
        found.append("visible JPEG blocks")
    return found


def write_table(path: Path, checks: Sequence[Check], sub_images: Mapping[str, int]) -> None:
    """Write the table: a line for each file, in their order."""
    write_csv(path, _COLUMNS, (_line(check, sub_images.get(check.file, 0)) for check in checks))


def _line(check: Check, sub_images: int) -> list[object]:
    return [
        *(check.file, "no" if check.problem else "yes", check.problem, "; ".join(remarks(check))),
        *(check.format, check.width or "", check.height or "", check.bits or "", check.channels),
        "" if check.blur is None else f"{check.blur:.3f}",
        "" if check.blockiness is None else f"{check.blockiness:.2f}",
        *(check.duplicate_of, check.leaks, sub_images),
    ]


def write_page(path: Path, folder: Path, checks: Sequence[Check], sub_images: Mapping[str, int]) -> None:
    """Write the page: what is usable, what is not and why, duplicates side by side, and every file."""
    page = Page(f"Photographs in {folder.resolve().name}")
    usable = [check for check in checks if not check.problem]
    pixels = sum(check.width * check.height for check in usable)
    page.text(
        f"{len(checks)} files, {len(usable)} usable photographs with {pixels / 1e6:,.0f} megapixels, "
        f"{sum(sub_images.values()):,} sub-images."
    )
    kinds = Counter(re.split(" ?[:(]", check.problem)[0] for check in checks if check.problem)
    if kinds:
        page.heading("What is not used")
        page.table(["why", "files"], kinds.most_common())
        page.table(["file", "problem"], [(check.file, check.problem) for check in checks if check.problem])
    _duplicates(page, folder, checks)
    noted = [(check.file, "; ".join(remarks(check))) for check in usable if remarks(check)]
    if noted:
        page.heading("What is worth knowing of the others")
        page.table(["file", "note"], noted)
    if usable:
        _measures(page, usable)
    page.heading("Every file")
    page.table(
        [
            *("file", "problem", "format", Column("width", ".0f"), Column("height", ".0f"), Column("bits", ".0f")),
            *("channels", Column("blur", ".2f"), Column("blocks", ".1f"), "duplicate of", "leaks"),
            Column("sub-images", ".0f"),
        ],
        [_row(check, sub_images) for check in checks],
    )
    page.text(
        "Blur is 0 (sharp) to 1: how little a picture loses when it is blurred again (Crete et al., 2007). Blocks is "
        "how much higher steps between pixels are on the edges of 8×8 blocks than elsewhere; 1 is none."
    )
    page.save(path)


def _row(check: Check, sub_images: Mapping[str, int]) -> list[TableCell]:
    return [
        *(check.file, check.problem or None, check.format or None),
        *(check.width or None, check.height or None, check.bits or None, check.channels or None),
        *(check.blur, check.blockiness, check.duplicate_of or None, check.leaks or None),
        sub_images.get(check.file, 0),
    ]


def _duplicates(page: Page, folder: Path, checks: Sequence[Check]) -> None:
    pairs = [check for check in checks if check.duplicate_of]
    if not pairs:
        return
    page.heading("Duplicates")
    page.text("The larger one of two is used." + (f" The first {_PAIRS}:" if len(pairs) > _PAIRS else ""))
    items = []
    for check in pairs[:_PAIRS]:
        for file, what in ((check.file, "not used"), (check.duplicate_of, "used")):
            try:
                picture = fit(np.ascontiguousarray(read_rgb8(folder / file).transpose(1, 2, 0)), _SIDE)
            except UserError:
                continue  # it has gone since it was checked; the table names it
            items.append((to_jpeg(picture), f"{file}: {what}"))
    page.gallery(items)


def _measures(page: Page, usable: Sequence[Check]) -> None:
    rows: list[list[TableCell]] = []
    for title, values in (
        ("width in pixels", [check.width for check in usable]),
        ("height in pixels", [check.height for check in usable]),
        ("blur", [check.blur for check in usable if check.blur is not None]),
        ("blocks", [check.blockiness for check in usable if check.blockiness is not None]),
    ):
        if values:
            quartiles = np.percentile(values, (0, 25, 50, 75, 100)).tolist()
            rows.append([title, *(round(value) if isinstance(values[0], int) else value for value in quartiles)])
    page.heading("The usable ones together")
    page.table(["", "lowest", "a quarter below", "middle", "a quarter above", "highest"], rows)
