"""Values as they were written: what pydantic may not turn into a value of another kind."""

from collections.abc import Callable, Mapping

_NO_TEXT = (int, float, bool, type(None))


def check_as_written(given: object, made: object) -> None:
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
        for item, become in zip(given, made, strict=False):
            check_as_written(item, become)
    if isinstance(made, Mapping) and isinstance(given, Mapping):
        for key in given.keys() & made.keys():
            check_as_written(given[key], made[key])


def as_written(value: object, handler: Callable[[object], object]) -> object:
    """A pydantic wrap validator for every field: what a value is turned into must be of its own kind."""
    made = handler(value)
    check_as_written(value, made)
    return made


def option_as_written(value: object, handler: Callable[[object], object]) -> object:
    """Check options of a registered name as `as_written` does, and that a list of names has none twice."""
    if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
        twice = [name for name in dict.fromkeys(value) if value.count(name) > 1]
        if twice:
            raise ValueError(f"'{twice[0]}' is given twice; name it once")
    return as_written(value, handler)
