"""Rounds of local work and joining: the strategies, and the generator that runs them."""

from cllora.federated import algorithms
from cllora.federated.rounds import Federation, chosen_clients, local_adapter, rounds
from cllora.federated.strategy import Strategy, strategies

__all__ = ["Federation", "Strategy", "algorithms", "chosen_clients", "local_adapter", "rounds", "strategies"]
