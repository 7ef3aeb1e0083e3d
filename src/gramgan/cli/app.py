"""The command `gramgan`: puts the subcommands together and turns errors into one line and an exit code."""

import sys

import typer

from gramgan.errors import UserError

app = typer.Typer(
    name="gramgan",
    help="4x super-resolution that shows a GAN what real texture looks like.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Entry point of `gramgan`: exit code 0 if all went well, 2 for input that the user can put right."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        result = app(arguments, standalone_mode=False)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return result if isinstance(result, int) else 0
