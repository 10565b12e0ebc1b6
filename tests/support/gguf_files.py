"""GGUF files made on the spot of tiny models, as llama.cpp's converter lays them out."""

from pathlib import Path

import gguf
import numpy as np

WORDS = ("the", "price", "is", "eighteen", "ing")


def write_gguf(path: Path, model, *, tokenizer="smollm", quantised=None, change=None, tensors=None) -> Path:
    """Write a transformers model and a tokenizer: `llama`, or byte-level by the rule of a name.

    `change` is given the writer before the weights are.
    """
    config = model.config
    architecture = config.model_type
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("Tiny")
    writer.add_license("cc0-1.0")
    writer.add_source_url("https://example.org/tiny")
    _config(writer, config, architecture)
    rows = model.get_input_embeddings().weight.shape[0]
    if tokenizer is not None:
        {"llama": sentencepiece}.get(tokenizer, lambda *given: byte_level(*given, tokenizer))(writer, rows)
    if change is not None:
        change(writer)
    for name, array in (tensors or weights)(model, architecture).items():
        kind = quantised if quantised is not None and array.ndim == 2 and array.shape[-1] % 32 == 0 else None
        data = array if kind is None else gguf.quantize(array, kind)
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _config(writer, config, architecture):
    if architecture == "gpt2":
        writer.add_context_length(config.n_positions)
        writer.add_embedding_length(config.n_embd)
        writer.add_block_count(config.n_layer)
        writer.add_feed_forward_length(4 * config.n_embd)
        writer.add_head_count(config.n_head)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if architecture == "qwen3":
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)


def weights(model, architecture) -> dict[str, np.ndarray]:
    """The model's weights under GGUF's names, in GGUF's layout."""
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    layers, heads = model.config.num_hidden_layers, model.config.num_attention_heads
    names, found = gguf.get_tensor_name_map(arch, layers), {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        array = tensor.float().numpy()
        place, _, kind = name.rpartition(".")
        key = f"{names.get_name(place)}.{kind}"
        if architecture == "llama" and (".attn_q." in key or ".attn_k." in key):
            array = turned(array, heads if ".attn_q." in key else model.config.num_key_value_heads)
        if architecture == "gpt2" and array.ndim == 2 and key.startswith("blk."):
            array = array.T
        found[key] = np.ascontiguousarray(array)
    return found


def turned(array: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key projection in the order in which llama.cpp rotates them: pairs side by side."""
    return array.reshape(heads, 2, len(array) // heads // 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


def byte_level(writer, rows: int, pre: str) -> None:
    """Bytes, and a few merges; 0 ends a text, 1 begins one, 2 ends a turn."""
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *alphabet, "Ġt", "Ġth", "Ġ1", "12", "in", "ing", "ĠĠ"]
    merges = ["Ġ t", "Ġt h", "Ġ 1", "1 2", "i n", "in g", "Ġ Ġ"]
    kinds = [3, 3, 3] + [1] * (len(tokens) - 3)
    tokens, kinds = _filled(tokens, kinds, rows)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


def sentencepiece(writer, rows: int) -> None:
    """Llama 2's kind: <unk>, <s>, </s>, bytes, letters and words whose pieces are tokens too."""
    words = [f"▁{word}" for word in WORDS]
    pieces = sorted({word[:end] for word in words for end in range(2, len(word))} | set(words) | {"in", "ing"})
    letters = sorted({letter for piece in pieces for letter in piece} | set("abcdefghijklmnopqrstuvwxyz.,:▁"))
    every = [*pieces, *letters]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *every]
    scores = [0.0] * 259 + [-float(place) for place in range(len(every))]
    kinds = [2, 3, 3] + [6] * 256 + [1] * len(every)
    tokens, kinds = _filled(tokens, kinds, rows)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores + [-1e6] * (rows - len(scores)))
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_space_prefix(True)


def _filled(tokens, kinds, rows):
    """As many tokens as the embedding has rows, as converters pad them: unused ones."""
    more = [f"[PAD{place}]" for place in range(len(tokens), rows)]
    return [*tokens, *more], [*kinds, *([5] * len(more))]
