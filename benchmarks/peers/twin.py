"""No system at all: the same task as a plain loop in one process. Its losses are the reference."""

import sys
from pathlib import Path

from peft import get_peft_model_state_dict, set_peft_model_state_dict

from record import Record, losses_of
from stock import Adapter, evaluate, initial_adapter, lora_model, mean, train
from task import Task, read_task, trained_tokens


def local_training(model, task: Task, adapter: Adapter, number: int, client: int) -> Adapter:
    set_peft_model_state_dict(model, adapter)
    train(model, task.batches(number, client), task.learning_rate, task.max_grad_norm)
    return {name: tensor.clone() for name, tensor in get_peft_model_state_dict(model).items()}


def main(folder: str, out: str) -> None:
    task, record = read_task(folder), Record("twin", ("torch", "transformers", "peft"))
    model, adapter = lora_model(task), initial_adapter(task)
    tests = task.global_test + [i for ids in task.clients_test for i in ids]
    set_peft_model_state_dict(model, adapter)
    record.round(*losses_of(task, evaluate(model, task, tests)))
    for number, chosen in enumerate(task.rounds, 1):
        trained = [local_training(model, task, adapter, number, client) for client in chosen]
        adapter = mean(trained, [sum(map(len, batches)) for batches in chosen.values()])
        set_peft_model_state_dict(model, adapter)
        record.round(*losses_of(task, evaluate(model, task, tests)))
    record.write(Path(out), trained_tokens(task))


if __name__ == "__main__":
    main(*sys.argv[1:])
