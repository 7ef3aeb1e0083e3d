"""`gramgan export`: weights as files for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from gramgan.cli.console import say
from gramgan.errors import UserError


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
            "--format",
            help="safetensors, pth, onnx or xml, where the suffix of the file does not say it.",
            metavar="FORMAT",
        ),
    ] = None,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Store weights in half precision: half the size, slightly rounded.")
    ] = False,
    old_keys: Annotated[
        bool, typer.Option("--old-keys", help="For .pth: the names of ESRGAN's first release, which old programs want.")
    ] = False,
    name: Annotated[
        str | None, typer.Option(help="Name of the generator in the card (default: unchanged).", metavar="TEXT")
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(help="Licence of the weights in the card (default: unchanged).", metavar="TEXT"),
    ] = None,
    consistency: Annotated[
        bool | None,
        typer.Option(
            "--consistency/--no-consistency",
            help="Let the card say that `gramgan upscale` and `gramgan evaluate` back-project the generator's "
            "results (default: unchanged).",
            show_default=False,
        ),
    ] = None,
    openmodeldb: Annotated[
        str | None,
        typer.Option(
            "--openmodeldb",
            help="Write a record for OpenModelDB beside the file, 4x-NAME.json; AUTHOR is your id among its users.",
            metavar="AUTHOR",
        ),
    ] = None,
    url: Annotated[
        list[str] | None,
        typer.Option("--url", help="For the record: where the file can be downloaded; may be repeated.", metavar="URL"),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(
            "--tag",
            help="For the record: what it is for, by OpenModelDB's tags (default: photo); may be repeated.",
            metavar="TAG",
        ),
    ] = None,
) -> None:
    """Write a generator for other programs: safetensors, PyTorch, ONNX or OpenVINO.

    The command reads the written file again, runs it on a test picture and prints the difference from the original.
    """
    from gramgan.upscaling.export import export_generator
    from gramgan.upscaling.openmodeldb import Listing

    if openmodeldb is None and (url or tag):
        raise UserError("--url, --tag: belong to --openmodeldb AUTHOR; give that too")
    listing = Listing(openmodeldb, tuple(url or ()), tuple(tag or ("photo",))) if openmodeldb is not None else None
    done = export_generator(
        weights,
        output,
        form,
        half=fp16,
        old_keys=old_keys,
        name=name,
        licence=licence,
        consistency=consistency,
        listing=listing,
    )
    say(
        f"{done.path}: {done.size / 1e6:.1f} MB, read again and compared: differs by {255 * done.max_difference:.2g} "
        f"grey levels at most, {255 * done.rms:.2g} rms"
    )
    if done.record is not None:
        say(f"{done.record}: for data/models of OpenModelDB")
