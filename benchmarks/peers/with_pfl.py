"""The task in pfl-research: its FederatedAveraging, simulated in this process. Users of pfl are a client in a round.

python with_pfl.py TASK RESULT.json
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from peft import set_peft_model_state_dict
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import MinimizeReuseUserSampler
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel
from transformers import get_scheduler

from record import Record, losses_of
from stock import evaluate, initial_adapter, lora_model, padded
from task import Task, read_task, trained_tokens


class UserBatches(Dataset):
    """A user's texts in the task's batches, each padded to its longest text."""

    def __init__(self, batches: list[list[list[int]]]) -> None:
        super().__init__(raw_data=())
        self.batches = batches

    def __len__(self) -> int:
        return sum(map(len, self.batches))

    def iter(self, batch_size: int | None):
        for batch in self.batches:
            yield padded(batch)


class Evaluation(TrainingProcessCallback):
    """Before the first round and after each: all test texts in one pass."""

    def __init__(self, task: Task, record: Record) -> None:
        self.task, self.record = task, record
        self.tests = task.global_test + [i for ids in task.clients_test for i in ids]

    def on_train_begin(self, *, model: PyTorchModel) -> Metrics:
        self.record.round(*losses_of(self.task, evaluate(model.pytorch_model, self.task, self.tests)))
        return Metrics()

    def after_central_iteration(self, aggregate_metrics, model: PyTorchModel, *, central_iteration: int):
        return False, self.on_train_begin(model=model)


def with_pfl_methods(model: torch.nn.Module) -> torch.nn.Module:
    """Add what pfl asks of a model. pfl would evaluate on users' training texts too; the task does not."""
    model.loss = lambda **batch: model(**batch, use_cache=False).loss
    model.metrics = lambda **batch: {}
    return model


def local_optimizer(steps: Iterator[int]):
    """What makes AdamW for the next user, with a linear decay to zero over that user's steps."""

    def create(parameters, lr: float) -> torch.optim.Optimizer:
        optimizer = torch.optim.AdamW([p for p in parameters if p.requires_grad], lr=lr, weight_decay=0.0)
        scheduler = get_scheduler("linear", optimizer, num_warmup_steps=0, num_training_steps=next(steps))
        optimizer.register_step_post_hook(lambda *_: scheduler.step())
        return optimizer

    return create


def main(folder: str, out: str) -> None:
    task, record = read_task(folder), Record("pfl", ("pfl", "torch", "transformers", "peft"))
    lora = with_pfl_methods(lora_model(task))
    set_peft_model_state_dict(lora, initial_adapter(task))
    users = [(number, client) for number, chosen in enumerate(task.rounds, 1) for client in chosen]
    model = PyTorchModel(
        model=lora,
        local_optimizer_create=local_optimizer(len(task.batches(*user)) for user in users),
        # A step of 1 along the mean of the clients' differences is their mean.
        central_optimizer=torch.optim.SGD([p for p in lora.parameters() if p.requires_grad], lr=1.0),
    )
    data = FederatedDataset(lambda user: UserBatches(task.batches(*user)), MinimizeReuseUserSampler(users))
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=len(task.rounds),
            evaluation_frequency=len(task.rounds),
            train_cohort_size=len(task.rounds[0]),
            val_cohort_size=0,
        ),
        backend=SimulatedBackend(training_data=data, val_data=data, postprocessors=[WeightByDatapoints()]),
        model=model,
        model_train_params=NNTrainHyperParams(
            local_batch_size=None,  # the task's
            local_num_epochs=1,
            local_learning_rate=task.learning_rate,
            local_max_grad_norm=task.max_grad_norm,
        ),
        model_eval_params=NNEvalHyperParams(local_batch_size=None),
        callbacks=[Evaluation(task, record)],
    )
    record.write(Path(out), trained_tokens(task))


if __name__ == "__main__":
    main(*sys.argv[1:])
