"""The command `gramgan`: puts the subcommands together."""

import sys
from typing import Annotated

import typer

from gramgan import __version__
from gramgan.cli import (
    collect,
    console,
    db,
    degrade,
    demo,
    doctor,
    evaluate,
    export,
    inspect,
    prepare,
    report,
    runs,
    studio,
    train,
    upscale,
    weights,
)
from gramgan.cli.options import Application

app = Application(
    name="gramgan",
    help="4x super-resolution that shows a GAN what real texture looks like.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
app.command()(upscale.upscale)
app.command()(studio.studio)
app.command()(inspect.inspect)
app.command()(train.train)
app.command()(report.report)
app.command()(runs.runs)
app.command()(evaluate.evaluate)
app.command()(collect.collect)
app.command()(prepare.prepare)
app.command()(degrade.degrade)
app.command()(export.export)
app.add_typer(db.db_app, name="db")
app.add_typer(weights.weights_app, name="weights")
app.command()(demo.demo)
app.command()(doctor.doctor)


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
    """Run one command line and return its exit code (see `console.run_application`)."""
    return console.run_application(app, arguments, "gramgan")
