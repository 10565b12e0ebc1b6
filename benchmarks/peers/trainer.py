"""A Trainer of transformers that takes the task's batches as they are."""

import torch
from transformers import Trainer, TrainingArguments

from stock import Text, padded
from task import Task

SETTINGS = {
    "num_train_epochs": 1,
    "lr_scheduler_type": "linear",
    "weight_decay": 0.0,
    "train_sampling_strategy": "sequential",
    "use_cpu": True,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "logging_strategy": "no",
}
"""In order, in float32, without checkpoints, logs and trackers."""


def settings(batches: list[list[Text]], task: Task, folder: str) -> dict:
    """Arguments for `TrainingArguments`. Only the last batch may be smaller, as with a Trainer's own."""
    size = len(batches[0])
    if any(len(batch) != size for batch in batches[:-1]):
        raise ValueError("a Trainer's batches are of one size")
    return {
        **SETTINGS,
        "output_dir": folder,
        "per_device_train_batch_size": size,
        "learning_rate": task.learning_rate,
        "max_grad_norm": task.max_grad_norm,
    }


def trainer(model: torch.nn.Module, batches: list[list[Text]], task: Task, folder: str) -> Trainer:
    texts = [text for batch in batches for text in batch]
    return Trainer(
        model=model,
        args=TrainingArguments(**settings(batches, task, folder)),
        train_dataset=texts,
        data_collator=padded,
    )
