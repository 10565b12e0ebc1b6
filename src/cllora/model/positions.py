"""Contexts longer than the base was pretrained at: positions interpolated, rotary ones or those of a learned table."""

import copy

import torch
import transformers

from cllora.errors import UsageError
from cllora.model.libraries import Causal, Config, Entries
from cllora.model.text import text_config
from cllora.spec import ModelSpec

NAMES = ("max_position_embeddings", "max_target_positions", "n_positions")
"""The names that configs have for the number of positions."""


def pretrained_positions(config: Config) -> int | None:
    """The number of positions that a model was pretrained at; None where its config names none (ALiBi and the like)."""
    inner = text_config(config)
    named = (getattr(inner, name, None) for name in NAMES)
    return next((int(length) for length in named if isinstance(length, int) and length > 0), None)


def learned_positions(model: Causal) -> torch.nn.Embedding | None:
    """The table of learned positions of a causal model (OPT, GPT-2); None where there is none.

    It is known by its rows: one for each position, after an `offset` that OPT's has (2 rows that no token meets).
    """
    if is_rotary(model.config):
        return None
    # Where words are trained, PEFT's wrapper has two tables of them.
    words, positions = set(model.get_input_embeddings().modules()), pretrained_positions(model.config)
    for module in model.modules():
        if not isinstance(module, torch.nn.Embedding) or module in words:
            continue
        if positions is not None and module.num_embeddings == positions + _offset(module):
            return module
    return None


def is_rotary(config: Config) -> bool:
    """Whether a model turns queries and keys by one set of rotary parameters."""
    return "rope_theta" in (getattr(text_config(config), "rope_parameters", None) or {})


def check_context(config: Config, model: ModelSpec, causal: Causal = None) -> None:
    """Hold `model.context` to the positions that the base has, or may be given, and to the window of its layers.

    Args:
        causal: the base itself once it is loaded, by which it is known whether its positions are a learned table.

    Raises:
        UsageError: it is longer, `model.positions` is not for this model, or does nothing at this context.
    """
    limit = pretrained_positions(config)
    if model.stretched:
        if limit is None:
            raise UsageError(
                f"model.positions: '{model.name}' has no positions that could be interpolated; leave it out"
            )
        if model.context <= limit:
            raise UsageError(
                f"model.positions is {model.positions}, but '{model.name}' was pretrained at {limit} positions, and "
                f"model.context is {model.context}; leave model.positions out, or raise model.context"
            )
        _check_way(config, model)
    elif limit is not None and model.context > limit:
        raise UsageError(
            f"model.context is {model.context}, but '{model.name}' has {limit} positions; "
            f"set model.context to {limit} or less{_ways(config, causal, model)}"
        )
    window = getattr(text_config(config), "sliding_window", None)
    if window and model.context > window:  # 0 and None: there is none
        raise UsageError(
            f"model.context is {model.context}, but '{model.name}' attends within windows of {window} tokens; "
            f"set model.context to {window} or less"
        )


def stretched_config(config: Config, model: ModelSpec) -> Config:
    """The config with which a rotary base is loaded for `model.context` tokens.

    With a base pretrained at L positions and a context of C, the factor is C / L. `linear`: position m turns as m L / C
    did (Chen et al. 2023, arXiv 2306.15595). `yarn`: slow frequencies alone, and attention a little sharper
    (Peng et al. 2023, arXiv 2309.00071). Both are transformers' own.
    """
    if model.positions in ("linear", "yarn"):
        limit = pretrained_positions(config)
        assert limit is not None
        added: Entries = {"rope_type": model.positions, "factor": model.context / limit}
        if model.positions == "yarn":
            added["original_max_position_embeddings"] = limit
        config = copy.deepcopy(config)
        inner = text_config(config)
        inner.rope_parameters = {**inner.rope_parameters, **added}
        inner.max_position_embeddings = model.context
        if getattr(inner, "head_dim", 0) is None:  # Mixtral's, from which transformers' yarn computes
            inner.head_dim = inner.hidden_size // inner.num_attention_heads
    return config


