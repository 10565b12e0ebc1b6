"""The training loop: a few single-threaded processes that average their gradients."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import measure
import numpy as np
import torch
import torch.distributed as dist
from architecture import untrained
from tokens import START_ID
from torch.nn import functional
from tqdm import tqdm
from transformers import PreTrainedModel

ROWS = ((0.0, 256), (0.6, 512), (0.9, None))  # from this share of the time on: tokens per row, at last all the context
WARMUP, DECAY_FROM = 0.02, 0.6  # shares of the time
PEAK_MUON, PEAK_ADAMW = 4e-3, 3e-3
WEIGHT_DECAY = 0.1
MAX_GRAD_NORM = 1.0
QUICK_DOCUMENTS, QUICK_JOINED = 150, 12  # held-out documents looked at during training, the latter of joined ones
SHIFTED = 0.5  # share of the rows that start at a random position, so that all positions are learned


@dataclass(frozen=True)
class Plan:
    """What every process is told."""

    architecture: str
    width: int
    seed: int
    minutes: float
    tokens: int | None  # train on so many, instead of for so many minutes: the same weights again
    tokens_per_step: int  # over all processes
    checkpoint_minutes: float
    processes: int
    stream: Path  # .npy, uint16: the training documents, one after the other
    joined: bool  # documents are long: rows come in random order, and each begins with the start token
    held_out: list[np.ndarray]  # what is looked at during training
    checkpoint: Path
    meeting_point: Path  # a file the processes find each other by


@dataclass
class State:
    """What a checkpoint holds beside weights and optimizers."""

    step: int = 0
    cursor: int = 0  # tokens of the stream read so far, over all processes
    seconds: float = 0.0
    train_loss: float = float("nan")  # nats per token, running mean
    curve: list[dict[str, float]] | None = None


def train(rank: int, plan: Plan) -> None:
    """Train until the time is over; process 0 leaves the result in `plan.checkpoint`."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{plan.meeting_point}", rank=rank, world_size=plan.processes)
    torch.manual_seed(plan.seed)
    model = untrained(plan.architecture, plan.width)
    optimizers = _optimizers(model)
    state = _resume(plan, model, optimizers)
    stream = np.load(plan.stream, mmap_mode="r")
    started, due = time.monotonic() - state.seconds, state.seconds + 60 * plan.checkpoint_minutes
    bar = tqdm(initial=round(state.seconds), unit="s", disable=rank > 0)
    while (progress := _progress(plan, state)) < 1:
        _step(rank, plan, model, optimizers, state, stream, progress)
        seconds = _agreed(time.monotonic() - started)
        bar.update(round(seconds) - bar.n)
        bar.set_postfix(
            loss=f"{state.train_loss:.3f}", tokens_per_s=f"{state.cursor / seconds:.0f}", done=f"{progress:.0%}"
        )
        state.seconds = seconds
        if seconds >= due or _progress(plan, state) >= 1:
            due = seconds + 60 * plan.checkpoint_minutes
            if rank == 0:
                _look(plan, model, state)
                _save(plan, model, optimizers, state)
    dist.barrier()
    dist.destroy_process_group()


def _progress(plan: Plan, state: State) -> float:
    """The share of the training that is done, by tokens or else by the clock."""
    return state.cursor / plan.tokens if plan.tokens else state.seconds / (60 * plan.minutes)


def _step(
    rank: int,
    plan: Plan,
    model: PreTrainedModel,
    optimizers: list[torch.optim.Optimizer],
    state: State,
    stream: np.ndarray,
    progress: float,
) -> None:
    context = model.config.max_position_embeddings
    length = [tokens for share, tokens in ROWS if progress >= share][-1] or context
    inputs, targets, positions = _rows(stream, plan, state, rank, length, context)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=inputs, position_ids=positions, use_cache=False).logits
    loss = functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
    loss.backward()
    mean_loss = _average_gradients(model, loss.detach())
    torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * _rate(progress)
        optimizer.step()
        optimizer.zero_grad()
    state.step += 1
    state.cursor += inputs.numel() * plan.processes
    state.train_loss = mean_loss if state.step == 1 else 0.98 * state.train_loss + 0.02 * mean_loss


