"""Validation errors of pydantic, as one line of this package's own."""

import re

import pydantic
from pydantic_core import ErrorDetails

from cllora.errors import FieldError


def field_error(error: pydantic.ValidationError, prefix: str = "") -> FieldError:
    """The first problem of a validation error, as one line about its field."""
    first, _ = _first(error)
    wants_text = first["type"] in ("string_type", "string_sub_type")
    return FieldError(prefix + first_problem(error), _place(first), first.get("input"), wants_text=wants_text)


UNION_BRANCH = re.compile(
    r"(str|int|float|bool|none)|(constrained|function|literal|tuple|list|dict|nullable|lax-or-strict)\b.*"
)
"""The parts of an error's place that pydantic adds for each kind that a value may be of."""


def _place(problem: ErrorDetails) -> str:
    return ".".join(str(part) for part in problem["loc"] if not UNION_BRANCH.fullmatch(str(part)))


def _first(error: pydantic.ValidationError) -> tuple[ErrorDetails, int]:
    """The problem of the first field, and the number of other fields that have one.

    Where a value may be of several kinds, every kind has something to say: that of the kind which it is of counts,
    which goes into the value or holds it against a bound; if it is of none, all that would do are named."""
    problems = error.errors()
    root = len(problems[0]["loc"])
    root = next((i for i, part in enumerate(problems[0]["loc"]) if UNION_BRANCH.fullmatch(str(part))), root)
    start = problems[0]["loc"][:root]
    of_first = [problem for problem in problems if problem["loc"][:root] == start]
    other_fields = {_place(problem) for problem in problems if problem["loc"][:root] != start}
    best = max(of_first, key=lambda problem: (_place(problem).count("."), not problem["type"].endswith("_type")))
    alike = [problem for problem in of_first if _place(problem) == _place(best) and problem["type"].endswith("_type")]
    if best in alike and len(alike) > 1:
        kinds = dict.fromkeys(problem["msg"].removeprefix("Input should be ") for problem in alike)
        best = {**best, "msg": "Input should be " + " or ".join(kinds)}
        best["type"] = "string_type" if any(problem["type"] == "string_type" for problem in alike) else best["type"]
    return best, len(other_fields)


def without_commas(number: str) -> str:
    """A number in JSON's digits: `0.5` for `0,5`, and `1000` for `1,000`."""
    thousands = re.fullmatch(r"[-+]?[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]+)?", number)
    return number.replace(",", "" if thousands else ".")


def first_problem(error: pydantic.ValidationError) -> str:
    """The first problem, as `field: message (got value)`; the others are counted."""
    first, more_fields = _first(error)
    field = _place(first)
    value = first.get("input")
    shown = str(value).lower() if isinstance(value, bool) else repr(value)
    got = f" (got {shown})" if isinstance(value, str | int | float | bool | type(None)) else ""
    more = f", and {more_fields} more" if more_fields else ""
    message = first["msg"].removeprefix("Value error, ").replace("valid tuple", "list").replace("valid dict", "mapping")
    if value is None and message.startswith("Input should be"):
        message, got = "there is no value here; give one, or leave the field out", ""
    elif isinstance(value, bool) and first["type"].startswith(("greater_than", "less_than", "int_", "float_")):
        message = "true and false are no numbers; write a number"
    elif first["type"] in ("model_type", "model_attributes_type", "dict_type"):
        message = "fields go here, such as {name: value}"
        if isinstance(value, str) and (near := re.fullmatch(r"([\w.]+):(\S.*)", value)):
            message = f"a space goes behind the colon: {near.group(1)}: {near.group(2)}"
    elif first["type"] == "too_short":
        message = "there is nothing in here; give a value, or leave the field out"
    elif first["type"] == "missing":
        message, got = "there is no value here; give one", ""
    elif first["type"] in ("int_parsing", "float_parsing") and re.fullmatch(r"[-+]?[0-9]+(,[0-9]+)+", str(value)):
        message = f"a number has no comma; write {without_commas(str(value))}"
    return f"{field}: {message}{got}{more}" if field else f"{message}{more}"
