"""The script names and flags that the method's first users know: `graham_gan_model.py` and `trainer.py`."""

import itertools
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from gramgan.cli import console
from gramgan.cli.train import run_live
from gramgan.config import Config, load_config
from gramgan.errors import UserError
from gramgan.files import atomic_path, ensure_folder
from gramgan.training.folder import BEST_DISCRIMINATOR, BEST_GENERATOR, settings_path

_PHOTOS = Path("downloaded_images")
_WEIGHT_FILES = ("gramgan_G_best.pth", "gramgan_G_best.safetensors")  # what a run calls its own best weights

SettingsOption = Annotated[
    list[str] | None, typer.Option("--set", help="Any other setting, KEY=VALUE, as of `gramgan train`. Repeatable.")
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="cpu, cuda, cuda:1 (default: cuda where there is one).")
]
PatchesOption = Annotated[int, typer.Option("--max_patch_db", min=1, help="Patches in the texture database.")]


def run_script(command: Callable[..., None], arguments: list[str], name: str) -> int:
    """Run one of this module's commands as the script `name`; the exit codes are those of `gramgan.cli.app.run`."""
    application = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    application.command()(command)
    console.show_log()
    return console.run_application(application, arguments, name)


def graham_gan_model(
    hr_dir: Annotated[Path | None, typer.Option("--hr_dir", help=f"Photographs (default: ./{_PHOTOS}).")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch_size", help="Crops in a batch (default: 16).")] = None,
    base_lr: Annotated[float | None, typer.Option("--base_lr", help="Learning rate (default: 2e-4).")] = None,
    total_iters: Annotated[int | None, typer.Option("--total_iters", min=1, help="Of all stages (200000).")] = None,
    max_patch_db: PatchesOption = 100_000,
    save_path: Annotated[
        str, typer.Option("--save_path", help="File or folder for the best weights; D is saved beside G.")
    ] = "./output_gram_gan/gramgan_G_best.pth",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run of this --save_path.")] = False,
    start: Annotated[str | None, typer.Option("--start", help="Weights to start from: a file or a known name.")] = None,
    trunk: Annotated[str | None, typer.Option("--trunk", help="Perceptual trunk: vgg19, vgg16, st-vgg16.")] = None,
    device: DeviceOption = None,
    crop: Annotated[int | None, typer.Option("--crop", help="Side of HR crops in pixels (default: 192).")] = None,
    settings: SettingsOption = None,
) -> None:
    """Train Gram-GAN with the values of the method's first script (the preset `classic`).

    The texture database is built from the photographs; log, samples, checkpoints and report lie beside the weights.
    """
    target = SavePath.parse(save_path)
    rates = dict.fromkeys(("schedule.rate", "schedule.rate_discriminator", "schedule.rate_pretrain"), base_lr)
    given = {"data.photos": hr_dir, "train.batch_size": batch_size, "losses.trunk": trunk, "train.device": device}
    overrides = console.overrides_of({**given, **rates, "data.crop": crop})
    overrides += [*(_architecture(start) if start else []), *(settings or [])]
    if resume:
        config = _of_run(target.run, total_iters, overrides)
    else:
        config = _classic(target.run, total_iters, max_patch_db, overrides)
        _prepare(config, target.run, max_patch_db)
    target.make_room()
    result = run_live(config, target.run, resume=resume)
    if result.best is not None:
        console.say(f"weights: {', '.join(str(path) for path in target.save())}")
        console.say(f"upscale with them: gramgan upscale PHOTO -o LARGE.png --model {result.best}")
    if not result.finished:
        console.say(f"stopped after {result.iteration} iterations; go on with the same command and --resume")
        raise typer.Exit(1)


def trainer(
    hr_dir: Annotated[
        Path, typer.Option("--hr_dir", help="Folder of photographs; the default is filled with samples if missing.")
    ] = _PHOTOS,
    output_dir: Annotated[
        Path, typer.Option("--output_dir", help="Folder of the run; a number is added to it if there is one.")
    ] = Path("output_gram_gan/test_run"),
    max_patch_db: PatchesOption = 100_000,
    device: DeviceOption = None,
    settings: SettingsOption = None,
) -> None:
    """The 50-iteration test run: all five losses, from Real-ESRGAN's weights (the preset `quick`)."""
    from gramgan.collect import collect_samples
    from gramgan.training.checkpoint import checkpoints
    from gramgan.weights.catalog import KNOWN, fetch_weights

    if hr_dir == _PHOTOS and not hr_dir.exists():
        with console.progress_bar("collecting sample photographs") as progress:
            collect_samples(hr_dir, progress=progress)
    numbered = (output_dir.with_name(f"{output_dir.name}_{number}") for number in itertools.count(2))
    folder = next(name for name in itertools.chain([output_dir], numbered) if not checkpoints(name / "checkpoints"))
    places = {"data.photos": hr_dir, "texture.database": _database(folder, max_patch_db), "train.device": device}
    config = load_config("quick", overrides=[*console.overrides_of(places), *(settings or [])])
    start = config.generator.start if config.generator.start in KNOWN else None
    for name in filter(None, (start, _trunk(config), "st-lpips")):
        with console.progress_bar(f"weights {name}") as progress:
            fetch_weights(name, progress)
    _prepare(config, folder, max_patch_db)
    result = run_live(config, folder)
    if not result.finished:
        console.say(f"stopped after {result.iteration} iterations; go on with: gramgan train --resume {folder}")
        raise typer.Exit(1)
    console.say(f"done: {result.best or folder}")


@dataclass(frozen=True)
class SavePath:
    """What `--save_path` asks for: the training run's folder, and the files for G and D where it names a file."""

    run: Path
    generator: Path | None = None
    discriminator: Path | None = None

    @classmethod
    def parse(cls, text: str) -> "SavePath":
        """Read `--save_path`: a folder exists, ends in "/" or has no suffix; anything else is a file.

        A folder is the run's own. A file `NAME.pth` has its discriminator in `NAME_D.pth` and its run in `NAME_run`;
        where the suffix is not that of weights, NAME is the whole name. So D never takes G's place.
        """
        path = Path(text)
        ends_in_slash = text.endswith(tuple(slash for slash in (os.sep, os.altsep) if slash))
        if not path.is_file() and (path.is_dir() or ends_in_slash or not path.suffix):
            return cls(path)
        if path.name in _WEIGHT_FILES and path.parent != Path():  # nobody wants checkpoints in the working folder
            return cls(path.parent)
        is_weights = path.suffix.lower() in (".pth", ".pt", ".safetensors")
        stem, suffix = (path.stem, path.suffix) if is_weights else (path.name, ".pth")
        return cls(path.with_name(f"{stem}_run"), path, path.with_name(f"{stem}_D{suffix}"))

    def make_room(self) -> None:
        """Create the folders before the training, not after it. Raises UserError."""
        for folder in (self.run, (self.generator or self.run / "any").parent):
            ensure_folder(folder)

    def save(self) -> list[Path]:
        """Copy the run's best weights to where they were asked for; the files that are there now. Raises UserError."""
        saved = []
        for name, target in ((BEST_GENERATOR, self.generator), (BEST_DISCRIMINATOR, self.discriminator)):
            kind = ".safetensors" if target and target.suffix.lower() == ".safetensors" else ".pth"
            best = self.run / f"{name}{kind}"
            if not best.exists():  # a run without the losses that need D has none
                continue
            if target is not None:
                with atomic_path(target) as temporary:
                    shutil.copyfile(best, temporary)
            saved.append(target or best)
        return saved


def scaled_to(preset: Config, iterations: int) -> dict[str, object]:
    """Settings that spread `iterations` over the stages in the preset's proportions, each at least 1 where possible.

    Warm-up keeps its proportion and the cosine ends with the run, if it is shorter than the preset's; logging and
    validation keep up with it.
    """
    stages, schedule, log = preset.stages, preset.schedule, preset.log
    share = iterations / stages.total
    warm = max(1, round(stages.warm_discriminator * share)) if iterations > 1 else 0
    pretrain = max(1, round(stages.pretrain * share)) if iterations > 2 else 0
    return {
        "stages.pretrain": pretrain,
        "stages.warm_discriminator": warm,
        "stages.adversarial": iterations - pretrain - warm,
        "schedule.warmup": min(schedule.warmup, round(schedule.warmup * share)),
        "schedule.restart_every": min(schedule.restart_every, iterations),
        "log.every": min(log.every, max(1, iterations // 20)),
        "log.validate_every": min(log.validate_every, max(1, iterations // 4)),
        "log.checkpoint_every": min(log.checkpoint_every, max(1, iterations // 4)),
    }


def _architecture(start: str) -> list[str]:
    """Start from these weights, with the architecture that they have."""
    from gramgan.networks.build import load_generator

    config = load_generator(start).config
    names = ("nf", "nb", "gc", "upsampler")
    return console.overrides_of(
        {"generator.start": start, **{f"generator.{name}": getattr(config, name) for name in names}}
    )


def _classic(run: Path, iterations: int | None, patches: int, overrides: list[str]) -> Config:
    """The preset `classic` in `iterations`, with its results in `run`, where no run may be yet."""
    from gramgan.training.checkpoint import checkpoints

    if checkpoints(run / "checkpoints"):
        raise UserError(f"{run}: holds a training run already; go on with --resume or choose another --save_path")
    own: dict[str, object] = {"texture.database": _database(run, patches)}
    if iterations is not None:
        own |= scaled_to(load_config("classic"), iterations)
    return load_config("classic", overrides=[*console.overrides_of(own), *overrides])


def _of_run(run: Path, iterations: int | None, overrides: list[str]) -> Config:
    """A run's own settings; another number of iterations lengthens or shortens its last stage."""
    stages = load_config(file=settings_path(run)).stages
    if iterations is not None:
        adversarial = iterations - stages.pretrain - stages.warm_discriminator
        if adversarial < 1:
            raise UserError(f"--total_iters {iterations}: the run's first two stages have more already; give more")
        overrides = [f"stages.adversarial={adversarial}", *overrides]
    return load_config(file=settings_path(run), overrides=overrides)


def _database(run: Path, patches: int) -> Path:
    return run / f"texture_{patches}.lance"


def _trunk(config: Config) -> str | None:
    """The known weights that a run's perceptual loss needs."""
    from gramgan.networks.trunks import SPECS

    needs_it = config.stages.adversarial and config.losses.perceptual
    return SPECS[config.losses.trunk].catalog_name if needs_it else None


def _prepare(config: Config, run: Path, patches: int) -> None:
    """Find what a new run needs, and build its texture database unless one of these photographs is there already.

    Raises:
        UserError: photographs or weights are missing; this takes no time, building the database may.
    """
    from gramgan.texture.database import TextureDatabase, sources_of
    from gramgan.training.images import photographs
    from gramgan.weights.catalog import weight_path

    training, _ = photographs(config)
    if trunk := _trunk(config):
        weight_path(trunk)
    path, texture = _database(run, patches), config.texture
    if not config.uses_database or path not in [entry.path for entry in texture.databases]:
        return
    sources = sources_of(config.data.photos, training)
    if path.exists():
        there = TextureDatabase.open(path)
        wanted = (texture.descriptor, texture.k, {source.source_id for source in sources})
        if (there.descriptor.name, there.descriptor.k, set(there.info().by_source)) == wanted:
            console.say(f"texture database: {path}, built before")
            return
    with console.progress_bar("texture database") as progress:
        database = TextureDatabase.build(
            path,
            sources,
            patches=patches,
            descriptor=texture.descriptor,
            k=texture.k,
            overwrite=True,
            progress=progress,
        )
    console.say(f"texture database: {path}, {len(database):,} patches of {len(sources)} photographs")
