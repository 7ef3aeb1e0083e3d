"""`gramgan degrade`: what a degradation makes of a picture."""

from pathlib import Path
from typing import Annotated

import typer

from gramgan.cli.console import say
from gramgan.errors import UserError


def degrade(
    image: Annotated[
        Path, typer.Argument(metavar="INPUT", help="An image, such as one to train on.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The sheet to write, a PNG or JPEG.")] = Path(
        "degradation.png"
    ),
    profile: Annotated[str, typer.Option("--profile", help="bicubic, photo, realphoto or satellite.")] = "realphoto",
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Seed of the first sample; each further one's is 1 higher.")
    ] = 0,
    samples: Annotated[int, typer.Option("--samples", min=1, max=100, help="How many LR images to make.")] = 6,
    crop: Annotated[
        int,
        typer.Option(
            "--crop", min=32, max=1024, help="Side in pixels of the crop that is shown: the most textured one."
        ),
    ] = 192,
) -> None:
    """Draw what a degradation does: a sheet with the picture, LR samples, and the parameters of each."""
    from gramgan.degradation import SCALE, build_degradation
    from gramgan.images import read_rgb, write_image
    from gramgan.reports.degradation import degradation_sheet

    if crop % SCALE:
        raise UserError(f"--crop {crop}: is not a multiple of {SCALE}; give {crop - crop % SCALE}")
    made = build_degradation(profile)
    try:
        sheet = degradation_sheet(read_rgb(image), made, seed=seed, samples=samples, crop=crop)
    except UserError as error:
        message = str(error)
        raise UserError(message if str(image) in message else f"{image}: {message}") from None
    write_image(output, sheet.transpose(2, 0, 1).astype("float32") / 255)
    say(f"written: {output}")
    for number in range(seed, seed + samples):
        say(f"seed {number}: {'; '.join(made.describe(number))}")
