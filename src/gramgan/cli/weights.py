"""`gramgan weights`: list, get, path and clear the weight files that the project knows."""

from typing import Annotated

import typer

from gramgan.cli.console import progress_bar, say, wide_console
from gramgan.cli.options import Application

weights_app = Application(
    name="weights",
    help="Weight files that the project knows: list them, bring them into the cache, find them, delete them.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="A name of `gramgan weights list`.", metavar="NAME", show_default=False)]


@weights_app.command("list")
def list_weights() -> None:
    """Show the table: name, what it is, licence, size, whether it is here (in the package or the cache), and origin."""
    from rich.table import Table

    from gramgan.weights.catalog import KNOWN, is_cached

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("name", no_wrap=True)
    table.add_column("what it is")
    table.add_column("licence")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("here", no_wrap=True)
    table.add_column("origin", overflow="fold")
    for known in KNOWN.values():
        size = (
            f"{known.size / 1e6:.0f} MB" if all(file.size for file in known.files) else f"≤ {known.size / 1e6:.0f} MB"
        )
        table.add_row(known.name, known.title, known.licence, size, "yes" if is_cached(known) else "no", known.origin)
    wide_console().print(table)


@weights_app.command("get")
def get(names: Annotated[list[str], typer.Argument(help="Names of `gramgan weights list`.", metavar="NAME")]) -> None:
    """Download weights into the cache; files that are there already are checked and kept."""
    from gramgan.weights.catalog import expand, fetch_weights, weight_path

    wanted = [known for name in names for known in expand(name)]
    for known in wanted:
        with progress_bar(known.name) as progress:
            fetch_weights(known.name, progress)
        say(f"{known.name}: {weight_path(known.name)}")


@weights_app.command("path")
def path(name: Name) -> None:
    """Print where the cached file is; if it is not there, say the command that brings it."""
    from gramgan.weights.catalog import expand, weight_path

    for known in expand(name):
        say(str(weight_path(known.name)))


@weights_app.command("clear")
def clear(
    name: Annotated[str | None, typer.Argument(help="Only these weights; without it: all.", metavar="NAME")] = None,
) -> None:
    """Delete cached weights; they can be downloaded again."""
    from gramgan.weights.catalog import KNOWN, clear_weights

    freed = clear_weights([name] if name else list(KNOWN))
    say(f"{freed / 1e6:.1f} MB freed")
