"""The command `gramgan`: puts the subcommands together and turns errors into one line and an exit code."""

import sys
from typing import Annotated

import typer

from gramgan import __version__
from gramgan.cli import collect, console, db, demo, evaluate, train, upscale, weights
from gramgan.errors import UserError

app = typer.Typer(
    name="gramgan",
    help="4x super-resolution that shows a GAN what real texture looks like.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(upscale.upscale)
app.command()(train.train)
app.command()(evaluate.evaluate)
app.command()(collect.collect)
app.add_typer(db.app, name="db")
app.add_typer(weights.app, name="weights")
app.command()(demo.demo)


def _show_version(wanted: bool) -> None:
    if wanted:
        console.say(f"gramgan {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more about what is being done.")] = False,
) -> None:
    """4x super-resolution that shows a GAN what real texture looks like."""
    console.show_log(verbose)


def main() -> None:
    """Entry point of `gramgan`; see `run` for the exit codes."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line.

    Returns:
        0 if all went well, 1 if some of several inputs failed, 2 for input that the user can put right.
    """
    try:
        app(arguments, prog_name="gramgan")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except SystemExit as end:  # how typer ends: 0 or the command's own code, 2 for wrong usage
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
