"""Registries: the members of one kind by name, their options, their help, and the facts that they state.

A member is a function. Its options are its keyword-only arguments, its docstring is its help, and what code needs to
know of it (whether a feature's numbers have an order, which package a tracker is) are the facts it registers with.
Unknown names, options and facts fail with the list of choices and a guess; values are held to the annotated types.
"""

import dataclasses
import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast, get_type_hints

import pydantic
import typing_extensions

from cllora.errors import FieldError, UsageError
from cllora.registry.plugins import load_installed
from cllora.registry.problems import field_error
from cllora.registry.written import option_as_written


@dataclass(frozen=True)
class NoFacts:
    """The facts of a registry whose members state nothing."""


F = TypeVar("F", bound=Callable[..., Any])  # Any: a member's own arguments and result are its kind's business.
Facts = typing_extensions.TypeVar("Facts", default=NoFacts, covariant=True)


def guess(name: str, choices: Iterable[str]) -> str:
    """`; did you mean 'x'?` where something close exists, and always the list of choices."""
    names = sorted(choices)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}choices: {', '.join(names) or '(none)'}"


class Names(Generic[F]):
    """The members of one kind, by name, in the order in which they were added; those of the plug-ins that come with the
    package among them, which are loaded when a registry is first looked into."""

    def __init__(self, kind: str, aliases: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        self.aliases = dict(aliases or {})
        self._members: dict[str, F] = {}

    def add(self, name: str, function: F) -> None:
        """Add a function. A name can be taken once.

        Raises:
            UsageError: it is taken.
        """
        taken = self._members.get(name)
        if taken is not None:
            raise UsageError(f"{self.kind} '{name}' is registered already, in {inspect.getsourcefile(taken)}")
        self._members[name] = function

    def __contains__(self, name: object) -> bool:
        return name in self._loaded()

    def names(self) -> list[str]:
        return list(self._loaded())

    def get(self, name: str) -> F:
        """The function registered as `name`, or as what `name` is an alias of.

        Raises:
            UsageError: there is none; the line guesses and lists what exists.
        """
        members = self._loaded()
        member = members.get(self.aliases.get(name, name))
        if member is None:
            raise UsageError(f"unknown {self.kind} '{name}'; {guess(name, [*members, *self.aliases])}")
        return member

    def _loaded(self) -> dict[str, F]:
        load_installed()
        return self._members

    @contextmanager
    def restored(self) -> Iterator[None]:
        """A context after which the registry is as it was before, whatever was registered inside: for tests."""
        before = dict(self._loaded())
        try:
            yield
        finally:
            self._members = before

    def help(self, name: str) -> str:
        """The first paragraph of the member's docstring, on one line."""
        return " ".join((inspect.getdoc(self.get(name)) or "").split("\n\n")[0].split())

    def options(self, name: str) -> dict[str, inspect.Parameter]:
        """The member's keyword-only arguments."""
        return _options(self.get(name))

    def bind(self, name: str, options: Mapping[str, object]) -> functools.partial[Any]:  # Any: what the member gives
        """The member with all its options fixed, each validated against its annotation.

        Raises:
            UsageError: an unknown name or option, a missing one, or a value that the annotation does not admit.
        """
        own = self.options(name)
        for key in options:
            if key not in own:
                raise FieldError(f"{self.kind} '{name}' has no option '{key}'; {guess(key, own)}", key)
        try:
            checked = _checker(self.get(name))(**options)
        except pydantic.ValidationError as error:
            raise field_error(error, f"{self.kind} '{name}': ") from None
        return functools.partial(self.get(name), **{key: getattr(checked, key) for key in own})


class Registry(Names[F], Generic[F, Facts]):
    """A kind whose members are their functions, and the facts that they state.

    Args:
        kind: what a member is called in messages.
        facts: a frozen dataclass; its fields are the facts that members can state, those without a default must.
        aliases: other names of members, by alias.
    """

    def __init__(
        self, kind: str, facts: Callable[..., Facts] | None = None, aliases: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(kind, aliases)
        self._facts_type = cast(Callable[..., Facts], NoFacts) if facts is None else facts
        self._facts: dict[str, Facts] = {}

    def register(self, name: str | None = None, **facts: object) -> Callable[[F], F]:
        """Register a function under its own name, or under `name`, with its facts. A name can be taken once.

        Raises:
            UsageError: the name is taken, there is no such fact, or one is missing.
        """

        def add(function: F) -> F:
            key = name or function.__name__
            stated = self._stated(key, facts)
            self.add(key, function)
            self._facts[key] = stated
            return function

        return add

    @contextmanager
    def restored(self) -> Iterator[None]:
        before = dict(self._facts)
        with super().restored():
            yield
        self._facts = before

    def facts(self, name: str) -> Facts:
        """The facts that the member states of itself.

        Raises:
            UsageError: there is no such member.
        """
        self.get(name)
        first = self.aliases.get(name, name)
        return self._facts[first] if first in self._facts else self._stated(first, {})

    def _stated(self, name: str, facts: Mapping[str, object]) -> Facts:
        fields = dataclasses.fields(cast(Any, self._facts_type))  # Any: a type variable cannot be bound to dataclasses.
        for key in facts:
            if key not in {field.name for field in fields}:
                choices = guess(key, [field.name for field in fields])
                raise UsageError(f"{self.kind} '{name}' cannot state '{key}'; {choices}")
        for field in fields:
            given = field.name in facts or field.default_factory is not dataclasses.MISSING
            if not given and field.default is dataclasses.MISSING:
                raise UsageError(f"{self.kind} '{name}' must state its {field.name}: register({field.name}=...)")
        return self._facts_type(**facts)


_AS_WRITTEN: dict[str, Callable[..., Any]] = {  # Any: what create_model takes
    "as_written": pydantic.field_validator("*", mode="wrap")(option_as_written)
}


def _options(member: Callable[..., object]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(member).parameters
    return {key: p for key, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


@functools.cache
def _checker(member: Callable[..., object]) -> type[pydantic.BaseModel]:
    """The model that holds a member's options to their annotations, which takes far longer to make than to use."""
    hints = get_type_hints(member, include_extras=True)
    fields: dict[str, Any] = {  # Any: what create_model takes
        key: (hints.get(key, object), ... if p.default is inspect.Parameter.empty else p.default)
        for key, p in _options(member).items()
    }
    config = pydantic.ConfigDict(
        arbitrary_types_allowed=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False
    )
    return pydantic.create_model("Options", __config__=config, __validators__=_AS_WRITTEN, **fields)


AnyRegistry = Names[Any]  # Any: a member takes and gives what its kind does.
"""A registry of whatever kind."""
