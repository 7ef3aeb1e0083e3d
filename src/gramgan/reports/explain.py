"""The page of `gramgan db search`: spots of an image beside the real textures that lie nearest to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gramgan.errors import UserError
from gramgan.files import write_bytes
from gramgan.images import read_rgb8
from gramgan.progress import Progress, silent
from gramgan.reports.page import Column, Page, TableCell
from gramgan.reports.patches import context_side, draw_frame, in_context
from gramgan.reports.pixels import fit, paint, text_ink, to_jpeg, to_png
from gramgan.reports.strips import Panel, comparison
from gramgan.texture.candidates import combined_query
from gramgan.texture.database import TextureDatabase
from gramgan.texture.explain import (
    corner_of,
    cut_patches_at,
    nearest,
    spot_vectors,
    textured_spots,
    typical_distance,
)
from gramgan.texture.origins import Photographs, cut_context
from gramgan.texture.sources import photograph_name

_OVERVIEW = 1240  # longest side of the image with its spots marked, in pixels
_MARK = 26  # least side of a spot's mark, in pixels
_LABEL_SIZE = 17
_CLOSE = 2  # patch sides: textures of one photograph that are nearer to each other than this overlap or nearly do
_SPARE = 20  # times as many textures are looked at, so that there are enough that do not overlap


@dataclass(frozen=True)
class Match:
    """A real texture near to a spot.

    `distance` is between standardised Gram vectors, from what was asked for; `relative` is it over the spot's median
    distance to textures drawn at random; `from_image` and `from_sr` are the distances from the image's own patch and
    from the generator's. `x`, `y` are pixels of the photograph, its own and not its copy's.
    """

    patch_id: int
    distance: float
    relative: float
    from_image: float
    from_sr: float | None
    photograph: str
    x: int
    y: int
    scale: float
    domain: str
    licence: str

    @property
    def name(self) -> str:
        """The photograph's file name."""
        return photograph_name(self.photograph)


@dataclass(frozen=True)
class SpotMatches:
    """A spot, the upper left corner of its patch in the image, and the textures found for it, the nearest first.

    `gap` is the distance of the generator's patch from the image's, where there is a result.
    """

    x: int
    y: int
    gap: float | None
    matches: list[Match]


@dataclass(frozen=True)
class SearchPage:
    """What `write_search_page` has written and found."""

    html: Path
    picture: Path
    spots: list[SpotMatches]


class _Asked(NamedTuple):
    """Standardised Gram vectors `[N, D]` of the spots: in the image, in the generator's result, what to search for."""

    image: np.ndarray
    sr: np.ndarray | None
    query: np.ndarray


class _Input(NamedTuple):
    """The image (true, if there is a result), and the generator's result."""

    image: np.ndarray
    sr: np.ndarray | None


_Found = tuple[dict[str, Any], Match]


def write_search_page(
    database: TextureDatabase,
    image: Path,
    output: Path,
    *,
    at: Sequence[tuple[int, int]] = (),
    spots: int = 12,
    neighbours: int = 5,
    sr: Path | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    photographs: Photographs | None = None,
    progress: Progress = silent,
) -> SearchPage:
    """Find the real textures nearest to spots of an image, and write them as an HTML page and as a PNG beside it.

    Textures that overlap a nearer one of the same photograph, at any scale, are passed over: they are the same surface.

    Without `sr` the search starts from the image's own patches. With it, it starts between the two images as the
    training's does, at (α G(image) + β G(sr)) / (α + β), and shows why a generator was pulled where it was.

    Args:
        database: where to search; all of it is compared, so the answer is exact.
        image: the image; the true one if `sr` is given.
        output: the page, ending in `.html`.
        at: pixels (x, y) to look at; none: `spots` of the most textured ones, spread over the image.
        spots: how many, without `at`.
        neighbours: textures for each spot.
        sr: a generator's result, as large as `image`.
        alpha: α ≥ 0.
        beta: β ≥ 0, not 0 together with α.
        photographs: where to find the database's photographs; without, patches are shown without surroundings.
        progress: told the number of photographs read.

    Raises:
        UserError: an unreadable image, a pixel outside of it, images of different sizes or smaller than a patch, more
            neighbours than patches, or a page that cannot be written.
    """
    if output.suffix != ".html":
        raise UserError(f"--output {output}: a page's name ends in .html; use {output.with_suffix('.html')}")
    if alpha + beta == 0:
        raise UserError("--alpha and --beta: both are 0, so nothing is asked for; set one of them above 0")
    inputs = _read(image, sr, database.descriptor.k)
    k = database.descriptor.k
    corners = [corner_of(inputs.image, x, y, k) for x, y in at] or textured_spots(inputs.image, spots, k)
    photographs = photographs or Photographs()
    found = _look_up(database, inputs, corners, neighbours, (alpha, beta), photographs, progress)
    results = [spot for spot, _ in found]
    pictures = [_panels(index, inputs, spot, textures, k) for index, (spot, textures) in enumerate(found)]
    page = _page(database, image, sr, inputs, results, pictures, (alpha, beta))
    _credits(page, results, photographs)
    page.save(output)
    picture = output.with_suffix(".png")
    write_bytes(picture, to_png(comparison(pictures, zoom=1)))
    return SearchPage(output, picture, results)


