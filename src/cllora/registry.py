"""Names for the things a study can choose from: corpora, features, partitioners, strategies, presets, figures.

A member is a function. Its options are its keyword-only arguments, its docstring is its help. Unknown names and
options fail with the list of choices and a guess; values are held to the annotated types.
"""

import ast
import difflib
import functools
import hashlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar, get_type_hints

import pydantic

from cllora.errors import FieldError, UsageError

F = TypeVar("F", bound=Callable[..., Any])


def guess(name: str, choices: Iterable[str]) -> str:
    """`; did you mean 'x'?` where something close exists, and always the list of choices."""
    names = sorted(choices)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}choices: {', '.join(names) or '(none)'}"


class Names(Generic[F]):
    """The members of one kind, by name, in the order in which they were added."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
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
                raise FieldError(f"{self.kind} '{name}' has no option '{key}'; {guess(key, known)}", key)
        hints = get_type_hints(self.get(name), include_extras=True)
        fields: dict[str, Any] = {
            key: (hints.get(key, Any), ... if p.default is inspect.Parameter.empty else p.default)
            for key, p in known.items()
        }
        config = pydantic.ConfigDict(
            arbitrary_types_allowed=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False
        )
        checker = pydantic.create_model(f"{name}_options", __config__=config, __validators__=_AS_WRITTEN, **fields)
        try:
            checked = checker(**options)
        except pydantic.ValidationError as error:
            raise field_error(error, f"{self.kind} '{name}': ") from None
        return functools.partial(self.get(name), **{key: getattr(checked, key) for key in known})


class Registry(Names[F]):
    """A kind whose members are their functions alone."""

    def register(self, name: str | None = None) -> Callable[[F], F]:
        """Decorator: add a function under its own name, or under `name`."""

        def add(function: F) -> F:
            self.add(name or function.__name__, function)
            return function

        return add


_NO_TEXT = (int, float, bool, type(None))


def check_as_written(given: Any, made: Any) -> None:
    """Refuse a value that pydantic turned into one of another kind: `true` into 1, `"20"` into 20, 1 or `yes` into
    true.

    Raises:
        ValueError: it did, at any depth; or a text is empty, or holds what no file's name can.
    """
    if type(given) is type(made) and type(made) in _NO_TEXT:
        return
    if isinstance(made, bool) != isinstance(given, bool):
        raise ValueError(
            "true and false are no numbers; write a number" if isinstance(given, bool) else "write true or false"
        )
    if isinstance(made, int | float) and isinstance(given, str):
        raise ValueError("this is text; write the number without quotes")
    if isinstance(made, str) and isinstance(given, str) and not given.strip():
        raise ValueError("this text is empty; give one, or leave the field out")
    if isinstance(made, str) and "\0" in made:
        raise ValueError("there is a NUL character in this text; take it out")
    if isinstance(made, list | tuple) and isinstance(given, list | tuple):
        for each, become in zip(given, made, strict=False):
            check_as_written(each, become)
    if isinstance(made, Mapping) and isinstance(given, Mapping):
        for key in given.keys() & made.keys():
            check_as_written(given[key], made[key])


def as_written(value: Any, handler: Callable[[Any], Any]) -> Any:
    """A pydantic wrap validator for every field: what a value is turned into must be of its own kind."""
    made = handler(value)
    check_as_written(value, made)
    return made


def _named_once(value: Any) -> Any:
    """Refuse a list of names in which one is given twice: of an option, nothing comes of the second."""
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        twice = [each for each in dict.fromkeys(value) if value.count(each) > 1]
        if twice:
            raise ValueError(f"'{twice[0]}' is given twice; name it once")
    return value


def _option(value: Any, handler: Callable[[Any], Any]) -> Any:
    return as_written(_named_once(value), handler)


_AS_WRITTEN: dict[str, Any] = {"as_written": pydantic.field_validator("*", mode="wrap")(_option)}


def field_error(error: pydantic.ValidationError, prefix: str = "") -> FieldError:
    """What pydantic found first, as one line about its field."""
    first, _ = _first(error)
    wants_text = first["type"] in ("string_type", "string_sub_type")
    return FieldError(prefix + first_problem(error), _place(first), first.get("input"), wants_text=wants_text)


UNION_BRANCH = re.compile(
    r"(str|int|float|bool|none)|(constrained|function|literal|tuple|list|dict|nullable|lax-or-strict)\b.*"
)
"""What pydantic puts into the place of an error for each kind that a value may be of."""


def _place(problem: Any) -> str:
    return ".".join(str(part) for part in problem["loc"] if not UNION_BRANCH.fullmatch(str(part)))


def _first(error: pydantic.ValidationError) -> tuple[Any, int]:
    """What is wrong with the first field, and of how many other fields something is.

    Where a value may be of several kinds, every kind has something to say: that of the kind which it is of counts,
    which goes into the value or holds it against a bound; if it is of none, all that would do are named."""
    problems = error.errors()
    root = len(problems[0]["loc"])
    root = next((i for i, part in enumerate(problems[0]["loc"]) if UNION_BRANCH.fullmatch(str(part))), root)
    start = problems[0]["loc"][:root]
    of_first = [each for each in problems if each["loc"][:root] == start]
    others = {_place(each) for each in problems if each["loc"][:root] != start}
    best = max(of_first, key=lambda each: (_place(each).count("."), not each["type"].endswith("_type")))
    alike = [each for each in of_first if _place(each) == _place(best) and each["type"].endswith("_type")]
    if best in alike and len(alike) > 1:
        kinds = dict.fromkeys(each["msg"].removeprefix("Input should be ") for each in alike)
        best = {**best, "msg": "Input should be " + " or ".join(kinds)}
        best["type"] = "string_type" if any(each["type"] == "string_type" for each in alike) else best["type"]
    return best, len(others)


def without_commas(number: str) -> str:
    """A number in JSON's digits: `0.5` for `0,5`, and `1000` for `1,000`."""
    thousands = re.fullmatch(r"[-+]?[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]+)?", number)
    return number.replace(",", "" if thousands else ".")


