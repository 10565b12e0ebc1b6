"""Federated LoRA fine-tuning on one page: stock transformers, PEFT and torch, nothing of cllora.

This is what the library computes, written out by hand and as slowly as it likes. `tests/test_twin.py` holds the
library equal to it in float32.

    python examples/one_page.py FOLDER_OF_A_MODEL
"""

import sys

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from transformers import AutoModelForCausalLM, AutoTokenizer, get_scheduler

Text = list[int]  # token ids
Batch = list[Text]
Adapter = dict[str, torch.Tensor]


def train(model, adapter: Adapter, batches: list[Batch], learning_rate: float, clip: float = 1.0) -> Adapter:
    """One client's round: AdamW from a fresh state, linear decay to zero, the mean loss over a batch's tokens."""
    set_peft_model_state_dict(model, adapter)
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=learning_rate, weight_decay=0.0)
    scheduler = get_scheduler("linear", optimizer, num_warmup_steps=0, num_training_steps=len(batches))
    for batch in batches:
        longest = max(len(text) for text in batch)
        ids = torch.tensor([text + [0] * (longest - len(text)) for text in batch])
        mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in batch])
        labels = ids.masked_fill(mask == 0, -100)
        loss = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, clip)
        optimizer.step()
        scheduler.step()
    return {name: tensor.clone() for name, tensor in get_peft_model_state_dict(model).items()}


@torch.no_grad()
def test_loss(model, adapter: Adapter, texts: list[Text]) -> float:
    """Nats per predicted token, one text at a time."""
    set_peft_model_state_dict(model, adapter)
    total = tokens = 0.0
    for text in texts:
        ids = torch.tensor([text])
        total += float(model(input_ids=ids, labels=ids, use_cache=False).loss) * (len(text) - 1)
        tokens += len(text) - 1
    return total / tokens


def federate(model, adapter: Adapter, rounds: list[dict[int, list[Batch]]], sizes, test, learning_rate: float):
    """FedAvg: every chosen client trains from the global adapter; the new one is their mean by samples.

    `rounds[t]` gives every chosen client its batches. Returns the final adapter and the test loss before the first
    and after every round.
    """
    losses = [test_loss(model, adapter, test)]
    for work in rounds:
        trained = {k: train(model, adapter, batches, learning_rate) for k, batches in work.items()}
        total = sum(sizes[k] for k in trained)
        adapter = {name: sum(sizes[k] / total * trained[k][name] for k in trained) for name in adapter}
        losses.append(test_loss(model, adapter, test))
    return adapter, losses


def lora_model(folder: str, r: int = 2, lora_alpha: float = 16, target_modules: tuple[str, ...] = ("q_proj", "v_proj")):
    """The base with LoRA on it, in float32 and without dropout anywhere."""
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config = LoraConfig(
        r=r, lora_alpha=lora_alpha, lora_dropout=0.0, target_modules=list(target_modules), task_type="CAUSAL_LM"
    )
    return get_peft_model(base, config).eval()


def main() -> None:
    folder = sys.argv[1]
    model, tokenizer = lora_model(folder), AutoTokenizer.from_pretrained(folder)
    sentences = {
        0: ["Return the sum of the values.", "Return the mean of the values.", "Return the largest of the values."],
        1: ["Raise an error where the file is missing.", "Raise an error where the column is unknown."],
        2: ["Parameters", "x : float, the first value", "y : float, the second value", "Returns : float"],
    }
    clients = {k: [tokenizer(text)["input_ids"] for text in texts] for k, texts in sentences.items()}
    test = [tokenizer(text)["input_ids"] for text in ("Return the smallest of the values.", "z : float, the third")]
    rounds = [{0: [clients[0]] * 3, 1: [clients[1]] * 3}, {1: [clients[1]] * 3, 2: [clients[2]] * 3}]
    start = {name: tensor.clone() for name, tensor in get_peft_model_state_dict(model).items()}
    _, losses = federate(model, start, rounds, {k: len(texts) for k, texts in clients.items()}, test, 5e-3)
    for number, loss in enumerate(losses):
        print(f"round {number}: {loss:.4f} nats per token on the test texts")


if __name__ == "__main__":
    main()
