"""Stock transformers, PEFT and torch: what all systems but cllora train and evaluate with, in float32.

Written as well as a careful user would: padded to the longest text of a batch, test texts of like length together.
"""

import os

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, get_scheduler

from task import Task

Text = list[int]  # token ids
Adapter = dict[str, torch.Tensor]  # under PEFT's names

EVALUATION_BATCH = 8
SHORTEST = int(os.environ.get("PEERS_PAD", "0"))
"""Pad to this many tokens at least: `run.py --pad 128` is how the paper's system prepares its texts."""


def lora_model(task: Task) -> torch.nn.Module:
    """The base with LoRA on it. Dropout is 0 everywhere, so that training mode and evaluation mode are the same."""
    base = AutoModelForCausalLM.from_pretrained(task.base, dtype=torch.float32)
    return get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **task.lora))


def initial_adapter(task: Task) -> Adapter:
    return load_file(task.initial)


def padded(texts: list[Text]) -> dict[str, torch.Tensor]:
    """Texts padded on the right to the longest, as a causal model of transformers takes them; each (B, T)."""
    longest = max(SHORTEST, *(len(text) for text in texts))
    ids = torch.tensor([text + [0] * (longest - len(text)) for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts])
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}


def train(model: torch.nn.Module, batches: list[list[Text]], learning_rate: float, max_grad_norm: float) -> None:
    """One client's local training, in place: AdamW from a fresh state, linear decay to zero."""
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=learning_rate, weight_decay=0.0)
    scheduler = get_scheduler("linear", optimizer, num_warmup_steps=0, num_training_steps=len(batches))
    for batch in batches:
        loss = model(**padded(batch), use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, max_grad_norm)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()


@torch.inference_mode()
def evaluate(model: torch.nn.Module, task: Task, ids: list[int]) -> dict[int, float]:
    """The negative log-likelihood of every text, summed over its predicted tokens, in nats."""
    nll: dict[int, float] = {}
    ordered = sorted(ids, key=lambda i: len(task.texts[i]))
    for start in range(0, len(ordered), EVALUATION_BATCH):
        part = ordered[start : start + EVALUATION_BATCH]
        batch = padded(task.test_texts(part))
        labels = F.pad(batch.pop("labels")[:, 1:], (0, 1), value=-100)
        logits = model(**batch, use_cache=False).logits
        losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        nll.update(zip(part, losses.view(labels.shape).sum(1).tolist(), strict=True))
    return nll


def mean(adapters: list[Adapter], weights: list[int]) -> Adapter:
    """The mean of adapters by weight."""
    return {
        name: sum(weight / sum(weights) * adapter[name] for adapter, weight in zip(adapters, weights, strict=True))
        for name in adapters[0]
    }
