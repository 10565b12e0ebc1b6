"""A Flower ClientApp written with care: model and task are kept from message to message, training is a plain loop.

What is kept lives in this module, so that it outlasts a message: the app has to be imported, not run as a script.
"""

from functools import cache

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from peft import get_peft_model_state_dict, set_peft_model_state_dict

from stock import evaluate, lora_model, train
from task import Task, read_task

app = ClientApp()


@cache
def kept(folder: str) -> tuple[Task, torch.nn.Module]:
    torch.set_num_threads(1)  # one CPU per client
    task = read_task(folder)
    return task, lora_model(task)


@app.train()
def train_client(message: Message, context: Context) -> Message:
    config = message.content["config"]
    task, model = kept(config["task"])
    set_peft_model_state_dict(model, message.content["arrays"].to_torch_state_dict())
    batches = task.batches(config["server-round"], config["client"])
    train(model, batches, task.learning_rate, task.max_grad_norm)
    arrays = ArrayRecord(get_peft_model_state_dict(model))
    metrics = MetricRecord({"num-examples": sum(map(len, batches))})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate_client(message: Message, context: Context) -> Message:
    config = message.content["config"]
    task, model = kept(config["task"])
    set_peft_model_state_dict(model, message.content["arrays"].to_torch_state_dict())
    ids = task.clients_test[config["client"]]
    nll = sum(evaluate(model, task, ids).values())
    metrics = MetricRecord({"client": config["client"], "nll": nll, "num-examples": len(ids)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
