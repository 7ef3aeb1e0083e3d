"""Whether the texture distance says what it should: the order of what everybody can order.

    python studies/texture_distance.py [--sets Set14 ...] [--device cuda]

Truth < a GAN's result < a PSNR-oriented result < bicubic, and truth < truth whose grain is painted over (a median of
5×5, and a bilateral filter, which keeps edges), on the middle 384 pixels of the truths of `photo.py`, shrunk by
MATLAB's bicubic. The GAN is gramgan-x4, back-projected as its card says; PSNR-oriented is gramgan-x4-lite-psnr. Means
with 95 % intervals, how many pictures keep each order, and the noise level: the truth against itself.
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage
from skimage import restoration
from torch import Tensor

from gramgan.evaluation.entrants import open_entrant
from gramgan.evaluation.statistics import mean_with_interval, paired
from gramgan.hardware.device import resolve_device
from gramgan.metrics import TextureDistance
from gramgan.metrics.texture_distance import noise_level
from gramgan.ops.resize import matlab_bicubic_down
from photo import as_tensor, truths

ORDERS = (("gramgan-x4", "psnr"), ("psnr", "bicubic"), ("truth", "median"), ("truth", "bilateral"))


def median(hr: Tensor) -> Tensor:
    return torch.from_numpy(np.stack([ndimage.median_filter(channel, 5) for channel in hr[0].numpy()]))[None]


def bilateral(hr: Tensor) -> Tensor:
    picture = hr[0].permute(1, 2, 0).double().numpy()
    smooth = restoration.denoise_bilateral(picture, sigma_color=0.08, sigma_spatial=2, channel_axis=-1)
    return torch.from_numpy(np.asarray(smooth, np.float32)).permute(2, 0, 1)[None].contiguous()


def rounded(images: Tensor) -> Tensor:
    return images.clamp(0, 1).mul(255).round().div(255)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", help="folders' names, such as Set14 gb82; left out: all")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    gan = open_entrant("gramgan-x4", device, "auto").enlarge
    psnr = open_entrant("gramgan-x4-lite-psnr", device, "auto").enlarge
    bicubic = open_entrant("bicubic", device, "auto").enlarge
    assert gan is not None and psnr is not None and bicubic is not None
    made: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "truth": lambda hr, lr: hr,
        "gramgan-x4": lambda hr, lr: gan(lr),
        "psnr": lambda hr, lr: psnr(lr),
        "bicubic": lambda hr, lr: bicubic(lr),
        "median": lambda hr, lr: median(hr),
        "bilateral": lambda hr, lr: bilateral(hr),
    }
    whole: dict[str, list[float]] = {name: [] for name in (*made, "noise level")}
    textured: dict[str, list[float]] = {name: [] for name in made}
    for name, image in truths().items():
        if arguments.sets and name.partition("-")[0] not in arguments.sets:
            continue
        hr = as_tensor(image)
        lr = rounded(matlab_bicubic_down(hr))
        distance = TextureDistance()
        whole["noise level"].append(float(noise_level(hr)))
        for each, make in made.items():
            sr = rounded(make(hr, lr))
            whole[each].append(float(distance.whole(sr, hr)))
            textured[each].append(float(distance.textured(sr, hr)))
        print(name, *(f"{each} {values[-1]:.3f}" for each, values in whole.items()), flush=True)

    print(f"\n| {len(whole['truth'])} pictures | whole | where textured |\n| --- | --- | --- |")
    for each, values in whole.items():
        cells = [mean_with_interval(found) for found in (values, textured.get(each, []) or values)]
        texts = [f"{mean.value:.3f} ± {mean.half_width:.3f}" for mean in cells]
        print(f"| {each} | {texts[0]} | {texts[1] if each in textured else ''} |")
    values = []
    for first, other in ORDERS:
        for measure, found in (("whole", whole), ("textured", textured)):
            pair = paired(found[first], found[other], higher_is_better=True)
            key = f"{first}_{other}_{measure}".replace("-", "_")
            values.append(f"{key}={pair.difference.value:.4f} {key}_half_width={pair.difference.half_width:.4f}")
            values.append(f"{key}_kept={pair.wins}of{len(found[first])}")
    print(f"result: noise_level={np.mean(whole['noise level']):.4f} {' '.join(values)}")


if __name__ == "__main__":
    main()
