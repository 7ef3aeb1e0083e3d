"""Tiled against whole: the largest difference that tiles make, ours and those of Real-ESRGAN's loop, in the same run.

Large crops of photographs go through the full generator in fp32, once as one piece and once in tiles with the overlap
that the weights' card names. The peer is the loop that Real-ESRGAN and its descendants use: tiles with 10 pixels of
context (its default), cut and put side by side. With --measure, the overlap that the card should name is measured too.

    python benchmarks/seams.py [--side 384] [--tile 128] [--photos FOLDER] [--first 0] [--images 5]
        [--weights real-esrgan-x4plus realsr-df2k] [--measure] [--picture docs/images/seams.png]

The last line's figures are in grey levels of 255: at most 1 is "no seam". On two cores --side 384 takes about two
minutes for each photograph and weight file; --first and --images do a part.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from gramgan.files import ensure_folder
from gramgan.images import find_images, read_rgb
from gramgan.networks.build import load_generator
from gramgan.networks.context import MEASURED_SIDE, context_error, sufficient_overlap
from gramgan.ops.bicubic import SCALE
from gramgan.upscaling.backends.torch_backend import TorchBackend
from gramgan.upscaling.engine import Upscaler

PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "photos"
WEIGHTS = ("real-esrgan-x4plus", "realsr-df2k")
PEER_PAD = 10  # tile_pad of Real-ESRGAN's inference script
AMPLIFIED = 50
SHOWN = 512  # pixels of a panel in the picture

Network = Callable[[np.ndarray], np.ndarray]


def plain_tiles(run: Network, image: np.ndarray, tile: int) -> np.ndarray:
    """What Real-ESRGAN does: each tile with `PEER_PAD` pixels around it, the middle of its result cut out."""
    _, height, width = image.shape
    result = np.empty((3, SCALE * height, SCALE * width), np.float32)
    for y in range(0, height, tile):
        for x in range(0, width, tile):
            top, left = max(y - PEER_PAD, 0), max(x - PEER_PAD, 0)
            bottom, right = min(y + tile, height), min(x + tile, width)
            seen = image[None, :, top : min(bottom + PEER_PAD, height), left : min(right + PEER_PAD, width)]
            part = run(seen)[0, :, SCALE * (y - top) :, SCALE * (x - left) :]
            rows, columns = SCALE * (bottom - y), SCALE * (right - x)
            result[:, SCALE * y : SCALE * bottom, SCALE * x : SCALE * right] = part[:, :rows, :columns]
    return np.clip(result, 0, 1)


def crop(image: np.ndarray, side: int) -> np.ndarray:
    top, left = ((length - min(side, length)) // 2 for length in image.shape[1:])
    return np.ascontiguousarray(image[:, top : top + side, left : left + side])


def shrunken_maximum(difference: np.ndarray) -> np.ndarray:
    """`[3, H, W]` to at most `SHOWN` pixels: the largest of those that fall on a pixel, so that no seam is lost."""
    step = -(-difference.shape[1] // SHOWN)
    height, width = (length // step * step for length in difference.shape[1:])
    blocks = difference[:, :height, :width].reshape(3, height // step, step, width // step, step)
    return blocks.max(axis=(2, 4)).transpose(1, 2, 0)


def draw(rows: list[tuple[str, int, np.ndarray, np.ndarray, np.ndarray]], path: Path) -> None:
    """(name, overlap, whole, difference of ours, of the peer) of each weight file into one PNG."""
    figure = Figure(figsize=(12, 4.3 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 3, squeeze=False)
    for line, (name, overlap, whole, ours, peer) in zip(axes, rows, strict=True):
        step = -(-whole.shape[1] // SHOWN)
        panels = (
            (f"{name}, as one piece", whole[:, ::step, ::step].transpose(1, 2, 0)),
            (f"in tiles, overlap {overlap}: difference x{AMPLIFIED}", AMPLIFIED * shrunken_maximum(ours)),
            (f"Real-ESRGAN's loop, {PEER_PAD} pixels: difference x{AMPLIFIED}", AMPLIFIED * shrunken_maximum(peer)),
        )
        for axis, (title, pixels) in zip(line, panels, strict=True):
            axis.imshow(np.clip(pixels, 0, 1))
            axis.set_title(title, fontsize=11)
            axis.set_axis_off()
    ensure_folder(path.parent)
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=384, help="of the crop, in low-resolution pixels")
    parser.add_argument("--tile", type=int, default=128, help="used part of a tile, ours and the peer's")
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--first", type=int, default=0, help="number of the first photograph")
    parser.add_argument("--images", type=int, default=5)
    parser.add_argument("--weights", nargs="+", default=list(WEIGHTS))
    parser.add_argument("--measure", action="store_true", help="measure the overlap that the cards should name")
    parser.add_argument("--picture", type=Path, help="write the differences of the first photograph here")
    arguments = parser.parse_args()

    paths = find_images(arguments.photos)[arguments.first : arguments.first + arguments.images]
    photos = [read_rgb(path) for path in paths]
    worst = {"ours": 0.0, "peer": 0.0}
    overlaps: dict[str, int] = {}
    rows = []
    for name in arguments.weights:
        generator = load_generator(name)
        backend = TorchBackend(generator.network, name, "fp32", "cpu")
        upscaler = Upscaler(backend, name=name, overlap=generator.card.overlap, tile=arguments.tile)
        print(f"\n{name}: overlap {upscaler.overlap}, tiles of {arguments.tile}")
        for path, photo in zip(paths, photos, strict=True):
            image = crop(photo, arguments.side)
            whole = np.clip(backend.run(image[None])[0], 0, 1)
            ours = np.abs(upscaler.upscale_array(image) - whole)
            peer = np.abs(plain_tiles(backend.run, image, arguments.tile) - whole)
            worst = {"ours": max(worst["ours"], float(ours.max())), "peer": max(worst["peer"], float(peer.max()))}
            height, width = image.shape[1:]
            print(
                f"  {path.name:28} {width}x{height}: largest difference {255 * ours.max():5.2f} grey levels, "
                f"Real-ESRGAN's loop {255 * peer.max():6.2f}",
                flush=True,
            )
            if path == paths[0]:
                rows.append((name, upscaler.overlap, whole, ours, peer))
        if arguments.measure:
            measured = [crop(photo, MEASURED_SIDE) for photo in photos]
            error = np.max([context_error(backend.run, image) for image in measured], axis=0)
            levels = ", ".join(f"{distance} px {255 * error[distance]:.2f}" for distance in range(8, len(error), 8))
            print(f"  largest difference beyond a distance from the cut, in grey levels: {levels}")
            overlaps[name] = sufficient_overlap(error)
            print(f"  measured overlap: {overlaps[name]} (card: {generator.card.overlap})")
    if arguments.picture is not None:
        draw(rows, arguments.picture)
    measured_text = "".join(f" overlap_{name.replace('-', '_')}={value}" for name, value in overlaps.items())
    print(f"\nresult: max_levels={255 * worst['ours']:.3f} peer_max_levels={255 * worst['peer']:.2f}{measured_text}")


if __name__ == "__main__":
    main()
