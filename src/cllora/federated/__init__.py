"""Rounds of local training and aggregation: the strategies, and the generator that runs them."""

from cllora.federated import algorithms
from cllora.federated.client import Client, ClientTurn, client_turns
from cllora.federated.evaluation import personal_model
from cllora.federated.federation import Federation, global_models
from cllora.federated.rounds import chosen_clients, local_model, rounds
from cllora.federated.strategy import Loss, Setting, Strategy, Turn, strategies, strategy_of
from cllora.federated.updates import Updates
from cllora.types import Layout, Model, Update, Work

__all__ = [
    "Client",
    "ClientTurn",
    "Federation",
    "Layout",
    "Loss",
    "Model",
    "Setting",
    "Strategy",
    "Turn",
    "Update",
    "Updates",
    "Work",
    "algorithms",
    "chosen_clients",
    "client_turns",
    "global_models",
    "local_model",
    "personal_model",
    "rounds",
    "strategies",
    "strategy_of",
]
