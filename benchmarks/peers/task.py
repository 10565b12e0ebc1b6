"""The task that every system is given, as `make_task.py` left it in a folder. Needs nothing but Python."""

import json
from dataclasses import dataclass
from pathlib import Path

Batch = list[int]
"""Ids of the texts that meet in one step."""


@dataclass(frozen=True)
class Task:
    """Who trains on what in which round, and what is tested on. A text is known by its id.

    `rounds[t - 1]` gives every client of round t its batches, in order; `clients_test[k]` are client k's test texts.
    `study` is the same as a study of cllora. A client weighs by the number of texts it trains on.
    """

    folder: Path
    shape: str
    texts: list[list[int]]
    rounds: list[dict[int, list[Batch]]]
    global_test: list[int]
    clients_test: list[list[int]]
    learning_rate: float
    max_grad_norm: float
    lora: dict
    study: dict

    @property
    def base(self) -> Path:
        """The base model, as `from_pretrained` reads it."""
        return self.folder / "base"

    @property
    def initial(self) -> Path:
        """The adapter that all start from, under PEFT's names."""
        return self.folder / "initial.safetensors"

    def batches(self, number: int, client: int) -> list[list[list[int]]]:
        """The token ids of every text of every batch of a client in a round (from 1)."""
        return [[self.texts[i] for i in batch] for batch in self.rounds[number - 1][client]]

    def test_texts(self, ids: list[int]) -> list[list[int]]:
        return [self.texts[i] for i in ids]


def read_task(folder: str | Path) -> Task:
    fields = json.loads((Path(folder) / "task.json").read_text(encoding="utf-8"))
    rounds = [{int(client): batches for client, batches in number.items()} for number in fields.pop("rounds")]
    return Task(folder=Path(folder), rounds=rounds, **fields)


def predicted(texts: list[list[int]]) -> int:
    """How many tokens are predicted: all but a text's first."""
    return sum(len(text) - 1 for text in texts)


def trained_tokens(task: Task) -> int:
    """Predicted tokens over all rounds, clients and batches."""
    return sum(
        predicted(texts) for t, chosen in enumerate(task.rounds, 1) for k in chosen for texts in task.batches(t, k)
    )
