"""The manual pages, and what the site's reference shares with them: commands and options as the program defines them.

`hatch_build.py` puts the pages into the wheel. They are written in the macros of man(7).
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import typer

from gramgan import __version__
from gramgan.cli.app import app

EXIT_CODES = {
    0: "All is done.",
    1: "Some of several files could not be done, or the work was interrupted.",
    2: "Something that you can put right, said in one line on standard error.",
}
VALUES = {int: "N", float: "NUMBER", str: "TEXT", Path: "PATH"}


class UndocumentedError(Exception):
    """A command, option or setting without a description."""


def commands() -> dict[str, Any]:
    """The commands of the program by their names, groups before what is in them."""

    def walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        yield name, command
        for inner, one in getattr(command, "commands", {}).items():
            yield from walk(f"{name} {inner}", one)

    return dict(walk("gramgan", typer.main.get_command(app)))


def about(name: str, command: Any) -> str:
    """What a command does."""
    if not command.help:
        raise UndocumentedError(f"{name}: the command has no help text")
    return command.help.strip()


def synopsis(command: Any) -> str:
    """What follows a command's name: `[OPTIONS] INPUT …`."""
    options = "[OPTIONS]" if any(map(flags, command.params)) else ""
    arguments = [value(one) for one in command.params if not flags(one)]
    return " ".join(filter(None, [options, *(["COMMAND …"] if hasattr(command, "commands") else arguments)]))


def groups(name: str, command: Any) -> dict[str, list[Any]]:
    """Arguments and options by the group that the help shows them in; those without one first, under an empty name."""
    found: dict[str, list[Any]] = {}
    for one in command.params:
        if one.hidden:
            continue
        if not one.help:
            raise UndocumentedError(f"{name}: {one.name} has no help text")
        found.setdefault(one.rich_help_panel or "", []).append(one)
    return found


def flags(option: Any) -> list[str]:
    """`--output`, `-o`; none for an argument."""
    return [flag for flag in [*option.opts, *option.secondary_opts] if flag.startswith("-")]


def value(option: Any) -> str:
    """The name of what an option or argument takes; empty for a switch."""
    if getattr(option, "is_flag", False):
        return ""
    kind = option.type_descriptor.annotation
    inner = next(iter(get_args(kind)), kind) if get_origin(kind) is list else kind
    named = option.metavar or VALUES.get(inner, "TEXT")
    return named if flags(option) else f"{named}{' …' if option.nargs == -1 else ''}"


def bounds(option: Any) -> str:
    """Smallest and largest value, `0…65535`; empty without them."""
    low, high = option.min, option.max
    return "" if low is None and high is None else f"{'' if low is None else low}…{'' if high is None else high}"


def default(option: Any) -> Any:
    """The value of an option that is not given, None where there is none to tell."""
    silent = option.required or getattr(option, "is_flag", False) or option.default in (None, "", (), [], False)
    return None if silent else option.default


def pages() -> dict[str, str]:
    """A manual page for each command, by the name of its file."""
    known = commands()
    return {f"{_file(name)}.1": _page(name, known) for name in known}


def _page(name: str, known: dict[str, Any]) -> str:
    command = known[name]
    first, *more = about(name, command).split("\n\n")
    inner = [each for each in known if each.rpartition(" ")[0] == name]
    title = _roff(_file(name))
    lines = [
        f'.TH "{title.upper()}" 1 "" "gramgan {__version__}" "Gram\\-GAN"',
        f".SH NAME\n{title} \\- {_roff(first.rstrip('.'))}",
        f".SH SYNOPSIS\n\\fB{_roff(name)}\\fR {_roff(synopsis(command))}".rstrip(),
        ".SH DESCRIPTION",
        "\n.PP\n".join(map(_roff, (first, *more))),
    ]
    if inner:
        lines.append(".SH COMMANDS")
        summaries = [about(each, known[each]).split("\n\n")[0] for each in inner]
        lines += [f".TP\n\\fB{_roff(each)}\\fR\n{_roff(said)}" for each, said in zip(inner, summaries, strict=True)]
    lines += [line for group in groups(name, command).items() for line in _options(*group)]
    lines.append(".SH EXIT STATUS")
    lines += [f".TP\n{code}\n{_roff(meaning)}" for code, meaning in EXIT_CODES.items()]
    related = sorted(map(_file, [*inner, *([name.rpartition(" ")[0]] if name != "gramgan" else [])]))
    if related:
        lines.append(".SH SEE ALSO\n" + ",\n".join(f"\\fB{_roff(each)}\\fR(1)" for each in related))
    return "\n".join(lines) + "\n"


def _options(group: str, options: Iterable[Any]) -> Iterator[str]:
    yield f".SH {_roff(group.upper() or 'OPTIONS')}"
    for one in options:
        named = ", ".join(f"\\fB{_roff(flag)}\\fR" for flag in flags(one))
        usual = default(one)
        notes = [one.help, "Required." if one.required else "", f"Default: {usual}." if usual is not None else ""]
        limits = f" {_roff(f'({bounds(one)})')}" if bounds(one) else ""
        yield f".TP\n{named} {_roff(value(one), 'I')}{limits}".replace("\n ", "\n").rstrip()
        yield _roff(" ".join(filter(None, notes)))


def _file(name: str) -> str:
    return name.replace(" ", "-")


def _roff(text: str, font: str = "") -> str:
    """`text` as it is read, in one line of the page; what is in backticks is bold."""
    plain = " ".join(text.split()).replace("\\", r"\e").replace("-", r"\-")
    plain = re.sub(r"[^\x00-\x7f]", lambda match: rf"\[u{ord(match[0]):04X}]", plain)
    plain = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", plain)
    plain = rf"\&{plain}" if plain.startswith((".", "'")) else plain
    return rf"\f{font}{plain}\fR" if font and plain else plain
