"""How `gramgan-x4-photo` is made: one command that starts its training or goes on with it, unattended, on any machine.

    python studies/photo_generator.py train --photos FOLDER [FOLDER ...] [--benchmark FOLDER ...] [--set KEY=VALUE ...]
    python studies/photo_generator.py pack FILE [--share 0.7]

`train` copies the photographs, but those of `photo_heldout.txt`, cuts them into sub-images without near-duplicates of
the benchmarks, and trains preset `photo` from Real-ESRGAN's weights in runs/photo-generator. Nothing is needed that is
not in this repository or the package index. The same command goes on where it was stopped. On a CPU give
`--set train.batch_size=4 --set train.accumulate=8 --set log.checkpoint_every=10`: a step is a minute or two there, and
that is a checkpoint every ten minutes. A GPU (H200) made the shipped file in eight minutes.

`pack` writes the generator that a training kept into the package, in 8 bits. Its weights go --share of the way from the
start to those (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022): on the eight validation
photographs, four kinds of damage each, 0.7 was better than 1 in PSNR-Y, LPIPS and DISTS and as good in ST-LPIPS. The
last line has the figures.
"""

import argparse
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from gramgan.config import load_config
from gramgan.files import ensure_folder
from gramgan.networks.build import load_generator
from gramgan.prepare.run import Wish, prepare_folder
from gramgan.training.folder import is_run
from gramgan.training.run import train
from gramgan.training.weights import BEST_GENERATOR
from gramgan.weights.catalog import fetch_weights
from gramgan.weights.formats import read_weights, write_packed
from gramgan.weights.interpolate import interpolate

ROOT = Path(__file__).resolve().parents[1]
HELD_OUT = Path(__file__).with_name("photo_heldout.txt")
NAME = "gramgan-x4-photo"
START = "real-esrgan-x4plus"
NEEDED = (START, "st-lpips-vgg16", "st-lpips-alex")
CUT = Wish(size=512, step=512)


def held_out() -> tuple[str, ...]:
    """The ends of the paths of photographs that no training sees."""
    lines = HELD_OUT.read_text(encoding="utf-8").splitlines()
    return tuple(f"/{line}" for line in lines if line and not line.startswith("#"))


def copy_photographs(folders: Sequence[Path], into: Path) -> Path:
    """All files of `folders`, each in a folder of its own name, but those held out."""
    for folder in folders:
        source = folder.resolve()
        for path in sorted(source.rglob("*")):
            copy = into / source.name / path.relative_to(source)
            if path.is_file() and not path.as_posix().endswith(held_out()) and not copy.exists():
                ensure_folder(copy.parent)
                shutil.copy2(path, copy)
    return into


def run_training(arguments: argparse.Namespace) -> None:
    for name in NEEDED:
        fetch_weights(name)
    photographs = copy_photographs(arguments.photos, arguments.folder / "photographs")
    prepared = arguments.folder / "prepared"
    prepare_folder(photographs, prepared, CUT, benchmarks=arguments.benchmark)
    run = arguments.folder / "run"
    config = load_config("photo", overrides=[f"data.photos={prepared}", *arguments.set])
    result = train(config, run, resume=is_run(run))
    scores = " ".join(f"{name}={value:.4f}" for name, value in result.scores.items())
    print(f"{run}: {BEST_GENERATOR} is the best so far" if result.best else f"{run}: nothing was validated yet")
    print(f"result: iteration={result.iteration} finished={int(result.finished)} {scores}".rstrip())


def pack(arguments: argparse.Namespace) -> None:
    weights = read_weights(arguments.file)
    if weights.card is None:
        raise SystemExit(f"{arguments.file}: has no card; give the {BEST_GENERATOR}.safetensors of a training")
    fetch_weights(START)
    start = load_generator(START).network.state_dict()
    state = interpolate(start, weights.state, arguments.share, (START, str(arguments.file)))
    settings = {**weights.card.settings, "share_of_trained": arguments.share}
    # The scores were those of the trained weights alone.
    card = weights.card.model_copy(update={"name": NAME, "settings": settings, "scores": {}})
    target = ROOT / "src" / "gramgan" / "weights" / "packaged" / f"{NAME}.safetensors"
    write_packed(target, state, card)
    print(f"{target}\nresult: bytes={target.stat().st_size}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="train | pack")
    training = commands.add_parser("train")
    training.add_argument("--photos", type=Path, nargs="+", required=True)
    training.add_argument("--benchmark", type=Path, nargs="*", default=[])
    training.add_argument("--folder", type=Path, default=ROOT / "runs" / "photo-generator")
    training.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of preset photo")
    training.set_defaults(run=run_training)
    packing = commands.add_parser("pack")
    packing.add_argument("file", type=Path)
    packing.add_argument("--share", type=float, default=0.7, help="of the way from the start")
    packing.set_defaults(run=pack)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    arguments.run(arguments)


if __name__ == "__main__":
    main()
