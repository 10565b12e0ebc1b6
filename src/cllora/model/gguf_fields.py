"""The metadata of GGUF files by key: the type and the range that each value has to be of.

Whatever is read of a file's metadata has passed here, so that nothing after it meets a value that it does not expect.
"""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cllora.errors import UsageError, one_line
from cllora.model.libraries import Metadata

LARGEST = 2**31 - 1
TOKENIZER = "tokenizer."
SPECIAL_IDS = (
    *("bos", "eos", "eot", "eom", "unknown", "padding", "seperator", "separator", "cls", "mask", "prefix", "suffix"),
    *("middle", "fim_pre", "fim_suf", "fim_mid", "fim_pad", "fim_rep", "fim_sep"),
)
"""Tokens with a task of their own, as `tokenizer.ggml.*_token_id` names them (`seperator` is llama.cpp's spelling)."""


@dataclass(frozen=True)
class Value:
    """The requirement on a key's value: in words, and as a test."""

    expected: str
    fits: Callable[[Any], bool]  # Any: whatever a file holds


def _whole(least: int, most: int = LARGEST) -> Value:
    return Value(f"a whole number from {least} to {most}", lambda value: type(value) is int and least <= value <= most)


def _array(element: Value, elements: str) -> Value:
    return Value(f"an array of {elements}", lambda value: isinstance(value, list) and all(map(element.fits, value)))


def _only(value: object) -> Value:
    return Value(f"{str(value).lower()}, and nothing else is supported", lambda given: given is value)


def _is_template(value: str) -> bool:
    """Whether a text is a template in the Jinja that transformers writes chats by."""
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        render_jinja_template([], chat_template=value)  # no chats: it is compiled, and that is all
    except (TemplateError, RecursionError):
        return False
    return True


def _finite(value: Any) -> bool:  # Any: whatever a file holds
    return type(value) in (int, float) and math.isfinite(value)


COUNT, COUNT_OR_0 = _whole(1), _whole(0)
COUNTS = _array(COUNT, "whole numbers")
PER_LAYER = Value(
    "a whole number from 1, or one for every layer", lambda value: COUNT.fits(value) or COUNTS.fits(value)
)
EPSILON = Value("a number between 0 and 1", lambda value: _finite(value) and 0 < value < 1)
BASE = Value("a finite number from 1", lambda value: _finite(value) and value >= 1)
TEXT = Value("a text", lambda value: isinstance(value, str))
TEMPLATE = Value("a chat template in valid Jinja", lambda value: isinstance(value, str) and _is_template(value))
FLAG = Value("true or false", lambda value: isinstance(value, bool))
TOKENS = _array(Value("", lambda value: isinstance(value, str) and value != ""), "texts, none of them empty")
TOKEN_TYPES = _array(_whole(1, 6), "token types from 1 to 6")
SCORES = _array(Value("", _finite), "finite numbers")
MERGES = _array(
    Value("", lambda value: isinstance(value, str) and len(value.split(" ")) == 2 and all(value.split(" "))),
    "pairs of tokens with one space between them",
)

OF_ALL = {
    "general.architecture": TEXT,
    "general.type": TEXT,
    "split.count": COUNT_OR_0,
}
OF_ARCHITECTURE = {
    **dict.fromkeys(("context_length", "embedding_length", "block_count", "vocab_size"), COUNT),
    **dict.fromkeys(("feed_forward_length", "attention.head_count", "attention.head_count_kv"), PER_LAYER),
    **dict.fromkeys(("attention.key_length", "attention.value_length", "rope.dimension_count"), COUNT),
    **dict.fromkeys(("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"), EPSILON),
    "rope.freq_base": BASE,
    "rope.scaling.type": TEXT,
    "attention.causal": FLAG,
    "expert_count": COUNT_OR_0,
    "expert_used_count": COUNT_OR_0,
}
OF_TOKENIZER = {
    **dict.fromkeys(("ggml.model", "ggml.pre", "huggingface.json"), TEXT),
    "chat_template": TEMPLATE,
    "ggml.tokens": TOKENS,
    "ggml.token_type": TOKEN_TYPES,
    "ggml.scores": SCORES,
    "ggml.merges": MERGES,
    **{f"ggml.{key}_token_id": COUNT_OR_0 for key in SPECIAL_IDS},
    **dict.fromkeys(("ggml.add_bos_token", "ggml.add_eos_token", "ggml.add_space_prefix"), FLAG),
    # A separator stands between two texts, and the count is of kinds of text: neither is in one text by itself.
    "ggml.add_sep_token": FLAG,
    "ggml.token_type_count": COUNT_OR_0,
    **dict.fromkeys(("ggml.remove_extra_whitespaces", "ggml.normalizer.lowercase"), _only(False)),
    "chat_templates": _array(TEXT, "texts"),
}
"""The whole of what is known under `tokenizer.`; beside it, `tokenizer.chat_template.NAME` is a template."""


def check_general(fields: Metadata, name: str) -> None:
    """Hold the keys that say what a file is to their types.

    Raises:
        UsageError: a value is of another type, or out of its range.
    """
    for key, value in OF_ALL.items():
        if key in fields:
            _check(key, fields[key], value, name)


def check_model(fields: Metadata, architecture: str, name: str) -> None:
    """Hold the keys of a model and of its tokenizer to their types.

    Keys of an architecture that are not known here are left to what reads the family.

    Raises:
        UsageError: a value is of another type, or out of its range; a key of the tokenizer is not known.
    """
    for key, value in fields.items():
        if key.startswith(TOKENIZER):
            within = key.removeprefix(TOKENIZER)
            expected = TEMPLATE if re.fullmatch(r"chat_template\.[^.]+", within) else OF_TOKENIZER.get(within)
            if expected is None:
                raise UsageError(f"{name} has {key} = {shown(value)}, which is not supported; choose another file")
            _check(key, value, expected, name)
        elif (expected := OF_ARCHITECTURE.get(key.removeprefix(f"{architecture}."))) is not None:
            _check(key, value, expected, name)


def _check(key: str, value: object, expected: Value, name: str) -> None:
    if not expected.fits(value):
        raise UsageError(f"{name}: {key} is {shown(value)}, not {expected.expected}; choose another file")


def shown(value: object) -> str:
    """A value for a message: on one line, and cut where it is long."""
    text = " ".join(str(value[:8] if isinstance(value, list) else value).split())
    return f"{text[:60]}..." if len(text) > 60 or (isinstance(value, list) and len(value) > 8) else text


@contextmanager
def in_one_line(subject: str) -> Iterator[None]:
    """Turn a library's error about what a file holds into one line.

    Raises:
        UsageError: anything was raised inside.
    """
    try:
        yield
    except UsageError:
        raise
    except Exception as error:  # transformers and tokenizers know many ways to say that they cannot
        raise UsageError(f"{subject}: {one_line(error)}") from error
