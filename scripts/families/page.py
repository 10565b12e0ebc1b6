"""docs/models.md: what the comparison found, family by family."""

import re
import textwrap
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from configs import POSITIONS

Kept = Mapping[str, Mapping[str, Any]]
TOP = """\
# Models

Which of transformers' families of causal models cllora takes, and how nearly it agrees with stock transformers and
PEFT. Made by `python scripts/families`; a fast part of it is `tests/test_families.py`.

Every family that `AutoModelForCausalLM` knows in transformers {transformers} was built tiny, with random weights, in
its default shape and in variants that its config allows (PEFT {peft}, torch {torch}, float32 on a CPU, {date}). Texts
lie on both sides of every limit in its config, and contexts too. cllora's losses, of texts packed together and of each
alone, were compared with those of the stock model, which reads one text at a time; then, under a random adapter, its
losses, the gradient of one step and the losses of the merged export with PEFT's. Where `model.positions` can be
`linear` or `yarn`, the base's losses are compared with interpolated positions too.

The differences are the largest of all texts and contexts, in nats per token; that of the gradient is relative to its
norm. float32 itself is some 1e-6 from float64. More than 1e-5 (1e-4 of a gradient) counts as a fault. What holds for a
tiny model of a family holds for its larger ones where their configs differ in sizes alone.
"""
SUPPORTED = """
## Supported

`up to`: the longest context that is taken. `positions` and `window` are the limits in the model's own config; where
there is none, any context is taken. `LoRA`: whether `lora.target_modules` may be left out (`default`), be `all-linear`,
or `names` of modules.

| family | class | up to | base | adapter | merged | gradient | LoRA |
|---|---|---|---|---|---|---|---|
"""
REFUSED = """
## Refused

When it is loaded, with one line. Nothing is computed.
"""
WRONG = """
## Faults

Taken, and not as stock has it; or ended in a traceback.
"""
NOT_BUILT = """
## Not compared

Families whose default config makes no model that can be built here.
"""
WINDOWS = ("sliding_window", "sliding_window_size", "local_attention", "attention_window_size", "attention_chunk_size")


def page(kept: Kept, versions: Mapping[str, str]) -> str:
    """The whole page, from what is kept of every case."""
    by: dict[str, list[str]] = defaultdict(list)
    for name in sorted(kept):
        by[kept[name]["verdict"]].append(name)
    date = max(result["date"] for result in kept.values())
    text = TOP.format(**versions, date=date)
    text += SUPPORTED + "".join(_supported(name, kept[name]) for name in by.pop("supported", []))
    noted = [name for name in sorted(kept) if kept[name]["verdict"] == "supported" and kept[name]["notes"]]
    text += "".join(_left_out(name, kept[name]) for name in noted)
    text += REFUSED + _grouped(by.pop("refused", []), kept)
    left_out = by.pop("not built", [])
    text += WRONG + "".join(_fault(name, kept[name]) for names in by.values() for name in names) if by else ""
    return text + (NOT_BUILT + "".join(_left_out(name, kept[name]) for name in sorted(left_out)) if left_out else "")


def _supported(name: str, result: Mapping[str, Any]) -> str:
    off = result["differences"]
    base = max(value for kind, value in off.items() if kind not in ("adapter", "merged", "gradient"))
    worst = [base, off["adapter"], off["merged"], off["gradient"]]
    numbers = " | ".join(f"{value:.0e}" for value in worst)
    ways = ("default targets", "all-linear", "linear layers by name")
    lora = ", ".join(
        ("default", "all-linear", "names")[i] for i, way in enumerate(ways) if way not in result["targets"]
    )
    return f"| {name} | {result['model_class']} | {_up_to(result)} | {numbers} | {lora} |\n"


def _up_to(result: Mapping[str, Any]) -> str:
    longest = max(result["contexts"])
    names = [name for name, values in result["thresholds"].items() if longest in values]
    if longest > POSITIONS:
        return "any"
    if set(names) & set(WINDOWS):
        return "window"
    return "positions" if longest == POSITIONS else "original positions"


def _grouped(names: list[str], kept: Kept) -> str:
    """Families by the reason that they are refused for."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for name in names:
        # At the least context: what is kept in a file has its keys in another order than what was found just now.
        line = min(kept[name]["refusals"].items(), key=lambda refusal: int(refusal[0]))[1]
        reasons[re.sub(r"'NAME' \([\w-]+\):? ?|'NAME' ?", "", line)].append(name)
    ordered = sorted(reasons.items(), key=lambda item: (-len(item[1]), item[0]))
    return "".join(_item(f'"{reason}": {"; ".join(families)}') for reason, families in ordered)


def _fault(name: str, result: Mapping[str, Any]) -> str:
    return _item(f"{name} ({result['model_class'] or 'not loaded'}): {'; '.join(result['faults'] or result['notes'])}")


def _left_out(name: str, result: Mapping[str, Any]) -> str:
    return _item(f"{name}: {'; '.join(result['notes'])}")


def _item(text: str) -> str:
    return "\n" + textwrap.fill(f"- {text.rstrip('.')}.", 120, subsequent_indent="  ", break_on_hyphens=False) + "\n"
