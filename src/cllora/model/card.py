"""The model card beside an adapter: which base it is for, what was trained, and how to load it."""

from collections.abc import Iterable
from pathlib import Path

import cllora
from cllora.model.libraries import Config
from cllora.spec import ModelSpec

CARD = """\
---
{fields}
---

# LoRA adapter for {name}

Written by cllora {version}, which trains adapters as a federation of clients does.

{facts}

## Loading it

In this folder:

```python
{code}
```

Without `dtype` transformers loads a base in the type that it is stored in. Where that is bfloat16, whatever is computed
is rounded to two or three digits, and the losses are not quite those that cllora reports of a base in float32.
"""


def write_card(folder: Path, config: Config, spec: ModelSpec, fingerprint: str, numbers: tuple[int, int]) -> None:
    """Write `README.md` into an adapter's folder, in place of PEFT's.

    Args:
        config: PEFT's config of the adapter.
        fingerprint: the base's.
        numbers: how many are trained, and how many weights the base has.
    """
    place = str(config.base_model_name_or_path)
    fields = ["library_name: peft", "pipeline_tag: text-generation", "tags: [lora, cllora]"]
    if place == spec.name and not Path(place).exists():  # its name on a hub, where a card's base is a link
        fields.append(f"base_model: {place}")
    text = CARD.format(
        fields="\n".join(fields),
        name=spec.name,
        version=cllora.__version__,
        facts="\n".join(f"- {fact}" for fact in _facts(config, fingerprint, numbers)),
        code="\n".join(_code(place, spec)),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _facts(config: Config, fingerprint: str, numbers: tuple[int, int]) -> list[str]:
    base = f"base: `{config.base_model_name_or_path}`, {numbers[1]:,} weights, fingerprint `{fingerprint}`"
    kinds = [kind for kind, on in (("rank-stabilised", config.use_rslora), ("DoRA", config.use_dora)) if on]
    lora = ", ".join([f"LoRA: rank {config.r}, alpha {config.lora_alpha:g}", *kinds])
    facts = [base, f"{lora}, on {_listed(config.target_modules)}", f"trained: {numbers[0]:,} numbers"]
    if config.layers_to_transform is not None:
        facts[1] += f", in layers {_listed(config.layers_to_transform)}"
    if config.modules_to_save:
        facts.append(f"trained whole beside it: {_listed(config.modules_to_save)}")
    facts += [f"rank {rank} on `{module}`" for module, rank in config.rank_pattern.items()]
    for module, rows in (config.trainable_token_indices or {}).items():
        facts.append(f"trained rows of `{module}`: {_listed(rows)}")
    return facts


def _code(place: str, spec: ModelSpec) -> list[str]:
    """Lines of Python that load the base in float32, and the adapter in the current folder on it."""
    rotary, learned = spec.positions in ("linear", "yarn"), spec.positions == "interpolate"
    lines = ["import torch", "from peft import PeftModel"]
    lines += [f"from transformers import {'AutoConfig, ' if rotary else ''}AutoModelForCausalLM"]
    lines += ["from cllora.model.positions import stretch_table"] if learned else []
    config = ', config=AutoConfig.from_pretrained(".")' if rotary else ""
    lines += ["", f"base = AutoModelForCausalLM.from_pretrained({place!r}, dtype=torch.float32{config})"]
    lines += [f"stretch_table(base, {spec.context})"] if learned else []
    return [*lines, 'model = PeftModel.from_pretrained(base, ".")']


def _listed(names: Iterable[object]) -> str:
    """Names or numbers in one line; a regex as it is."""
    listed = [names] if isinstance(names, str) else sorted(names) if isinstance(names, set) else list(names)
    return ", ".join(f"`{name}`" if isinstance(name, str) else str(name) for name in listed)
