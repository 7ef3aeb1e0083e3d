"""Options that several commands have: those of their settings, and on which machines they work."""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from gramgan.cli import completion
from gramgan.upscaling.settings import Setting, Settings

if TYPE_CHECKING:
    from gramgan.team import Team

Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="auto|ADDRESS",
        help="Work on a Ray cluster: auto for the one that runs here, HOST:PORT of its head, or local for one of this "
        "machine alone; see docs/how-to/cluster.md.",
        rich_help_panel="Cluster",
        show_default=False,
    ),
]
"""Where the work is done; None for this process."""

_TYPES: dict[Any, Any] = {str | Path | None: str | None, Sequence[str]: list[str] | None}
"""What typer takes for types that it does not know."""


class Application(typer.Typer):
    """Commands whose paths may lie in object storage: typer makes a `Path` of a URL, and `as_place` what is meant."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register a command, as `typer.Typer.command` does."""
        register = super().command(name, **options)

        def decorator(command: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(command)
            def with_places(**given: Any) -> Any:
                return command(**{name: _placed(value) for name, value in given.items()})

            register(with_places)
            return command

        return decorator


def _placed(value: Any) -> Any:
    from gramgan.places import as_place  # `--help` does without

    if isinstance(value, list | tuple):
        return type(value)(map(_placed, value))
    return as_place(value) if isinstance(value, Path) else value


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with an option for every field of `Settings` in place of its parameter `settings`."""
    signature = inspect.signature(command)
    names = [one.name for one in fields(Settings)]
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        parameters += _options() if parameter.name == "settings" else [parameter]

    @wraps(command)
    def replacement(**given: Any) -> None:
        values = {name: given.pop(name) for name in names}
        settings = Settings(**{name: value for name, value in values.items() if value is not None})
        command(settings=settings, **given)

    keywords = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    replacement.__signature__ = signature.replace(parameters=keywords)  # pyright: ignore[reportAttributeAccessIssue]
    replacement.__annotations__ = {parameter.name: parameter.annotation for parameter in keywords}
    return replacement


@contextlib.contextmanager
def team_on(ray: str | None, device: str = "cpu", imports: Sequence[str] = ()) -> Iterator["Team | None"]:
    """The workers of the cluster that `--ray` names, None where it was not given; arguments as for `cluster.connect`.

    Raises:
        UserError: see `cluster.connect`.
    """
    if ray is None:
        yield None
        return
    from gramgan.cluster import connect

    with connect(ray, device, imports) as team:
        yield team


def _options() -> list[inspect.Parameter]:
    types, found = get_type_hints(Settings), []
    for one in fields(Settings):
        about: Setting = one.metadata["setting"]
        default = None if one.default == () else one.default
        flag = f"--{one.name.replace('_', '-')}"
        option = typer.Option(
            flag if about.negation is None else f"{flag}/{about.negation}",
            help=about.help,
            metavar=about.metavar,
            rich_help_panel=about.group,
            show_default=default is not None,
            autocompletion=completion.generators if one.name == "model" else None,
        )
        annotation = Annotated[_TYPES.get(types[one.name], types[one.name]), option]
        found.append(
            inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        )
    return found
