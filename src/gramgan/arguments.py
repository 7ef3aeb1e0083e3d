"""What the public functions are given: an argument of a wrong type is one line that names it, at once.

Not by pydantic's `validate_call`, which hands on copies of the lists and wrapped iterators that it has looked at, and
refuses NumPy's numbers where it is strict.
"""

import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import gramgan
from gramgan.errors import UserError

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)
K = TypeVar("K")

_NUMBERS: dict[Any, Any] = {int: Integral, float: Real}
_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "True or False",
    Path: "a path",
    NoneType: "None",
    Callable: "a function",
    Mapping: "a dictionary",
}
_SHOWN = 40  # characters of a value that a message repeats


def checked(function: F) -> F:
    """`function`, which compares its arguments with their type hints first; `UserError` names the one that is wrong."""
    signature = inspect.signature(function)
    hints: dict[str, Any] = {}

    @functools.wraps(function)
    def replacement(*given: Any, **named: Any) -> Any:
        if not hints:  # the modules that they name are all imported by now
            hints.update(get_type_hints(function))
        for name, value in signature.bind(*given, **named).arguments.items():
            if name in hints:
                expect(name, value, hints[name])
        return function(*given, **named)

    return replacement  # pyright: ignore[reportReturnType]


def checked_methods(kind: C) -> C:
    """A class whose public methods, and its making, are `checked`."""
    for name, member in list(vars(kind).items()):
        if isinstance(member, classmethod):
            setattr(kind, name, classmethod(checked(member.__func__)))
        elif inspect.isfunction(member) and (name == "__init__" or not name.startswith("_")):
            setattr(kind, name, checked(member))
    return kind


def expect(name: str, value: object, kind: Any) -> None:
    """Refuse a value that is none of `kind`, a type hint.

    Numbers of NumPy are numbers, True is none, and a text is no sequence of texts. What a function takes, a dictionary
    holds or an iterator yields is not looked at, nor are protocols that are not for runtime.

    Raises:
        UserError: the line says what is wanted.
    """
    if not _fits(value, kind):
        raise UserError(f"{name}: is {_said(value)}; give {_wanted(kind)}")


def known(what: str, name: K, names: Collection[K], hint: str = "") -> K:
    """`name`, if it is one of `names`.

    Raises:
        UserError: it is not; `hint` says what to do, where listing the names would not.
    """
    if name not in names:
        raise UserError(f"{what} {name!r}: there is none; {hint or f'use {_either(map(str, names))}'}")
    return name


def _fits(value: Any, kind: Any) -> bool:
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any or (getattr(kind, "_is_protocol", False) and not getattr(kind, "_is_runtime_protocol", False)):
        return True
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is Literal:
        return isinstance(value, str) and value in inner
    if origin is Callable:
        return callable(value)
    if origin in (Sequence, Iterable):
        if isinstance(value, str | bytes) or not isinstance(value, origin):
            return False
        return not isinstance(value, Sequence) or all(_fits(one, inner[0]) for one in value)
    if kind in _NUMBERS:
        return isinstance(value, _NUMBERS[kind]) and not isinstance(value, bool)
    return isinstance(value, origin or kind)


def _wanted(kind: Any) -> str:
    return _either(_words(kind))


def _words(kind: Any) -> list[str]:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return [word for one in inner for word in _words(one)]
    if origin is Literal:
        return [repr(one) for one in inner]
    if origin in (Sequence, Iterable):
        return [f"a list (each item: {_wanted(inner[0])})"]
    named = origin or kind
    home = "gramgan" if named.__name__ in gramgan.__all__ else named.__module__
    return [_WORDS.get(named) or f"{home}.{named.__name__}".replace("torch.nn.modules.module", "torch.nn")]


def _either(words: Iterable[str]) -> str:
    *first, last = dict.fromkeys(words)
    return f"{', '.join(first)} or {last}" if first else last


def _said(value: object) -> str:
    told = isinstance(value, str | int | float | list | tuple | NoneType)
    return " ".join(repr(value).split())[:_SHOWN] if told else type(value).__name__
