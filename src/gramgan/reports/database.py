"""The page of `gramgan db browse`: what a texture database holds, and what a run made of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gramgan.errors import UserError
from gramgan.files import write_bytes
from gramgan.progress import Progress, silent
from gramgan.reports.page import Column, Page, PageImage, TableCell
from gramgan.reports.patches import context_side, in_context, map_grid, mosaic, texture_map, with_dots
from gramgan.reports.pixels import fit, to_jpeg, to_png
from gramgan.reports.plots import density, spread
from gramgan.texture.database import DatabaseInfo, TextureDatabase
from gramgan.texture.layout import Projection, cells, one_of_each, project, representatives
from gramgan.texture.origins import Photographs
from gramgan.texture.sources import photograph_name
from gramgan.training.folder import USAGE, read_usage

_Row = dict[str, Any]

_SAMPLE = 5000  # patches drawn at random that say what the map's axes mean
_MEMBERS = 500_000  # patches of a domain, drawn at random, from which those that stand for it are taken
_GALLERY = 20  # patches that stand for a domain
_SHOWN = 10  # most used, least used, never used patches
_PHOTOGRAPHS = 48  # pictures of photographs
_LISTED = 500  # lines of the table of photographs
_MOST_USED = 15  # lines of the tables of what a run used
_THUMBNAIL = 480  # longest side of a photograph's picture in pixels
_MOSAIC = 324  # patches that stand for a photograph which is not at hand
_DOTS = 1500  # positions drawn on a photograph
_CLEAR = 0.4  # rank correlation from which an axis of the map is said to mean something

_PROPERTIES = (
    ("brighter", "darker"),
    ("stronger contrast", "weaker contrast"),
    ("warmer colours", "cooler colours"),
    ("greener", "more magenta"),
    ("more colourful", "greyer"),
    ("upright structure", "level structure"),
)


@dataclass(frozen=True)
class _Usage:
    """Which patches of the database a run used, and how often, the most used first."""

    rows: np.ndarray
    counts: np.ndarray
    elsewhere: int

    @property
    def targets(self) -> int:
        """How many targets came from this database."""
        return int(self.counts.sum())


@dataclass(frozen=True)
class _Column:
    """A column of text: a code for each patch, and the text that it stands for."""

    codes: np.ndarray
    texts: list[str]

    def of(self, index: int) -> str:
        """The text of one patch."""
        return self.texts[self.codes[index]]

    def members(self, text: str) -> np.ndarray:
        """Indices of the patches with this text."""
        return np.flatnonzero(self.codes == self.texts.index(text))


@dataclass(frozen=True)
class _Contents:
    """What the sections of the page have in common. All arrays have one entry for each patch, in one order."""

    database: TextureDatabase
    info: DatabaseInfo
    vectors: np.ndarray
    ids: np.ndarray
    projection: Projection
    domain: _Column
    licence: _Column
    source: _Column
    photographs: Photographs
    random: np.random.Generator

    def rows(self, indices: np.ndarray) -> list[_Row]:
        """The table's rows at `indices`."""
        return self.database.rows(self.ids[indices].tolist())

    def drawn(self, indices: np.ndarray, most: int) -> np.ndarray:
        """At most `most` of `indices`, at random."""
        return indices if len(indices) <= most else self.random.choice(indices, most, replace=False)


