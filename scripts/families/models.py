"""A tiny random model of a family in a folder, with a tokenizer, as `from_pretrained` reads them."""

import re
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from transformers import PretrainedConfig

SPREAD = 0.3
"""Standard deviation of embeddings, of biases, and of norms around what they begin at."""


def save(config: PretrainedConfig, folder: Path) -> None:
    """Write a model with this config and random weights that make every part of it matter, and a tokenizer."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        _stir(model)
    model.save_pretrained(folder)
    _tokenizer().save_pretrained(folder)


@torch.no_grad()
def _stir(model: Any) -> None:
    """Random values of a size that keeps states and logits of the order of one.

    Fresh weights are so small that any text is as likely as any other, and biases and norms so plain that leaving
    them out changes nothing.
    """
    heads = {
        id(p) for p in model.parameters() if p.dim() >= 2 and p.shape[0] == model.config.get_text_config().vocab_size
    }
    for name, weight in model.named_parameters():
        if re.search(r"A_log|dt_bias|time_decay|time_first|rotary|slopes", name):
            continue
        if weight.dim() < 2:
            weight.add_(torch.randn_like(weight) * SPREAD / 3)
        elif id(weight) in heads or "embed" in name or "wte" in name or "wpe" in name:
            weight.copy_(torch.randn_like(weight) * SPREAD)
        else:
            weight.copy_(torch.randn_like(weight) / weight.shape[-1] ** 0.5)
    for name, buffer in model.named_buffers():
        if "correction_bias" in name or "expert_bias" in name:
            buffer.add_(torch.randn_like(buffer) * SPREAD / 3)


def _tokenizer() -> transformers.PreTrainedTokenizerFast:
    """A tokenizer of bytes, whose texts begin with `</s>`."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    bpe = tokenizers.models.BPE(vocab={token: i for i, token in enumerate([*special, *alphabet])}, merges=[])
    tokenizer = tokenizers.Tokenizer(bpe)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single="</s> $A", special_tokens=[("</s>", 2)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="</s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
