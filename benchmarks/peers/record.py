"""What a system writes down about itself: when each round ended, and the losses after it."""

import importlib.metadata
import json
import os
import platform
import time
from pathlib import Path

from task import Task, predicted


class Record:
    """Collects a system's rounds; round 0 is the evaluation of the untrained adapter."""

    def __init__(self, system: str, packages: tuple[str, ...]) -> None:
        self.system = system
        self.versions = {"python": platform.python_version()}
        self.versions |= {name: importlib.metadata.version(name) for name in packages}
        self.ends: list[float] = []
        self.global_loss: list[float] = []
        self.client_losses: list[list[float] | None] = []

    def round(self, global_loss: float | None = None, client_losses: list[float] | None = None) -> None:
        """A round has ended, its evaluation included. Losses in nats per predicted token."""
        self.ends.append(time.time())
        if global_loss is not None:
            self.losses(global_loss, client_losses)

    def losses(self, global_loss: float, client_losses: list[float] | None) -> None:
        """The losses after a round, where they are known only later than its end."""
        self.global_loss.append(round(global_loss, 6))
        self.client_losses.append(client_losses and [round(loss, 6) for loss in client_losses])

    def write(self, file: Path, trained_tokens: int) -> None:
        # run.py says when it started the process; by hand, time runs from the first use of this module.
        began = float(os.environ.get("PEERS_STARTED", _IMPORTED))
        result = {
            "system": self.system,
            "versions": self.versions,
            "seconds": [round(after - before, 3) for before, after in zip(self.ends, self.ends[1:], strict=False)],
            "seconds_to_round_1": round(self.ends[1] - began, 3),
            "global_loss": self.global_loss,
            "client_losses": self.client_losses,
            "trained_tokens": trained_tokens,
        }
        file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


_IMPORTED = time.time()


def per_token(task: Task, ids: list[int], nll: dict[int, float]) -> float:
    """Nats per predicted token over some texts, from their summed negative log-likelihoods."""
    return sum(nll[i] for i in ids) / predicted(task.test_texts(ids))


def losses_of(task: Task, nll: dict[int, float]) -> tuple[float, list[float]]:
    """The loss on the global test and on every client's own."""
    return per_token(task, task.global_test, nll), [per_token(task, ids, nll) for ids in task.clients_test]
