"""Trying a base with packed texts: they must come to the same alone and in any company."""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from cllora.errors import UsageError, one_line
from cllora.model import attention
from cllora.model.compatible import FAMILIES
from cllora.model.libraries import Causal, Config, Entries
from cllora.model.text import text_config, text_parameters

OF_LENGTH = re.compile(r"position|window|chunk|length|seq_len|context")
"""Names of whole numbers in a config that may be a number of tokens from which on something else is computed."""
SHORT = (6, 4)
BEYOND = 64
"""Tokens of the texts that are tried, and how far beyond a length in the config the longer of two goes."""
ANYWAY = 256
"""Up to this context, where it costs little, a text as long as the context is tried whatever the config says."""


def read_alone(model: Causal, name: str) -> dict[str, torch.nn.Parameter]:
    """The parameters that a text meets in a model, which has to be able to read one.

    Raises:
        UsageError: it cannot.
    """
    try:
        return text_parameters(model)
    except Exception as error:
        raise UsageError(
            f"'{name}' ({model.config.model_type}) cannot read a text alone ({type(error).__name__}: "
            f"{one_line(error, 160)}); choose another model, {FAMILIES}"
        ) from error


@torch.no_grad()
def enable_packed_attention(model: Causal, name: str, context: int) -> None:
    """Switch a model to packed attention, and see for itself that packed texts are predicted as they are alone.

    Some architectures ignore transformers' attention interface, and would let packed texts see each other in silence;
    some change what comes out of their head; and in some a text depends on how long its company is. So texts on both
    sides of every length that the config names, up to the context, are predicted alone and packed.

    Raises:
        UsageError: the model does not take packed texts, or what it says of them is something else.
    """
    family = f"'{name}' ({model.config.model_type})"
    tried, rows = zip(*_companies(model, context), strict=True)
    try:
        alone = [[_alone(model, text) for text in texts] for texts in rows]
        model.set_attn_implementation(attention.NAME)
        taken = text_config(model.config)._attn_implementation == attention.NAME
        packed = _all_packed(model, rows) if taken else None
    except UsageError as error:
        raise UsageError(f"{family}: {error}") from None
    except Exception as error:
        raise UsageError(
            f"{family} does not take packed texts ({type(error).__name__}: {one_line(error, 160)}); "
            f"choose another model, {FAMILIES}"
        ) from error
    if packed is None or not _near([packed[0][1]], [torch.cat([logits for _, logits in alone[0]])]):
        raise UsageError(
            f"{family} predicts packed texts otherwise than alone: it sees both sides of a token, or does not use "
            f"transformers' attention interface; choose another model, {FAMILIES}"
        )
    if not _near([packed[0][2]], [packed[0][1]]):
        raise UsageError(
            f"{family} has a head that is not one matrix alone: it scales, caps or transforms what goes through it, "
            "which is not supported; "
            f"choose another model, {FAMILIES}"
        )
    for limit, texts, states_of_row, expected in zip(tried, rows, packed, alone, strict=True):
        pieces = torch.split(states_of_row[0], [len(text) for text in texts])
        if not _near(pieces, [states for states, _ in expected]):
            raise UsageError(
                f"{family} predicts texts otherwise alone than beside one of over {limit} tokens, which is a length in "
                f"its config; set model.context to {limit} or less, or choose another model, {FAMILIES}"
            )


def _companies(model: Causal, context: int) -> Iterator[tuple[int, list[torch.Tensor]]]:
    """Texts that are packed together: two short ones; then, for each length in the config, one as long and one that is
    longer, each beside short ones. With each the length that it is to try."""
    config, rows = text_config(model.config), len(model.get_input_embeddings().weight)
    yield min(SHORT), [torch.arange(4, 4 + SHORT[0]) % rows, torch.arange(6, 6 + SHORT[1]) % rows]
    # An id that stands for an image or the like would call for one.
    special = {value for key, value in _entries(model.config.to_dict()) if "token" in key and isinstance(value, int)}
    plain = np.setdiff1d(np.arange(rows), list(special))
    lengths = lengths_in(config, context)
    if context <= ANYWAY:
        lengths.append(context)
    for length in lengths:
        for size in sorted({length, min(length + BEYOND, context)}):
            draw = np.random.default_rng(size)
            yield (
                length,
                [torch.from_numpy(draw.choice(plain, size_of_text)) for size_of_text in (SHORT[0], size, SHORT[1])],
            )


def lengths_in(config: Config, context: int) -> list[int]:
    """The lengths below a context at which a config says that something changes, ascending."""
    lengths = set()
    for key, value in _entries(config.to_dict()):
        if OF_LENGTH.search(key) and isinstance(value, int) and not isinstance(value, bool) and 2 <= value < context:
            lengths.add(value)
    return sorted(lengths)


def _entries(fields: Entries) -> Iterator[tuple[str, object]]:
    """The entries of a config and of what is nested in it."""
    for key, value in fields.items():
        if isinstance(value, dict):
            yield from _entries(value)
        else:
            yield str(key), value


def _alone(model: Causal, text: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The backbone's hidden states of a text (N, D), and the logits of a short one (N, V)."""
    row = text[None].to(model.device)
    states = _states(model, input_ids=row, use_cache=False)
    logits = model(input_ids=row, use_cache=False).logits[0] if len(text) <= max(SHORT) else states[:0]
    return states, logits


def _packed(model: Causal, texts: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same of texts in one row: states (N, D), and where all are short logits (N, V) as the model gives them and as
    its head alone does."""
    lengths = np.array([len(text) for text in texts])
    positions = torch.cat([torch.arange(len(text)) for text in texts])
    row = {
        "input_ids": torch.cat(list(texts))[None].to(model.device),
        "position_ids": positions[None].to(model.device),
        "packing": attention.Packing.of_lengths(lengths, model.device),
        "use_cache": False,
    }
    states = _states(model, **row)
    if max(lengths) > max(SHORT):
        return states, states[:0], states[:0]
    return states, model(**row).logits[0], model.get_output_embeddings()(states)


def _states(model: Causal, **row: object) -> torch.Tensor:
    """The backbone's hidden states of a row (N, D), from which the head predicts."""
    states = getattr(model.base_model(**row), "last_hidden_state", None)
    if states is None:
        raise UsageError(f"its backbone returns no hidden states to predict from; choose another model, {FAMILIES}")
    row_of_states: torch.Tensor = states[0]
    return row_of_states


def _all_packed(
    model: Causal, rows: Sequence[Sequence[torch.Tensor]]
) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] | None:
    """`_packed` of every row; None of a model that knows no such keyword."""
    try:
        return [_packed(model, texts) for texts in rows]
    except TypeError as error:
        if "packing" in str(error):
            return None
        raise


def _near(results: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> bool:
    """Whether each of some tensors (N, D) is the other but for rounding, in all and at its worst token."""
    for result, reference in zip(results, expected, strict=True):
        error, size = ((result - reference).float().norm(dim=-1), reference.float().norm(dim=-1))
        in_all, at_worst = (1e-4, 1e-3) if reference.dtype == torch.float32 else (0.05, 0.25)
        if not (error.norm() / size.norm() < in_all and error.max() / size.square().mean().sqrt() < at_worst):
            return False
    return True