def write_database_page(
    database: TextureDatabase,
    output: Path,
    *,
    run: Path | None = None,
    photographs: Photographs | None = None,
    map_picture: Path | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Path:
    """Write a self-contained page: a map of texture space, domains, photographs, licences, and what a run used.

    Args:
        database: the database to show.
        output: the page, ending in `.html`.
        run: folder of a training run; its `patch_usage.csv` says which patches were targets.
        photographs: where to find the database's photographs; without, patches are shown without surroundings.
        map_picture: where to write the map as a PNG file too.
        seed: of what is drawn at random; the same seed writes the same page.
        progress: told the number of photographs read.

    Returns:
        `output`.

    Raises:
        UserError: the database is empty, the run has noted no use, or a file is damaged or cannot be written.
    """
    for path, suffix, option in ((output, ".html", "--output"), (map_picture, ".png", "--map")):
        if path is not None and path.suffix != suffix:
            raise UserError(f"{option} {path}: its name has to end in {suffix}; use {path.with_suffix(suffix)}")
    contents = _contents(database, photographs or Photographs(), seed)
    usage = None if run is None else _usage(run, contents.ids)
    page = Page(f"Texture database {database.path.name}")
    _summary(page, contents)
    picture = _map(page, contents, usage, seed)
    if run is not None and usage is not None:
        _use(page, contents, run, usage)
    _domains(page, contents)
    _origins(page, contents, progress)
    _licences(page, contents)
    if map_picture is not None:
        write_bytes(map_picture, picture)
    page.save(output)
    return output


def _contents(database: TextureDatabase, photographs: Photographs, seed: int) -> _Contents:
    ids = database.patch_ids()
    if not len(ids):
        raise UserError(f"{database.path}: holds no patches (version {database.version}); add photographs to it first")
    vectors = database.vectors()
    domain, licence, source = (_Column(*database.words(name)) for name in ("domain", "licence", "source_id"))
    return _Contents(
        database=database,
        info=database.info(),
        vectors=vectors,
        ids=ids,
        projection=project(vectors),
        domain=domain,
        licence=licence,
        source=source,
        photographs=photographs,
        random=np.random.default_rng(seed),
    )


def _summary(page: Page, contents: _Contents) -> None:
    info = contents.info
    descriptor = info.descriptor
    page.text(
        f"{info.patches:,} patches of {descriptor.k}x{descriptor.k} pixels from "
        f"{_count(info.by_source, 'photograph')}, with their Gram vectors by the descriptor {descriptor.name} "
        f"({descriptor.dimension} numbers each). Version {info.version}, {info.bytes_on_disk / 2**20:,.1f} MiB on "
        "disk. A generator trained with it is pulled, patch by patch, towards the nearest of these textures."
    )
    photographs, sources = contents.photographs, list(info.by_source)
    missing = sum(photographs.path(source) is None for source in sources[:_LISTED])
    missing += sum(not photographs.has_name(source) for source in sources[_LISTED:])  # reading them all takes too long
    if missing:
        page.note(
            f"{missing:,} of {_count(info.by_source, 'photograph')} were not at hand when this page was made; "
            "their patches are shown without surroundings. --photos FOLDER says where they are."
        )


def _map(page: Page, contents: _Contents, usage: _Usage | None, seed: int) -> bytes:
    """The section of the map; returns the map itself as a PNG file."""
    columns, rows = map_grid(contents.info.descriptor.k)
    positions, explained = contents.projection.positions, contents.projection.explained
    cell = cells(positions, columns, rows)
    shown = one_of_each(cell, seed)
    picture = to_png(texture_map([row["patch"] for row in contents.rows(shown)], cell[shown]))
    page.heading("Map of texture space")
    sample = contents.drawn(np.arange(len(contents.ids)), _SAMPLE)
    sampled = contents.rows(sample)
    right, up = (_meaning(positions[sample, axis], sampled) for axis in (0, 1))
    page.text(
        f"Every tile is a real patch, drawn at random from all that lie there; patches with like Gram vectors are "
        f"neighbours. To the right: {right}; upwards: {up}. These two directions hold {explained[0]:.0%} and "
        f"{explained[1]:.0%} of all variance (principal components of the standardised vectors); both are "
        "stretched, so that the few strong textures do not press the many weak ones together."
    )
    page.image(picture, f"{len(shown):,} of {contents.info.patches:,} textures. Click to enlarge.", zoom=True)
    shares = [("patches of the database", positions, np.ones(len(contents.ids)))]
    if usage is not None and len(usage.rows):
        shares.append(("targets of the run", positions[usage.rows], usage.counts))
    page.figure(
        density(shares, (columns, rows)),
        "How densely the same plane is filled, on a logarithmic scale"
        + (": what there is, and what the run was pulled to." if len(shares) > 1 else "."),
    )
    return picture


def _use(page: Page, contents: _Contents, run: Path, usage: _Usage) -> None:
    page.heading(f"What the run {run.resolve().name} used")
    if usage.elsewhere:
        page.note(
            f"{usage.elsewhere:,} targets of this run are no patches of this database: they came from another one, or "
            "were removed since."
        )
    if not len(usage.rows):
        page.text("None of its targets is a patch of this database.")
        return
    patches, targets = contents.info.patches, usage.targets
    tenth = usage.counts[: max(1, len(usage.counts) // 10)].sum() / targets
    page.text(
        f"{targets:,} times a patch of the generator was pulled towards a texture of this database. "
        f"{len(usage.rows):,} different ones were chosen, {len(usage.rows) / patches:.1%} of what it holds; the most "
        f"used tenth of them served for {tenth:.0%} of all targets, and {1 - len(usage.rows) / patches:.1%} of the "
        "database was never chosen."
    )
    page.figure(spread(usage.counts), "How the targets spread over the patches that were chosen.")
    _shares(page, contents.domain, contents.info.by_domain, usage, "domain")
    _shares(page, contents.licence, contents.info.by_licence, usage, "licence")
    _shares(page, contents.source, contents.info.by_source, usage, "photograph")

    page.heading("Most used", level=3)
    most = np.arange(min(_SHOWN, len(usage.rows)))
    captions = [f"{usage.counts[i]:,} times, {usage.counts[i] / targets:.2%} of all targets" for i in most]
    _gallery(page, contents, usage.rows[most], captions)
    page.heading("Least used", level=3)
    rarest = np.flatnonzero(usage.counts == usage.counts[-1])
    times = "once" if usage.counts[-1] == 1 else f"{usage.counts[-1]:,} times"
    page.text(f"{len(rarest):,} patches were chosen {times}; drawn at random from those:")
    least = usage.rows[contents.drawn(rarest, _SHOWN)]
    _gallery(page, contents, least, [""] * len(least))
    unused = np.ones(patches, bool)
    unused[usage.rows] = False
    never = contents.drawn(np.flatnonzero(unused), _MEMBERS)
    if len(never):
        page.heading("Never used", level=3)
        page.text("Patches that stand for those that were never the nearest one to what a step asked for:")
        chosen = never[representatives(contents.vectors[never], _SHOWN)]
        _gallery(page, contents, chosen, [""] * len(chosen))


def _domains(page: Page, contents: _Contents) -> None:
    info = contents.info
    page.heading("Domains")
    table: list[list[TableCell]] = []
    for domain, count in info.by_domain.items():
        sources = len(np.unique(contents.source.codes[contents.domain.members(domain)]))
        licences = ", ".join(sorted(info.licences_by_domain[domain]))
        table.append([domain, count, count / info.patches, sources, licences])
    page.table(["domain", "patches", Column("share", ".1%"), "photographs", "licences"], table)
    for domain, count in info.by_domain.items():
        page.heading(domain, level=3)
        members = contents.drawn(contents.domain.members(domain), _MEMBERS)
        chosen = members[representatives(contents.vectors[members], _GALLERY)]
        share = f"one {len(chosen)}th of the domain" if len(chosen) > 1 else "the domain"
        page.text(
            f"{count:,} patches. Each of these stands for {share}: the texture space of the domain was cut into parts "
            "with equally many patches, and the middle one of each part is shown."
        )
        _gallery(page, contents, chosen, [""] * len(chosen))


def _origins(page: Page, contents: _Contents, progress: Progress) -> None:
    info = contents.info
    page.heading("Photographs")
    shown = list(info.by_source)[:_PHOTOGRAPHS]
    page.text(
        "Where patches were taken; photographs that are not at hand are shown by some of their patches."
        + (f" The first {len(shown)} are shown." if len(shown) < len(info.by_source) else "")
    )
    x, y, scale = (contents.database.numbers(column) for column in ("x", "y", "scale"))
    half = info.descriptor.k / 2
    items: list[tuple[PageImage, str]] = []
    for number, source in enumerate(shown, start=1):
        members = contents.drawn(contents.source.members(source), _DOTS)
        photograph = contents.photographs.read(source)
        if photograph is None:
            patches = [row["patch"] for row in contents.rows(members[:_MOSAIC])]
            picture: PageImage = mosaic(patches, _THUMBNAIL // 2)
        else:
            centres = (np.stack((x[members], y[members]), axis=1) + half) / scale[members, None]
            picture = to_jpeg(_taken(photograph, centres))
        licence = contents.licence.of(int(members[0]))
        items.append((picture, f"{photograph_name(source)}: {info.by_source[source]:,} patches, {licence}"))
        progress(number, len(shown))
    page.gallery(items)
    listed = list(info.by_source.items())[:_LISTED]
    table: list[list[TableCell]] = []
    for source, count in listed:
        first = int((contents.source.codes == contents.source.texts.index(source)).argmax())
        author = contents.photographs.author(source) or None
        domain, licence = contents.domain.of(first), contents.licence.of(first)
        table.append([photograph_name(source), author, domain, licence, count, count / info.patches])
    page.table(
        ["photograph", "author", "domain", "licence", "patches", Column("share", ".2%")],
        table,
        f"The first {_LISTED:,} of {len(info.by_source):,}." if len(listed) < len(info.by_source) else "",
    )


def _licences(page: Page, contents: _Contents) -> None:
    info = contents.info
    page.heading("Licences and scales")
    page.text(
        "A database holds pixels of its photographs. Whoever passes it on, or this page, passes those on under these "
        "licences; weights trained with it carry them in their card."
    )
    share = Column("share", ".1%")
    page.table(["licence", "patches", share], [[name, n, n / info.patches] for name, n in info.by_licence.items()])
    page.table(
        ["scale of the photograph", "patches", share],
        [[name, n, n / info.patches] for name, n in info.by_scale.items()],
        "Patches of shrunk, anti-aliased copies show the same surface as if seen from farther away.",
    )


def _gallery(page: Page, contents: _Contents, indices: np.ndarray, captions: Sequence[str]) -> None:
    """Patches in their surroundings; `captions` stand before what is told of each anyway."""
    rows = contents.rows(indices)
    surroundings = contents.photographs.contexts(rows, context_side(contents.info.descriptor.k))
    items: list[tuple[PageImage, str]] = []
    for row, context, caption in zip(rows, surroundings, captions, strict=True):
        x, y = (round(row[axis] / row["scale"]) for axis in ("x", "y"))
        scale = "" if row["scale"] == 1 else f", scale 1/{round(1 / row['scale'])}"
        warped = ", slightly warped" if row.get("warped") else ""
        about = f"{photograph_name(row['source_id'])} at {x}, {y}{scale}{warped}, {row['licence']}"
        items.append((in_context(row["patch"], context), f"{caption}. {about}" if caption else about))
    page.gallery(items)


def _shares(page: Page, column: _Column, held: dict[str, int], usage: _Usage, title: str) -> None:
    """What share of the targets, and of the database, each value of a column has."""
    if len(held) < 2:
        return
    used = np.bincount(column.codes[usage.rows], weights=usage.counts, minlength=len(column.texts)) / usage.targets
    patches = sum(held.values())
    lines = [(text, float(used[column.texts.index(text)]), count / patches) for text, count in held.items()]
    lines.sort(key=lambda line: -line[1])
    percent = ".1%"
    page.table(
        [title, Column("share of targets", percent), Column("share of database", percent), Column("ratio", ".2f")],
        [[photograph_name(text) if title == "photograph" else text, a, b, a / b] for text, a, b in lines[:_MOST_USED]],
        f"The {_MOST_USED} most used of {len(lines):,}." if len(lines) > _MOST_USED else "",
    )


def _usage(run: Path, ids: np.ndarray) -> _Usage:
    listed = read_usage(run)
    if not listed:
        raise UserError(f"{run / USAGE}: lists no patches; the run has used none yet: leave --run out")
    used, counts = np.array(listed, np.int64).T
    order = np.argsort(ids, kind="stable")
    place = np.searchsorted(ids, used, sorter=order).clip(max=len(ids) - 1)
    row = order[place]
    here = ids[row] == used
    ranked = np.argsort(-counts[here], kind="stable")
    return _Usage(row[here][ranked], counts[here][ranked], int(counts[~here].sum()))


def _meaning(axis: np.ndarray, rows: Sequence[_Row]) -> str:
    """What grows along an axis of the map: the property of patches that goes with it most closely."""
    properties = _properties(np.stack([row["patch"] for row in rows]).astype(np.float32))
    correlations = np.array([_rank_correlation(axis, values) for values in properties])
    strongest = int(np.abs(correlations).argmax())
    correlation = float(correlations[strongest])
    if abs(correlation) < _CLEAR:
        return "no single property"
    return f"{_PROPERTIES[strongest][correlation < 0]} (rank correlation {abs(correlation):.2f})"


def _properties(patches: np.ndarray) -> list[np.ndarray]:
    """The values of `_PROPERTIES` for patches `[N, k, k, 3]`."""
    red, green, blue = (patches[..., channel].mean(axis=(1, 2)) for channel in range(3))
    luma = patches @ np.array([0.299, 0.587, 0.114], np.float32)
    across, down = (np.abs(np.diff(luma, axis=axis)).mean(axis=(1, 2)) for axis in (2, 1))
    return [
        luma.mean(axis=(1, 2)),
        luma.std(axis=(1, 2)),
        red - blue,
        green - (red + blue) / 2,
        np.ptp(np.stack((red, green, blue)), axis=0),
        across - down,
    ]


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's, without regard to ties; 0 where one of both is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    ranks = [np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(np.float64) for values in (a, b)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _taken(photograph: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """A photograph `[3, H, W]`, shrunk, with dots at `centres` `[N, 2]` in its pixels."""
    height, width = photograph.shape[1:]
    small = fit(np.ascontiguousarray(photograph.transpose(1, 2, 0)), _THUMBNAIL)
    return with_dots(small, centres / (width, height))


def _count(things: dict[str, int], noun: str) -> str:
    return f"{len(things):,} {noun}{'s' * (len(things) != 1)}"
