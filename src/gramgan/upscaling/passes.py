"""The size of a result, and the passes of the network and resizes that lead to it."""

import contextlib
import hashlib
import json
import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gramgan.errors import UserError
from gramgan.images import MULTI_PAGE_SUFFIXES, PagesWriter, Raster, RasterInfo, RasterWriter, Window
from gramgan.images.canvas import Canvas, remove_steps
from gramgan.images.resize import resize_array
from gramgan.progress import Progress
from gramgan.upscaling.engine import Sink, Upscaler
from gramgan.upscaling.refine import Refine

MAX_FACTOR = 64.0
"""How many times larger than the picture a result may be."""

_STRIP = 256  # rows of the result that are resized at a time

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pass:
    """One pass: the picture of `width` × `height` pixels that the network enlarges."""

    width: int
    height: int


@dataclass(frozen=True)
class PassPlan:
    """The passes, and the size of the result.

    Before each pass but the first, the picture is shrunk to that pass's size; after the last, to `width` × `height`
    where that is not the size it has by then.
    """

    passes: tuple[Pass, ...]
    width: int
    height: int
    scale: int = 4  # of the network

    @property
    def native(self) -> bool:
        """Whether the last pass gives the result's size without a resize."""
        last = self.passes[-1]
        return (self.scale * last.width, self.scale * last.height) == (self.width, self.height)

    @property
    def between(self) -> int:
        """How many passes write a picture that is read again: all but the last one if that gives the result's size."""
        return len(self.passes) - self.native

    def describe(self) -> str:
        """The way in words, such as `160x120, x4, shrunk to 320x240, x4, shrunk to 1200x900 (Lanczos)`."""
        steps = [f"{self.passes[0].width}x{self.passes[0].height}"]
        width, height = self.passes[0].width, self.passes[0].height
        shrunk = False
        for each in self.passes:
            if (each.width, each.height) != (width, height):
                steps.append(f"shrunk to {each.width}x{each.height}")
                shrunk = True
            steps.append(f"x{self.scale}")
            width, height = self.scale * each.width, self.scale * each.height
        if not self.native:
            steps.append(f"shrunk to {self.width}x{self.height}")
            shrunk = True
        return ", ".join(steps) + (" (Lanczos)" if shrunk else "")


@dataclass(frozen=True)
class Scale:
    """What was asked for: a factor, or a width, a height, or both in pixels (one alone keeps the proportions).

    None of them: as much as the network does, which is `network` times.
    """

    factor: float | None = None
    width: int | None = None
    height: int | None = None
    network: int = 4

    def __str__(self) -> str:
        if self.by_factor:
            return f"{self._factor:g}"
        return f"{self.width or ''}x{self.height or ''}"

    @property
    def by_factor(self) -> bool:
        """Whether it is a factor, not a size."""
        return self.width is None and self.height is None

    @property
    def _factor(self) -> float:
        return self.network if self.factor is None else self.factor

    def on(self, network: int, name: str) -> "Scale":
        """This scale for a network with its own factor; `name` is the name of its weights.

        Raises:
            UserError: the network keeps pictures as large as they are, and something else is asked for.
        """
        if network == 1 and (self.factor not in (None, 1) or not self.by_factor):
            raise UserError(
                f"{name}: these weights leave pictures as large as they are; leave scale and size out, or give others"
            )
        return replace(self, network=network)

    def plan(self, width: int, height: int, name: str) -> PassPlan:
        """The way from `width` × `height` to the size that was asked for.

        Every pass works on no more pixels than its own result needs: ×8 is ×4, shrunk to ×2, ×4.

        Args:
            width: of the input.
            height: of the input.
            name: of the input, for messages.

        Raises:
            UserError: the result would be smaller than the input, or more than `MAX_FACTOR` times larger.
        """
        target_width, target_height = self._target(width, height)
        if target_width < width or target_height < height:
            raise UserError(
                f"{name}: {width}x{height} is larger than the {target_width}x{target_height} asked for; "
                "leave it out or ask for a larger size"
            )
        factor = max(target_width / width, target_height / height)
        if factor > MAX_FACTOR + 1:  # one pixel wide pictures round upwards
            raise UserError(
                f"{name}: {target_width}x{target_height} is {factor:.0f} times its size; ask for at most "
                f"{MAX_FACTOR:.0f} times"
            )
        passes = _passes(width, height, target_width, target_height, self.network)
        return PassPlan(passes, target_width, target_height, self.network)

    def _target(self, width: int, height: int) -> tuple[int, int]:
        if self.by_factor:
            return max(1, round(width * self._factor)), max(1, round(height * self._factor))
        if self.width is not None and self.height is not None:
            return self.width, self.height
        if self.width is not None:
            return self.width, max(1, round(height * self.width / width))
        assert self.height is not None
        return max(1, round(width * self.height / height)), self.height


