"""The training loop: one readable line after another, from the first iteration to the last."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from gramgan.config import Config
from gramgan.config.sections import Stage
from gramgan.errors import UserError
from gramgan.evaluation.protocols import Metric
from gramgan.evaluation.scoring import LEARNED
from gramgan.images import write_image
from gramgan.training.build import Parts
from gramgan.training.checkpoint import checkpoints, drop_checkpoints, load_checkpoint, save_checkpoint
from gramgan.training.folder import USAGE, Record, read_log
from gramgan.training.guard import StepGuard
from gramgan.training.logbook import Logbook, Meter
from gramgan.training.schedule import learning_rate, set_learning_rate
from gramgan.training.usage import PatchUsage
from gramgan.training.validation import Validation
from gramgan.training.watch import Watch
from gramgan.training.weights import write_best, write_psnr

_log = logging.getLogger(__name__)


@runtime_checkable
class Observer(Protocol):
    """Whoever watches a run: told after every iteration, and of every record in the log.

    Where several processes train together, the first one tells.
    """

    def iteration(self, done: int, total: int, stage: Stage) -> None:
        """`done` of `total` iterations are behind."""
        ...

    def record(self, record: Record) -> None:
        """A record was written to the log."""
        ...


@dataclass
class Best:
    """The best validation of the stage whose results are kept."""

    iteration: int
    scores: dict[str, float]


class Loop:
    """Runs the stages one after another; `state` and `restore` carry everything over an interruption.

    Where several processes train together, all of them run the loop in the same state, and the first one writes.
    """

    def __init__(
        self, config: Config, parts: Parts, folder: Path, observer: Observer, should_stop: Callable[[], bool]
    ) -> None:
        self._config = config
        self._parts = parts
        self._processes = parts.processes
        self._folder = folder
        self._observer = observer
        self._should_stop = should_stop
        self._meter = Meter(self._processes.mean)
        self._guard = StepGuard(config.guard, self._processes)
        self._watch = Watch(config.guard.watch)
        self._logbook: Logbook | None = None  # the first process's
        self.usage = PatchUsage(self._processes.gather)
        self.iteration = 0
        self._fed = 0  # the iteration up to which is known how the data came in
        self.best: Best | None = None
        self._unimproved = 0  # validations of the last stage since the best
        self._decisive = self._decisive_metric()

    def run(self) -> bool:
        """Train until the last iteration or until `should_stop`; whether the last one was reached.

        Raises:
            UserError: losses stay not finite although the run went back to a checkpoint, or the disk is full.
        """
        try:
            self._processes.alone(self._open_log)
            if self.iteration == 0:
                self._processes.alone(self._first_look)
                self._save()  # there is always something to go back to
            self._run()
        finally:
            if self._logbook is not None:
                self._logbook.close()
            self._parts.source.close()
        return self.iteration == self._config.stages.total or self._ends_early

    def _run(self) -> None:
        config, total, parts = self._config, self._config.stages.total, self._parts
        step = parts.step
        steps = {
            "pretrain": step.pretrain,
            "warm_discriminator": step.warm_discriminator,
            "adversarial": step.adversarial,
        }
        # A broken step changes nothing, so it is early enough to look for one when the log is written. On a CPU looking
        # costs nothing, and many steps that are skipped cost much.
        looks_at_once = self._processes.device.type == "cpu"
        started, counted = time.perf_counter(), self.iteration
        while self.iteration < total and not self._ends_early:
            stage, number = config.stages.at(self.iteration)
            rate = self._set_rates(stage, number)
            crops = parts.source.next()
            hr = crops.images
            if config.train.memory_format == "channels_last":
                hr = hr.contiguous(memory_format=torch.channels_last)
            lr = parts.degradation(hr, crops.seeds) if crops.low is None else crops.low
            result = steps[stage](lr, hr, self.iteration)
            if stage != "warm_discriminator":
                parts.ema.update_parameters(parts.generator)
            if result.patch_id is not None:
                self.usage.add(result.patch_id)
            self.iteration += 1
            self._meter.add(result)
            self._guard.add(self.iteration, stage, result, crops.names)
            if self._processes.first:
                self._observer.iteration(self.iteration, total, stage)

            stop = self._processes.any(self._should_stop())
            ends = self.iteration == total or config.stages.at(self.iteration)[0] != stage
            validates = (ends or self.iteration % config.log.validate_every == 0) and stage != "warm_discriminator"
            saves = ends or stop or self.iteration % config.log.checkpoint_every == 0
            logs = validates or saves or self.iteration % config.log.every == 0
            problem = self._broken_steps() if logs or looks_at_once else None
            if problem is None and logs:
                speed = (self.iteration - counted) / (time.perf_counter() - started)
                self._log_steps(stage, rate, speed)
                if validates:
                    found_best, problem = self._validate(stage)
                    saves = saves or found_best or self._ends_early
                if problem is None and ends and stage == "pretrain":
                    self._processes.alone(self._write_psnr)
                if problem is None and saves:
                    problem = self._save()
                started, counted = time.perf_counter(), self.iteration  # the speed is that of steps alone
            if problem is not None:
                self._go_back(problem)
                started, counted = time.perf_counter(), self.iteration
            if stop:
                break

    def state(self) -> dict[str, Any]:
        """Everything that decides how the run continues."""
        parts = self._parts
        random = {"torch": torch.get_rng_state(), "texture": parts.texture_random.get_state()}
        if parts.fabric.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(parts.fabric.device)
        state: dict[str, Any] = {
            "generator": parts.generator.state_dict(),
            "generator_optimizer": parts.generator_optimizer.state_dict(),
            "ema": parts.ema.state_dict(),
            "random": random,
            "data": parts.source.state(),
            "usage": self.usage.state(),
            "best": None if self.best is None else {"iteration": self.best.iteration, "scores": self.best.scores},
            "unimproved": self._unimproved,
            "guard": self._guard.state(),
        }
        if parts.discriminator is not None and parts.discriminator_optimizer is not None:
            state["discriminator"] = parts.discriminator.state_dict()
            state["discriminator_optimizer"] = parts.discriminator_optimizer.state_dict()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint; `stages` may have changed since.

        Raises:
            UserError: the checkpoint is beyond the last iteration.
        """
        parts, stages = self._parts, self._config.stages
        if state["iteration"] > stages.total:
            raise UserError(
                f"stages: end at iteration {stages.total}, the run has made {state['iteration']} already; give more"
            )
        self._restore_networks(state)
        self._guard.load(state["guard"])
        torch.set_rng_state(state["random"]["torch"])
        parts.source.restore(state["data"])
        parts.texture_random.set_state(state["random"]["texture"])
        if "cuda" in state["random"] and parts.fabric.device.type == "cuda":
            torch.cuda.set_rng_state(state["random"]["cuda"], parts.fabric.device)
        best = Best(**state["best"]) if state["best"] is not None else None
        self._unimproved = state.get("unimproved", 0)
        # What was best in pretraining does not compete once an adversarial stage has been added.
        if best is not None and stages.at(best.iteration - 1)[0] == stages.last_of_generator:
            self.best = best

    def _restore_networks(self, state: dict[str, Any]) -> None:
        parts = self._parts
        parts.generator.load_state_dict(state["generator"])
        parts.generator_optimizer.load_state_dict(state["generator_optimizer"])
        parts.ema.load_state_dict(state["ema"])
        # A run that had no stage for the discriminator has none in its checkpoint: it starts as a new one would.
        if parts.discriminator is not None and parts.discriminator_optimizer is not None and "discriminator" in state:
            parts.discriminator.load_state_dict(state["discriminator"])
            parts.discriminator_optimizer.load_state_dict(state["discriminator_optimizer"])
        self.usage.load(state["usage"])
        self.iteration = self._fed = state["iteration"]

    def _open_log(self) -> None:
        """Open the log at this iteration: what it holds of later ones will be made again."""
        if self._logbook is not None:
            self._logbook.close()
        self._logbook = Logbook(self._folder, self.iteration)
        self._watch = Watch(self._config.guard.watch)
        self._watch.replay(read_log(self._folder))

    def _set_rates(self, stage: Stage, number: int) -> float:
        schedule, parts = self._config.schedule, self._parts
        course = {"warmup": schedule.warmup, "period": schedule.restart_every, "minimum": schedule.minimum}
        base = schedule.rate_pretrain if stage == "pretrain" else schedule.rate
        rate = learning_rate(number, base, **course) * self._guard.rate_scale
        set_learning_rate(parts.generator_optimizer, rate)
        if parts.discriminator_optimizer is not None:
            rate_d = learning_rate(number, schedule.rate_discriminator, **course) * self._guard.rate_scale
            set_learning_rate(parts.discriminator_optimizer, rate_d)
            if stage == "warm_discriminator":
                rate = rate_d
        return rate

    def _first_look(self) -> None:
        """Validate before the first step: a folder that cannot be validated on fails now, not after hours."""
        validator = self._parts.validator
        pictures = {"truth": validator.truth()}
        for name, validation in (("bicubic", validator.bicubic()), ("start", validator(self._parts.ema.module))):
            pictures[name] = validation.images
            self._write(self._scored(name, validation))
        for kind, images in pictures.items():
            for name in validator.truth():
                write_image(self._folder / "samples" / name / f"{kind}.png", images[name])
        if not self._config.stages.pretrain:
            self._write_psnr()

    def _broken_steps(self) -> str | None:
        """Name the steps that changed nothing; if there were too many, the last of them."""
        skips = self._guard.look()
        for skip in skips:
            _log.warning("a step is skipped: %s", skip)
        records = [
            {
                "event": "skip",
                "stage": skip.stage,
                "iteration": skip.iteration,
                "broken": list(skip.broken),
                "images": sorted(set(skip.images)),
            }
            for skip in skips
        ]
        if records:
            self._processes.alone(lambda: self._write(*records))
        return str(skips[-1]) if skips and self._guard.exhausted(self.iteration) else None

    def _go_back(self, why: str) -> None:
        """Return to the last checkpoint before things went wrong, with lower rates; the data go on where they are.

        Raises:
            UserError: that has been done often enough.
        """
        folder, left = self._folder / "checkpoints", self.iteration
        if not self._guard.may_go_back:
            raise UserError(
                f"{self._folder}: {why}; going back to a checkpoint with lower rates has not helped "
                f"({self._guard.returns} times). The checkpoint of iteration {int(checkpoints(folder)[-1].stem)} is "
                "good: look at those images, and go on from it by --resume with a lower schedule.rate, train.clip=1 or "
                "train.precision=fp32"
            )
        self._restore_networks(load_checkpoint(folder, before=self._guard.since))
        self._guard.went_back()
        self._meter.look()
        scale = self._guard.rate_scale
        _log.warning(
            "%s; the run goes back from iteration %d to %d, learning rates times %g", why, left, self.iteration, scale
        )

        def settle() -> None:
            self._write_checkpoint()  # first: a crash from now on finds the lower rates
            drop_checkpoints(folder, after=self.iteration)
            self._open_log()
            self._write(
                {"event": "rollback", "iteration": self.iteration, "from": left, "rate_scale": scale, "because": why}
            )

        self._processes.alone(settle)

    def _log_steps(self, stage: Stage, rate: float, speed: float) -> None:
        look = self._meter.look()
        statistics = look.statistics
        database, shares = self.usage.collect(), self._shares(stage, look.losses)
        if "target_ratio" in statistics:
            database["target_ratio"] = statistics.pop("target_ratio")
        record = {
            "event": "step",
            "stage": stage,
            "iteration": self.iteration,
            "losses": look.losses,
            "learning_rate": rate,
            **({"shares": shares} if shares else {}),
            **({"database": database} if database else {}),
            **statistics,
            **self._feeding(speed),
            "iterations_per_second": speed,
        }

        def write() -> None:
            self._write(record)
            for finding in self._watch.see(record):
                _log.warning("%s", finding.message)
                warning = {"event": "warning", "stage": stage, "iteration": self.iteration}
                self._write({**warning, "kind": finding.kind, "message": finding.message})

        self._processes.alone(write)

    def _feeding(self, speed: float) -> Record:
        """How the data came in since the record before: nothing to say of images that lie in memory."""
        looks = self._processes.everyone(self._parts.source.look())
        iterations, self._fed = self.iteration - self._fed, self.iteration
        waited, replaced = max(look.waited for look in looks), sum(look.replaced for look in looks)
        troubles = {name: what for look in looks for name, what in look.troubles.items()}
        if not (waited or replaced or troubles):
            return {}
        return {
            "data": {
                "wait_share": min(waited * speed / max(iterations, 1), 1.0),
                "replaced_crops": replaced,
                **({"troubles": troubles} if troubles else {}),
            }
        }

    def _shares(self, stage: Stage, losses: dict[str, float]) -> dict[str, float]:
        """What part of the generator's total each weighted loss makes up."""
        if stage != "adversarial" or not losses.get("total"):
            return {}
        weights = self._parts.step.weights
        return {name: weights[name] * value / losses["total"] for name, value in losses.items() if name in weights}

    def _validate(self, stage: Stage) -> tuple[bool, str | None]:
        """Score the averaged generator and keep it if it is the best: whether it is, and what is wrong with it."""
        before, problem = self.best, None

        def judge() -> None:
            nonlocal problem
            problem = self._judge(stage)

        self._processes.alone(judge)
        self.best, problem = self._processes.from_first((self.best, problem))
        if stage == self._config.stages.last_of_generator and problem is None:
            self._unimproved = 0 if self.best != before else self._unimproved + 1
            if self._ends_early:
                _log.info(
                    "no better %s in %d validations (log.patience): the run ends at iteration %d",
                    self._decisive.name,
                    self._unimproved,
                    self.iteration,
                )
        return self.best != before, problem

    @property
    def _ends_early(self) -> bool:
        patience = self._config.log.patience
        return patience is not None and self._unimproved >= patience

    def _judge(self, stage: Stage) -> str | None:
        validator = self._parts.validator
        validation = validator(self._parts.ema.module)
        broken = [name for name, value in validation.scores.items() if math.isnan(value)]
        if broken:
            return f"the validation score {broken[0]} is not finite at iteration {self.iteration}"
        record = self._scored("generator", validation)
        if stage == self._config.stages.last_of_generator and self._is_best(validation):
            self.best = Best(self.iteration, validation.scores)
            card = self._parts.card.model_copy(update={"scores": {validator.protocol: validation.scores}})
            write_best(self._folder, card, self._parts.ema.module, self._parts.discriminator, self._parts.own)
            record["best"] = True
        for name, strip in validator.strips(validation).items():
            folder = self._folder / "samples" / name
            write_image(folder / f"{self.iteration:07d}.png", validation.images[name])
            write_image(folder / "strip.png", strip)  # of the last validation, to look at while the run goes on
            self._book.image(f"samples/{name}", self.iteration, strip)
        self._write(record)
        return None

    def _scored(self, of: str, validation: Validation) -> Record:
        scores = {"protocol": self._parts.validator.protocol, "scores": validation.scores}
        return {"event": "validation", "iteration": self.iteration, "of": of, **scores}

    def _is_best(self, validation: Validation) -> bool:
        metric = self._decisive
        # The best so far may have been found before a resumption, when the metric's weights were not there.
        if self.best is None or metric.name not in self.best.scores:
            return True
        new, old = validation.scores[metric.name], self.best.scores[metric.name]
        return new > old if metric.higher_is_better else new < old

    def _decisive_metric(self) -> Metric:
        """The score that decides; the Gram distance where the one asked for needs weights that are not there."""
        metrics, wanted = self._parts.validator.metrics, self._config.log.best_by
        if wanted not in metrics and wanted.rpartition("/")[2] not in [one.metric.name for one in LEARNED]:
            raise UserError(f"log.best_by: there is no score {wanted}; use one of {', '.join(metrics)}")
        if wanted not in metrics:
            _log.warning("log.best_by: the weights of %s are not here; the best is chosen by gram_distance", wanted)
            return metrics["gram_distance"]
        return metrics[wanted]

    def _write_psnr(self) -> None:
        if self._parts.psnr_card is not None:
            write_psnr(self._folder, self._parts.psnr_card, self._parts.ema.module)

    def _save(self) -> str | None:
        """Save a checkpoint, if all weights are finite; what is wrong with them otherwise."""
        networks = (self._parts.generator, self._parts.discriminator, self._parts.ema)
        weights = [weight.detach() for network in networks if network is not None for weight in network.parameters()]
        if not torch.stack([weight.isfinite().all() for weight in weights]).all():
            return f"a weight is not finite at iteration {self.iteration}"
        self._processes.alone(self._write_checkpoint)
        return None

    def _write_checkpoint(self) -> None:
        best = self.best.iteration if self.best is not None else None
        save_checkpoint(self._folder / "checkpoints", self.iteration, self.state(), self._config.log.keep, spare=best)
        self.usage.write_csv(self._folder / USAGE)

    @property
    def _book(self) -> Logbook:
        assert self._logbook is not None
        return self._logbook

    def _write(self, *records: Record) -> None:
        for record in records:
            self._book.write(record)
            self._observer.record(record)
