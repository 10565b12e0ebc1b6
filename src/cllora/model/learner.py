"""Local training and evaluation of adapters over one frozen base."""

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from cllora.model import entropy
from cllora.model.activations import Activations, OpenStore
from cllora.model.adapters import Adapters, only_lora
from cllora.model.batches import Packed, blocks_of, packed, steps_of
from cllora.model.checkpointing import checkpoint_layers
from cllora.model.compatible import check_tokens
from cllora.model.description import description
from cllora.model.device import on_device
from cllora.model.engine import Evaluation, HeadEntropies, TokenLosses
from cllora.model.load import Base, save_adapter
from cllora.model.local import LocalTraining
from cllora.model.machine import forget_peak, peak_memory
from cllora.model.network import Network
from cllora.model.passes import (
    CELLS_TOGETHER,
    EVALUATED_TOGETHER,
    EVALUATION_BLOCK,
    MOST_OF_CELLS,
    MOST_TOGETHER,
    SLOT_NUMBERS,
    TOGETHER,
    TRAINING_BLOCK,
    one_behind,
    side_by_side,
)
from cllora.model.patterns import FULL, Pattern
from cllora.model.stacked import stack_frozen
from cllora.model.tokenizer import ModelTokenizer
from cllora.spec import LocalSpec
from cllora.types import Environment, Ids, Job, Losses, Model, Samples, Trained, Vector, model_of


