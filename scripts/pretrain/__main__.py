"""Build a base model that ships inside cllora: `python scripts/pretrain` (about 75 minutes on two CPU cores).

`--width 64` and `--width 128` build the narrow ones, `--architecture rotary` the one for long contexts;
they share the tokenizer of the first. With `--tokens` the schedule follows what was read rather than the clock, so that
the same weights can be had again. Run it again after an interruption and it goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import card
import measure
import numpy as np
import torch
from architecture import FULL_WIDTH, SHAPES, untrained
from filelock import FileLock, Timeout
from texts import PRETRAINING_PACKAGES, Texts, load_texts
from tokens import encode, train_tokenizer
from train import QUICK_DOCUMENTS, QUICK_JOINED, Plan, train
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from cllora.corpus.packages import PACKAGES

MODELS = Path(__file__).parents[2] / "src/cllora/model"
FIRST = MODELS / "embedded"
PLANNED = ("width", "seed", "minutes", "tokens", "tokens_per_step", "processes")


def main() -> None:
    arguments = _arguments()
    joined = arguments.architecture == "rotary"
    first = not joined and arguments.width == FULL_WIDTH
    out = arguments.out or (FIRST if first else MODELS / f"embedded-{'rotary' if joined else arguments.width}")
    cache, out = arguments.cache.absolute(), out.absolute()
    checkpoint = cache / f"{out.name}-{arguments.architecture}.checkpoint"
    cache.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    lock = _lock(checkpoint)
    texts = load_texts(cache, join=joined)
    tokenizer = train_tokenizer(texts.train) if first else AutoTokenizer.from_pretrained(FIRST)
    _check_round_trip(tokenizer)
    if first:
        tokenizer.save_pretrained(out)
    plan = _plan(arguments, cache, checkpoint, texts, tokenizer)
    plan.meeting_point.unlink(missing_ok=True)
    torch.multiprocessing.spawn(train, args=(plan,), nprocs=plan.processes)
    state = _write_model(plan, out)
    measured = _measured(plan, state, texts, tokenizer, out)
    if joined:
        measured["by_first"] = {"demo": _by_first(texts, tokenizer, out)}
    (out / "pretraining.json").write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    card.write(out, FIRST)
    checkpoint.unlink()
    lock.release()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("pretrain", description=__doc__)
    parser.add_argument("--architecture", choices=["opt", "llama", "rotary"], default="opt")
    parser.add_argument("--width", type=int, choices=list(SHAPES), default=FULL_WIDTH)
    parser.add_argument("--out", type=Path, help="the folder to write; the package's, if none is given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=65.0, help="time for training alone")
    parser.add_argument("--tokens", type=int, help="how much to train on, instead of --minutes")
    parser.add_argument("--tokens-per-step", type=int, default=8192, help="over all processes")
    parser.add_argument("--checkpoint-minutes", type=float, default=3.0)
    parser.add_argument("--processes", type=int, default=2, help="single-threaded; best one per physical core")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/cllora-pretraining")
    arguments = parser.parse_args()
    if arguments.architecture == "rotary" and arguments.width != FULL_WIDTH:
        parser.error(f"the rotary base is {FULL_WIDTH} wide: leave --width out")
    return arguments


def _lock(checkpoint: Path) -> FileLock:
    """Refuse a second run that would write the same checkpoint; the lock ends with the process, however it ends."""
    lock = FileLock(checkpoint.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise SystemExit(f"another run is writing {checkpoint}: wait for it, or choose another --out") from None
    return lock


def _plan(
    arguments: argparse.Namespace, cache: Path, checkpoint: Path, texts: Texts, tokenizer: PreTrainedTokenizerFast
) -> Plan:
    stream = checkpoint.with_suffix(".npy")
    np.save(stream, np.concatenate(encode(tokenizer, texts.train)))
    joined = arguments.architecture == "rotary"
    return Plan(
        architecture=arguments.architecture,
        width=arguments.width,
        seed=arguments.seed,
        minutes=arguments.minutes,
        tokens=arguments.tokens,
        tokens_per_step=arguments.tokens_per_step,
        checkpoint_minutes=arguments.checkpoint_minutes,
        processes=arguments.processes,
        stream=stream,
        joined=joined,
        held_out=encode(tokenizer, texts.held_out[: QUICK_JOINED if joined else QUICK_DOCUMENTS]),
        checkpoint=checkpoint,
        meeting_point=checkpoint.with_suffix(".meet"),
    )


def _check_round_trip(tokenizer: PreTrainedTokenizerFast) -> None:
    """Every Unicode character must survive, alone and in any company."""
    points = [point for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF]
    for text in ("".join(map(chr, points)), " \n\t  x\r\n  naïve 数据 🙂\0 ", "    >>> f(x)\n\n"):
        if tokenizer.decode(tokenizer(text).input_ids[1:], clean_up_tokenization_spaces=False) != text:
            raise RuntimeError(f"the tokenizer loses text: {text[:40]!r}")


def _write_model(plan: Plan, out: Path) -> dict[str, Any]:
    content = torch.load(plan.checkpoint, weights_only=True)
    model = untrained(plan.architecture, plan.width)
    model.load_state_dict(content["model"])
    model.to(torch.bfloat16).save_pretrained(out)
    return content["state"]


def _measured(
    plan: Plan, state: dict[str, Any], texts: Texts, tokenizer: PreTrainedTokenizerFast, out: Path
) -> dict[str, Any]:
    """Measure the model as it was written, rounded to bfloat16 and loaded from its folder."""
    torch.set_num_threads(plan.processes)
    model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    stream = np.load(plan.stream, mmap_mode="r")
    return {
        "architecture": plan.architecture,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "weights_bytes": (out / "model.safetensors").stat().st_size,
        "training": {key: state[key] for key in ("seconds", "step", "train_loss")} | {"tokens": state["cursor"]},
        "plan": {key: getattr(plan, key) for key in PLANNED},
        "train_set": {
            "documents": len(texts.train),
            "bytes": sum(len(text.encode()) for text in texts.train),
            "tokens": len(stream),
            "sha256": hashlib.sha256("\0".join(texts.train).encode()).hexdigest(),
            "dropped": texts.dropped,
        },
        "held_out": measure.figures(model, texts.held_out, encode(tokenizer, texts.held_out)),
        "demo": measure.figures(model, texts.demo, encode(tokenizer, texts.demo)),
        "curve": state["curve"],
        "packages": list(PRETRAINING_PACKAGES),
        "demo_packages": [f"{name}=={metadata.version(name)}" for name in PACKAGES],
        "software": {name: metadata.version(name) for name in ("torch", "transformers", "tokenizers")},
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def _by_first(texts: Texts, tokenizer: PreTrainedTokenizerFast, out: Path) -> dict[str, float]:
    """How well the first base predicts the demo's documents in windows of the other's context."""
    context = AutoConfig.from_pretrained(out).max_position_embeddings
    model = AutoModelForCausalLM.from_pretrained(FIRST, dtype=torch.float32).eval()
    return measure.figures(model, texts.demo, encode(tokenizer, texts.demo), context)


if __name__ == "__main__":
    main()
