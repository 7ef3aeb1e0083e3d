"""Users' own parts in the shape that a training takes, each tried on a small tensor before the run starts."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gramgan.config import Config
from gramgan.data.source import Crops, CropSource, Demand, Taken
from gramgan.degradation import Degradation
from gramgan.errors import UserError, message_of
from gramgan.evaluation.protocols import Metric
from gramgan.networks.discriminator import Critique
from gramgan.training.own import OwnParts, Part

LOSS_INPUTS = ("sr", "hr", "lr", "average")
"""What a loss may name: SR, HR, LR and the averaged generator's result, `[B, 3, H, W]`."""

_SIDE = 16  # of the small tensor, in LR pixels


def own_network(part: Part) -> nn.Module:
    """The module that a part is, or that it makes.

    Raises:
        UserError: it makes none.
    """
    made = part.value if isinstance(part.value, nn.Module) else _tried(part, "without arguments", part.value)
    if not isinstance(made, nn.Module):
        raise UserError(f"{part.role}: {part.name} makes {type(made).__name__}; give what makes a torch.nn.Module")
    if not any(True for _ in made.parameters()):
        raise UserError(f"{part.role}: {part.name} has no parameters; there is nothing to train")
    return made


@torch.no_grad()
def try_generator(part: Part, network: nn.Module, scale: int) -> None:
    """Run the generator on a small tensor.

    Raises:
        UserError: it fails, or its result is not `scale` times as large.
    """
    result = _on_rest(part, network, torch.rand(2, 3, _SIDE, _SIDE + 8))
    _shape(part, result, (2, 3, scale * _SIDE, scale * (_SIDE + 8)), f"(generator.scale={scale})")


@torch.no_grad()
def try_discriminator(part: Part, network: nn.Module, config: Config) -> None:
    """Run the discriminator on small crops.

    Raises:
        UserError: it fails, or does not give what the losses need.
    """
    crop = config.data.crop
    critique = as_critique(_on_rest(part, network, torch.rand(2, 3, crop, crop)), part)
    if critique.logit.shape[:2] != (2, 1) or critique.logit.ndim not in (2, 4):
        raise UserError(
            f"{part.role}: {part.name} gives logits of {_said(critique.logit)}; give [B, 1], or [B, 1, H, W] for pixels"
        )
    features = critique.early is not critique.logit
    if config.stages.adversarial and config.losses.disc_perceptual and not features:
        raise UserError(
            f"losses.disc_perceptual: {part.name} gives logits alone; have it return (logit, early, late), "
            "or set it to 0"
        )


def as_critique(answer: Any, part: Part) -> Critique:
    """What a discriminator says, also where that is logits alone or a tuple with two feature maps.

    Raises:
        UserError: it is something else.
    """
    if isinstance(answer, Tensor):
        return Critique(answer, answer, answer)
    if isinstance(answer, tuple) and len(answer) == 3 and all(isinstance(one, Tensor) for one in answer):
        return Critique(*answer)
    raise UserError(f"{part.role}: {part.name} gives {_said(answer)}; give logits, or (logit, early, late)")


class OwnDiscriminator(nn.Module):
    """A user's discriminator whose answers are a `Critique`; its state dict has the names of `network`."""

    def __init__(self, network: nn.Module, part: Part) -> None:
        super().__init__()
        self.network = network
        self._part = part

    def forward(self, images: Tensor) -> Critique:
        """`[B, 3, H, W]` in [0, 1] → what the network says of them."""
        return as_critique(self.network(images), self._part)