def textures_at(
    database: TextureDatabase, image: Path, at: tuple[int, int], neighbours: int, photographs: Photographs
) -> tuple[SpotMatches, list[np.ndarray]]:
    """The real textures nearest to one spot of an image, for a page that shows them at once.

    Args:
        database: where to search; all of it is compared.
        image: the image.
        at: a pixel (x, y) of it.
        neighbours: how many textures.
        photographs: where to find the database's photographs.

    Returns:
        The spot with its textures, and a picture of each in its surroundings, uint8 `[H, W, 3]`.

    Raises:
        UserError: see `write_search_page`.
    """
    inputs = _read(image, None, database.descriptor.k)
    corner = corner_of(inputs.image, *at, database.descriptor.k)
    return _look_up(database, inputs, [corner], neighbours, (1.0, 1.0), photographs, silent)[0]


def _look_up(
    database: TextureDatabase,
    inputs: _Input,
    corners: list[tuple[int, int]],
    neighbours: int,
    weights: tuple[float, float],
    photographs: Photographs,
    progress: Progress,
) -> list[tuple[SpotMatches, list[np.ndarray]]]:
    """Each spot with its textures, and these in their surroundings."""
    asked = _asked(inputs, corners, database, *weights)
    chosen = _neighbours(database, asked, neighbours)
    every = [row for part in chosen for row, _ in part]
    contexts = iter(photographs.contexts(every, context_side(database.descriptor.k), progress))
    found = []
    for index, ((x, y), part) in enumerate(zip(corners, chosen, strict=True)):
        gap = None if asked.sr is None else float(np.linalg.norm(asked.sr[index] - asked.image[index]))
        textures = [in_context(row["patch"], next(contexts)) for row, _ in part]
        found.append((SpotMatches(x, y, gap, [match for _, match in part]), textures))
    return found


def _read(image: Path, sr: Path | None, k: int) -> _Input:
    pixels = read_rgb8(image)
    height, width = pixels.shape[1:]
    if min(height, width) < k:
        raise UserError(f"{image}: {width}x{height} pixels are less than one patch of {k}x{k}; give a larger image")
    result = None if sr is None else read_rgb8(sr)
    if result is not None and result.shape != pixels.shape:
        raise UserError(
            f"{sr}: has {result.shape[2]}x{result.shape[1]} pixels and {image} has {width}x{height}; --sr needs a "
            "result of the same size"
        )
    return _Input(pixels, result)


def _asked(
    inputs: _Input, corners: list[tuple[int, int]], database: TextureDatabase, alpha: float, beta: float
) -> _Asked:
    true = spot_vectors(inputs.image, corners, database.descriptor)
    if inputs.sr is None:
        return _Asked(true.numpy(), None, true.numpy())
    result = spot_vectors(inputs.sr, corners, database.descriptor)
    return _Asked(true.numpy(), result.numpy(), combined_query(true, result, alpha, beta).numpy())


