"""The record of a round, a line of `rounds.jsonl`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from cllora.types.plain import from_plain


@dataclass(frozen=True)
class ClientRecord:
    """A chosen client's part in a round.

    `samples`, `tokens`, `steps` and `train_loss` (nats per token) are of its shared piece of training. `seconds` are
    of all it computed, and `tokens_scored` those predicted while it looked at its own loss. `local_loss` is that of its
    model after local training on its own test set, in nats per token; None without one.
    """

    client: int
    samples: int
    tokens: int
    steps: int
    train_loss: float
    bytes_up: int
    bytes_down: int
    seconds: float
    tokens_scored: int = 0
    local_loss: float | None = None

    def to_json(self, evaluated: bool) -> dict[str, object]:
        """One entry of a line's `clients`; `local_loss` stands in it where the round was evaluated."""
        entry = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        unused = [] if self.tokens_scored else ["tokens_scored"]
        unused += [] if evaluated else ["local_loss"]
        return {name: value for name, value in entry.items() if name not in unused}


@dataclass(frozen=True)
class RoundRecord:
    """One line of `rounds.jsonl`. Losses are in nats per token on the global test set; None in a round without.

    `global_loss` goes over all tokens, `global_loss_per_sample` is the mean over samples of their own means.
    `global_losses` are those of each of the server's models, where it has several.
    """

    round: int
    clients: tuple[ClientRecord, ...] = ()
    seconds: float = 0.0
    global_loss: float | None = None
    global_loss_per_sample: float | None = None
    global_losses: Mapping[str, float] = field(default_factory=dict)

    @property
    def bytes_up(self) -> int:
        return sum(client.bytes_up for client in self.clients)

    @property
    def bytes_down(self) -> int:
        return sum(client.bytes_down for client in self.clients)

    def to_json(self) -> dict[str, object]:
        """The line."""
        evaluated = self.global_loss is not None
        losses = {"global_loss": self.global_loss, "global_loss_per_sample": self.global_loss_per_sample}
        return {
            "round": self.round,
            **(losses if evaluated else {}),
            **({"global_losses": dict(self.global_losses)} if self.global_losses else {}),
            "clients": [client.to_json(evaluated) for client in self.clients],
            "bytes_up": self.bytes_up,
            "bytes_down": self.bytes_down,
            "seconds": self.seconds,
        }

    @classmethod
    def from_json(cls, line: Mapping[str, object]) -> "RoundRecord":
        """The inverse of `to_json`. What it has no field for, as lines of 0.1.0 may have, is passed over.

        Raises:
            UsageError: a field is missing, or holds what it cannot.
        """
        return from_plain(cls, line, "rounds.jsonl")
