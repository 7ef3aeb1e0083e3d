"""The training loop: one readable line after another, from the first iteration to the last."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from gramgan.config import Config, Stage
from gramgan.errors import UserError
from gramgan.evaluation.protocols import Metric
from gramgan.images import write_image
from gramgan.training.build import Parts
from gramgan.training.checkpoint import save_checkpoint
from gramgan.training.logbook import Logbook, Meter, Record
from gramgan.training.schedule import learning_rate, set_learning_rate
from gramgan.training.usage import PatchUsage
from gramgan.training.validation import Validation
from gramgan.training.weights import BEST_GENERATOR, write_best, write_psnr

log = logging.getLogger(__name__)


class Observer(Protocol):
    """Whoever watches a run: told after every iteration, and of every record in the log."""

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
    """Runs the stages one after another; `state` and `restore` carry everything over an interruption."""

    def __init__(
        self, config: Config, parts: Parts, folder: Path, observer: Observer, should_stop: Callable[[], bool]
    ) -> None:
        self._config = config
        self._parts = parts
        self._folder = folder
        self._observer = observer
        self._should_stop = should_stop
        self._meter = Meter()
        self.usage = PatchUsage()
        self.iteration = 0
        self.best: Best | None = None
        self._decisive = self._decisive_metric()

    def run(self) -> bool:
        """Train until the last iteration or until `should_stop`; whether the last one was reached.

        Raises:
            UserError: a loss is not finite, or the disk is full.
        """
        config, total = self._config, self._config.stages.total
        step = self._parts.step
        steps = {
            "pretrain": step.pretrain,
            "warm_discriminator": step.warm_discriminator,
            "adversarial": step.adversarial,
        }
        logbook = Logbook(self._folder, self.iteration)
        try:
            if self.iteration == 0:
                self._first_look(logbook)
            started, counted = time.perf_counter(), self.iteration
            while self.iteration < total:
                stage, number = config.stages.at(self.iteration)
                rate = self._set_rates(stage, number)
                crops = self._parts.source.next()
                hr = crops.images
                if config.train.memory_format == "channels_last":
                    hr = hr.contiguous(memory_format=torch.channels_last)
                lr = self._parts.degradation(hr, crops.seeds) if crops.low is None else crops.low
                result = steps[stage](lr, hr)
                if stage != "warm_discriminator":
                    self._parts.ema.update_parameters(self._parts.generator)
                if result.patch_id is not None:
                    self.usage.add(result.patch_id)
                self.iteration += 1
                self._meter.add(self.iteration, result)
                self._observer.iteration(self.iteration, total, stage)

                stop = self._should_stop()
                ends = self.iteration == total or config.stages.at(self.iteration)[0] != stage
                validates = (ends or self.iteration % config.log.validate_every == 0) and stage != "warm_discriminator"
                saves = ends or stop or self.iteration % config.log.checkpoint_every == 0
                if validates or saves or self.iteration % config.log.every == 0:
                    speed = (self.iteration - counted) / (time.perf_counter() - started)
                    self._log_steps(logbook, stage, rate, speed)
                    if validates:
                        self._validate(logbook, stage)
                    if ends and stage == "pretrain" and self._parts.psnr_card is not None:
                        write_psnr(self._folder, self._parts.psnr_card, self._parts.ema.module)
                    if saves:
                        self._save()
                    started, counted = time.perf_counter(), self.iteration  # the speed is that of steps alone
                if stop:
                    break
        finally:
            logbook.close()
        return self.iteration == total

    def state(self) -> dict[str, Any]:
        """Everything that decides how the run goes on."""
        parts = self._parts
        random = {
            "torch": torch.get_rng_state(),
            "texture": parts.texture_random.get_state(),
        }
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
        parts.generator.load_state_dict(state["generator"])
        parts.generator_optimizer.load_state_dict(state["generator_optimizer"])
        parts.ema.load_state_dict(state["ema"])
        # A run that had no stage for the discriminator has none in its checkpoint: it starts as a new one would.
        if parts.discriminator is not None and parts.discriminator_optimizer is not None and "discriminator" in state:
            parts.discriminator.load_state_dict(state["discriminator"])
            parts.discriminator_optimizer.load_state_dict(state["discriminator_optimizer"])
        torch.set_rng_state(state["random"]["torch"])
        parts.source.restore(state["data"])
        parts.texture_random.set_state(state["random"]["texture"])
        if "cuda" in state["random"] and parts.fabric.device.type == "cuda":
            torch.cuda.set_rng_state(state["random"]["cuda"], parts.fabric.device)
        self.usage.load(state["usage"])
        self.iteration = state["iteration"]
        best = Best(**state["best"]) if state["best"] is not None else None
        # What was best in pretraining does not compete once an adversarial stage has been added.
        if best is not None and stages.at(best.iteration - 1)[0] == stages.last_of_generator:
            self.best = best

    def _set_rates(self, stage: Stage, number: int) -> float:
        schedule, parts = self._config.schedule, self._parts
        course = {"warmup": schedule.warmup, "period": schedule.restart_every, "minimum": schedule.minimum}
        base = schedule.rate_pretrain if stage == "pretrain" else schedule.rate
        rate = learning_rate(number, base, **course)
        set_learning_rate(parts.generator_optimizer, rate)
        if parts.discriminator_optimizer is not None:
            rate_d = learning_rate(number, schedule.rate_discriminator, **course)
            set_learning_rate(parts.discriminator_optimizer, rate_d)
            if stage == "warm_discriminator":
                rate = rate_d
        return rate

    def _first_look(self, logbook: Logbook) -> None:
        """Validate before the first step: a folder that cannot be validated on fails now, not after hours."""
        validator = self._parts.validator
        pictures = {"truth": validator.truth()}
        for name, validation in (("bicubic", validator.bicubic()), ("start", validator(self._parts.ema.module))):
            pictures[name] = validation.images
            record = {
                "event": "validation",
                "iteration": 0,
                "of": name,
                "protocol": validator.protocol,
                "scores": validation.scores,
            }
            self._write(logbook, record)
        for kind, images in pictures.items():
            for name in validator.truth():
                write_image(self._folder / "samples" / name / f"{kind}.png", images[name])
        if self._parts.psnr_card is not None and not self._config.stages.pretrain:
            write_psnr(self._folder, self._parts.psnr_card, self._parts.ema.module)

    def _log_steps(self, logbook: Logbook, stage: Stage, rate: float, speed: float) -> None:
        look = self._meter.look()
        if look.broken is not None:
            iteration, name = look.broken
            raise self._diverged(f"the loss {name}", iteration, stage)
        statistics = look.statistics
        database = self.usage.collect()
        if "target_ratio" in statistics:
            database["target_ratio"] = statistics.pop("target_ratio")
        record = {
            "event": "step",
            "stage": stage,
            "iteration": self.iteration,
            "losses": look.losses,
            "learning_rate": rate,
            **({"database": database} if database else {}),
            **statistics,
            "iterations_per_second": speed,
        }
        self._write(logbook, record)

    def _validate(self, logbook: Logbook, stage: Stage) -> None:
        validator = self._parts.validator
        validation = validator(self._parts.ema.module)
        broken = [name for name, value in validation.scores.items() if math.isnan(value)]
        if broken:
            raise self._diverged(f"the validation score {broken[0]}", self.iteration, stage)
        record = {
            "event": "validation",
            "iteration": self.iteration,
            "of": "generator",
            "protocol": validator.protocol,
            "scores": validation.scores,
        }
        if stage == self._config.stages.last_of_generator and self._is_best(validation):
            self.best = Best(self.iteration, validation.scores)
            card = self._parts.card.model_copy(update={"scores": {validator.protocol: validation.scores}})
            write_best(self._folder, card, self._parts.ema.module, self._parts.discriminator)
            record["best"] = True
        for name, image in validation.images.items():
            write_image(self._folder / "samples" / name / f"{self.iteration:07d}.png", image)
            logbook.image(f"samples/{name}", self.iteration, image)
        self._write(logbook, record)

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
        if wanted not in metrics:
            log.warning("log.best_by: the weights of %s are not here; the best is chosen by gram_distance", wanted)
            return metrics["gram_distance"]
        return metrics[wanted]

    def _diverged(self, what: str, iteration: int, stage: Stage) -> UserError:
        start = f" and generator.start={self._folder / BEST_GENERATOR}.safetensors" if self.best is not None else ""
        return UserError(
            f"{self._folder}: {what} is not finite at iteration {iteration} ({stage}), nothing was overwritten; "
            f"start a new run with a lower schedule.rate{start}"
        )

    def _save(self) -> None:
        save_checkpoint(self._folder / "checkpoints", self.iteration, self.state(), self._config.log.keep)
        self.usage.write_csv(self._folder / "patch_usage.csv")

    def _write(self, logbook: Logbook, record: Record) -> None:
        logbook.write(record)
        self._observer.record(record)
