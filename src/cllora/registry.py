"""Names for the things a study can choose from: corpora, features, partitioners, strategies, presets, figures.

A member is a function. Its options are its keyword-only arguments, its docstring is its help. Unknown names and
options fail with the list of choices and a guess; values are held to the annotated types.
"""

import difflib
import functools
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar, get_type_hints

import pydantic

from cllora.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])


def guess(name: str, choices: Iterable[str]) -> str:
    """`; did you mean 'x'?` where something close exists, and always the list of choices."""
    names = sorted(choices)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}choices: {', '.join(names) or '(none)'}"


class Registry(Generic[F]):
    """The members of one kind, by name, in the order in which they were registered."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._members: dict[str, F] = {}

    def register(self, name: str | None = None) -> Callable[[F], F]:
        """Decorator: add a function under its own name, or under `name`. A name can be taken once."""

        def add(function: F) -> F:
            key = name or function.__name__
            taken = self._members.get(key)
            if taken is not None:
                raise UsageError(f"{self.kind} '{key}' is registered already, in {inspect.getsourcefile(taken)}")
            self._members[key] = function
            return function

        return add

    def names(self) -> list[str]:
        return list(self._members)

    def get(self, name: str) -> F:
        """The function registered as `name`.

        Raises:
            UsageError: there is none; the line guesses and lists what exists.
        """
        if name not in self._members:
            raise UsageError(f"unknown {self.kind} '{name}'; {guess(name, self._members)}")
        return self._members[name]

    def help(self, name: str) -> str:
        """The first paragraph of the member's docstring, on one line."""
        return " ".join((inspect.getdoc(self.get(name)) or "").split("\n\n")[0].split())

    def options(self, name: str) -> dict[str, inspect.Parameter]:
        """The member's keyword-only arguments."""
        parameters = inspect.signature(self.get(name)).parameters
        return {key: p for key, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}

    def bind(self, name: str, options: Mapping[str, Any]) -> functools.partial[Any]:
        """The member with all its options fixed, each validated against its annotation.

        Raises:
            UsageError: an unknown name or option, a missing one, or a value that the annotation does not admit.
        """
        known = self.options(name)
        for key in options:
            if key not in known:
                raise UsageError(f"{self.kind} '{name}' has no option '{key}'; {guess(key, known)}")
        hints = get_type_hints(self.get(name), include_extras=True)
        fields: dict[str, Any] = {
            key: (hints.get(key, Any), ... if p.default is inspect.Parameter.empty else p.default)
            for key, p in known.items()
        }
        config = pydantic.ConfigDict(arbitrary_types_allowed=True, extra="forbid", protected_namespaces=())
        checker = pydantic.create_model(f"{name}_options", __config__=config, **fields)
        try:
            checked = checker(**options)
        except pydantic.ValidationError as error:
            raise UsageError(f"{self.kind} '{name}': {first_problem(error)}") from None
        return functools.partial(self.get(name), **{key: getattr(checked, key) for key in known})


def first_problem(error: pydantic.ValidationError) -> str:
    """What pydantic found first, as `field: message (got value)`; the rest is counted."""
    problems = error.errors()
    first = problems[0]
    field = ".".join(str(part) for part in first["loc"])
    value = first.get("input")
    got = f" (got {value!r})" if isinstance(value, str | int | float | bool | type(None)) else ""
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    said = first["msg"].removeprefix("Value error, ")
    return f"{field}: {said}{got}{more}" if field else f"{said}{more}"


def load_plugins(files: Iterable[str]) -> None:
    """Run users' own Python files (`load:` in a study), so that what they register can be named.

    Raises:
        UsageError: a file is missing or fails while it is run.
    """
    for file in files:
        path = Path(file).resolve()
        name = f"cllora_plugin_{path.stem}"
        if not path.is_file():
            raise UsageError(f"load: there is no file {file}")
        if getattr(sys.modules.get(name), "__file__", None) == str(path):
            continue
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise UsageError(f"load: {file} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            raise UsageError(f"load: {file} failed: {type(error).__name__}: {error}") from error