def parse_scale(scale: float | None, size: str | None) -> Scale:
    """A factor (`scale`; the network's own where both are None) or a size such as `1920x1080`, `1920x` or `x1080`.

    Raises:
        UserError: both are given, or the size is not readable.
    """
    if scale is not None and size is not None:
        raise UserError(f"scale {scale:g} and size {size}: both say how large the result becomes; give one of them")
    if size is None:
        return Scale(factor=None if scale is None else float(scale))
    found = re.fullmatch(r"([1-9]\d{0,8})?[xX×]([1-9]\d{0,8})?", size.strip())
    if found is None or not any(found.groups()):
        raise UserError(f"size {size!r}: not a size in pixels; write 1920x1080, or 1920x or x1080 to keep proportions")
    width, height = (int(one) if one else None for one in found.groups())
    return Scale(width=width, height=height)


def _passes(width: int, height: int, target_width: int, target_height: int, scale: int) -> tuple[Pass, ...]:
    passes = [Pass(width, height)]
    while scale * (last := passes[-1]).width < target_width or scale * last.height < target_height:
        # No larger than the last pass needs it, and never larger than the pass before has made it.
        passes.append(
            Pass(
                min(scale * last.width, max(last.width, math.ceil(target_width / scale))),
                min(scale * last.height, max(last.height, math.ceil(target_height / scale))),
            )
        )
    return tuple(passes)


