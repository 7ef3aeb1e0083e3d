"""How large a result is to be, and how many passes of a ×4 network with which resizes lead there."""

import math
import re
from dataclasses import dataclass

from gramgan.errors import UserError
from gramgan.upscaling.bicubic import SCALE

MAX_FACTOR = 64.0


@dataclass(frozen=True)
class Stage:
    """One pass: the picture of `width` × `height` pixels that the network enlarges four times."""

    width: int
    height: int


@dataclass(frozen=True)
class ScalePlan:
    """The passes, and the size of the result.

    Before each pass but the first, the picture is shrunk to the stage's size; after the last, to `width` × `height`
    where that is not the size it has by then.
    """

    stages: tuple[Stage, ...]
    width: int
    height: int

    @property
    def native(self) -> bool:
        """Whether the last pass gives the result's size by itself."""
        last = self.stages[-1]
        return (SCALE * last.width, SCALE * last.height) == (self.width, self.height)

    def describe(self) -> str:
        """The way in words, such as `160x120, x4, shrunk to 320x240, x4, shrunk to 1200x900 (Lanczos)`."""
        steps = [f"{self.stages[0].width}x{self.stages[0].height}"]
        width, height = self.stages[0].width, self.stages[0].height
        shrunk = False
        for stage in self.stages:
            if (stage.width, stage.height) != (width, height):
                steps.append(f"shrunk to {stage.width}x{stage.height}")
                shrunk = True
            steps.append("x4")
            width, height = SCALE * stage.width, SCALE * stage.height
        if not self.native:
            steps.append(f"shrunk to {self.width}x{self.height}")
            shrunk = True
        return ", ".join(steps) + (" (Lanczos)" if shrunk else "")


@dataclass(frozen=True)
class Scale:
    """What was asked for: a factor, or a width, a height, or both in pixels (one alone keeps the proportions)."""

    factor: float | None = None
    width: int | None = None
    height: int | None = None

    def __str__(self) -> str:
        if self.factor is not None:
            return f"{self.factor:g}"
        return f"{self.width or ''}x{self.height or ''}"

    def plan(self, width: int, height: int, name: str) -> ScalePlan:
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
        return ScalePlan(_stages(width, height, target_width, target_height), target_width, target_height)

    def _target(self, width: int, height: int) -> tuple[int, int]:
        if self.factor is not None:
            return max(1, round(width * self.factor)), max(1, round(height * self.factor))
        if self.width is not None and self.height is not None:
            return self.width, self.height
        if self.width is not None:
            return self.width, max(1, round(height * self.width / width))
        assert self.height is not None
        return max(1, round(width * self.height / height)), self.height


def parse_scale(scale: float | None, size: str | None) -> Scale:
    """A factor (`scale`, 4 where both are None) or a size such as `1920x1080`, `1920x` or `x1080`.

    Raises:
        UserError: both are given, or one is out of range or not readable.
    """
    if scale is not None and size is not None:
        raise UserError(f"scale {scale:g} and size {size}: both say how large the result is to be; give one of them")
    if size is None:
        factor = float(SCALE) if scale is None else float(scale)
        if not (math.isfinite(factor) and 1 <= factor <= MAX_FACTOR):
            raise UserError(f"scale: {scale} is outside of 1 to {MAX_FACTOR:.0f}; use 1.5, 2, 3, 4, 8 or 16, say")
        return Scale(factor=factor)
    found = re.fullmatch(r"([1-9]\d{0,8})?[xX×]([1-9]\d{0,8})?", size.strip())
    if found is None or not any(found.groups()):
        raise UserError(f"size {size!r}: not a size in pixels; write 1920x1080, or 1920x or x1080 to keep proportions")
    width, height = (int(one) if one else None for one in found.groups())
    return Scale(width=width, height=height)


def _stages(width: int, height: int, target_width: int, target_height: int) -> tuple[Stage, ...]:
    stages = [Stage(width, height)]
    while not _reaches(stages[-1], target_width, target_height):
        last = stages[-1]
        # No larger than the last pass needs it, and never larger than the pass before has made it.
        stages.append(
            Stage(
                min(SCALE * last.width, max(last.width, math.ceil(target_width / SCALE))),
                min(SCALE * last.height, max(last.height, math.ceil(target_height / SCALE))),
            )
        )
    return tuple(stages)


def _reaches(stage: Stage, width: int, height: int) -> bool:
    return SCALE * stage.width >= width and SCALE * stage.height >= height