def _neighbours(database: TextureDatabase, asked: _Asked, number: int) -> list[list[_Found]]:
    """For each query the database's rows nearest to it, `number` that do not overlap, with what is told of them."""
    vectors = database.vectors()
    if not len(vectors):
        raise UserError(f"{database.path}: holds no patches (version {database.version}); add photographs to it first")
    if number > len(vectors):
        raise UserError(
            f"--neighbours {number}: {database.path} holds only {len(vectors):,} patches; ask for at most that many"
        )
    distances, found = nearest(vectors, asked.query, min(len(vectors), number * _SPARE))
    typical = typical_distance(vectors, asked.query)
    scale = np.asarray(database.descriptor.scale)
    rows = database.rows(database.patch_ids()[found.ravel()].tolist())
    chosen = []
    for index, near in enumerate(np.split(np.arange(found.size), len(found))):
        kept: list[_Found] = []
        for distance, place in zip(distances[index], near, strict=True):
            vector = np.asarray(rows[place]["gram"]) / scale
            match = _match(
                rows[place],
                distance=float(distance),
                typical=float(typical[index]),
                from_image=float(np.linalg.norm(vector - asked.image[index])),
                from_sr=None if asked.sr is None else float(np.linalg.norm(vector - asked.sr[index])),
            )
            if len(kept) < number and not any(_overlap(match, other, database.descriptor.k) for _, other in kept):
                kept.append((rows[place], match))
        chosen.append(kept)
    return chosen


def _overlap(one: Match, other: Match, k: int) -> bool:
    reach = _CLOSE * k / min(one.scale, other.scale)
    return one.photograph == other.photograph and max(abs(one.x - other.x), abs(one.y - other.y)) < reach


def _match(row: dict[str, Any], *, distance: float, typical: float, from_image: float, from_sr: float | None) -> Match:
    return Match(
        patch_id=row["patch_id"],
        distance=distance,
        relative=distance / typical if typical else 0.0,
        from_image=from_image,
        from_sr=from_sr,
        photograph=row["source_id"],
        x=round(row["x"] / row["scale"]),
        y=round(row["y"] / row["scale"]),
        scale=row["scale"],
        domain=row["domain"],
        licence=row["licence"],
    )


def _panels(index: int, inputs: _Input, spot: SpotMatches, textures: list[np.ndarray], k: int) -> list[Panel]:
    """One row of the picture: the spot in its image, in the generator's result, and the textures found."""
    place = f"spot {index + 1} at {spot.x}, {spot.y}"
    panels = [_own_panel(inputs.image, spot, k, "image" if inputs.sr is None else "true image", place)]
    if inputs.sr is not None:
        panels.append(_own_panel(inputs.sr, spot, k, "generator's result", place))
    for rank, (match, texture) in enumerate(zip(spot.matches, textures, strict=True), start=1):
        title = "nearest texture" if rank == 1 else f"{rank}."
        panels.append(
            Panel(texture, title, f"{match.distance:.3g} ({match.relative:.1%})\n{match.name}\n{match.licence}")
        )
    return panels


def _own_panel(image: np.ndarray, spot: SpotMatches, k: int, title: str, place: str) -> Panel:
    patch = cut_patches_at(image, [(spot.x, spot.y)], k)[0]
    return Panel(in_context(patch, cut_context(image, spot.x, spot.y, k, 1.0, context_side(k))), title, place)


