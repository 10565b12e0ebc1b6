"""The model card and the picture of the losses, both made from `pretraining.json` alone."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import fill
from typing import Any

from architecture import FULL_WIDTH
from train import QUICK_DOCUMENTS, QUICK_JOINED

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 720, 360, 56, 48, 40, 24

CARD = """\
---
license: apache-2.0
language: en
pipeline_tag: text-generation
tags: [docstrings]
---

{opening}

| | |
|---|---|
| architecture | {name}, {parameters:,} parameters, context {context}, vocabulary {vocabulary} (byte-level BPE) |
| weights | bfloat16, {megabytes:.1f} MB, head tied to the embedding |
| data | {documents:,} {trained_on} of {packages} PyPI packages: {train_megabytes:.1f} MB, {train_tokens:.1f} M tokens |
| training | {seen:.1f} M tokens ({epochs:.1f} passes) in {minutes:.0f} minutes on {cores} |

## How well it predicts

Bits per byte, less is better, beside a general compressor on the same texts:

| {what} of | documents | bytes | nats per token | **bits per byte** | `xz -9` |
|---|---:|---:|---:|---:|---:|
{rows}

![training and held-out loss](loss.svg)

The picture's training loss is a running mean, its held-out loss that of the first {quick} held-out documents.

A document is predicted from its `</s>` on, with a context of {context} tokens, up to and including the `</s>` that ends
it; a longer one in windows that do not overlap. The weights are measured as shipped, rounded to bfloat16, computed in
float32. `xz` compresses each set as one file, the documents joined by a zero byte; it has nothing but that file to
learn from, so it does better on a larger one.

What keeps the figures honest: {honest}