def first_problem(error: pydantic.ValidationError) -> str:
    """What pydantic found first, as `field: message (got value)`; the rest is counted."""
    first, others = _first(error)
    field = _place(first)
    value = first.get("input")
    shown = str(value).lower() if isinstance(value, bool) else repr(value)
    got = f" (got {shown})" if isinstance(value, str | int | float | bool | type(None)) else ""
    more = f", and {others} more" if others else ""
    said = first["msg"].removeprefix("Value error, ").replace("valid tuple", "list").replace("valid dict", "mapping")
    if value is None and said.startswith("Input should be"):
        said, got = "there is no value here; give one, or leave the field out", ""
    elif isinstance(value, bool) and first["type"].startswith(("greater_than", "less_than", "int_", "float_")):
        said = "true and false are no numbers; write a number"
    elif first["type"] in ("model_type", "model_attributes_type", "dict_type"):
        said = "fields go here, such as {name: value}"
        if isinstance(value, str) and (near := re.fullmatch(r"([\w.]+):(\S.*)", value)):
            said = f"a space goes behind the colon: {near.group(1)}: {near.group(2)}"
    elif first["type"] == "too_short":
        said = "there is nothing in here; give a value, or leave the field out"
    elif first["type"] == "missing":
        said, got = "there is no value here; give one", ""
    elif first["type"] in ("int_parsing", "float_parsing") and re.fullmatch(r"[-+]?[0-9]+(,[0-9]+)+", str(value)):
        said = f"a number has no comma; write {without_commas(str(value))}"
    return f"{field}: {said}{got}{more}" if field else f"{said}{more}"


def code_files(file: Path) -> list[Path]:
    """A user's file and, of what it imports, the files in its own folder, in the order in which they are met."""
    found, waiting = [file.resolve()], [file.resolve()]
    while waiting:
        for name in _imported(waiting.pop()):
            place = found[0].parent.joinpath(*name.split("."))
            for each in (place.with_suffix(".py"), place / "__init__.py"):
                if each.is_file() and each not in found:
                    found.append(each)
                    waiting.append(each)
    return found


def _imported(file: Path) -> list[str]:
    """The modules that a file names in its imports; relative ones are of its folder."""
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = f"{node.module}." if node.module else ""
            names += [*([node.module] if node.module else []), *(f"{start}{alias.name}" for alias in node.names)]
    return names


def load_plugins(files: Iterable[str]) -> None:
    """Run users' own Python files (`load:` in a study), so that what they register can be named.

    Raises:
        UsageError: a file is missing or fails while it is run.
    """
    for file in files:
        try:
            path = Path(file).expanduser().resolve()
            is_file = path.is_file()
        except (RuntimeError, ValueError, OSError) as error:  # no such user, a NUL, a name too long
            raise UsageError(f"load: there is no file {file} ({error})") from None
        # Two files of one name in different folders are two modules.
        name = f"cllora_plugin_{path.stem}_{hashlib.sha256(str(path).encode(errors='replace')).hexdigest()[:8]}"
        if not is_file:
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
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            raise UsageError(f"load: {file} failed: {type(error).__name__}: {error}") from error
