"""Values without quotes in YAML, and quotes for text that would be read as another value."""

import json
import math
import re

import yaml

CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
REAL = re.compile(r"[-+]?((0|[1-9][0-9]*)\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
AMBIGUOUS = (
    (re.compile(r"[-+]?0[0-9_]+(\.[0-9_]*)?([eE][-+]?[0-9]+)?"), "a number without leading zeros"),
    (re.compile(r"[-+]?0[xXoObB][0-9a-fA-F_]+"), "the number in decimal digits"),
    (re.compile(r"[-+]?[0-9][0-9_]*(:[0-9]{1,2})+(\.[0-9_]*)?"), "the number in decimal digits"),
    (re.compile(r"[-+]?[0-9]+_[0-9_]*(\.[0-9_]*)?|[-+]?[0-9]+\.[0-9]*_[0-9_]*"), "the number without underscores"),
    (re.compile(r"yes|no|on|off", re.I), "true or false"),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?"), ""),
)
"""The texts that some readers of YAML take for a number, a truth or a date, and others for text; and what to write if
it is no text."""
CURLY = "“”„‟‘’‚‛«»‹›＂´"
"""Quotes of prose, which a word processor puts in place of straight ones, and which are letters in YAML."""
BREAKS = "\x85\u2028\u2029"
"""The characters that end a line in YAML 1.1, and in no editor and not in YAML 1.2."""


def plain_value(text: str) -> object:
    """The value that text without quotes stands for.

    Raises:
        ValueError: it may be read as something else; the message says what to write.
    """
    if text in CONSTANTS:
        return CONSTANTS[text]
    for pattern, instead in AMBIGUOUS:
        if pattern.fullmatch(text):
            mend = f"{instead}, or text: {quoted(text)}" if instead else f"it in quotes: {quoted(text)}"
            raise ValueError(f"{text} is read differently by different readers; write {mend}")
    if text and text[0] in CURLY:
        raise ValueError(f"{text[0]} is no quote in YAML; write straight ones{_straight(text)}")
    if text != text.strip():
        raise ValueError(f"{text!a} has a space at its end that is none in YAML; write {quoted(text.strip())}")
    if NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    if not REAL.fullmatch(text):
        return text
    value = int(text) if INTEGER.fullmatch(text) and len(text) < 400 else float(text)
    if math.isinf(value) or (value == 0 and re.match(r"[-+0.]*[1-9]", text)):
        raise ValueError(f"{text} is beyond what a number can be; write another, or text: {quoted(text)}")
    return value


def _straight(text: str) -> str:
    """A text in curly quotes as it is written in straight ones, where it ends with such a quote too."""
    inner = text[1:-1].strip("\u00a0\u202f")  # French has narrow spaces within its quotes.
    return f": {quoted(inner)}" if len(text) > 1 and text[-1] in CURLY else ""


def quoted(text: str) -> str:
    """The text as YAML reads it back: `"{text}"`."""
    return f"'{text}'" if '"' in text and "'" not in text else json.dumps(text, ensure_ascii=False)


class _Dumper(yaml.SafeDumper):
    """YAML in which text that a reader could take for something else is quoted."""


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        plain = plain_value(text) == text
    except ValueError:
        plain = False
    style = '"' if any(c in text for c in BREAKS) else None if plain else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text_node)


def to_yaml(data: object, *, ascii_only: bool = False) -> str:
    """Plain data as YAML that reads back as itself; with `ascii_only` other characters are escaped."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=not ascii_only, width=100)