## Use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({tokenizer})
model = AutoModelForCausalLM.from_pretrained(folder)
```

Special tokens are OPT's: every text starts with `</s>` (2), which also ends one; padding is `<pad>` (1).

## Make it again

{again}
`pretraining.json`; this one was made with {software}.

Packages: {package_list}.

The texts belong to their authors, under their packages' open-source licences; the model holds statistics of them.
"""

OPENING = """\
# The embedded base model

A small language model of Python docstrings, so that everything in cllora can be seen to work without a hub, a GPU or
an account. It is an instrument's test weight, not an assistant: it knows the form of docstrings and little else.
Narrower ones, to compare sizes with: [64](../embedded-64/README.md) and [128](../embedded-128/README.md) wide.
"""

OPENING_NARROW = """\
# The embedded base model, {width} wide

A briefly trained, narrower relative of the [embedded base](../embedded/README.md), for comparing sizes of models where
nothing larger can be had. It has that one's tokenizer, training texts and held-out texts, and is {width} wide where
that one is {first_width}; it also has {layers} layers for {first_layers}, and saw {share:.0%} as much text.
"""

OPENING_ROTARY = """\
# The embedded rotary base

A relative of the [embedded base](../embedded/README.md) for studies of long contexts: of the Llama architecture, with
rotary positions, and {heads} query heads that share {key_heads} heads of keys and values. It saw windows of at most
{context} tokens, so that there is something to extend, from documentation joined in reading order, in which what went
before helps to predict what follows. It has the tokenizer of that one.
"""

HONEST = """\
texts are deduplicated, then one document in a hundred, chosen by its hash, is held out.
A held-out document that shares a paragraph of 80 or more characters with the training texts is not counted
({held_out_copies} were left out), and a document that shares one with the demo's packages is not trained on
({shared_with_demo} were left out). No package that cllora needs to run, the demo's among them, is part of the training.
The demo's row is a sample of one docstring in forty. Near copies remain: packages repeat themselves in other words and
in shorter paragraphs, so the first row flatters the model more than the second, which is the one to go by."""

HONEST_JOINED = """\
docstrings are deduplicated, then one module in a hundred, chosen by the hash of its name,
is held out: its docstrings, joined, are one document. A held-out docstring that shares a paragraph of 80 or more
characters with the training texts is left out of its document ({held_out_copies} were), and a docstring that shares one
with the demo's packages is not trained on ({shared_with_demo} were left out). No package that cllora needs to run, the
demo's among them, is part of the training. The demo's rows are a sample of one module in forty. Near copies remain:
packages repeat themselves in other words and in shorter paragraphs, so the first row flatters the model more than the
second, which is the one to go by. The [embedded base](../embedded/README.md) read the demo's documents in the same
windows of {context} tokens; it was trained on docstrings one by one, and on more of them."""

AGAIN = """\
in the repository downloads the packages (pinned, nothing is installed or imported), reads their docstrings, {then}, \
measures it and writes this page. {schedule} Every figure here is in"""

BY_CLOCK = """\
The schedule follows the clock, pauses and other work on the machine included, so a faster or quieter machine gives a \
better model, and no two runs give the same weights."""

BY_TOKENS = """\
The schedule follows the tokens and not the clock, so the same processor and versions give the same weights."""


def write(folder: Path, first: Path) -> None:
    """Write `README.md` and `loss.svg` beside the `pretraining.json` of a folder; `first` has the base to compare."""
    facts, config = _read(folder)
    (folder / "README.md").write_text(_card(facts, config, *_read(first)), encoding="utf-8")
    (folder / "loss.svg").write_text(_picture(facts["curve"]), encoding="utf-8")


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    return json.loads((folder / "pretraining.json").read_text(encoding="utf-8")), json.loads(
        (folder / "config.json").read_text(encoding="utf-8")
    )


def _card(facts: dict[str, Any], config: dict[str, Any], first: dict[str, Any], first_config: dict[str, Any]) -> str:
    training, data, plan = facts["training"], facts["train_set"], facts.get("plan", {})
    rotary, narrow = facts["architecture"] == "rotary", config["hidden_size"] != FULL_WIDTH
    opening = OPENING_ROTARY if rotary else OPENING_NARROW if narrow else OPENING
    honest = HONEST_JOINED if rotary else HONEST
    by_first = first if narrow else facts.get("by_first", {})
    return CARD.format(
        opening=opening.format(
            width=config["hidden_size"],
            first_width=first_config["hidden_size"],
            layers=config["num_hidden_layers"],
            first_layers=first_config["num_hidden_layers"],
            share=training["tokens"] / first["training"]["tokens"],
            heads=config["num_attention_heads"],
            key_heads=config.get("num_key_value_heads"),
            context=config["max_position_embeddings"],
        ).rstrip(),
        what="joined docstrings" if rotary else "docstrings",
        trained_on="texts of joined docstrings" if rotary else "docstrings",
        honest=honest.format(**data["dropped"], context=config["max_position_embeddings"]),
        cores="one CPU core" if plan.get("processes") == 1 else "two CPU cores",
        rows="\n".join(_rows(facts, by_first)),
        tokenizer='folder.with_name("embedded")' if narrow or rotary else "folder",
        again=_again(facts, rotary, narrow),
        name=config["architectures"][0],
        parameters=facts["parameters"],
        context=config["max_position_embeddings"],
        vocabulary=config["vocab_size"],
        megabytes=facts["weights_bytes"] / 1e6,
        documents=data["documents"],
        packages=len(facts["packages"]),
        train_megabytes=data["bytes"] / 1e6,
        train_tokens=data["tokens"] / 1e6,
        seen=training["tokens"] / 1e6,
        epochs=training["tokens"] / data["tokens"],
        minutes=training["seconds"] / 60,
        quick=QUICK_JOINED if rotary else QUICK_DOCUMENTS,
        software=", ".join(f"{name} {version}" for name, version in facts["software"].items()),
        package_list=", ".join(facts["packages"]).replace("==", " "),
    )


def _again(facts: dict[str, Any], rotary: bool, narrow: bool) -> str:
    """How to make the base again, up to the name of the file with its figures."""
    by_tokens = facts.get("plan", {}).get("tokens")
    then = "trains the model" if narrow else "trains the tokenizer and the model"
    if rotary:
        then = "joins them as the corpus `long_texts` does, trains the model"
    text = AGAIN.format(then=then, schedule=BY_TOKENS if by_tokens else BY_CLOCK)
    if rotary or narrow or by_tokens:
        return f"```sh\npython scripts/pretrain {_options(facts)}\n```\n\n{fill(text, 120)}"
    return fill(f"`python scripts/pretrain` {text}", 120)


def _options(facts: dict[str, Any]) -> str:
    """What to write behind `python scripts/pretrain` to have the like again."""
    plan = facts.get("plan", {})
    by_tokens = ("seed", "tokens", "tokens_per_step", "processes")
    names = by_tokens if plan.get("tokens") else ("minutes", "tokens_per_step")
    kind = "--architecture rotary" if facts["architecture"] == "rotary" else f"--width {plan.get('width')}"
    values = (str(plan.get(name)).removesuffix(".0") for name in names)
    return " ".join([kind, *(f"--{name.replace('_', '-')} {value}" for name, value in zip(names, values, strict=True))])


def _rows(facts: dict[str, Any], by_first: dict[str, Any]) -> list[str]:
    """The table of what was measured, with the first base's figures on the same texts below where there is another."""
    rows = []
    sets = {"held_out": "the pretraining's packages, held out", "demo": "the demo's packages, never seen"}
    for key, texts in sets.items():
        rows.append(f"| {texts} | {_row(facts[key])} |")
        if key in by_first:
            rows.append(f"| the same, by `embedded` | {_row(by_first[key])} |")
    return rows


def _row(figures: dict[str, float]) -> str:
    counts = f"{figures['documents']:,} | {figures['bytes']:,} | {figures['nats_per_token']:.2f}"
    return f"{counts} | **{figures['bits_per_byte']:.2f}** | {figures['xz_bits_per_byte']:.2f}"


def _picture(curve: list[dict[str, float]]) -> str:
    """Draw both losses over the tokens seen; mid-tone colours that show on white and on black."""
    losses = [point[key] for point in curve for key in ("train", "held_out")]
    low, high = int(min(losses) * 2) / 2, int(max(losses) * 2 + 1) / 2
    last = curve[-1]["tokens"]

    def x(tokens: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * tokens / last

    def y(loss: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - loss) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="13" fill="#808080" role="img" aria-label="Training and held-out loss over tokens seen">'
    ]
    for tick in range(int(high * 2) - int(low * 2) + 1):
        loss = low + tick / 2
        line = f'x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(loss):.1f}" y2="{y(loss):.1f}"'
        parts.append(f'<line {line} stroke="#808080" stroke-opacity="0.3"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(loss) + 4:.1f}" text-anchor="end">{loss:.1f}</text>')
    for tick in range(6):
        tokens = last * tick / 5
        parts.append(f'<text x="{x(tokens):.1f}" y="{HEIGHT - 28}" text-anchor="middle">{tokens / 1e6:.1f}</text>')
    parts.append(f'<text x="{(WIDTH + LEFT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">million tokens seen</text>')
    parts.append(f'<text x="{LEFT - 40}" y="20">nats per token</text>')
    for key, colour, label, at in (("train", "#d9822b", "training", 430), ("held_out", "#2b8cd9", "held out", 560)):
        points = " ".join(f"{x(point['tokens']):.1f},{y(point[key]):.1f}" for point in curve)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        parts.append(f'<line x1="{at}" x2="{at + 24}" y1="16" y2="16" stroke="{colour}" stroke-width="2.5"/>')
        parts.append(f'<text x="{at + 32}" y="20" fill="{colour}">{label} {curve[-1][key]:.2f}</text>')
    return "\n".join([*parts, "</svg>\n"])
