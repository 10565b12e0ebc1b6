"""What stock transformers and PEFT make of a model, one text at a time: the oracle."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import transformers
from numpy.typing import NDArray
from torch.nn import functional as F


def load(folder: Path, adapter: Path | None = None, trainable: bool = False) -> Any:
    """The causal model in a folder, in float32, with PEFT's adapter on it if one is given."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        model = peft.PeftModel.from_pretrained(model, adapter, is_trainable=trainable)
    return model.eval()


class Oracle:
    """Losses of a stock model (nats, summed over a text), each text met by a model that has seen no other.

    `dynamic` rotary positions, for one, remember the longest text. `noise` is how far float32 is from float64 at most,
    per token: what no comparison can be held below.
    """

    def __init__(self, model: Any) -> None:
        double = copy.deepcopy(model).double()
        if hasattr(double, "set_experts_implementation"):
            double.set_experts_implementation("eager")  # The grouped product is for short numbers only.
        self._models = (model, double)
        self._known: dict[tuple[int, ...], float] = {}
        self.noise = 0.0

    @torch.no_grad()
    def loss(self, text: NDArray[np.integer[Any]]) -> float:
        """The loss of one text (T,) of token ids."""
        key = tuple(int(token) for token in text)
        if key not in self._known:
            single, double = (float(mean_loss(copy.deepcopy(model), key)) for model in self._models)
            self.noise = max(self.noise, abs(single - double))
            self._known[key] = single * (len(key) - 1)
        return self._known[key]


def mean_loss(model: Any, text: tuple[int, ...]) -> torch.Tensor:
    """The mean loss of a text under a model, as a scalar tensor."""
    tokens = torch.tensor(text)[None]
    logits = model(input_ids=tokens, use_cache=False).logits[0]
    return F.cross_entropy(logits[:-1].double(), tokens[0, 1:])


def gradient(model: Any, text: tuple[int, ...], names: tuple[str, ...]) -> list[NDArray[np.float32]]:
    """The gradient of a text's mean loss at the trainable parameters of a PEFT model, by their names in its files."""
    mean_loss(model, text).backward()
    found = {name.replace(".default.", ".").removesuffix(".default"): p for name, p in model.named_parameters()}
    return [(torch.zeros_like(found[name]) if found[name].grad is None else found[name].grad).numpy() for name in names]
