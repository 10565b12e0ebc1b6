"""Local training and evaluation of adapters over one frozen base."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from cllora.errors import UsageError
from cllora.model.batches import Packed, packed, steps_of, training_batches
from cllora.model.flat import FlatAdapter
from cllora.model.load import Base
from cllora.seeds import rng, seed_for
from cllora.spec import LocalSpec
from cllora.types import Ids, Losses, Samples, Trained, Vector, Work

TRAINING_BLOCK = 1024
EVALUATION_BLOCK = 4096
"""Tokens that go through the network at once: a bound on memory. They decide which dropout mask falls where."""


class Learner:
    """One base, any number of adapters: an adapter is written into the base's LoRA modules when its turn comes."""

    def __init__(self, base: Base, samples: Samples, context: int) -> None:
        self.base = base
        self.samples = samples
        self.context = context
        self.adapter = FlatAdapter(base.model)
        self.layout = self.adapter.layout

    def initial(self, seed: int) -> Vector:
        """The adapter that every client starts from: A random, B zero, so that the model is the base."""
        return self.adapter.initial(seed)

    def train(self, work: Work, ids: Ids, local: LocalSpec, seed: int, *purpose: str | int) -> Trained:
        """One client's local training; optimiser and schedule start afresh.

        The loss of a step is the mean over the batch's predicted tokens, as in transformers' Trainer. Every draw
        (order, LoRA dropout) depends on `seed` and `purpose` alone.

        Raises:
            UsageError: the loss is no longer a finite number.
        """
        self.adapter.write(work.start)
        optimizer = _optimizer(self.adapter.values, local)
        steps = steps_of(local, len(ids))
        tokens, losses = 0, []
        total = torch.zeros_like(self.adapter.gradient) if work.gradient else None
        order = rng(seed, "order", *purpose)
        with torch.random.fork_rng(devices=[]), _dropout_on(self.base.model):
            torch.manual_seed(seed_for(seed, "dropout", *purpose))
            for step, batch in enumerate(training_batches(ids, local, order)):
                loss, count = self._gradient(batch)
                tokens += count
                losses.append(loss)
                if total is not None:
                    total += self.adapter.gradient
                _pull(self.adapter, work)
                if local.max_grad_norm > 0:
                    torch.nn.utils.clip_grad_norm_([self.adapter.values], local.max_grad_norm)
                _set_rate(optimizer, local.learning_rate * schedule(local, step, steps))
                optimizer.step()
                if work.trainable is not None:
                    self._restore_frozen(work)
        adapter = self.adapter.read()
        if not (np.isfinite(adapter).all() and math.isfinite(losses[-1])):
            raise UsageError("the local loss or adapter is not a number any more; lower local.learning_rate")
        gradient = None if total is None else (total / steps).cpu().numpy()
        return Trained(adapter, len(ids), tokens, steps, float(np.mean(losses)), gradient)

    @torch.no_grad()
    def evaluate(self, model: str, adapter: Vector, ids: Ids) -> Losses:
        """Summed negative log-likelihood and predicted tokens of every sample under an adapter."""
        self.adapter.write(adapter)
        nll = np.zeros(len(ids))
        for rows in packed(self.samples, ids, self.context, EVALUATION_BLOCK, self.base.device):
            # Summed here, in order: on a GPU the order of such sums, and so their last digits, would vary.
            losses = self._token_losses(rows).cpu().numpy().astype(np.float64)
            nll[rows.places] = np.bincount(rows.owner, losses, len(rows.places))
        return Losses(model, ids, nll, self.samples.predicted(ids, self.context))

    def save_adapter(self, adapter: Vector, folder: Path) -> None:
        """Write the adapter in PEFT's format, as `PeftModel.from_pretrained(base, folder)` reads it."""
        self.adapter.write(adapter)
        self.base.model.save_pretrained(folder, save_embedding_layers=False)

    def _gradient(self, batch: Ids) -> tuple[float, int]:
        """Put the gradient of the batch's mean token loss into the buffer; the loss and its token count."""
        count = int(self.samples.predicted(batch, self.context).sum())
        self.adapter.gradient.zero_()
        summed = 0.0
        for rows in packed(self.samples, batch, self.context, TRAINING_BLOCK, self.base.device):
            loss = self._token_losses(rows).sum() / count
            loss.backward()  # type: ignore[no-untyped-call]
            summed += float(loss.detach())
        return summed, count

    def _token_losses(self, rows: Packed) -> torch.Tensor:
        """Negative log-likelihood of every predicted token (L,), in float32."""
        logits = self.base.model(
            input_ids=rows.tokens,
            position_ids=rows.positions,
            packing=rows.packing,
            logits_to_keep=rows.keep,
            use_cache=False,
        ).logits[0]
        return F.cross_entropy(logits.float(), rows.targets, reduction="none")

    def _restore_frozen(self, work: Work) -> None:
        """Undo what weight decay or momentum did to the part that this work does not train."""
        frozen = torch.from_numpy(~np.asarray(work.trainable)).to(self.base.device)
        start = torch.from_numpy(work.start).to(self.base.device)
        with torch.no_grad():
            self.adapter.values[frozen] = start[frozen]


def schedule(local: LocalSpec, step: int, steps: int) -> float:
    """The share of the learning rate at a step (from 0) of `steps`, as transformers' schedulers have it."""
    if step < local.warmup_steps:
        return step / max(1, local.warmup_steps)
    done = (step - local.warmup_steps) / max(1, steps - local.warmup_steps)
    match local.lr_scheduler_type:
        case "constant":
            return 1.0
        case "linear":
            return max(0.0, 1.0 - done)
        case "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * done))


def _optimizer(values: torch.nn.Parameter, local: LocalSpec) -> torch.optim.Optimizer:
    if local.optim == "sgd":
        return torch.optim.SGD([values], lr=local.learning_rate, weight_decay=local.weight_decay)
    return torch.optim.AdamW([values], lr=local.learning_rate, weight_decay=local.weight_decay)


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _pull(adapter: FlatAdapter, work: Work) -> None:
    """Add the proximal pull mu (w - center) and the correction to the gradient, and stop what is not trainable."""
    gradient, device = adapter.gradient, adapter.gradient.device
    if work.center is not None and work.mu:
        gradient.add_(adapter.values.detach() - torch.from_numpy(work.center).to(device), alpha=work.mu)
    if work.correction is not None:
        gradient.add_(torch.from_numpy(work.correction).to(device))
    if work.trainable is not None:
        gradient.mul_(torch.from_numpy(work.trainable).to(device))


@contextlib.contextmanager
def _dropout_on(model: Any) -> Iterator[None]:
    """LoRA's dropout modules in training mode for the length of a `with`; nothing else is switched."""
    modules = [module for name, module in model.named_modules() if "lora_dropout" in name]
    for module in modules:
        module.train()
    try:
        yield
    finally:
        for module in modules:
            module.eval()