class Learner:
    """One base, any number of adapters: an adapter is written into the base's LoRA layers when its turn comes.

    Texts are trained on under one pattern of attention, `trained`, and evaluated under another, `evaluated`. One that
    is of `several_cells` has room for all their clients.
    """

    def __init__(
        self,
        base: Base,
        samples: Samples,
        context: int,
        trained: Pattern = FULL,
        evaluated: Pattern = FULL,
        several_cells: bool = False,
    ) -> None:
        self.base = base
        check_tokens(samples, base.model, base.spec.name)
        self.samples = samples
        self.context = context
        self.patterns = {"training": trained, "evaluation": evaluated}
        trainable = sum(p.numel() for p in base.model.parameters() if p.requires_grad)
        self._training_tokens, most = (CELLS_TOGETHER, MOST_OF_CELLS) if several_cells else (TOGETHER, MOST_TOGETHER)
        together = most if only_lora(base.model) else 1
        self.adapters = Adapters(base.model, slots=max(1, min(together, SLOT_NUMBERS // trainable)))
        self.layout = self.adapters.layout
        if base.start is not None:
            self.adapters.start_at(self.layout.join(base.start))
        self.network = Network(base.model, self.adapters, base.spec.loss_piece)
        if base.spec.checkpointing:
            checkpoint_layers(base.model, self.adapters)
        self._activations: list[Activations] = []

    def keep_activations(self, open_store: Callable[[str, int], OpenStore]) -> None:
        """Compute no more than once what the lower layers make of a text, where the model has such layers.

        Args:
            open_store: given the use, training or evaluation, and the number of lower layers.
        """
        lower = self.network.find_lower()
        if lower is not None:
            self._activations = [
                Activations(self.network, self.samples, self.context, pattern, open_store(use, lower.count))
                for use, pattern in self.patterns.items()
            ]

    def initial(self, seed: int) -> Vector:
        """The adapter that every client starts from: with it, the model is the base, or `lora.start` on it."""
        return self.adapters.initial(seed)

    def train(self, jobs: Sequence[Job], local: LocalSpec, seed: int) -> list[Trained]:
        """The local training of some clients; optimisers and schedules start afresh.

        The loss of a client's step is the mean over its batch's predicted tokens, as in transformers' Trainer. Every
        draw (order, LoRA dropout) depends on `seed` and the job's name alone. Small jobs run side by side, in the
        same passes over the base, and come to what they come to one by one but for rounding. One that diverges comes
        back with a loss or an adapter that is not finite.
        """
        measured = forget_peak(self.base.device)
        done = []
        for group in self.groups(jobs, local):
            trained = self._train_together(group, local, seed)
            if len(group) > 1 and not all(
                math.isfinite(result.loss) and np.isfinite(result.adapter).all() for result in trained
            ):
                # One that diverges takes along those beside it.
                trained = [result for job in group for result in self._train_together([job], local, seed)]
            done += trained
        peak = peak_memory(self.base.device) if measured else None
        return [dataclasses.replace(trained, peak_bytes=peak) for trained in done]

    def evaluate(self, model: str, adapter: Model | Vector, ids: Ids, context: int | None = None) -> Losses:
        """Summed negative log-likelihood and predicted tokens of every sample under an adapter."""
        return self._evaluate_together([Evaluation(model, adapter, ids, context)])[0]

    def evaluate_all(self, evaluations: Sequence[Evaluation]) -> list[Losses]:
        """Losses of several evaluations; small ones share passes, which comes to the same but for rounding."""
        models = [model_of(asked.adapter) for asked in evaluations]
        tokens = [self.samples.seen(asked.ids, asked.context or self.context).sum() for asked in evaluations]
        groups = side_by_side(models, tokens, EVALUATED_TOGETHER[self.base.device.type], len(self.adapters.values))
        return [losses for group in groups for losses in self._evaluate_together(evaluations[group])]

    @torch.no_grad()
    def _evaluate_together(self, evaluations: Sequence[Evaluation]) -> list[Losses]:
        """Losses of evaluations in the same passes, each model in a slot."""
        for slot, asked in enumerate(evaluations):
            self.adapters.write(asked.adapter, slot)
        contexts = [asked.context or self.context for asked in evaluations]
        batches = [asked.ids for asked in evaluations]
        ends = np.cumsum([len(ids) for ids in batches])
        nll = np.zeros(ends[-1])
        for row, losses in self._scored(batches, self.patterns["evaluation"], contexts):
            nll[row.places] = np.bincount(row.owner, losses, len(row.places))
        return [
            Losses(asked.model, asked.ids, part, self.samples.predicted(asked.ids, context))
            for asked, part, context in zip(evaluations, np.split(nll, ends[:-1]), contexts, strict=True)
        ]

    @torch.no_grad()
    def token_losses(self, adapter: Model | Vector, ids: Ids, pattern: Pattern | None = None) -> list[TokenLosses]:
        """The loss of every predicted token, in blocks that went through the network together."""
        self.adapters.write(adapter)
        blocks = []
        for row, losses in self._scored([ids], pattern or self.patterns["evaluation"]):
            # A token's loss is that of predicting it from the one before.
            positions = 1 + row.positions[0, row.keep[: len(losses)]].cpu().numpy()
            blocks.append(TokenLosses(ids[row.places[row.owner]], positions, losses))
        return blocks

    @torch.no_grad()
    def recall(self, adapter: Model | Vector, ids: Ids) -> tuple[NDArray[np.bool_], Losses]:
        """Whether greedy decoding after each sample's prompt gives all the rest of it (len(ids),); and its loss.

        All of it is read at once, which comes to the same: as long as every token before it was the likeliest, what is
        read is what would have been said.
        """
        self.adapters.write(adapter)
        recalled, nll = np.zeros(len(ids), bool), np.zeros(len(ids))
        pattern = self.patterns["evaluation"]
        for row in self._begun(self._rows([ids], pattern), pattern):
            losses, likeliest = (values.cpu().numpy() for values in self.network.judged(row))
            recalled[row.places] = np.bincount(row.owner, ~likeliest, len(row.places)) == 0
            nll[row.places] = np.bincount(row.owner, losses.astype(np.float64), len(row.places))
        return recalled, Losses("recall", ids, nll, self.samples.predicted(ids, self.context))

    @torch.no_grad()
    def head_entropies(self, adapter: Model | Vector, ids: Ids) -> HeadEntropies:
        """Entropy of every attention head under full attention, mean over the texts' positions (`model.entropy`)."""
        self.adapters.write(adapter)
        seen, passes = self.samples.seen(ids, self.context), []
        for row in self._rows([ids], FULL):
            sums: list[torch.Tensor] = []
            self.network.watch(row, entropy.summing(seen[row.places].tolist(), sums))
            passes.append(sums)
        return entropy.means(passes, int((seen - 1).sum()))

    def over(self, samples: Samples) -> Self:
        """The same base and the same adapters' room over other samples."""
        check_tokens(samples, self.base.model, self.base.spec.name)
        other = copy.copy(self)
        other.samples, other._activations = samples, []
        return other

    def is_base(self, adapter: Model | Vector) -> bool:
        """Whether a model leaves the base as it is."""
        return self.adapters.is_base(adapter)

    @cached_property
    def tokenizer(self) -> ModelTokenizer:
        """The base's own."""
        return ModelTokenizer(self.base.spec.name)

    def describe(self) -> Environment:
        """The description of what it runs on, see `Engine`."""
        return description(self.base, self.layout, self.patterns)

    def save_adapter(self, adapter: Model | Vector, folder: Path) -> None:
        """Write the adapter in PEFT's format, as `PeftModel.from_pretrained(base, folder)` reads it.

        Where every weight is trained, it is the whole model, as transformers reads it. What is frozen under the adapter
        is stacked into it, as more ranks.
        """
        self.adapters.write(adapter)
        save_adapter(self.base, folder)
        stack_frozen(folder, self.layout, model_of(adapter).frozen)

    def blocks(self, ids: Ids, context: int | None = None) -> list[NDArray[np.int64]]:
        """Places of the samples that an evaluation takes through the network at once; a block by itself comes to the
        same."""
        return list(blocks_of(self.samples.seen(ids, context or self.context), EVALUATION_BLOCK[self.base.device.type]))

    def _rows(
        self, batches: Sequence[Ids], pattern: Pattern, contexts: Sequence[int] | None = None
    ) -> Iterator[Packed]:
        """Samples packed for evaluation, a batch for each model."""
        budget = EVALUATION_BLOCK[self.base.device.type]
        return packed(self.samples, batches, contexts or self.context, budget, self.base.device, pattern)

    def _begun(self, rows: Iterable[Packed], pattern: Pattern) -> Iterator[Packed]:
        """Rows with the activations of their texts, where these are kept."""
        kept = next((activations for activations in self._activations if activations.pattern is pattern), None)
        return iter(rows) if kept is None else map(kept.begun, rows)

    def _scored(
        self, batches: Sequence[Ids], pattern: Pattern, contexts: Sequence[int] | None = None
    ) -> Iterator[tuple[Packed, NDArray[np.float64]]]:
        """Samples packed for evaluation, each row with the losses of its predicted tokens (L,)."""
        # Summed on the host, in order: on a GPU the order of such sums, and so their last digits, would vary.
        # One row behind: a GPU has the next row to work on while this one's losses are fetched.
        rows = self._begun(self._rows(batches, pattern, contexts), pattern)
        for row, losses in one_behind((row, self.network.losses(row)) for row in rows):
            yield row, losses.cpu().numpy().astype(np.float64)

    def groups(self, jobs: Sequence[Job], local: LocalSpec) -> Iterator[list[Job]]:
        """Neighbours whose batches are small enough to share their passes.

        Decided by the data and the kind of device, so that what is trained together never changes between runs.
        """
        steps = [
            self.samples.seen(job.ids, self._context(job)).mean() * min(local.batch_size, len(job.ids)) for job in jobs
        ]
        starts, most = [job.start for job in jobs], self._training_tokens[self.base.device.type]
        for group in side_by_side(starts, steps, most, len(self.adapters.values)):
            yield list(jobs[group])

    def _train_together(self, jobs: Sequence[Job], local: LocalSpec, seed: int) -> list[Trained]:
        """Training in the same passes: each job has its own batches, loss, clipping, optimiser and number of steps."""
        began = time.perf_counter()
        # The client with most steps comes first, so that those still at work are always in the first slots.
        order = sorted(range(len(jobs)), key=lambda i: -steps_of(local, len(jobs[i].ids)))
        trainings = [LocalTraining(jobs[i], local, seed, self.adapters, slot) for slot, i in enumerate(order)]
        tokens = np.zeros(len(jobs), np.int64)
        for step in range(trainings[0].steps):
            working = [training for training in trainings if step < training.steps]
            batches = [next(training.batches) for training in working]
            contexts = [self._context(training.job) for training in working]
            seen = zip(batches, contexts, strict=True)
            counts = np.array([self.samples.predicted(batch, context).sum() for batch, context in seen])
            tokens[: len(working)] += counts
            losses = self.gradients(batches, counts, [training.dropout for training in working], contexts)
            for training, loss in zip(working, losses, strict=True):
                training.step(loss)
        results = [training.result(int(count)) for training, count in zip(trainings, tokens, strict=True)]
        seconds_per_token = (time.perf_counter() - began) / max(1, tokens.sum())
        trained = {
            i: dataclasses.replace(result, seconds=result.tokens * seconds_per_token)
            for i, result in zip(order, results, strict=True)
        }
        return [trained[i] for i in range(len(jobs))]

    def _context(self, job: Job) -> int:
        """The job's context, in tokens."""
        return self.context if job.context is None else job.context

    def gradients(
        self,
        batches: Sequence[Ids],
        counts: NDArray[np.int64],
        dropout: Sequence[torch.Generator],
        contexts: Sequence[int] | None = None,
    ) -> torch.Tensor:
        """Put the gradient of each batch's mean loss over its `counts` tokens into its slot; those losses (C,).

        `contexts` (C,) are how much of a text each batch sees; None for the learner's own context.
        """
        device = self.base.device
        self.adapters.gradients[: len(batches)].zero_()
        tokens = on_device(counts.astype(np.float32), device)
        budget, pattern = TRAINING_BLOCK[device.type], self.patterns["training"]
        rows = packed(self.samples, batches, contexts or self.context, budget, device, pattern)
        begun = self._begun(rows, pattern)
        return torch.stack([self.network.add_gradients(row, tokens, dropout) for row in begun]).sum(0)