def _page(
    database: TextureDatabase,
    image: Path,
    sr: Path | None,
    inputs: _Input,
    results: list[SpotMatches],
    pictures: list[list[Panel]],
    weights: tuple[float, float],
) -> Page:
    descriptor = database.descriptor
    page = Page(f"Real textures for {image.name}")
    page.text(
        f"For {len(results)} spots of {image.name}, the nearest of {len(database):,} real textures in "
        f"{database.path.name} (version {database.version}): patches of {descriptor.k}x{descriptor.k} pixels, compared "
        f"by their Gram vectors with the descriptor {descriptor.name}. All were compared, so nothing nearer exists in "
        "it; textures that overlap a nearer one of the same photograph are passed over."
    )
    if sr is None:
        page.text(
            "The search started from the image's own patches: this is the texture that the database has for them. With "
            "--sr it starts between the true image and a generator's result, as in training."
        )
    else:
        page.text(
            f"The search started between the true image and the result {sr.name}, weighted α : β = {weights[0]:g} : "
            f"{weights[1]:g}, as in training: the nearest texture is where the patch texture loss pulled the result to."
        )
    page.heading("Spots")
    page.image(
        _overview(inputs.image, results, descriptor.k), "Where the spots lie; the patches are smaller than marked."
    )
    page.heading("Textures")
    page.text(
        "The frame shows the patch in its surroundings, the corner shows it enlarged. Below each texture: its distance "
        "from what was asked for, that as a share of the distance to a texture drawn at random, its photograph and "
        "licence. Alike are patches of the same colours and contrasts; their pixels need not be, because a Gram matrix "
        "does not know where in a patch a pixel stands. Positions are those of patches' upper left corners."
    )
    for index, (spot, panels) in enumerate(zip(results, pictures, strict=True)):
        page.heading(f"Spot {index + 1} at {spot.x}, {spot.y}", level=3)
        page.image(comparison([panels], zoom=1))
        _distances(page, spot)
    return page


def _distances(page: Page, spot: SpotMatches) -> None:
    """What is known of a spot's textures, as a table."""
    columns: list[str | Column] = ["photograph", "distance", Column("of a random one", ".1%")]
    if spot.gap is not None:
        page.text(
            f"The result lies {spot.gap:.3g} from the truth here. A texture that is nearer to the truth than that "
            "pulls the result towards it; one that is farther away may pull it elsewhere."
        )
        columns += ["from the truth", "from the result"]
    columns += ["at", "scale", "domain", "licence"]
    rows: list[list[TableCell]] = []
    for match in spot.matches:
        between = [] if spot.gap is None else [match.from_image, match.from_sr]
        origin = [f"{match.x}, {match.y}", f"1/{round(1 / match.scale)}", match.domain, match.licence]
        rows.append([match.name, match.distance, match.relative, *between, *origin])
    page.table(columns, rows)


def _overview(image: np.ndarray, results: list[SpotMatches], k: int) -> bytes:
    """The image, shrunk to the page's width, with the spots marked and numbered, as JPEG."""
    shown = fit(np.ascontiguousarray(image.transpose(1, 2, 0)), _OVERVIEW).copy()
    scale = shown.shape[0] / image.shape[1]
    for index, spot in enumerate(results):
        side = max(_MARK, round(k * scale))
        x, y = (round((corner + k / 2) * scale - side / 2) for corner in (spot.x, spot.y))
        draw_frame(shown, x, y, side)
        ink = text_ink(str(index + 1), _LABEL_SIZE, bold=True)
        left = min(max(0, x + side + 4), shown.shape[1] - ink.shape[1] - 8)
        top = min(max(0, y - 4), max(0, shown.shape[0] - ink.shape[0] - 6))
        shown[top : top + ink.shape[0] + 6, left : left + ink.shape[1] + 8] = (28, 30, 33)
        paint(shown, ink, left + 4, top + 2, (255, 255, 255))
    return to_jpeg(shown)


def _credits(page: Page, results: list[SpotMatches], photographs: Photographs) -> None:
    page.heading("Photographs and licences")
    used: dict[tuple[str, str, str], int] = {}
    for spot in results:
        for match in spot.matches:
            key = match.photograph, match.licence, match.domain
            used[key] = used.get(key, 0) + 1
    rows: list[list[TableCell]] = [
        [photograph_name(name), photographs.author(name) or None, licence, domain, count]
        for (name, licence, domain), count in sorted(used.items(), key=lambda item: (-item[1], item[0]))
    ]
    page.table(["photograph", "author", "licence", "domain", "textures shown"], rows)
    page.text("Whoever passes this page on passes on parts of these photographs, under their licences.")