def stretch_table(model: Causal, context: int) -> None:
    """Interpolate a model's learned positions to `context` rows: row p is what row p L / C of the L would be.

    Between two rows linearly; so wherever p L / C is whole, the row is the old one. Behind the last old row there is
    nothing to interpolate, and it is taken again. Rows before the first position (OPT's offset) stay.
    """
    table, positions = learned_positions(model), pretrained_positions(model.config)
    assert table is not None
    assert positions is not None
    offset = _offset(table)
    old = table.weight.detach()[offset:]
    new = torch.cat([table.weight.detach()[:offset], interpolated(old, context)])
    table.weight = torch.nn.Parameter(new, requires_grad=table.weight.requires_grad)
    table.num_embeddings = len(new)
    text_config(model.config).max_position_embeddings = context


def interpolated(rows: torch.Tensor, count: int) -> torch.Tensor:
    """(L, D) rows as (count, D): row p at place p L / count of the old ones, linearly, the last one held."""
    place = (torch.arange(count, dtype=torch.float64) * len(rows) / count).clamp(max=len(rows) - 1)
    below = place.floor().long()
    share = (place - below)[:, None].to(rows.device)
    below = below.to(rows.device)
    above = (below + 1).clamp(max=len(rows) - 1)
    wide = rows.double()
    return ((1 - share) * wide[below] + share * wide[above]).to(rows.dtype)


def lacks_positions(config: Config) -> bool:
    """Whether transformers cannot compute the rotary positions of a config in its family; not every family has all.

    Its rotary embedding is made with these and with the default ones, which need no weights. Where it is made in some
    way that is not known here, nothing is said against it.
    """
    plain = copy.deepcopy(config)
    rope = getattr(text_config(config), "rope_parameters", None) or {}
    kept = {key: value for key, value in rope.items() if key in ("rope_theta", "partial_rotary_factor")}
    text_config(plain).rope_parameters = {**kept, "rope_type": "default"}
    try:
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(plain)
        kinds = {type(module) for module in model.modules() if type(module).__name__.endswith("RotaryEmbedding")}
        _turn(kinds, plain)
    except Exception:  # noqa: BLE001 - families differ in how they make it
        return False
    try:
        _turn(kinds, config)
    except Exception:  # noqa: BLE001 - what it lacks is said in many ways
        return True
    return False


def _turn(kinds: set[type], config: Config) -> None:
    """Let rotary embeddings compute the turns of two positions."""
    for kind in kinds:
        kind(text_config(copy.deepcopy(config)))(torch.zeros(1, 2, 1), torch.arange(2)[None])


def _ways(config: Config, causal: Causal, model: ModelSpec) -> str:
    """The other remedies for a context beyond the positions, if there are any."""
    if is_rotary(config):
        if text_config(config).rope_parameters.get("rope_type", "default") != "default":
            return ""
        asked = (model.model_copy(update={"positions": way}) for way in ("linear", "yarn"))
        ways = [spec.positions for spec in asked if not lacks_positions(stretched_config(config, spec))]
        return f", or model.positions to {' or '.join(ways)}" if ways else ""
    learned = causal is not None and learned_positions(causal) is not None
    return ", or model.positions to interpolate" if learned else ""


def _check_way(config: Config, model: ModelSpec) -> None:
    rotary, rope = is_rotary(config), getattr(text_config(config), "rope_parameters", None) or {}
    if rotary and model.positions == "interpolate":
        raise UsageError(f"model.positions: '{model.name}' has rotary positions; set it to linear or yarn")
    if not rotary and model.positions != "interpolate":
        kind = "several kinds of" if rope else "no"
        raise UsageError(
            f"model.positions: '{model.name}' has {kind} rotary positions, so {model.positions} does not apply; "
            "interpolate is for tables of learned positions"
        )
    if rotary and rope.get("rope_type", "default") != "default":
        raise UsageError(
            f"model.positions: '{model.name}' already changes its rotary positions "
            f"({rope['rope_type']}); set model.context to {pretrained_positions(config)} or less"
        )
    if rotary and lacks_positions(stretched_config(config, model)):
        raise UsageError(
            f"model.positions: transformers has no {model.positions} positions for models like '{model.name}' "
            f"({config.model_type}); set model.context to {pretrained_positions(config)} or less"
            f"{_ways(config, None, model)}"
        )


def _offset(table: torch.nn.Embedding) -> int:
    return int(getattr(table, "offset", 0))
