"""Tiny models of every family and a tokenizer, made on the spot; nothing is downloaded."""

import functools
from pathlib import Path

FAMILIES = ("opt", "opt-350m", "llama", "qwen2", "qwen3", "gpt2", "gpt_neox")


VOCABULARY = 300


def tiny_config(family: str):
    import transformers as t

    sizes = {"vocab_size": VOCABULARY, "max_position_embeddings": 128, "hidden_size": 32, "num_attention_heads": 4}
    special = {"bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 1}
    deep = {"num_hidden_layers": 2}
    rotary = sizes | special | deep | {"intermediate_size": 64, "num_key_value_heads": 2}
    match family:
        case "opt":
            return t.OPTConfig(**sizes, **special, **deep, ffn_dim=64, word_embed_proj_dim=32)
        case "opt-350m":
            # Post-norm and embeddings narrower than the layers, as facebook/opt-350m.
            return t.OPTConfig(
                **sizes, **special, **deep, ffn_dim=64, word_embed_proj_dim=16, do_layer_norm_before=False
            )
        case "llama":
            return t.LlamaConfig(**rotary)
        case "mistral":
            return t.MistralConfig(**rotary, sliding_window=None)
        case "qwen2":
            return t.Qwen2Config(**rotary)
        case "qwen3":
            return t.Qwen3Config(**rotary, head_dim=8)
        case "gemma3":
            # Embeddings are scaled as they are looked up.
            return t.Gemma3TextConfig(**rotary, head_dim=8, query_pre_attn_scalar=8)
        case "gpt2":
            return t.GPT2Config(vocab_size=VOCABULARY, n_positions=128, n_embd=32, n_layer=2, n_head=4, **special)
        case "gpt_neox":
            return t.GPTNeoXConfig(**sizes, **special, **deep, intermediate_size=64)
    raise ValueError(family)


@functools.cache
def stock_tokenizer(name: str):
    """The tokenizer of a model as transformers has it."""
    import transformers

    from cllora.model.source import where_tokenizer

    return transformers.AutoTokenizer.from_pretrained(where_tokenizer(name))


def save_tiny_model(family: str, folder: Path) -> Path:
    """A random model of a family with a byte-level tokenizer, as from_pretrained reads it."""
    import tokenizers
    import torch
    import transformers

    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = transformers.AutoModelForCausalLM.from_config(tiny_config(family), dtype=torch.float32)
        # Fresh weights are so small that any text is as likely as any other: make the model say something.
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.data.mul_(5)
    model.save_pretrained(folder)
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    bpe = tokenizers.models.BPE(vocab={token: i for i, token in enumerate([*special, *alphabet])}, merges=[])
    tokenizer = tokenizers.Tokenizer(bpe)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single="</s> $A", special_tokens=[("</s>", 2)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="</s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)
    return folder
