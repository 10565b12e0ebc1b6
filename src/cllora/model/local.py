"""One client's local training: its order of samples, its optimiser, its schedule."""

import math

import numpy as np
import torch

from cllora.model.adapters import Adapters
from cllora.model.batches import steps_of, training_batches
from cllora.model.device import on_device
from cllora.seeds import rng, seed_for
from cllora.spec import LocalSpec
from cllora.types import Arrays, Job, Trained


class LocalTraining:
    """A job on its way, its adapter in a slot. `batches` are the ids of each step, `dropout` draws LoRA's masks."""

    def __init__(self, job: Job, local: LocalSpec, seed: int, adapters: Adapters, slot: int) -> None:
        adapters.write(job.start, slot)
        seed = seed if job.seed is None else job.seed
        self.job, self._local = job, local
        self._values = torch.nn.Parameter(adapters.values[slot])
        self._gradient = self._values.grad = adapters.gradients[slot]
        kind = torch.optim.SGD if local.optim == "sgd" else torch.optim.AdamW
        self._optimizer = kind([self._values], lr=local.learning_rate, weight_decay=local.weight_decay)
        if job.work.moments:
            moments = {key: torch.tensor(array) for key, array in job.work.moments.items()}
            # The count of steps stays on the host, where the optimiser wants it.
            self._optimizer.state[self._values] = {
                key: moment.to(adapters.values.device) if moment.dim() else moment for key, moment in moments.items()
            }
        self._sum = torch.zeros_like(self._gradient) if job.work.gradient else None
        self._losses: list[torch.Tensor] = []
        device = adapters.values.device
        pulls = {"center": job.work.center, "correction": job.work.correction}
        self._pulls = {name: on_device(np.asarray(pull), device) for name, pull in pulls.items() if pull is not None}
        masks = job.work.trainable
        masks = () if masks is None else masks if isinstance(masks, tuple) else (masks,)
        self._masks = [on_device(np.asarray(mask), device) for mask in masks]
        self.steps = steps_of(local, len(job.ids))
        self.batches = training_batches(job.ids, local, rng(seed, "order", *job.name))
        self.dropout = torch.Generator(device).manual_seed(seed_for(seed, "dropout", *job.name))

    @torch.no_grad()
    def step(self, loss: torch.Tensor) -> None:
        """One step with the plain gradient that is in the slot."""
        step = len(self._losses)
        self._losses.append(loss)
        if self._sum is not None:
            self._sum += self._gradient
        mask = self._masks[step % len(self._masks)] if self._masks else None
        self._pull(mask)
        if self._local.max_grad_norm > 0:
            torch.nn.utils.clip_grad_norm_([self._values], self._local.max_grad_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = self._local.learning_rate * schedule(self._local, step, self.steps)
        before = None if mask is None else self._values.clone()
        self._optimizer.step()
        if mask is not None and before is not None:
            # Weight decay and momentum move what this step does not train: put it back.
            self._values.copy_(torch.where(mask, self._values, before))

    def result(self, tokens: int) -> Trained:
        """The result of the training, after `tokens` predicted tokens."""
        adapter = self._values.detach().cpu().numpy().copy()
        loss = float(torch.stack(self._losses).double().mean())
        gradient = None if self._sum is None else (self._sum / self.steps).cpu().numpy()
        moments = None if self.job.work.moments is None else self._moments()
        return Trained(adapter, len(self.job.ids), tokens, self.steps, loss, gradient, moments=moments)

    def _pull(self, mask: torch.Tensor | None) -> None:
        """Add the proximal pull mu (w - center) and the correction to the gradient, and stop what is not trainable."""
        if "center" in self._pulls and self.job.work.mu:
            self._gradient.add_(self._values - self._pulls["center"], alpha=self.job.work.mu)
        if "correction" in self._pulls:
            self._gradient.add_(self._pulls["correction"])
        if mask is not None:
            self._gradient.mul_(mask)

    def _moments(self) -> Arrays:
        """The optimiser's state, by torch's names; SGD has none."""
        state = self._optimizer.state[self._values]
        return {key: moment.cpu().numpy().copy() for key, moment in state.items() if isinstance(moment, torch.Tensor)}


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
