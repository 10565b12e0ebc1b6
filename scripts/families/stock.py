"""What stock transformers and PEFT make of a model, one text at a time: the oracle."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import transformers
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch.nn import functional as F


def load(folder: Path, adapter: Path | None = None, trainable: bool = False) -> Any:
    """The causal model in a folder, in float32, with PEFT's adapter on it if one is given."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        model = peft.PeftModel.from_pretrained(model, adapter, is_trainable=trainable)
    return model.eval()


def load_stretched(folder: Path, way: str, positions: int, context: int) -> Any:
    """The causal model in a folder with its rotary positions interpolated, `linear` or by `yarn`, for a context."""
    config = transformers.AutoConfig.from_pretrained(folder)
    inner = config.get_text_config()
    inner.rope_parameters |= {"rope_type": way, "factor": context / positions}
    inner.rope_parameters |= {"original_max_position_embeddings": positions} if way == "yarn" else {}
    inner.max_position_embeddings = context
    if getattr(inner, "head_dim", 0) is None:  # which transformers' yarn asks for
        inner.head_dim = inner.hidden_size // inner.num_attention_heads
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, config=config).eval()


@torch.no_grad()
def put_in_what_is_lost(model: Any, adapter: Path) -> list[str]:
    """The names in an adapter's file that PEFT did not read back as they are there; they are, afterwards.

    PEFT renames modules of some families when it reads a file, not when it writes one.
    """
    written, lost = load_file(adapter / "adapter_model.safetensors"), []
    for name, parameter in _by_name(model).items():
        if name in written and not torch.equal(parameter, written[name]):
            lost.append(name)
            parameter.copy_(written[name])
    return sorted(lost)


class Oracle:
    """Losses of a stock model, each text met by a model that has seen no other.

    `dynamic` rotary positions, for one, remember the longest text: before each text they are as they were at first.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._rotary = [module for module in model.modules() if "Rotary" in type(module).__name__]
        self._first = [(dict(module.__dict__), dict(module._buffers)) for module in self._rotary]
        self._losses: dict[tuple[int, ...], float] = {}

    @torch.no_grad()
    def loss(self, text: NDArray[np.integer[Any]]) -> float:
        """The loss of one text (T,) of token ids, in nats, summed over its predicted tokens."""
        key = tuple(int(token) for token in text)
        if key not in self._losses:
            for module, (fields, buffers) in zip(self._rotary, self._first, strict=True):
                module.__dict__.update(fields)
                module._buffers.update(buffers)
            self._losses[key] = float(mean_loss(self._model, key)) * (len(key) - 1)
        return self._losses[key]

    @torch.no_grad()
    def noise(self, text: NDArray[np.integer[Any]]) -> float:
        """How far the loss of one text is from what float64 gives, per token: no comparison can be held below it."""
        double = Oracle(copy.deepcopy(self._model).double())
        if hasattr(double._model, "set_experts_implementation"):
            double._model.set_experts_implementation("eager")  # The grouped product is for short numbers only.
        return abs(self.loss(text) - double.loss(text)) / (len(text) - 1)


def mean_loss(model: Any, text: tuple[int, ...]) -> torch.Tensor:
    """The mean loss of a text under a model, as a scalar tensor."""
    tokens = torch.tensor(text)[None]
    logits = model(input_ids=tokens, use_cache=False).logits[0]
    return F.cross_entropy(logits[:-1].double(), tokens[0, 1:])


def gradient(model: Any, text: tuple[int, ...], names: tuple[str, ...]) -> list[NDArray[np.float32]]:
    """The gradient of a text's mean loss at the trainable parameters of a PEFT model, by their names in its files."""
    mean_loss(model, text).backward()
    parameters = _by_name(model)
    return [
        (torch.zeros_like(parameters[name]) if parameters[name].grad is None else parameters[name].grad).numpy()
        for name in names
    ]


def _by_name(model: Any) -> dict[str, Any]:
    """Parameters of a PEFT model by their names in its files."""
    return {name.replace(".default.", ".").removesuffix(".default"): p for name, p in model.named_parameters()}
