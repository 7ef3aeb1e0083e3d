"""Real pictures, to be judged by eye: what `gramgan upscale` makes of them beside Real-ESRGAN. There is no truth.

    gramgan collect -o runs/samples
    python studies/photo_real.py runs/samples [FILE ...] [--device cuda] [--picture docs/images/photographs-real.jpg]

Each picture is enlarged whole, from file to file, as it is. What is shown of it is the square with the most texture in
its bicubic enlargement (`gramgan.evaluation.crops`), in the middle half of the picture: nobody chose it.
"""

import argparse
import logging
from pathlib import Path

import numpy as np

from gramgan.condition import of_file
from gramgan.evaluation.crops import most_textured
from gramgan.files import write_bytes
from gramgan.images import find_images, read_rgb
from gramgan.ops import bicubic
from gramgan.reports.pixels import to_jpeg, to_rgb8
from gramgan.reports.strips import Panel, comparison
from gramgan.upscaling.api import Upscaling
from gramgan.upscaling.settings import Settings
from gramgan.weights.catalog import fetch_weights

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = "real-esrgan-x4plus"
AS_IT_COMES = "gramgan upscale"
SIDE = 256
IN_A_ROW = 2

log = logging.getLogger("photo_real")


def square(picture: np.ndarray, side: int = SIDE) -> tuple[slice, slice]:
    """Rows and columns of the most textured square in the middle half of `[3, H, W]`."""
    height, width = picture.shape[1:]
    margins = [max(0, min(length // 4, (length - side) // 2)) for length in (height, width)]
    inner = picture[:, margins[0] : height - margins[0], margins[1] : width - margins[1]]
    top, left = most_textured(inner, min(side, *inner.shape[1:]))
    return slice(margins[0] + top, margins[0] + top + side), slice(margins[1] + left, margins[1] + left + side)


def panels(source: Path, folder: Path, programs: dict[str, Upscaling]) -> list[Panel]:
    """The input, and what each program makes of it."""
    plain = np.clip(bicubic.enlarge(read_rgb(source)), 0, 1)
    rows, columns = square(plain)
    row = [Panel(to_rgb8(plain[:, rows, columns]), "bicubic", f"{source.stem}: {of_file(source).describe()}")]
    for name, upscaling in programs.items():
        target = folder / name.replace(" ", "-") / f"{source.stem}.png"
        upscaling.file(source, target)
        row.append(Panel(to_rgb8(read_rgb(target)[:, rows, columns]), name))
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path, help="files and folders")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "photo-real")
    parser.add_argument("--picture", type=Path, help="the crops; default: in the output folder")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    log.setLevel(logging.INFO)
    fetch_weights(REFERENCE)
    sources = [path for given in arguments.pictures for path in (find_images(given) if given.is_dir() else [given])]
    programs = {
        REFERENCE: Upscaling(Settings(model=REFERENCE, consistency=False, device=arguments.device)),
        AS_IT_COMES: Upscaling(Settings(device=arguments.device)),
    }
    rows: list[list[Panel]] = []
    for number, source in enumerate(sources):
        row = panels(source, arguments.output, programs)
        rows[number // IN_A_ROW :] = [[*(rows[-1] if number % IN_A_ROW else []), *row]]
        log.info("%s", source)
    target = arguments.picture or arguments.output / "crops.jpg"
    data = to_jpeg(comparison(rows, zoom=1), quality=90)
    write_bytes(target, data)
    print(f"{target}\nresult: pictures={len(sources)} bytes={len(data)}")


if __name__ == "__main__":
    main()