class TileCount:
    """One count of tiles for all passes over all pages; of those to come it is estimated from their pixels."""

    def __init__(self, progress: Progress, plan: PassPlan, pages: int = 1) -> None:
        self._progress = progress
        self._pixels = [each.width * each.height for each in plan.passes] * pages
        self._passes = len(plan.passes)
        self._tiles: list[int] = []  # known from the first report on

    def of(self, page: int, number: int) -> Progress:
        """The callback of a pass over a page; both are counted from 0."""
        index = page * self._passes + number
        if len(self._pixels) == 1:
            return self._progress

        def report(done: int, total: int) -> None:
            if not self._tiles:
                self._tiles = [max(1, round(total * one / self._pixels[0])) for one in self._pixels]
            before, own = sum(self._tiles[:index]), self._tiles[index]
            self._progress(before + own * done // total, sum(self._tiles))

        return report


@dataclass(frozen=True)
class Course:
    """What enlarging the pictures of one file takes.

    Attributes:
        plan: the passes of its first picture.
        key: says all that decides the pixels, so that work goes on after a crash (see `Canvas`).
        count: of the tiles of all pictures, for progress.
    """

    plan: PassPlan
    key: str
    count: TileCount


class NamedSink(Sink, Protocol):
    """A sink beside whose `path` the canvases between the passes are kept."""

    @property
    def path(self) -> Path: ...  # noqa: D102


@dataclass(frozen=True)
class Enlarger:
    """Enlarges the pictures of one file.

    Attributes:
        engine: the network.
        scale: how much larger.
        refine: what is done to every tile after the network, if anything.
        identity: a text that says which network and settings these are, as far as they decide pixels.
        tells: whether the log says how far results are from their input.
        origin: what the input has been through, for the results' description; empty if nothing.
        textures: the texture database that `refine` has a memory of, for the log.
        maps: whether a map of its use is written beside each result.
    """

    engine: Upscaler
    scale: Scale
    refine: Refine | None
    identity: str
    tells: bool = False
    origin: str = ""
    textures: str = ""
    maps: bool = False

    def begin(self, info: RasterInfo, progress: Progress, pictures: int = 1) -> Course:
        """Plan the work on a file, and say in the log what is not plain about it.

        Args:
            info: of its first picture.
            progress: told (tiles done, tiles in all), of all passes over all pictures.
            pictures: how many there are.

        Raises:
            UserError: the size that is asked for is out of range.
        """
        plan = self._plan(info)
        status = info.path.stat()
        text = json.dumps([str(info.path.resolve()), status.st_size, status.st_mtime_ns, self.identity])
        return Course(plan, hashlib.sha256(text.encode()).hexdigest(), TileCount(progress, plan, pictures))

    def file(
        self,
        pages: Callable[[int], Raster],
        target: Path,
        quality: int,
        progress: Progress,
        of_page: Callable[[int], "Enlarger"],
    ) -> None:
        """A file of pictures into another; all of them if the target's format holds several, else the first.

        Args:
            pages: opens a page or frame of the source, by its number from 0.
            target: where the result goes; its suffix chooses the format. Written whole or not at all.
            quality: see `RasterWriter`.
            progress: told (tiles done, tiles in all), of all pages and passes together.
            of_page: what enlarges a later page, which may have been through other things than the first. Frames of an
                animation are all done like its first, so that nothing flickers.

        Raises:
            UserError: the source cannot be read, the target cannot be written, or the size that is asked for is out of
                range.
        """
        raster = pages(0)
        info, pictures = raster.info, raster.info.pages
        if pictures > 1 and target.suffix.lower() not in MULTI_PAGE_SUFFIXES:
            _log.info("%s: %d images in it, and %s holds one: the first is done", info.path, pictures, target.suffix)
            pictures = 1
        for note in info.notes:
            _log.warning("%s: %s", info.path, note)
        course = self.begin(info, progress, pictures)
        plan = course.plan
        if pictures == 1:
            form = self._form(info, quality)
            with RasterWriter(target, plan.width, plan.height, **form, resume_key=course.key) as writer:
                self.raster(raster, writer, course)
            self._tell_textures(raster, str(info.path), target)
            return
        with PagesWriter(target, animation=info.animation, resume_key=course.key) as writer:
            for page in range(pictures):
                if writer.skip_finished():
                    continue
                enlarger = self
                if page:
                    raster = pages(page)
                    plan = self.scale.plan(raster.info.width, raster.info.height, str(info.path))
                    for note in (one for one in raster.info.notes if one not in info.notes):
                        _log.warning("%s: page %d: %s", info.path, page + 1, note)
                    enlarger = self if info.animation else of_page(page)
                with writer.page(plan.width, plan.height, **enlarger._form(raster.info, quality)) as one:
                    enlarger.raster(raster, one, replace(course, plan=plan), page)
        self._tell_textures(pages(0), str(info.path), target)

    def raster(self, raster: Raster, sink: NamedSink, course: Course, number: int = 0) -> None:
        """One picture by all its passes.

        Args:
            raster: the picture.
            sink: entered; takes the result, in the picture's channels.
            course: how it is gone through.
            number: which of the file's pictures it is, from 0.

        Raises:
            UserError: see `Upscaler.upscale_raster`.
        """
        plan, info = course.plan, raster.info
        remove_steps(sink.path, plan.between + 1)
        with contextlib.ExitStack() as stack:
            dtype = np.dtype(np.float32 if info.bits == 32 else np.uint16)
            steps: list[Canvas] = []
            for step, each in enumerate(plan.passes[: plan.between], start=1):
                shape = (plan.scale * each.height, plan.scale * each.width, info.channels)
                steps.append(stack.enter_context(Canvas(sink.path, shape, dtype, course.key, step=step)))
            for done, each in enumerate(plan.passes):
                if done:
                    raster = steps[done - 1].read_as(replace(info, width=each.width, height=each.height))
                into = steps[done] if done < len(steps) else sink
                self.engine.upscale_raster(raster, into, self._refine_of(done), course.count.of(number, done))
                self.tell(str(info.path), done, plan)
            if not plan.native:
                _copy(steps[-1].read_as(replace(info, width=plan.width, height=plan.height)), sink)

    def array(self, pixels: np.ndarray, name: str, progress: Progress) -> np.ndarray:
        """A picture in memory by all passes: `[C, H, W]` in [0, 1] → `[C, height, width]` in [0, 1]."""
        channels, height, width = pixels.shape
        colours = 3 if channels > 2 else 1
        info = RasterInfo(Path(name), width, height, colours, has_alpha=channels in (2, 4), dtype="float32")
        plan = self._plan(info)
        count = TileCount(progress, plan)
        self._tell_textures(pixels, name)
        for number, each in enumerate(plan.passes):
            if pixels.shape[1:] != (each.height, each.width):
                pixels = resize_array(pixels, each.width, each.height, info.has_alpha)
            pixels = self.engine.upscale_array(pixels, self._refine_of(number), count.of(0, number))
            self.tell(name, number, plan)
        return pixels if plan.native else resize_array(pixels, plan.width, plan.height, info.has_alpha)

    def _tell_textures(self, picture: Raster | np.ndarray, name: str, target: Path | None = None) -> None:
        """Say in the log where textures of a database fit a picture, and write a map beside `target`."""
        if self.refine is not None and self.refine.memory is not None:
            from gramgan.upscaling.textures import Use  # imports torch

            use = Use(self.refine.memory, picture)
            _log.info("%s: %s (%s)", name, use.describe(), self.textures)
            if target is not None and self.maps:
                use.write(target)

    def _refine_of(self, number: int) -> Refine | None:
        """Of a pass. What later ones enlarge is a result of the first, which is clean whatever the input was."""
        return self.refine if number == 0 or self.refine is None else self.refine.after_first_pass

    def _plan(self, info: RasterInfo) -> PassPlan:
        name = str(info.path)
        plan = self.scale.plan(info.width, info.height, name)
        if len(plan.passes) > 1 or not plan.native:
            _log.info("%s: %s", name, plan.describe())
        asked = plan.width / plan.height * info.height / info.width
        if not self.scale.by_factor and not 0.99 < asked < 1.01:
            change = 100 * abs(asked - 1)
            _log.info("%s: %dx%d changes its proportions by %.0f %%", name, plan.width, plan.height, change)
        return plan

    def _form(self, info: RasterInfo, quality: int) -> dict[str, Any]:
        """How a result is written that is a picture like another."""
        return {
            "like": info,
            "colour_channels": info.colour_channels,
            "has_alpha": info.has_alpha,
            "bits": info.bits,
            "quality": quality,
            "comment": comment(self.scale, self.origin),
        }

    def tell(self, name: str, number: int, plan: PassPlan) -> None:
        """Say in the log how far the result of a pass, shrunk again, is from its input, if that is wanted."""
        refine = self._refine_of(number)
        residual = refine.take_residual() if self.tells and refine is not None else None
        if residual is not None:
            of = f"pass {number + 1}" if len(plan.passes) > 1 else "the result"
            _log.info(
                "%s: shrunk again, %s differs from its input by %.2f grey levels (%.2f before; root mean square)",
                name,
                of,
                residual.after,
                residual.before,
            )


def _copy(raster: Raster, sink: Sink) -> None:
    sink.follow({"strip": _STRIP})
    for top in range(0, sink.height, _STRIP):
        window = Window(0, top, sink.width, min(_STRIP, sink.height - top))
        if not sink.holds(window):
            sink.write(window, raster.read(window))


def comment(scale: Scale, origin: str = "") -> str:
    """The description in every result; `origin` says what the input has been through."""
    much = f"{scale}x" if scale.by_factor else f"to {scale}"
    said = f" Input: {origin}." if origin else ""
    return f"Upscaled {much} with Gram-GAN; fine texture is synthesised, not measured.{said}"
