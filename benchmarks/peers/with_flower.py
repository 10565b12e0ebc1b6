"""The task in Flower's simulation (Ray): FedAvg on the server, one of two ClientApps on 20 simulated nodes.

python with_flower.py TASK RESULT.json example|cached
"""

import importlib
import os
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from peft import set_peft_model_state_dict

from record import Record, per_token
from stock import evaluate, initial_adapter, lora_model
from task import Task, predicted, read_task, trained_tokens


class GivenClients(FedAvg):
    """FedAvg, but which clients train in a round is the task's. Nodes keep nothing, so any node may play any client."""

    def __init__(self, task: Task) -> None:
        clients = len(task.clients_test)
        self.task = task
        self.client_losses: list[float] = []
        super().__init__(
            fraction_train=len(task.rounds[0]) / clients,
            min_train_nodes=len(task.rounds[0]),
            min_available_nodes=clients,
            evaluate_metrics_aggr_fn=self.keep_losses,
        )

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid):
        messages = super().configure_train(server_round, arrays, config, grid)
        return self.addressed(messages, list(self.task.rounds[server_round - 1]), server_round, arrays)

    def configure_evaluate(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid):
        messages = super().configure_evaluate(server_round, arrays, config, grid)
        return self.addressed(messages, list(range(len(self.task.clients_test))), server_round, arrays)

    def addressed(self, messages, clients: list[int], server_round: int, arrays: ArrayRecord) -> list[Message]:
        """The messages, each told which client its node is."""
        messages = list(messages)
        for message, client in zip(messages, clients, strict=True):
            config = ConfigRecord({"server-round": server_round, "client": client, "task": str(self.task.folder)})
            message.content = RecordDict({"arrays": arrays, "config": config})
        return messages

    def aggregate_train(self, server_round: int, replies: Iterable[Message]):
        replies = list(replies)
        for reply in replies:
            if reply.has_error():  # Flower would go on with the clients that are left.
                raise RuntimeError(reply.error.reason)
        return super().aggregate_train(server_round, replies)

    def keep_losses(self, replies: list[RecordDict], weighted_by: str) -> MetricRecord:
        """Keep every client's loss, which an average would hide."""
        metrics = sorted((reply["metrics"] for reply in replies), key=lambda client: client["client"])
        tests = [self.task.test_texts(ids) for ids in self.task.clients_test]
        self.client_losses = [client["nll"] / predicted(texts) for client, texts in zip(metrics, tests, strict=True)]
        return MetricRecord({"clients": len(metrics)})


@cache
def kept_model(folder: str) -> torch.nn.Module:
    return lora_model(read_task(folder))


def serve(task: Task, record: Record, keep_model: bool, grid: Grid) -> None:
    strategy = GivenClients(task)

    def evaluate_global(server_round: int, arrays: ArrayRecord) -> None:
        model = kept_model(str(task.folder)) if keep_model else lora_model(task)
        set_peft_model_state_dict(model, arrays.to_torch_state_dict())
        loss = per_token(task, task.global_test, evaluate(model, task, task.global_test))
        # Flower evaluates on clients after a round, never before the first.
        record.round(loss, strategy.client_losses if server_round else None)

    strategy.start(grid, ArrayRecord(initial_adapter(task)), len(task.rounds), evaluate_fn=evaluate_global)


def main(folder: str, out: str, app: str) -> None:
    task = read_task(Path(folder).resolve())
    record = Record(f"flower-{app}", ("flwr", "ray", "torch", "transformers", "peft"))
    server_app = ServerApp()

    @server_app.main()
    def server(grid: Grid, context: Context) -> None:
        serve(task, record, keep_model=app == "cached", grid=grid)

    run_simulation(
        server_app,
        importlib.import_module(f"flower_{app}").app,
        num_supernodes=len(task.clients_test),
        backend_config={
            "init_args": {"num_cpus": os.cpu_count(), "include_dashboard": False, "_node_ip_address": "127.0.0.1"},
            "client_resources": {"num_cpus": 1, "num_gpus": 0},
        },
    )
    record.write(Path(out), trained_tokens(task))


if __name__ == "__main__":
    main(*sys.argv[1:])