class OwnLoss:
    """A user's loss, called with what it asks for by name."""

    def __init__(self, part: Part) -> None:
        """Look at what it asks for.

        Raises:
            UserError: it asks for something that there is not, or for nothing.
        """
        self._part = part
        call = part.value.forward if isinstance(part.value, nn.Module) else part.value
        parameters = _parameters(part, call)
        needed = [one.name for one in parameters if one.default is one.empty]
        unknown = [name for name in needed if name not in LOSS_INPUTS]
        if unknown or "sr" not in [one.name for one in parameters]:
            raise UserError(
                f"{part.role}: {part.name} takes {', '.join(needed) or 'nothing'}; name its arguments sr, hr, lr or "
                "average, sr among them"
            )
        self.inputs = tuple(one.name for one in parameters if one.name in LOSS_INPUTS)

    def __call__(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """The loss, a scalar."""
        return self._part.value(**{name: inputs[name] for name in self.inputs})

    def attempt(self, scale: int) -> None:
        """Compute it on small tensors.

        Raises:
            UserError: it fails, is no finite scalar, or does not depend on `sr`.
        """
        part, side = self._part, 2 * _SIDE * scale
        sr = torch.rand(2, 3, side, side).requires_grad_()
        inputs = {"sr": sr, "hr": torch.rand(2, 3, side, side), "average": torch.rand(2, 3, side, side)}
        inputs["lr"] = torch.rand(2, 3, 2 * _SIDE, 2 * _SIDE)
        loss = _tried(part, f"on tensors {_said(sr)}", lambda: self(inputs))
        if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.isfinite().all():
            raise UserError(f"{part.role}: {part.name} gives {_said(loss)}; give one finite number as a tensor")
        if not loss.requires_grad:
            raise UserError(f"{part.role}: {part.name} does not depend on sr; nothing could be learned from it")


class OwnDegradation(Degradation):
    """A user's function `hr → lr` or `(hr, seeds) → lr`.

    Raises:
        UserError: it takes other arguments.
    """

    name = "own"

    def __init__(self, part: Part, scale: int) -> None:
        super().__init__(scale)
        self._part = part
        self._seeded = _count(part, (1, 2), "(hr), or (hr, seeds)") == 2

    def describe(self, seed: int) -> list[str]:
        """The part's name; what it draws for a seed is known to it alone."""
        return [self._part.name]

    def _degrade(self, hr: Tensor, seeds: Sequence[int]) -> Tensor:
        return self._part.value(hr, seeds) if self._seeded else self._part.value(hr)

    @torch.no_grad()
    def attempt(self) -> None:
        """Degrade a small tensor, twice.

        Raises:
            UserError: it fails, its result has another size, or is not in [0, 1].
        """
        part, hr = self._part, torch.rand(2, 3, _SIDE * self.scale, (_SIDE + 8) * self.scale)
        lr = _tried(part, f"on a tensor {_said(hr)}", lambda: self._degrade(hr.clone(), [1, 2]))
        _shape(part, lr, (2, 3, _SIDE, _SIDE + 8), f"(generator.scale={self.scale})")
        if not (lr.min() >= 0 and lr.max() <= 1):
            raise UserError(f"{part.role}: {part.name} gives values outside of [0, 1]; clamp them")


class OwnCrops(CropSource):
    """A user's function `number → HR crops`: `[batch, 3, crop, crop]` in [0, 1], or (HR, LR), the same for one number.

    The function is called as `crops(number, batch, crop)` with the step's number from 0 on, so that a resumed run goes
    on with the crops that would have followed. With several processes, each calls it and takes its own rows.
    """

    def __init__(self, part: Part, demand: Demand) -> None:
        """Look at its arguments, and try it.

        Raises:
            UserError: it takes others, fails, or gives crops of another shape.
        """
        super().__init__([], demand)
        self._part = part
        _count(part, (3, 3), "(number, batch, crop)")
        self._drawn(0)

    def next(self) -> Crops:
        """This process's share of the next batch, made by the part for its number."""
        taken = self._take(range(self.position, self.position + 1))
        number, batch, share = self.position, self.demand.batch, self.demand.share
        self.position += 1
        rows = range(number * batch, (number + 1) * batch)[share.rows(batch // share.world)]
        return Crops(taken.images, tuple(taken.names), taken.low, tuple(rows))

    def _take(self, numbers: range) -> Taken:
        high, low = self._drawn(numbers[0])
        own = self.demand.share.rows(self.demand.batch // self.demand.share.world)
        device = self.demand.device
        names = [f"{self._part.name} {numbers[0]}"] * self.demand.batch
        return Taken(high[own].to(device), None if low is None else low[own].to(device), names)

    def _drawn(self, number: int) -> tuple[Tensor, Tensor | None]:
        demand, part = self.demand, self._part
        drawn = _tried(part, f"for step {number}", lambda: part.value(number, demand.batch, demand.crop))
        pair: tuple[Any, Any] = drawn if isinstance(drawn, tuple) and len(drawn) == 2 else (drawn, None)
        high, low = pair
        _shape(part, high, (demand.batch, 3, demand.crop, demand.crop), "(batch, RGB, data.crop)")
        if low is not None:
            side = demand.crop // demand.scale
            _shape(part, low, (demand.batch, 3, side, side), "(batch, RGB, LR of data.crop)")
        return high.float(), None if low is None else low.float()


@dataclass(frozen=True)
class OwnMetric:
    """A user's metric `(sr, hr) → number` of RGB images `[1, 3, H, W]` in [0, 1]; less is better unless it says so.

    A function says so by an attribute `higher_is_better = True`.
    """

    part: Part
    about: Metric

    @classmethod
    def of(cls, name: str, part: Part) -> "OwnMetric":
        """Try it on a small tensor.

        Raises:
            UserError: it takes other arguments, fails, or gives no number.
        """
        _count(part, (2, 2), "(sr, hr)")
        higher = bool(getattr(part.value, "higher_is_better", False))
        version = f"{part.name} {part.sha256[:12]}".strip()
        made = cls(part, Metric(name, version, higher_is_better=higher))
        made(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))
        return made

    @torch.no_grad()
    def __call__(self, sr: Tensor, hr: Tensor) -> float:
        """The score."""
        score = _tried(self.part, f"on tensors {_said(sr)}", lambda: self.part.value(sr, hr))
        try:
            return float(score)
        except (TypeError, ValueError, RuntimeError):
            raise UserError(f"{self.part.role}: {self.part.name} gives {_said(score)}; give one number") from None


def moved(parts: OwnParts, device: torch.device) -> None:
    """Put losses and metrics that are modules on the device, at rest: they are not trained."""
    for part in (*parts.losses.values(), *parts.metrics.values()):
        if isinstance(part.value, nn.Module):
            part.value.to(device).eval().requires_grad_(False)


def _on_rest(part: Part, network: nn.Module, images: Tensor) -> Any:
    """A network in evaluation mode on `images`; it is left as it was."""
    was = network.training
    try:
        return _tried(part, f"on a tensor {_said(images)}", lambda: network.eval()(images))
    finally:
        network.train(was)


def _tried(part: Part, how: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except UserError:
        raise
    except Exception as error:
        said = message_of(error, 200)
        raise UserError(f"{part.role}: {part.name} fails {how} ({type(error).__name__}: {said}); correct it") from error


def _parameters(part: Part, call: Any) -> list[inspect.Parameter]:
    try:
        found = list(inspect.signature(call).parameters.values())
    except (TypeError, ValueError):
        raise UserError(f"{part.role}: {part.name} does not say its arguments; wrap it in a function") from None
    return [one for one in found if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]


def _count(part: Part, bounds: tuple[int, int], wanted: str) -> int:
    """How many arguments a part is to be called with: as many as it takes, within `bounds`."""
    call = part.value.forward if isinstance(part.value, nn.Module) else part.value
    parameters = _parameters(part, call)
    needed = sum(one.default is one.empty for one in parameters)
    low, high = bounds
    if needed > high or len(parameters) < low:
        names = ", ".join(one.name for one in parameters) or "nothing"
        raise UserError(f"{part.role}: {part.name} takes {names}; its arguments are {wanted}")
    return min(max(needed, low), high)


def _shape(part: Part, found: Any, wanted: tuple[int, ...], why: str) -> None:
    if not isinstance(found, Tensor) or tuple(found.shape) != wanted:
        shape = "x".join(map(str, wanted))
        raise UserError(f"{part.role}: {part.name} gives {_said(found)} where {shape} is wanted {why}")
    if not found.isfinite().all():
        raise UserError(f"{part.role}: {part.name} gives values that are not finite")


def _said(value: Any) -> str:
    if isinstance(value, Tensor):
        return "x".join(map(str, value.shape)) or f"the number {float(value):g}"
    return type(value).__name__
