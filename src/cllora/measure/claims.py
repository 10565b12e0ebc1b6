"""The eight claims of the paper (CLLoRA, arXiv 2502.18910) and one question that it leaves open, each with its rule."""

from dataclasses import dataclass
from typing import Literal

from cllora.metrics import MARGIN

Rule = Literal["barely", "touches", "raises", "lowers", "at least"]
"""See `decide`."""


@dataclass(frozen=True)
class Claim:
    """A claim of the paper: its letter, its sentence, the rule that it is judged by, and what to run to test it.

    margin: what counts as no effect, in the unit of the effect.
    """

    letter: str
    said: str
    rule: Rule
    margin: float
    unit: str
    computed: str
    run: str


SAVED = 0.999
"""The share of the communication that the paper says is saved."""
NATS = "nats per token"
LENGTH, QUANTITY = "paper/length", "paper/quantity"

A = Claim(
    "a",
    "length skew barely touches local training",
    "barely",
    MARGIN,
    NATS,
    "what local training changes of the loss of clients' own test texts against the base, skewed minus control, "
    "every token counted once",
    LENGTH,
)
B = Claim(
    "b",
    "length skew does touch the global model",
    "touches",
    MARGIN,
    NATS,
    "final global loss, skewed minus control",
    LENGTH,
)
C = Claim(
    "c",
    "at alpha 0.1 of length the small model's global loss oscillates",
    "raises",
    MARGIN,
    NATS,
    "oscillation of the global loss about its trend, skewed minus control, at the smallest model",
    LENGTH,
)
D = Claim(
    "d",
    "larger models are more robust to length skew, or even gain",
    "lowers",
    MARGIN,
    NATS,
    "what skew adds to the final global loss, at the largest model minus at the smallest",
    LENGTH,
)
E = Claim(
    "e",
    "quantity skew hurts local training and the global model",
    "raises",
    MARGIN,
    NATS,
    "loss, skewed minus control: clients' own adapters on their own test texts against the base, mean over "
    "clients; and the final global loss",
    QUANTITY,
)
F = Claim(
    "f",
    "under quantity skew clients with much data over-fit early, and those with little under-learn",
    "raises",
    MARGIN,
    NATS,
    "what local training adds to the loss on the global test texts: of clients with more than an even share, in "
    "the first half of the rounds; and of those with less, minus the control's same client in the same round",
    QUANTITY,
)
G = Claim(
    "g",
    "fairness collapses under quantity skew below alpha 1",
    "raises",
    MARGIN,
    NATS,
    "standard deviation over clients of the change against the base, minus the control's with as few test texts",
    QUANTITY,
)
H = Claim(
    "h",
    "99.9 % of the communication is saved",
    "at least",
    SAVED,
    "share",
    "1 − bytes sent both ways, headers included, over those of the whole base in float32 as often, at rank 2; "
    "arithmetic, the same at every seed",
    "paper/table1",
)
UNCUT = Claim(
    "i",
    "the effect of length skew on the global model persists where texts are not cut (our question, which the paper "
    "leaves open)",
    "touches",
    MARGIN,
    NATS,
    "final global loss, skewed minus control, at the longest context, which decides; and that minus the same at the "
    "shortest",
    "ablate/context",
)
