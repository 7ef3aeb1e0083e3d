"""The collapse watch: warns in words when a training fails in one of the known ways.

It judges the records of the log over the last so many iterations, and nothing else: what it says of a run can be
found again from its `log.jsonl`, and a resumed run is told what it was about to be told.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from gramgan.training.folder import Record

UNDECIDED = math.log(2)
"""The discriminator's loss when it says the same of every image, in both relativistic forms."""

LEARNT_NOTHING_LOSS = 0.97 * UNDECIDED
LEARNT_NOTHING_RANKED = 0.6
"""Share of pairs ranked right; chance is 0.5."""
SEPARATES_LOSS = 0.02
"""D is sure of 0.98 then (σ of the difference of logits), and the gradient that G gets from it nearly gone."""
SEPARATES_ACCURACY = 0.99
EXPLODED = 10.0
"""Times the median norm of the gradient before."""
DOMINANT = 0.98
"""Share of one weighted loss in the total."""
SPARSE = 2.0
"""Target distance over half the distance between SR and HR; above 1 the target is no help on average."""
TRIVIAL = 0.05
"""The same, where the target has become the query."""
BARELY_SEEN = 0.05
"""Share of pixels that the mask leaves."""
DRIFTED = 5 / 255
"""Mean distance between the mean colours of SR images and of their HR."""

WAITING = 0.1
"""Share of the time in which a training waits for its images."""


@dataclass(frozen=True)
class Finding:
    """What is going wrong: its `kind`, for programs, and a `message` that says what to do."""

    kind: str
    message: str


class Watch:
    """Looks at one record of the log after another.

    A finding is reported once, and again only after it was no longer true. A new stage begins afresh.
    """

    def __init__(self, iterations: int) -> None:
        """`iterations`: over how many of one stage a judgement is made."""
        self._iterations = iterations
        self._window: deque[Record] = deque()
        self._begun = 0
        self._norms: dict[str, list[float]] = {network: [] for network in _CLIPS}
        self._known: set[str] = set()

    def replay(self, records: Iterable[Record]) -> None:
        """Take in what was seen before a run was resumed."""
        for record in records:
            self.see(record)

    def see(self, record: Record) -> list[Finding]:
        """Take in a record of the log; what is newly wrong."""
        if record["event"] != "step":
            return []
        if not self._window or self._window[-1]["stage"] != record["stage"]:
            self._begin()
        self._window.append(record)
        while record["iteration"] - self._window[0]["iteration"] >= self._iterations:
            self._leave(self._window.popleft())
        spanned = record["iteration"] - self._begun
        if spanned < self._iterations:
            return []
        window = list(self._window)
        found = {kind: judge(window, spanned) for kind, judge in _JUDGES.items()}
        found |= {f"{network}_explodes": self._exploded(network) for network in _CLIPS}
        fresh = [Finding(kind, text) for kind, text in found.items() if text is not None and kind not in self._known]
        self._known = {kind for kind, text in found.items() if text is not None}
        return fresh

    def _begin(self) -> None:
        # A record tells of the iterations since the one before it, the first one of those since the run began.
        self._begun = self._window[-1]["iteration"] if self._window else 0
        self._window.clear()
        self._known.clear()
        for norms in self._norms.values():
            norms.clear()

    def _leave(self, record: Record) -> None:
        self._begun = record["iteration"]
        for network, norms in self._norms.items():
            if f"gradient_{network}" in record:
                norms.append(record[f"gradient_{network}"])

    def _exploded(self, network: str) -> str | None:
        name, before = f"gradient_{network}", self._norms[network]
        now = [record[name] for record in self._window if name in record]
        if not now or len(before) < len(now):
            return None
        usual = median(before)
        if not median(now) > EXPLODED * usual > 0:
            return None
        clip, rate = _CLIPS[network]
        return (
            f"the gradient of the {network} has grown from {usual:.3g} to {median(now):.3g}, it may diverge; stop and "
            f"go on with {clip}={2 * usual:.2g} or a lower {rate}"
        )


_CLIPS = {
    "generator": ("train.clip", "schedule.rate"),
    "discriminator": ("train.clip_discriminator", "schedule.rate_discriminator"),
}


def _learns_nothing(window: Sequence[Record], spanned: int) -> str | None:
    loss, ranked = _mean(window, "losses", "discriminator"), _mean(window, "ranked_right")
    if loss is None or ranked is None or loss < LEARNT_NOTHING_LOSS or ranked > LEARNT_NOTHING_RANKED:
        return None
    return (
        f"the discriminator has learnt nothing for {spanned} iterations: its loss is {loss:.3f} (undecided: "
        f"{UNDECIDED:.3f}) and it ranks {ranked:.0%} of pairs right (chance: 50%); raise schedule.rate_discriminator, "
        "or begin again with more stages.warm_discriminator, losses.relativistic=paired or a larger batch"
    )