def _rows(
    stream: np.ndarray, plan: Plan, state: State, rank: int, length: int, context: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the next inputs, targets and positions of one process, each (rows, length)."""
    rows = plan.tokens_per_step // plan.processes // length
    first = state.cursor + (rank * rows + np.arange(rows)) * length
    if plan.joined:  # in turn, all rows of a step would be of one text
        order = np.random.default_rng(plan.seed).permutation(len(stream) // length)
        first = order[first // length % len(order)] * length
    index = (first[:, None] + np.arange(length + 1)) % len(stream)
    tokens = torch.from_numpy(stream[index].astype(np.int64))
    if plan.joined:
        tokens[:, 0] = START_ID  # as `measure` has it in place of what came before
    draw = np.random.default_rng([plan.seed, state.step, rank])
    shifts = draw.integers(0, context - length + 1, size=rows) * (draw.random(rows) < SHIFTED)
    positions = torch.from_numpy(shifts)[:, None] + torch.arange(length)
    return tokens[:, :-1], tokens[:, 1:], positions


def _rate(progress: float) -> float:
    """Warm up, stay, and go down to zero in a straight line."""
    return min(1.0, progress / WARMUP + 0.01, max(0.0, 1 - progress) / (1 - DECAY_FROM))


def _optimizers(model: PreTrainedModel) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the hidden matrices, AdamW for embeddings, norms and biases."""
    named = list(model.named_parameters())
    hidden = [p for name, p in named if p.ndim == 2 and "embed" not in name]
    other = [p for name, p in named if p.ndim != 2 or "embed" in name]
    muon = torch.optim.Muon(hidden, lr=PEAK_MUON, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(other, lr=PEAK_ADAMW, betas=(0.9, 0.95), weight_decay=0.0)
    for optimizer in (muon, adamw):
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return [muon, adamw]


def _average_gradients(model: PreTrainedModel, loss: torch.Tensor) -> float:
    """Average gradients and loss over the processes in one message; return the loss."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    message = torch.cat([*(gradient.flatten() for gradient in gradients), loss.reshape(1)])
    dist.all_reduce(message)
    message /= dist.get_world_size()
    parts = message[:-1].split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
    return message[-1].item()


def _agreed(seconds: float) -> float:
    """Return process 0's clock, so that all processes stop, decay and save at the same step."""
    clock = torch.tensor([seconds], dtype=torch.float64)
    dist.broadcast(clock, src=0)
    return clock.item()


def _look(plan: Plan, model: PreTrainedModel, state: State) -> None:
    total, predicted = measure.nats(model, plan.held_out)
    point = {"seconds": state.seconds, "tokens": state.cursor, "train": state.train_loss, "held_out": total / predicted}
    state.curve = [*(state.curve or []), point]
    tqdm.write(str(point))


def _save(plan: Plan, model: PreTrainedModel, optimizers: list[torch.optim.Optimizer], state: State) -> None:
    partial = plan.checkpoint.with_suffix(".partial")
    content: dict[str, Any] = {"state": vars(state), "model": model.state_dict()}
    torch.save({**content, "optimizers": [optimizer.state_dict() for optimizer in optimizers]}, partial)
    partial.replace(plan.checkpoint)


def _resume(plan: Plan, model: PreTrainedModel, optimizers: list[torch.optim.Optimizer]) -> State:
    if not plan.checkpoint.exists():
        return State()
    content = torch.load(plan.checkpoint, weights_only=True)
    model.load_state_dict(content["model"])
    for optimizer, saved in zip(optimizers, content["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return State(**content["state"])
