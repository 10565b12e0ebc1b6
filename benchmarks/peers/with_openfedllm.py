"""The task in the loop of OpenFedLLM (main_sft.py), on current versions of trl and transformers: one model, and for
every client of every round a new SFTTrainer, after which the adapter's state is copied.

python with_openfedllm.py TASK RESULT.json
"""

import copy
import sys
import tempfile
from pathlib import Path

from datasets import Dataset
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer

from record import Record, losses_of
from stock import evaluate, initial_adapter, lora_model
from task import Task, read_task, trained_tokens
from trainer import settings


def sft_trainer(model, tokenizer, batches: list[list[list[int]]], task: Task, folder: str) -> SFTTrainer:
    """With trl's own collator, which pads to the longest text. What trl would switch on by itself is off: on a CPU
    gradient checkpointing and bfloat16 autocasting only cost time. The texts are tokenised already."""
    return SFTTrainer(
        model=model,
        processing_class=tokenizer,
        args=SFTConfig(
            **settings(batches, task, folder),
            max_length=128,
            gradient_checkpointing=False,
            bf16=False,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=Dataset.from_dict({"input_ids": [text for batch in batches for text in batch]}),
    )


def main(folder: str, out: str) -> None:
    task, record = read_task(folder), Record("openfedllm", ("trl", "torch", "transformers", "peft"))
    model = lora_model(task)
    tokenizer = AutoTokenizer.from_pretrained(task.base)
    global_dict = initial_adapter(task)
    tests = task.global_test + [i for ids in task.clients_test for i in ids]
    set_peft_model_state_dict(model, global_dict)
    record.round(*losses_of(task, evaluate(model, task, tests)))
    for number, chosen in enumerate(task.rounds, 1):
        sizes = {client: sum(map(len, batches)) for client, batches in chosen.items()}
        local_dicts = {}
        for client in chosen:
            set_peft_model_state_dict(model, global_dict)
            with tempfile.TemporaryDirectory() as place:
                sft_trainer(model, tokenizer, task.batches(number, client), task, place).train()
            local_dicts[client] = copy.deepcopy(get_peft_model_state_dict(model))
        for key in global_dict:
            parts = [local_dicts[client][key] * sizes[client] / sum(sizes.values()) for client in chosen]
            global_dict[key] = sum(parts)
        set_peft_model_state_dict(model, global_dict)
        record.round(*losses_of(task, evaluate(model, task, tests)))
    record.write(Path(out), trained_tokens(task))


if __name__ == "__main__":
    main(*sys.argv[1:])
