"""The reference of commands, settings and presets, as Markdown, from the code itself.

A page says `<!-- from the code: commands -->` where it goes. What has no description raises `manual.UndocumentedError`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from itertools import zip_longest
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gramgan.cli import manual
from gramgan.config import PRESETS, Config, load_config, preset_names
from gramgan.config.losses import OwnLossConfig
from gramgan.config.sections import DatabaseConfig

SIGNS = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"), ("multiple_of", "a multiple of"))


def filled(markdown: str) -> str:
    """A page with what its marks ask for."""
    made = {"commands": commands, "settings": settings, "presets": presets}
    return re.sub(r"<!-- from the code: (\w+) -->", lambda match: made[match[1]](), markdown)


def commands() -> str:
    """The exit codes, and every command: what it does, and its options in their groups."""
    codes = "; ".join(f"{code}: {_text(said).rstrip('.').lower()}" for code, said in manual.EXIT_CODES.items())
    known = manual.commands()
    return f"Exit codes: {codes}.\n\n" + "\n".join(part for name in known for part in _command(name, known[name]))


def _command(name: str, command: Any) -> Iterator[str]:
    yield f"{'###' if name.count(' ') == 2 else '##'} {name}\n\n{manual.about(name, command)}\n"
    yield f"```text\n{name} {manual.synopsis(command)}".rstrip() + "\n```\n"
    for group, options in manual.groups(name, command).items():
        yield f"| {group or 'option'} | |\n| --- | --- |"
        for one in options:
            yield f"| {_named(name, one)} | {_text(one.help)}{_default(one)} |"
        yield ""


def _named(name: str, option: Any) -> str:
    """Name and value of an option, with a place to link to: `#upscale-denoise`."""
    place = f"{name.removeprefix('gramgan').strip()} {option.name}".strip().replace(" ", "-").replace("_", "-")
    flags, value, bounds = manual.flags(option), manual.value(option), manual.bounds(option)
    named = "<br>".join(f"`{flag}`" for flag in flags) or _code(value)
    value = f" {_code(value)}" if flags and value else ""
    return f'<span id="{place}"></span>{named}{value}' + (f" ({bounds})" if bounds else "")


def _default(option: Any) -> str:
    usual = manual.default(option)
    return " **Required.**" if option.required else "" if usual is None else f" Default: `{usual}`"


def settings() -> str:
    """Every setting of a training: its values, default and meaning, section by section."""
    sections = {name: type(value) for name, value in Config() if isinstance(value, BaseModel)}
    single = {name: field for name, field in Config.model_fields.items() if name not in sections}
    parts = [_table("", single)]
    for name, section in sections.items():
        parts.append(f"## {name}\n\n{_text(section.__doc__ or '')}\n\n{_table(f'{name}.', section.model_fields)}")
    for key, entry in (("texture.databases", DatabaseConfig), ("losses.own", OwnLossConfig)):
        about = f"## {key} {{#{entry.__name__.lower()}}}\n\n{_text(entry.__doc__ or '')}\n\n"
        parts.append(about + _table("… ", entry.model_fields))
    return "\n".join(parts)


def _table(prefix: str, fields: Mapping[str, FieldInfo]) -> str:
    rows = ["| setting | meaning |", "| --- | --- |"]
    for name, field in fields.items():
        key = f"{prefix}{name}"
        named = f'<span id="{place(key)}"></span>{_key(key)}' if not prefix.startswith("…") else f"`{name}`"
        values = f"{_kind(field.annotation, field.metadata)}. Default: {_standard(field)}"
        rows.append(f"| {named} | {_text(meaning(key, field))}<br><small>{values}</small> |")
    return "\n".join(rows) + "\n"


def _key(key: str) -> str:
    """A setting's name, which may break after a dot or underscore."""
    return "<code>" + key.replace(".", ".<wbr>").replace("_", "_<wbr>") + "</code>"


def place(key: str) -> str:
    """Where a setting can be linked to: `#data-low-name`."""
    return key.replace(".", "-").replace("_", "-")


def meaning(key: str, field: FieldInfo) -> str:
    """What a setting means."""
    if not field.description:
        raise manual.UndocumentedError(f"{key}: the setting has no description")
    return field.description


def _kind(annotation: Any, bounds: Iterable[Any] = ()) -> str:
    """The values that a type allows, in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(inner[0], [one for given in inner[1:] for one in getattr(given, "metadata", ())])
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in inner)
    if origin in (Union, UnionType):
        return ", or ".join(dict.fromkeys(_kind(one) for one in inner if one is not NoneType))
    if origin is tuple or origin is list:
        return f"list: {_kind(inner[0])}"
    if origin is dict:
        return f"by name: {_kind(inner[1])}"
    words = {int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path"}
    limits = "".join(f", {sign} {getattr(one, name):g}" for one in bounds for name, sign in SIGNS if hasattr(one, name))
    named = words[annotation] if annotation in words else f"[entries](#{annotation.__name__.lower()})"
    return named + escape(limits)


def _standard(field: FieldInfo) -> str:
    return "required" if field.is_required() else _shown(field.default)


def presets() -> str:
    """Every preset: what it is for, and each setting that it gives another value than the default."""
    return "\n".join(_preset(name) for name in preset_names())


def _preset(name: str) -> str:
    text = (PRESETS / f"{name}.yaml").read_text(encoding="utf-8")
    about = " ".join(line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#"))
    about = re.sub(r"docs/(explanation/([\w-]+)\.md)", r"[\2](../\1)", about)
    rows = ["| setting | value | meaning |", "| --- | --- | --- |"]
    usual = Config()
    for section, values in load_config(name):
        for key, value in values if isinstance(values, BaseModel) else ():
            if value != getattr(getattr(usual, section), key):
                field = type(values).model_fields[key]
                named = f"[{_key(f'{section}.{key}')}](settings.md#{place(f'{section}.{key}')})"
                about_it = f"{_text(meaning(f'{section}.{key}', field))}<br><small>Default: {_standard(field)}</small>"
                rows.append(f"| {named} | {_shown(value)} | {about_it} |")
    return f"## {name}\n\n{about}\n\n" + "\n".join(rows) + "\n"


def _shown(value: Any) -> str:
    """A value as it is written in YAML."""
    if isinstance(value, tuple) and value and isinstance(value[0], DatabaseConfig):
        value = [one.model_dump(mode="json", exclude_defaults=True) for one in value]
    value = list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
    if value is None or value == [] or value == {}:
        return "none"
    text = (
        yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1000).removesuffix("\n...\n").strip()
    )
    return _code(text)


def _code(text: str) -> str:
    """Code in a cell of a table, where backticks would not hold a bar."""
    return f"<code>{escape(text, quote=False).replace('|', '&#124;')}</code>"


def _text(text: str) -> str:
    """A text of the program as a cell: what is in backticks is code, everything else is read literally."""
    parts = re.split(r"`([^`]*)`", " ".join(text.split()))
    plain = [re.sub(r"([\\*_\[|])", r"\\\1", escape(part, quote=False)) for part in parts[::2]]
    return "".join(a + b for a, b in zip_longest(plain, map(_code, parts[1::2]), fillvalue=""))
