"""Strategies as they were written for 0.1.0 go on working for one release, with a warning.

There `aggregate` was called `join`, `plan` was `work` and had no loss to look at, `personal` was `own` and saw the
global adapter alone, `send` did not know the turn, and all a strategy knew beforehand was its number of clients.
"""

import functools
import inspect
from collections.abc import Callable, Container, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from cllora.errors import FieldError, deprecated

if TYPE_CHECKING:
    from cllora.federated.strategy import Setting, Strategy

NAMES = {"join": "aggregate", "work": "plan", "own": "personal"}
OPTIONS = {"weigh": "weighting"}
T = TypeVar("T")


def takes_old_names(kind: type[T]) -> type[T]:
    """A decorator of `Strategy`: it takes the functions of 0.1.0, under their names and with their arguments, too."""
    init = kind.__init__

    @functools.wraps(init)
    def __init__(self: T, *functions: Any, **named: Any) -> None:  # Any: as 0.1.0 took them
        given = dict(zip([field.name for field in fields(kind)], functions, strict=False))  # type: ignore[arg-type]
        init(self, **_as_now({**given, **named}))

    kind.__init__ = __init__  # type: ignore[method-assign,assignment]
    return kind


def _as_now(functions: Mapping[str, Any]) -> dict[str, Any]:  # Any: as 0.1.0 took them
    """The same functions under today's names, with today's arguments."""
    now = {name: function for name, function in functions.items() if name not in NAMES}
    for old, new in NAMES.items():
        if old in functions:
            deprecated(f"Strategy({old}=...)", f"Strategy({new}=...)")
            now[new] = functions[old]
    if "join" in functions:
        now["needs"] = "each"
    if "own" in functions:
        own = functions["own"]
        now["personal"] = lambda message, memory, loss: own(message["adapter"], memory)
    if _arguments(now.get("send")) == 1:
        deprecated("send(state)", "send(state, turn)")
        send = now["send"]
        now["send"] = lambda state, turn: send(state)
    if _arguments(now.get("plan")) == 2:
        deprecated("work(sent, memory)", "plan(message, memory, loss)")
        plan = now["plan"]
        now["plan"] = lambda message, memory, loss: plan(message, memory)
    return now


def _arguments(function: Callable[..., object] | None) -> int | None:
    """The number of positional arguments that a function takes; None where its signature does not tell."""
    if function is None:
        return None
    kinds = [parameter.kind for parameter in inspect.signature(function).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return None
    return sum(kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for kind in kinds)


class NumClients(int):
    """A setting for a function of 0.1.0, to which it is a number, and which may hand it on to one of today's."""

    setting: "Setting"

    def __getattr__(self, name: str) -> object:
        return getattr(self.setting, name)


def made(make: "functools.partial[Strategy]", setting: "Setting") -> "Strategy":
    """The strategy that a registered function makes, be it of a setting or, as in 0.1.0, of a number of clients."""
    strategy: Strategy
    if next(iter(inspect.signature(make.func).parameters), "") != "num_clients":
        strategy = make(setting)
        return strategy
    deprecated(f"{make.func.__name__}(num_clients)", f"{make.func.__name__}(setting)")
    number = NumClients(setting.num_clients)
    number.setting = setting
    strategy = make(number)
    return replace(strategy, needs="each")


def options_as_now(name: str, options: Mapping[str, object], own: Container[str]) -> dict[str, object]:
    """A strategy's options under today's names; those of 0.1.0 are taken unless the strategy itself has them (`own`).

    Raises:
        FieldError: one is given under both names.
    """
    now = dict(options)
    for old, new in OPTIONS.items():
        if old in options and old not in own and new in own:
            if new in options:
                raise FieldError(f"strategy '{name}': {old} is now called {new}; give it once", old)
            deprecated(f"the option {old}", new)
            now[new] = now.pop(old)
    return now
