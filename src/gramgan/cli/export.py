"""`gramgan export`: weights as files for other programs."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    weights: Annotated[
        str,
        typer.Argument(
            help="Known weights (`gramgan weights list`) or a weight file.", metavar="NAME|PATH", show_default=False
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The file to write: .safetensors, .pth (ESRGAN's names), .onnx, or .xml (OpenVINO, with a .bin beside "
            "it).",
            metavar="FILE",
            show_default=False,
        ),
    ],
    form: Annotated[
        str | None,
        typer.Option(
            "--format", help="safetensors, pth, onnx or xml, where the file's suffix does not say.", metavar="FORMAT"
        ),
    ] = None,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Store weights in half precision: half the size, a little off.")
    ] = False,
    old_keys: Annotated[
        bool, typer.Option("--old-keys", help="For .pth: the names of ESRGAN's first release, which old programs want.")
    ] = False,
    name: Annotated[
        str | None, typer.Option(help="What the card is to call the generator (default: as it does).", metavar="TEXT")
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(help="The licence that you give the weights (default: as the card says).", metavar="TEXT"),
    ] = None,
    consistency: Annotated[
        bool | None,
        typer.Option(
            "--consistency/--no-consistency",
            help="Say in the card that `gramgan upscale` and `gramgan evaluate` are to back-project what it makes "
            "(default: as the card says).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a generator for other programs: safetensors, PyTorch, ONNX or OpenVINO.

    What is written is read again, run on a test picture and compared with the original; the difference is reported.
    """
    from gramgan.cli.console import say
    from gramgan.upscaling.export import export_generator

    done = export_generator(
        weights, output, form, half=fp16, old_keys=old_keys, name=name, licence=licence, consistency=consistency
    )
    say(
        f"{done.path}: {done.size / 1e6:.1f} MB, read again and compared: differs by {255 * done.max_difference:.2g} "
        f"grey levels at most, {255 * done.rms:.2g} rms"
    )
