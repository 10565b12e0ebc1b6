"""A Flower ClientApp in the shape of Flower's own example for language models, examples/flowertune-llm: every message
builds the model anew, and training is a Trainer of transformers. The data are read once, as there.
"""

import tempfile
from functools import cache

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from peft import get_peft_model_state_dict, set_peft_model_state_dict

from stock import evaluate, lora_model
from task import Task, read_task
from trainer import trainer

app = ClientApp()


@cache
def kept(folder: str) -> Task:
    torch.set_num_threads(1)  # one CPU per client
    return read_task(folder)


@app.train()
def train_client(message: Message, context: Context) -> Message:
    config = message.content["config"]
    task = kept(config["task"])
    model = lora_model(task)
    set_peft_model_state_dict(model, message.content["arrays"].to_torch_state_dict())
    batches = task.batches(config["server-round"], config["client"])
    with tempfile.TemporaryDirectory() as folder:
        results = trainer(model, batches, task, folder).train()
    arrays = ArrayRecord(get_peft_model_state_dict(model))
    metrics = MetricRecord({"train_loss": results.training_loss, "num-examples": sum(map(len, batches))})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate_client(message: Message, context: Context) -> Message:
    config = message.content["config"]
    task = kept(config["task"])
    model = lora_model(task)
    set_peft_model_state_dict(model, message.content["arrays"].to_torch_state_dict())
    ids = task.clients_test[config["client"]]
    nll = sum(evaluate(model, task, ids).values())
    metrics = MetricRecord({"client": config["client"], "nll": nll, "num-examples": len(ids)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