def _separates(window: Sequence[Record], spanned: int) -> str | None:
    loss = _mean(window, "losses", "discriminator")
    real, fake = _mean(window, "accuracy_real"), _mean(window, "accuracy_fake")
    if window[0]["stage"] != "adversarial" or loss is None or real is None or fake is None:
        return None
    if loss > SEPARATES_LOSS or min(real, fake) < SEPARATES_ACCURACY:
        return None
    return (
        f"the discriminator separates perfectly for {spanned} iterations: it knows {real:.1%} of the real and "
        f"{fake:.1%} of the generated images (loss {loss:.2g}) and no longer tells the generator what to do better; "
        "lower schedule.rate_discriminator, or begin again with discriminator.r1=10, discriminator.spectral_norm=true "
        "or more photographs"
    )


def _dominates(window: Sequence[Record], spanned: int) -> str | None:
    means = {name: _mean(window, "shares", name) for name in window[-1].get("shares", {})}
    shares = {name: share for name, share in means.items() if share is not None}
    name = max(shares, key=lambda name: shares[name], default="")
    if len(shares) < 2 or shares[name] < DOMINANT:
        return None
    return (
        f"the loss {name} makes up {shares[name]:.1%} of the total for {spanned} iterations, the others hardly count; "
        f"begin again with a lower losses.{name}"
    )


def _too_far(window: Sequence[Record], spanned: int) -> str | None:
    ratio = _mean(window, "database", "target_ratio")
    if ratio is None or ratio <= SPARSE:
        return None
    return (
        f"the chosen textures are too far away for {spanned} iterations: {ratio:.1f} times half the distance between "
        "result and truth (target ratio), so they pull away from the truth; go on with a larger texture database or "
        "texture.candidates=both"
    )


def _trivial(window: Sequence[Record], spanned: int) -> str | None:
    ratio = _mean(window, "database", "target_ratio")
    if ratio is None or ratio >= TRIVIAL:
        return None
    return (
        f"the chosen textures are what was searched for, for {spanned} iterations (target ratio {ratio:.3f}): the "
        "texture loss has become a plain distance to the truth; begin again with a descriptor of more dimensions "
        "(texture.descriptor=rgb-gradient) or a larger texture.beta"
    )


def _hidden(window: Sequence[Record], spanned: int) -> str | None:
    share = _mean(window, "mask_share")
    if share is None or share >= BARELY_SEEN:
        return None
    return (
        f"the texture mask leaves {share:.1%} of the pixels for {spanned} iterations, so the discriminator sees next "
        "to nothing; begin again with a lower mask.threshold or with photographs that have texture"
    )


def _drifts(window: Sequence[Record], spanned: int) -> str | None:
    drift = _mean(window, "colour_drift")
    if window[0]["stage"] != "adversarial" or drift is None or drift <= DRIFTED:
        return None
    return (
        f"the generator's colours lie {255 * drift:.1f} grey levels from the truth for {spanned} iterations; begin "
        "again with a higher losses.pixel, or with texture.descriptor=rgb-centred, which leaves colours alone"
    )


def _waits(window: Sequence[Record], spanned: int) -> str | None:
    share = _mean(window, "data", "wait_share")
    if share is None or share < WAITING:
        return None
    return (
        f"the training waits for images {share:.0%} of the time; `gramgan doctor --data FOLDER` measures what helps: "
        "sub-images made by `gramgan prepare`, more data.workers, or data.source=resident"
    )


_JUDGES: dict[str, Callable[[Sequence[Record], int], str | None]] = {
    "discriminator_learns_nothing": _learns_nothing,
    "discriminator_separates": _separates,
    "one_loss_dominates": _dominates,
    "targets_too_far": _too_far,
    "targets_trivial": _trivial,
    "mask_hides_all": _hidden,
    "colours_drift": _drifts,
    "waits_for_data": _waits,
}


def _mean(window: Sequence[Record], *key: str) -> float | None:
    """The mean over the records of the number under nested keys; None if one of them has none."""
    values = []
    for record in window:
        value: Any = record
        for name in key:
            value = value.get(name, {})
        if not isinstance(value, int | float):
            return None
        values.append(float(value))
    return fmean(values)
